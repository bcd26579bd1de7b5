"""What became of the model's predictions, by placement and bucket, and the curves that put them right.

Counted where the model learns: an impression adds the raw p that it was learned with, its click adds one to
the bucket of its impression, when it comes; neither is part of any gradient. What is counted fades with the
clicks predicted since, so that a change is followed as fast at any rate. Curves are fitted at ticks.

In a steady stream clicks come late at the rate at which they are predicted, so a click counts fully when it
comes: discounting it by its age would count those still to come as never coming.
"""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.rules.calibration import KNOTS, NO_CURVE, PIECES, bucket_of, curve_of, ratio_of
from app.rules.features import BLOCKS

SLICES = BLOCKS["unregistered"].end  # a slice is named by its placement's row; row 0, any request, is all
WHOLE = 0
STRENGTH_CLICKS = 30.0
# With fewer clicks than this share of the memory nothing is put right; fully with twice as many.
LEAST_SHARE = 0.2
FITTED_A_TICK = 8
CLICKS, PREDICTED = 0, 1


class Calibration:
    """Decayed counts and fitted curves.

    Shape   counts (SLICES, 2, KNOTS): clicks and predicted clicks; curves (SLICES, 2, PIECES), good where
            fitted (SLICES,) bool; stale: the slices to fit at coming ticks, in the order of first need.

    Those of an experiment's variant lean on a `parent`: a placement's slice is shrunk to the parent's of that
    placement, moved as the variant's whole is against the parent's; a curve not yet fitted is the parent's.
    """

    def __init__(self, parent: Calibration | None = None) -> None:
        self.parent = parent
        self.counts = np.zeros((SLICES, 2, KNOTS))
        self.curves: NDArray[np.float64] = np.zeros((SLICES, 2, PIECES))
        self.fitted = np.zeros(SLICES, dtype=np.bool_)
        self.stale: dict[int, None] = {}
        self.memory_clicks = 0  # a setting, 0: off

    def curve(self, row: int) -> NDArray[np.float64]:
        """Give the curve of a placement's row: its own, or that of the whole."""
        if not self.memory_clicks or not self.fitted[WHOLE]:
            return NO_CURVE if self.parent is None else self.parent.curve(row)
        curve: NDArray[np.float64] = self.curves[row if self.fitted[row] else WHOLE]
        return curve

    def shown(self, row: int, p: float) -> None:
        """Count an impression that was learned with a raw p."""
        if not self.memory_clicks:
            return
        bucket, left = bucket_of(p), math.exp(-p / self.memory_clicks)
        for at in (WHOLE, row):
            counts = self.counts[at]
            counts *= left
            counts[PREDICTED, bucket] += p
            self.stale[at] = None

    def clicked(self, row: int, p: float) -> None:
        """Count the click of an impression that was learned with a raw p."""
        if not self.memory_clicks:
            return
        self.counts[[WHOLE, row], CLICKS, bucket_of(p)] += 1.0

    def taken_back(self, row: int, p: float, *, clicked: bool) -> None:
        """Take an impression back that was counted lately, and its click where there was one."""
        bucket = bucket_of(p)
        for at in (WHOLE, row):
            counts = self.counts[at, :, bucket]
            counts[PREDICTED] = max(0.0, counts[PREDICTED] - p)
            counts[CLICKS] = max(0.0, counts[CLICKS] - clicked)

    def clear(self, row: int) -> None:
        """Forget a slice, before its row is given to another placement."""
        if row >= SLICES:  # no placement's
            return
        self.counts[row] = 0.0
        self.fitted[row] = False
        self.stale.pop(row, None)

    def forget(self) -> None:
        """Begin anew: the predictions to come are another model's."""
        self.counts[:] = 0.0
        self.fitted[:] = False
        self.stale.clear()

    def tick(self) -> bytes:
        """Fit the whole and the next stale slices; returns what to mix into the hash.

        Cost    some 50 us for each slice.
        """
        if WHOLE not in self.stale or not self.memory_clicks:
            return b""
        if not self._trust():
            self.stale.clear()
            return b""
        whole = self.ratio(WHOLE)
        self._fit(WHOLE, whole)
        for row in [row for row in self.stale if row != WHOLE][:FITTED_A_TICK]:
            self._fit(row, self.ratio(row, whole))
        return struct.pack("<d", float(self.curves[WHOLE].sum()))

    def ratio(self, row: int, whole: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """Estimate clicks over predictions by bucket, as far as there is reason to trust it.

        Shape   (KNOTS,); `whole` is that of the whole, where it is known already.
        """
        parent, trust = self.parent, self._trust()
        base = np.ones(KNOTS) if parent is None else parent.ratio(row)
        if row != WHOLE:
            whole = self.ratio(WHOLE) if whole is None else whole
            base = whole if parent is None else whole * (base / parent.ratio(WHOLE))
        clicks, predicted = self.counts[row]
        own = ratio_of(clicks, predicted, base, STRENGTH_CLICKS)
        found: NDArray[np.float64] = base * (own / base) ** trust
        return found

    def _trust(self) -> float:
        clicks = float(self.counts[WHOLE, CLICKS].sum())
        return min(max(clicks / (LEAST_SHARE * max(1, self.memory_clicks)) - 1.0, 0.0), 1.0)

    def _fit(self, row: int, ratio: NDArray[np.float64]) -> None:
        self.curves[row] = curve_of(ratio, self.counts[row, PREDICTED] + 1.0)
        self.fitted[row] = True
        self.stale.pop(row, None)

    def take_over(self, other: Calibration) -> None:
        """Go on with what a variant counted and fitted, where it did."""
        rows = np.flatnonzero(other.fitted)
        self.counts[rows], self.curves[rows], self.fitted[rows] = other.counts[rows], other.curves[rows], True

    def parts(self) -> dict[str, NDArray[Any]]:
        """Copy the slices in use."""
        rows = np.flatnonzero(self.fitted | self.counts.any(axis=(1, 2)))
        return {
            "rows": rows, "counts": self.counts[rows], "curves": self.curves[rows],
            "fitted": self.fitted[rows], "stale": np.array(list(self.stale), dtype=np.int64),
        }  # fmt: skip

    def restore(self, parts: dict[str, NDArray[Any]]) -> None:
        """Take back what `parts` copied."""
        rows = parts["rows"]
        self.counts[rows], self.curves[rows] = parts["counts"], parts["curves"]
        self.fitted[rows] = parts["fitted"]
        self.stale = dict.fromkeys(parts["stale"].tolist())

    def check(self) -> None:
        """Counts are never negative, and every curve rises."""
        assert (self.counts >= 0.0).all()
        assert (self.curves[self.fitted][:, 1] > 0.0).all()
