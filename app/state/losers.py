"""Who lost, why: counted always, for every ad that an auction turned down, at next to no cost.

Counts of the auctions since the last `drain` stand upright (see `app.rules.eligibility.lose`); drained, they
are sums by reason and campaign.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from app.domain.decisions import REASON_CODES
from app.rules.eligibility import PLANES, drain
from app.state.ads import Ads

_FULL = (1 << PLANES) - 1


class Losers:
    """The losers of a chooser's auctions, by reason and campaign.

    Shape   planes (reasons, PLANES, words) uint64; funnel (reasons, campaigns) int64, complete once drained.
    """

    def __init__(self, ads: Ads) -> None:
        self.planes = np.zeros((len(REASON_CODES), PLANES, ads.sets.words), dtype=np.uint64)
        self.funnel = np.zeros((len(REASON_CODES), 64), dtype=np.int64)
        self._ads = ads
        self._auctions = 0

    def begin(self) -> None:
        """Get ready to count one more auction: in it, an ad is lost once at most."""
        if self._auctions == _FULL:
            self.drain()
        self._auctions += 1

    def drain(self) -> NDArray[np.int64]:
        """Add up what was counted; returns the funnel.

        Cost    some 0.3 ms for 10,000 ads. An ad counts for the campaign that has its place now: places
                rest for a month between two owners.
        """
        if self._auctions:
            self._make_room()
            drain(self.planes, self._ads.campaign, self.funnel)
        self._auctions = 0
        return self.funnel

    def take(self) -> NDArray[np.int64]:
        """Hand out what was counted since the last call; returns (reasons, campaigns), and begins anew."""
        counts = self.drain()
        self.funnel = np.zeros_like(counts)
        return counts

    def _make_room(self) -> None:
        campaigns = int(self._ads.campaign.max()) + 1
        if campaigns > self.funnel.shape[1]:
            grown = np.zeros((len(REASON_CODES), 2 * campaigns), dtype=np.int64)
            grown[:, : self.funnel.shape[1]] = self.funnel
            self.funnel = grown
