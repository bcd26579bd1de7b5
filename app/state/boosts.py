"""Bids that are higher, or lower, for the people of an audience: ad groups' boosts, put on for a request."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.state.view import View

LEAST, MOST = 0.1, 10.0  # several multiply, and stay between these
REMEMBERED = 64  # combinations of audiences, for as long as a view of the ads is good: a second, mostly


class Boosts:
    """Which ads bid how many times as much for whom."""

    def __init__(self) -> None:
        self._of_ad: dict[int, tuple[tuple[str, float], ...]] = {}
        self._of_audience: dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]] | None = {}
        self._boosted: dict[tuple[str, ...], View] = {}
        self._of_view: View | None = None

    def place(self, ad: int, boost: tuple[tuple[str, float], ...]) -> None:
        """Take an ad's boosts, by audience, in place of those before."""
        if boost == self._of_ad.get(ad, ()):
            return
        self._of_ad.pop(ad, None)
        if boost:
            self._of_ad[ad] = boost
        self._of_audience = None
        self.forget()

    def forget(self) -> None:
        """Forget what was worked out: a bid or a quality changed."""
        self._boosted.clear()

    def applied(self, view: View, audiences: Sequence[str]) -> View:
        """Give the ads with the bids that they make for somebody in these audiences.

        Cost    a microsecond; the first time for these audiences and view 0.1 ms for 10,000 ads.
        """
        of = self._by_audience()
        mine = tuple(name for name in audiences if name in of)
        if not mine:
            return view
        if self._of_view is not view or len(self._boosted) >= REMEMBERED:
            self._boosted.clear()
            self._of_view = view
        boosted = self._boosted.get(mine)
        if boosted is None:
            boosted = self._boosted[mine] = self._boost(view, mine)
        return boosted

    def _boost(self, view: View, audiences: tuple[str, ...]) -> View:
        factor, of = np.ones(view.places), self._by_audience()
        for name in audiences:
            ads, times = of[name]
            factor[ads] *= times
        changed = np.flatnonzero(factor != 1.0)
        bid, log_score = view.bid.copy(), view.log_score.copy()
        boosted = np.floor(bid[changed] * np.clip(factor[changed], LEAST, MOST))
        bid[changed] = np.maximum(1.0, boosted)
        worth = bid[changed] * np.where(view.per_click[changed] != 0, 1000.0, 1.0)
        log_score[changed] = np.log(worth) + np.log(view.quality[changed])
        return view._replace(bid=bid, log_score=log_score)

    def _by_audience(self) -> dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]:
        if self._of_audience is None:
            pairs: dict[str, dict[int, float]] = {}
            for ad, boost in self._of_ad.items():
                for name, times in boost:
                    pairs.setdefault(name, {})[ad] = times
            self._of_audience = {
                name: (np.array(list(ads)), np.array(list(ads.values()))) for name, ads in pairs.items()
            }
        return self._of_audience
