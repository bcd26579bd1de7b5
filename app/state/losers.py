"""Who lost, why: counted always, for every ad that an auction turned down, at next to no cost.

Counts of the auctions since the last `drain` stand upright (see `app.rules.eligibility.lose`); drained, they
are sums by reason and campaign.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from app.domain.decisions import REASON_CODES
from app.rules.eligibility import PLANES, drain
from app.state.ads import View

_FULL = (1 << PLANES) - 1


class Losers:
    """The losers of a chooser's auctions, by reason and campaign.

    Shape   planes (reasons, PLANES, words) uint64; funnel (reasons, campaigns) int64, complete once drained.
    """

    def __init__(self, words: int) -> None:
        self.planes = np.zeros((len(REASON_CODES), PLANES, words), dtype=np.uint64)
        self.funnel = np.zeros((len(REASON_CODES), 64), dtype=np.int64)
        self._auctions = 0
        self._view: View | None = None

    def begin(self, view: View) -> None:
        """Get ready to count one more auction over these ads. An ad is lost once in it, at most."""
        if self._auctions == _FULL or view is not self._view:
            self.drain()
            self._view = view
        self._auctions += 1

    def drain(self) -> NDArray[np.int64]:
        """Add up what was counted, and what stood aside; returns the funnel.

        Cost    some 0.3 ms for 10,000 ads, at most every 255 auctions.
        """
        view = self._view
        if view is not None and self._auctions:
            self._make_room(view)
            drain(self.planes, view.campaign, self.funnel)
            self.funnel[view.aside_reason, view.aside_campaign] += view.aside_count * self._auctions
        self._auctions = 0
        return self.funnel

    def _make_room(self, view: View) -> None:
        campaigns = int(view.campaign.max(initial=0)) + 1
        if campaigns > self.funnel.shape[1]:
            grown = np.zeros((len(REASON_CODES), 2 * campaigns), dtype=np.int64)
            grown[:, : self.funnel.shape[1]] = self.funnel
            self.funnel = grown
