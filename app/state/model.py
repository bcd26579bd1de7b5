"""The matrix: a row for each thing known about the request, a column for each thing known about an ad.

Only z and n are knowledge; w is always what they give, and is all that scoring reads. Where the setting says
so, short vectors of rows and columns learn with the cells, and what they give is added to the scores.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.rules import exploration, features, ffm, ftrl
from app.state import factors
from app.state.arrays import drop_row, give_back, zeros

# A stride that is no power of two: else the same column of sixteen rows falls into one cache set.
PADDING = 16
MAX_LIT_ROWS = 80
MAX_LIT_COLUMNS = 8


class Model:
    """FTRL-Proximal sums and weights of every cell.

    Shape   z and n (ROWS, stride) float64, w (ROWS, stride) float32; cell = row * stride + column; doubts
            (stride,) float32, how unsure row 0's weights are, derived from n right after each update.
    """

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self.stride = columns + PADDING
        shape = (features.ROWS, self.stride)
        self.z: NDArray[np.float64] = zeros(shape, np.float64, huge_pages=False)
        self.n: NDArray[np.float64] = zeros(shape, np.float64, huge_pages=False)
        self.w: NDArray[np.float32] = zeros(shape, np.float32, huge_pages=True)
        self.touched = np.zeros(features.ROWS, dtype=np.bool_)
        self.doubts: NDArray[np.float32] = np.zeros(self.stride, dtype=np.float32)  # of row 0's cells
        self.damping: NDArray[np.float64] = np.ones(self.stride)  # of doubts: what is explored less
        self.hyper = ftrl.Rates().array()
        self.factors = factors.NO_FACTORS
        self.factor_rates = factors.rates_of(ffm.FactorRates().alpha)
        self._flat = (self.z.reshape(-1), self.n.reshape(-1), self.w.reshape(-1))
        self._cells = np.empty(MAX_LIT_ROWS * MAX_LIT_COLUMNS, dtype=np.int64)
        self.doubt_all()

    def learn(self, rows: bytes, columns: bytes, prior_logit: float, shown: float, clicked: float) -> float:
        """Learn one sample with the p of this moment; returns that p.

        Shape   rows and columns are the lit ones, as little-endian uint16.
        """
        lit = np.frombuffer(rows, dtype="<u2")
        main, total = self._find(lit, columns)
        self.touched[lit] = True
        lit_columns = np.frombuffer(columns, dtype="<u2")
        p: float
        if self.has_factors:
            p = ffm.learn(
                *self._flat, self._cells, main, total, self.factors, lit, lit_columns,
                ffm.nothing_met(self.factors), prior_logit, shown, clicked, self.hyper, self.factor_rates,
            )  # fmt: skip
        else:
            p = ftrl.learn(*self._flat, self._cells, main, total, prior_logit, shown, clicked, self.hyper)
        self._doubt(lit_columns)
        return p

    def follow(self, rows: bytes, columns: bytes, p: float, shown: float, clicked: float) -> None:
        """Learn one sample as a model that predicted p would."""
        lit = np.frombuffer(rows, dtype="<u2")
        main, total = self._find(lit, columns)
        self.touched[lit] = True
        gradient, advance = ftrl.sums_of(p, shown, clicked)
        ftrl.step(*self._flat, self._cells, main, total, gradient, advance, self.hyper)
        self._doubt(np.frombuffer(columns, dtype="<u2"))

    def copy_row(self, other: Model, row: int) -> None:
        """Take over the weights and counts of another model's row, whatever its rates are.

        Cost    about 0.25 ms for 12,000 columns.
        """
        alpha = np.full(self.stride, self.hyper[0 if row == 0 else 1])
        l1 = np.full(self.stride, self.hyper[3 if row == 0 else 4])
        alpha[0], l1[0] = self.hyper[0], self.hyper[3]
        n, w = other.n[row], other.w[row].astype(np.float64)
        slope = (self.hyper[2] + np.sqrt(n)) / alpha + self.hyper[5]
        known = np.flatnonzero((n != 0.0) | (w != 0.0))
        self.n[row, known] = n[known]
        self.z[row, known] = -(w * slope + np.sign(w) * l1)[known]
        self.touched[row] = True
        self.derive(row)
        if row == 0:
            self.doubt_all()
        if self.has_factors and other.has_factors:
            factors.copy_row(self.factors, other.factors, row)

    def unlearn(self, rows: bytes, columns: bytes, p: float, shown: float, clicked: float) -> None:
        """Take back what a sample taught, given the p that it was learned with."""
        lit, lit_columns = np.frombuffer(rows, dtype="<u2"), np.frombuffer(columns, dtype="<u2")
        main, total = self._find(lit, columns)
        gradient, advance = ftrl.sums_of(p, shown, clicked)
        ftrl.unlearn(*self._flat, self._cells, main, total, gradient, advance, self.hyper)
        if self.has_factors:
            ffm.take_back(self.factors, lit, lit_columns, gradient, advance, self.factor_rates)
        self._doubt(lit_columns)

    def _find(self, rows: NDArray[np.uint16], columns: bytes) -> tuple[int, int]:
        lit = np.frombuffer(columns, dtype="<u2")
        found: tuple[int, int] = ftrl.cells_of(rows, lit, self.stride, features.MAIN_ONLY_FROM, self._cells)
        return found

    def configure(self, rates: ftrl.Rates) -> None:
        """Take new learning settings; every weight is derived again, since it depends on them."""
        new = rates.array()
        if np.array_equal(new, self.hyper):
            return
        self.hyper = new
        for row in np.flatnonzero(self.touched):
            self.derive(int(row))
        self.doubt_all()

    @property
    def has_factors(self) -> bool:
        """Whether vectors learn with the cells."""
        return self.factors is not factors.NO_FACTORS

    def take_learner(self, learner: str, alpha: float, column_fields: NDArray[np.int32]) -> None:
        """Have vectors learn with the cells (`ffm`), from nothing where none did, or drop them (`linear`).

        Shape   column_fields (stride,), the catalogue's own: the field of each column.
        """
        self.factor_rates = factors.rates_of(alpha)
        if (learner == "ffm") != self.has_factors:
            self.factors = factors.no_factors(column_fields) if learner == "ffm" else factors.NO_FACTORS

    def added_by_factors(self, rows: NDArray[np.int32], columns: NDArray[np.int32]) -> float:
        """Tell what vectors add to the logit of one ad: 0 where there are none."""
        if not self.has_factors:
            return 0.0
        added: float = ffm.meet(self.factors, rows, columns, ffm.nothing_met(self.factors))
        return added

    def _doubt(self, columns: NDArray[np.uint16]) -> None:
        precision = self.hyper[2] / self.hyper[0] + self.hyper[5]
        exploration.doubt(self.n[0], columns, precision, self.damping, self.doubts)

    def doubt_all(self) -> None:
        """Derive the doubts of all columns."""
        self._doubt(np.arange(self.stride, dtype=np.uint16))

    def damp(self, damping: NDArray[np.float64]) -> None:
        """Go by this damping from here on. Shape   (stride,), shared by all models of clicks."""
        self.damping = damping
        self.doubt_all()

    def derive(self, row: int) -> None:
        """Derive a row's weights from its sums."""
        one = slice(row, row + 1)
        ftrl.derive_weights(self.z[one], self.n[one], self.w[one], row, 0, self.hyper)

    def shift_main(self, row: int, by: float, column: int = 0) -> None:
        """Move a main cell's weight, keeping n: what a changed prior is made up for with."""
        assert row == 0 or column == 0, "a cross"
        if by == 0.0:
            return
        target = float(self.w[row, column]) + by
        slope = (self.hyper[2] + math.sqrt(self.n[row, column])) / self.hyper[0] + self.hyper[5]
        self.z[row, column] = -target * slope - math.copysign(self.hyper[3], target) if target else 0.0
        self.touched[row] = True
        cell = slice(row, row + 1), slice(column, column + 1)
        ftrl.derive_weights(self.z[cell], self.n[cell], self.w[cell], row, column, self.hyper)

    def clear_column(self, column: int) -> None:
        """Forget everything about a column, before it is given to another ad. Cost: about 1 ms."""
        rows = np.flatnonzero(self.touched)
        rows = rows[(self.n[rows, column] != 0) | (self.z[rows, column] != 0)]
        self.z[rows, column] = 0.0
        self.n[rows, column] = 0.0
        self.w[rows, column] = 0.0
        self._doubt(np.array([column], dtype=np.uint16))
        if self.has_factors:
            factors.clear_column(self.factors, column)

    def clear_row(self, row: int) -> None:
        """Forget everything about a row, before it is given to another placement."""
        if not self.touched[row]:  # all zeros, of which nothing is resident
            return
        for array in (self.z, self.n, self.w):
            drop_row(array, row)
        self.touched[row] = False
        if self.has_factors:
            factors.clear_row(self.factors, row)

    def give_back(self) -> None:
        """Let go of the memory, of a model that another has taken the place of."""
        for array in (self.z, self.n, self.w):
            give_back(array)

    def parts(self, width: int) -> dict[str, NDArray[Any]]:
        """Copy what was learned: the touched rows, as wide as columns were given out."""
        rows = np.flatnonzero(self.touched)
        more = factors.parts(self.factors, rows, width) if self.has_factors else {}
        return {"rows": rows, "z": self.z[rows, :width], "n": self.n[rows, :width], **more}

    def restore(self, parts: dict[str, NDArray[Any]]) -> None:
        """Take back what `parts` copied. The settings, and the learner, must be configured first."""
        if self.has_factors:
            factors.restore(self.factors, parts)
        rows, width = parts["rows"], parts["z"].shape[1] if parts["z"].ndim == 2 else 0
        self.z[rows, :width] = parts["z"]
        self.n[rows, :width] = parts["n"]
        self.touched[rows] = True
        for row in rows:
            self.derive(int(row))
        self.doubt_all()

    def check(self) -> None:
        """Every weight is what its sums give, and n is never negative."""
        if self.has_factors:
            factors.check(self.factors, self.touched)
        for row in np.flatnonzero(self.touched):
            one = slice(int(row), int(row) + 1)
            derived = np.empty_like(self.w[one])
            ftrl.derive_weights(self.z[one], self.n[one], derived, int(row), 0, self.hyper)
            assert np.array_equal(derived, self.w[one]), f"stale weight in row {row}"
            assert (self.n[one] >= 0).all()
        doubts = self.doubts.copy()
        self.doubt_all()
        assert np.array_equal(doubts, self.doubts), "a stale doubt"
