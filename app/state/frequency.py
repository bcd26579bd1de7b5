"""What one person's past means to one request: ads under a cap, and ads seen before, each with its own row.

Reads the state and the request alone. A person without a key has no past: `caps_without_id` says whether ads
with a cap are then served or withheld.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.domain.requests import AdRequest
from app.rules import capping, features
from app.state.state import State

_NOBODY = np.zeros(0, dtype=np.int64)
_NO_ROWS = np.zeros(0, dtype=np.int32)


class Frequency:
    """The past of the person who asks, looked up once a request; owns the scratch arrays.

    Shape   capped (k,) int64, the ads under a cap (some perhaps twice); seen and rows (m,) int32: the ads
            seen before, and the row that each lights for itself.
    """

    def __init__(self, state: State) -> None:
        self.state = state
        self.capped: NDArray[np.int64] = _NOBODY
        self.seen: NDArray[np.int32] = _NO_ROWS
        self.rows: NDArray[np.int32] = _NO_ROWS
        self._request = AdRequest(request_id="", asks=())
        self._clock_ms = self._given = 0
        self._days = _NOBODY
        self._make_room(0)

    def ask(self, request: AdRequest, clock_ms: int, days: NDArray[np.int64]) -> None:
        """Take a new request, and look its person up. Units: days are of the zones, as in `State.days`."""
        self._request, self._clock_ms, self._days, self._given = request, clock_ms, days, 0
        self._look(())

    def given(self, chosen: Sequence[int]) -> None:
        """Look again where ads were given to this request that a cap binds; `chosen` are all of them."""
        more, self._given = chosen[self._given :], len(chosen)
        if more and self.state.catalogue.caps.bound().capped[list(more)].any():
            self._look(chosen)

    def _look(self, chosen: Sequence[int]) -> None:
        """Look the request's person up; `chosen` are ads already given to this request.

        Cost    about 8 us for someone who saw a handful of ads; nothing for nobody.
        """
        self.capped, self.seen, self.rows = _NOBODY, _NO_ROWS, _NO_ROWS
        state, request, person = self.state, self._request, self._request.person
        key = person.key if person is not None else None
        if key is None or person is None:
            if state.settings.caps_without_id == "withhold":
                self.capped = state.catalogue.caps.bound().capped_places
            return
        keys = (key,) if person.former_key is None else (key, person.former_key)
        entries, count = state.user_counters.of(keys)
        ads = state.catalogue.ads
        pending = [place for place in (*request.just_served, *chosen) if place < ads.count]
        if count or pending:
            self._judge(entries, count, np.array(pending, dtype=np.int64))

    def _judge(self, entries: NDArray[np.int64], count: int, pending: NDArray[np.int64]) -> None:
        catalogue = self.state.catalogue
        bound, ads = catalogue.caps.bound(), catalogue.ads
        if self._seen.size < ads.count:
            self._make_room(ads.count)
        capped, seen = capping.judge(
            entries, count, self._clock_ms, self._days, bound.limits, bound.zone, bound.tally,
            bound.entity_of_ad, ads.group, ads.campaign, bound.chain_head, bound.chain_next, pending,
            self._places, self._seen, self._views,
        )  # fmt: skip
        self.capped = self._places[:capped]
        if seen and self.state.settings.fatigue == "on":
            self.seen = self._seen[:seen]
            self.rows = features.views_rows(self._views[:seen])

    def _make_room(self, ads: int) -> None:
        self._places: NDArray[np.int64] = np.zeros(3 * ads, dtype=np.int64)
        self._seen: NDArray[np.int32] = np.zeros(ads, dtype=np.int32)
        self._views: NDArray[np.int32] = np.zeros(ads, dtype=np.int32)

    def own_row(self, place: int) -> int:
        """Name the row that an ad lights for itself; 0 for none."""
        if not self.seen.size:
            return 0
        at = (self.seen == place).argmax()
        return int(self.rows[at]) if self.seen[at] == place else 0
