"""What audiences thought of each ad: counts of impressions, complaints, clicks and accidental clicks.

The counts are per ad place, and go back to 0 when a place is freed. The index that they give is worked out
at ticks and written into the ads' arrays; between ticks a decision reads the last one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.domain.dismissals import DISMISSAL_CODES, DISMISSAL_NUMBER, DISMISSALS
from app.domain.lines import FoldSettings
from app.rules.quality import Counts, quality_of
from app.state.ads import Ads

_COUNTS = 4  # shown, complaints (weighted), clicks, accidents


class Quality:
    """The counts behind the index.

    Shape   counts (4, capacity) int64 in the order of `Counts`; reasons (reasons, capacity) int32.
    """

    def __init__(self, ads: Ads) -> None:
        self._ads = ads
        capacity = ads.places.capacity
        self.counts: NDArray[np.int64] = np.zeros((_COUNTS, capacity), dtype=np.int64)
        self.reasons: NDArray[np.int32] = np.zeros((len(DISMISSALS), capacity), dtype=np.int32)

    def shown(self, creative_id: str, by: int = 1) -> None:
        """Count an impression, or with -1 one that was taken back."""
        self._add(0, creative_id, by)

    def clicked(self, creative_id: str, by: int = 1) -> None:
        """Count a click, or with -1 one that was taken back."""
        self._add(2, creative_id, by)

    def slipped(self, creative_id: str) -> None:
        """Count a click that was accidental; as a click it was counted before."""
        self._add(3, creative_id, 1)

    def dismissed(self, creative_id: str, reason: str) -> None:
        """Count a complaint, by its weight."""
        self._add(1, creative_id, DISMISSALS[reason].weight)
        at = self._ads.places.by_key.get(creative_id)
        if at is not None:
            self.reasons[DISMISSAL_NUMBER[reason], at] += 1

    def _add(self, which: int, creative_id: str, by: int) -> None:
        at = self._ads.places.by_key.get(creative_id)
        if at is None:  # archived for so long that its place was given back
            return
        self.counts[which, at] = max(0, int(self.counts[which, at]) + by)

    def clear(self, at: int) -> None:
        """Forget all about a place that was freed."""
        self.counts[:, at] = 0
        self.reasons[:, at] = 0
        self._ads.quality[at] = 1.0

    def settle(self, settings: FoldSettings) -> float:
        """Work the index of all ads out anew (one complaint moves the mean of all); returns its sum.

        Cost    ~20 us where nobody ever complained, else ~0.3 ms for 10,000 ads, once a tick.
        """
        n = self._ads.count
        shown, complaints, clicks, accidents = self.counts[:, :n]
        index = np.ones(n)
        if complaints.any() or accidents.any():
            counts = Counts(shown, complaints, clicks, accidents)
            index = quality_of(counts, settings.quality_prior, settings.quality_strength)
        if not np.array_equal(index, self._ads.quality[:n]):
            self._ads.take_quality(index)
        return float(index.sum())

    def of(self, creative_id: str) -> dict[str, Any] | None:
        """Tell what is known of a creative, and of all of them for comparison; None without a place."""
        at = self._ads.places.by_key.get(creative_id)
        if at is None:
            return None
        names = ("impressions", "complaints", "clicks", "accidental_clicks")
        reasons = zip(DISMISSAL_CODES, self.reasons[:, at].tolist(), strict=True)
        return {
            "quality": float(self._ads.quality[at]),
            "own": dict(zip(names, self.counts[:, at].tolist(), strict=True)),
            "dismissals": {code: count for code, count in reasons if count},
            "all": dict(zip(names, self.counts.sum(axis=1).tolist(), strict=True)),
        }

    def parts(self) -> NDArray[Any]:
        """Copy counts, reasons and the index as it stands (it is as old as the last tick)."""
        n = self._ads.count
        index = self._ads.quality[:n].view(np.int64)
        return np.concatenate([self.counts[:, :n], self.reasons[:, :n], index[None, :]])

    def restore(self, part: NDArray[Any]) -> None:
        """Take back what `parts` copied, after the ads were compiled."""
        n = part.shape[1]
        self.counts[:, :n] = part[:_COUNTS]
        self.reasons[:, :n] = part[_COUNTS:-1]
        self._ads.take_quality(np.ascontiguousarray(part[-1]).view(np.float64))

    def check(self) -> None:
        """Every index is within its bounds; a place never given out holds nothing."""
        n = self._ads.count
        assert (self.counts >= 0).all()
        assert ((self._ads.quality[:n] >= 0.5) & (self._ads.quality[:n] <= 2.0)).all()
        assert not self.counts[:, n:].any()
