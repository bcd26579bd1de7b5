"""Who takes part: 64 sets of ads, of which each decision uses the one that its id names.

A campaign's ads are in as many sets as its throttle says (`app.rules.pacing`), so that pacing costs a request
one clause over a set, like any targeting.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from app.domain.decisions import REASON_NUMBER
from app.rules.eligibility import EVERYONE, Clause, written
from app.rules.pacing import RANK, SETS, deal
from app.state.sets import PARTICIPATION, Sets


class Participation:
    """Each campaign's share of the sets (0-64) and where its sets begin; `sets` hold its ads."""

    def __init__(self, sets: Sets) -> None:
        self.sets = sets
        self.share = np.full(64, SETS, dtype=np.uint8)
        self.turn = np.zeros(64, dtype=np.uint8)
        self.throttled = False
        rows = range(PARTICIPATION, PARTICIPATION + SETS)
        self._parts = [written(Clause(REASON_NUMBER["paced"], EVERYONE, (row,)).flat()) for row in rows]

    def part(self, decision_hash: int) -> bytes:
        """Give the condition that a decision puts to every ad, as a program; empty when nobody is throttled.

        The top bits name the set: the low ones already decide ties.
        """
        return self._parts[decision_hash >> 26] if self.throttled else b""

    def shares(self, campaigns: int) -> NDArray[np.uint8]:
        """Tell the shares of so many campaigns; one whose ads are not here yet takes part in full."""
        self._make_room(campaigns)
        return self.share[:campaigns]

    def place(self, ad: int, campaign: int) -> None:
        """Put one ad into its campaign's sets, whatever its place was in before."""
        self._make_room(campaign + 1)
        word, bit = ad // 64, np.uint64(1 << ad % 64)
        rows = self.sets.rows[PARTICIPATION : PARTICIPATION + SETS]
        inside = RANK[(np.arange(SETS) + int(self.turn[campaign])) % SETS] < int(self.share[campaign])
        rows[~inside, word] &= ~bit
        rows[inside, word] |= bit

    def deal(
        self, campaign_of_ads: NDArray[np.int32], share: NDArray[np.uint8], turn: NDArray[np.uint8]
    ) -> None:
        """Take over every campaign's share and turn. Cost: ~60 us where each of 10,000 ads moves by a set."""
        n = share.size
        self._make_room(n)
        after_share, after_turn = self.share.copy(), self.turn.copy()
        after_share[:n], after_turn[:n] = share, turn
        rows = self.sets.rows[PARTICIPATION : PARTICIPATION + SETS]
        deal(rows, campaign_of_ads, RANK, self.share, self.turn, after_share, after_turn)
        self.share, self.turn = after_share, after_turn
        self.throttled = bool((after_share[:n] < SETS).any())

    def _make_room(self, campaigns: int) -> None:
        while campaigns > self.share.size:
            self.share = np.concatenate([self.share, np.full_like(self.share, SETS)])
            self.turn = np.concatenate([self.turn, np.zeros_like(self.turn)])
