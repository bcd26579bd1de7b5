"""Field-aware vectors in plain Python: slow, plainly right, and what tests hold the compiled kernels to.

A vector is a list in a dictionary, by what it is of and which field it is for. Not used by a running node.
"""

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from app.rules.ffm import LARGEST

Lit = list[tuple[int, int]]  # places, each with its field


@dataclass(slots=True)
class PlainFactors:
    """Vectors of rows (by row and column field) and of columns (by column and row field).

    `first` gives what a row's vector begins with. Rows and columns are told with their field.
    """

    factors: int
    alpha: float
    start: float
    first: Callable[[int, int], list[float]]
    rows: dict[tuple[int, int], list[float]] = field(default_factory=dict)
    columns: dict[tuple[int, int], list[float]] = field(default_factory=dict)
    squares: defaultdict[tuple[str, int, int, int], float] = field(default_factory=lambda: defaultdict(float))

    def added(self, rows: Lit, columns: Lit) -> float:
        """The sum of the products of all pairs. Source: Juan et al. 2016, 3.1."""
        return sum(
            sum(a * b for a, b in zip(self._row(r, kind), self._column(c, at), strict=True))
            for r, at in rows
            for c, kind in columns
        )

    def step(self, rows: Lit, columns: Lit, gradient: float, advance: float) -> None:
        """One AdaGrad update: each vector by the sum of those of the other side that it met."""
        moves = []
        for r, at in rows:
            for kind in {kind for _, kind in columns}:
                met = [self._column(c, at) for c, its in columns if its == kind]
                moves.append((("row", r, kind), self._row(r, kind), _summed(met)))
        for c, kind in columns:
            for at in {at for _, at in rows}:
                met = [self._row(r, kind) for r, its in rows if its == at]
                moves.append((("column", c, at), self._column(c, at), _summed(met)))
        for whose, vector, other in moves:
            for j, with_it in enumerate(other):
                key = (*whose, j)
                self.squares[key] = max(self.squares[key] + advance * with_it**2, 0.0)
                rate = self.alpha / math.sqrt(self.start + self.squares[key])
                vector[j] = min(max(vector[j] - rate * gradient * with_it, -LARGEST), LARGEST)

    def _row(self, row: int, kind: int) -> list[float]:
        return self.rows.setdefault((row, kind), self.first(row, kind))

    def _column(self, column: int, at: int) -> list[float]:
        return self.columns.setdefault((column, at), [0.0] * self.factors)


def _summed(vectors: list[list[float]]) -> list[float]:
    return [sum(each) for each in zip(*vectors, strict=True)]
