"""The k numbers farthest from 0 among very many, exact, and found a row at a time: so in any small slices."""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray


class Strongest:
    """Keeps the `count` numbers of the largest magnitude that it was shown; none is 0.

    Ties    the first shown stays, in a row the lowest column.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._heap: list[tuple[float, int, int, int]] = []  # magnitude, and what breaks ties; weakest first
        self._shown = 0

    def take(self, row: int, values: NDArray[np.float32], columns: NDArray[np.int64] | None = None) -> None:
        """Look at a row of numbers.

        Shape   values (m,); columns (m,) ascending: whose numbers they are, by default 0 to m - 1.
        Cost    about m nanoseconds where none of them is among the strongest.
        """
        self._shown += 1
        if not values.size:
            return
        sizes = np.abs(values)
        weakest = self._heap[0][0] if len(self._heap) == self.count else 0.0
        found = np.flatnonzero(sizes > weakest)
        if found.size > self.count:
            edge = np.partition(sizes[found], -self.count)[-self.count]
            found = found[sizes[found] >= edge]
        for at in found.tolist():
            column = at if columns is None else int(columns[at])
            entry = (float(sizes[at]), -self._shown, -column, row)
            if len(self._heap) < self.count:
                heapq.heappush(self._heap, entry)
            elif entry > self._heap[0]:
                heapq.heapreplace(self._heap, entry)

    def found(self) -> list[tuple[int, int]]:
        """List (row, column) of what is kept, the strongest first.

        >>> strongest = Strongest(2)
        >>> strongest.take(7, np.array([0.1, -0.5, 0.0], np.float32))
        >>> strongest.take(9, np.array([0.2, 0.3], np.float32), np.array([4, 6]))
        >>> strongest.found()
        [(7, 1), (9, 6)]
        """
        return [(row, -column) for _, _, column, row in sorted(self._heap, reverse=True)]
