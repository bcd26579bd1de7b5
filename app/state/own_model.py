"""A variant's own matrix: learned by its own rates, from everybody's events or (isolated) from its own alone.

It begins with the default's weights: a row is copied at a time, a few a tick, since all of them would hold
the loop for half a second. Until the last one is there, rows that have been copied learn with the default's
predictions, and nobody is served by it. From then on it predicts and learns by itself.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.domain.decisions import ServedAd
from app.rules import features
from app.rules.ftrl import Rates
from app.state.model import Model

ROWS_A_TICK = 6  # of 12,000 columns: about 1.5 ms
_SHOWN, _CLICKED = 0, 1


class OwnModel:
    """The matrix, and what it predicted for the impressions that are remembered.

    Shape   formed (ROWS,) bool: the rows copied so far; p (2, capacity) float64: what impressions and their
            clicks were learned with, at the places of `Recent`; nan where they were not.
    """

    def __init__(self, columns: int, capacity: int, rates: Rates) -> None:
        self.model = Model(columns)
        self.model.configure(rates)
        self.formed = np.zeros(features.ROWS, dtype=np.bool_)
        self.forming = True
        self.since = -1  # the first place of `Recent` that it knows; -1 before it knows any
        self.p: NDArray[np.float64] = np.zeros((2, capacity))

    def form(self, default: Model) -> None:
        """Copy the next rows of the default; none left to copy, it is formed."""
        waiting = np.flatnonzero(default.touched & ~self.formed)[:ROWS_A_TICK]
        for row in waiting.tolist():
            self.model.copy_row(default, row)
            self.formed[row] = True
        if not waiting.size:
            self.forming = False

    def shown(self, ad: ServedAd, prior_logit: float, place: int, p: float) -> float:
        """Learn an impression, remembered at a place, that the default gave p; returns its own p."""
        own = self._learn(ad, prior_logit, p, 1.0, 0.0)
        at = place % self.p.shape[1]
        self.p[_SHOWN, at], self.p[_CLICKED, at] = own, math.nan
        if self.since < 0:
            self.since = place
        return own

    def clicked(self, ad: ServedAd, prior_logit: float, place: int, p: float) -> float:
        """Learn the click of an impression; returns the p that the impression was learned with, else nan."""
        own = self._learn(ad, prior_logit, p, 0.0, 1.0)
        if not self.knows(place):
            return math.nan
        at = place % self.p.shape[1]
        self.p[_CLICKED, at] = own
        return self.p_at(place)

    def knows(self, place: int) -> bool:
        """Say whether it learned the impression at a place."""
        return 0 <= self.since <= place and not math.isnan(self.p_at(place))

    def p_at(self, place: int) -> float:
        """Tell what it learned the impression at a place with; nan where it did not."""
        return float(self.p[_SHOWN, place % self.p.shape[1]])

    def skipped(self, place: int) -> None:
        """Take note of an impression that is not learned."""
        self.p[:, place % self.p.shape[1]] = math.nan

    def unlearn(self, ad: ServedAd, place: int) -> None:
        """Take an impression and its click out again, the newer first."""
        if not self.knows(place):
            return
        shown, clicked = self.p[:, place % self.p.shape[1]].tolist()
        if not math.isnan(clicked):
            self.model.unlearn(ad.rows, ad.columns, clicked, 0.0, 1.0)
        self.model.unlearn(ad.rows, ad.columns, shown, 1.0, 0.0)
        self.skipped(place)

    def _learn(self, ad: ServedAd, prior_logit: float, p: float, shown: float, clicked: float) -> float:
        if not self.forming:
            return self.model.learn(ad.rows, ad.columns, prior_logit, shown, clicked)
        rows = np.frombuffer(ad.rows, dtype="<u2")
        self.model.follow(rows[self.formed[rows]].tobytes(), ad.columns, p, shown, clicked)
        return p

    def clear_row(self, row: int) -> None:
        """Forget a row before it is given to another placement."""
        self.model.clear_row(row)
        self.formed[row] = False

    def parts(self, width: int, next_place: int) -> dict[str, NDArray[Any]]:
        """Copy the matrix and what is remembered, the oldest place first."""
        capacity = self.p.shape[1]
        first = max(self.since, next_place - capacity) if self.since >= 0 else next_place
        return {
            **self.model.parts(width), "formed": self.formed.copy(),
            "p": self.p[:, np.arange(first, next_place) % capacity],
            "now": np.array([self.forming, self.since]),
        }  # fmt: skip

    def restore(self, parts: dict[str, NDArray[Any]], next_place: int) -> None:
        """Take back what `parts` copied."""
        self.model.restore(parts)
        self.formed[:] = parts["formed"]
        forming, self.since = (int(value) for value in parts["now"])
        self.forming = bool(forming)
        p = parts["p"]
        self.p[:, np.arange(next_place - p.shape[1], next_place) % self.p.shape[1]] = p
