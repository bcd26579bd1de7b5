"""A short memory of impressions: what each was learned with, and what became of it.

A ring over the last impressions in the journal's order. It answers clicks whose impression's verdict had
not been written back yet, gives un-learning its p, and closes click windows for the progressive evaluation.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SHOWN = np.dtype(
    [
        ("position", "<i8"),
        ("at_ms", "<i8"),
        ("pctr", "<f8"),  # the token's: what evaluation is about
        ("p_shown", "<f8"),  # the p that the impression was learned with
        ("p_clicked", "<f8"),  # the p that its click was learned with; nan before
        ("billed_micros", "<i8"),
        ("click_billed_micros", "<i8"),
        ("click_position", "<i8"),
        ("fate", "u1"),
        ("clicked", "u1"),
        ("p_trial", "<f8"),  # the p that its click was learned with as a trial; nan where it was none
        ("acted_ms", "<i8"),  # when it was seen: by the sender's clock as a negative number, 0 unknown
    ]
)
FATES = ("learned", "skipped", "invalid", "refunded")
LEARNED, SKIPPED, INVALID, REFUNDED = range(4)
CLICK_REFUNDED = 2  # as `clicked`: there was one, and it was taken back


class Recent:
    """The last `capacity` impressions; `closed` counts those whose click window is over.

    Places grow without end; place modulo capacity is the ring's index.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.ring: NDArray[Any] = np.zeros(capacity, dtype=SHOWN)
        self.next = 0
        self.closed = 0
        self._clicks: dict[int, int] = {}  # the ring's index of a click, by the click's position

    @property
    def first(self) -> int:
        """The oldest place still remembered."""
        return max(0, self.next - self.capacity)

    def add(
        self,
        position: int,
        at_ms: int,
        pctr: float,
        p: float,
        fate: int,
        billed_micros: int,
        acted_ms: int = 0,
    ) -> None:
        """Remember an impression."""
        at = self.next % self.capacity
        if self.next >= self.capacity:
            self._clicks.pop(int(self.ring["click_position"][at]), None)
        self.ring[at] = (position, at_ms, pctr, p, np.nan, billed_micros, 0, 0, fate, 0, np.nan, acted_ms)
        self.next += 1

    def add_click(self, impression: int, position: int, p: float, billed_micros: int, p_trial: float) -> None:
        """Remember a click beside its impression, while that is remembered."""
        record = self.find(impression)
        if record is not None:
            record["clicked"], record["p_clicked"], record["p_trial"] = 1, p, p_trial
            record["click_position"], record["click_billed_micros"] = position, billed_micros
            self._clicks[position] = self.place_of(impression) % self.capacity

    def place_of(self, position: int) -> int:
        """Find the first place at or after a journal position.

        Cost    a binary search: positions grow with places.
        """
        low, high = self.first, self.next
        positions = self.ring["position"]
        while low < high:
            middle = (low + high) // 2
            if positions[middle % self.capacity] < position:
                low = middle + 1
            else:
                high = middle
        return low

    def find(self, position: int) -> Any:
        """Find the impression at a journal position: its record, writable, or None when forgotten."""
        place = self.place_of(position)
        if place < self.next and self.ring["position"][place % self.capacity] == position:
            return self.ring[place % self.capacity]
        return None

    def find_click(self, position: int) -> Any:
        """Find the record whose click stands at a journal position, or None when forgotten."""
        at = self._clicks.get(position)
        return None if at is None else self.ring[at]

    def predict_by(self, since: int, p: NDArray[np.float64]) -> None:
        """Have been learned by another model since a place (-1: never).

        Shape   p (2, capacity) float64: of impressions and clicks, by place modulo capacity; nan: none.
        """
        if since < 0:
            return
        at = np.arange(max(since, self.first), self.next) % self.capacity
        at = at[~np.isnan(p[0, at])]
        self.ring["p_shown"][at], self.ring["p_clicked"][at] = p[:, at]

    def close(self, before_ms: int) -> NDArray[Any]:
        """Hand over the impressions whose click window closed, each once, oldest first."""
        start = max(self.closed, self.first)
        end = start
        times = self.ring["at_ms"]
        step = 4096
        while end < self.next:
            reach = min(end + step, self.next)
            ages = times[np.arange(end, reach) % self.capacity] <= before_ms
            if ages.all():
                end = reach
                continue
            end += int(np.argmin(ages))
            break
        self.closed = end
        return np.asarray(self.ring[np.arange(start, end) % self.capacity])

    def parts(self) -> NDArray[Any]:
        """Copy what is remembered, oldest first, as the bytes of its records."""
        records: NDArray[Any] = self.ring[np.arange(self.first, self.next) % self.capacity]
        return records.view(np.uint8)

    def restore(self, part: NDArray[Any], next_place: int, closed: int) -> None:
        """Take back what `parts` copied."""
        self.next, self.closed = next_place, closed
        records = part.view(SHOWN)
        places = np.arange(next_place - len(records), next_place) % self.capacity
        self.ring[places] = records
        clicked = places[records["click_position"] != 0]
        self._clicks = dict(zip(self.ring["click_position"][clicked].tolist(), clicked.tolist(), strict=True))
