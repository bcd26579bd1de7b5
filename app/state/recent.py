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
    ]
)
FATES = ("learned", "skipped", "invalid", "refunded")
LEARNED, SKIPPED, INVALID, REFUNDED = range(4)


class Recent:
    """The last `capacity` impressions; `closed` counts those whose click window is over.

    Places grow without end; place modulo capacity is the ring's index.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.ring: NDArray[Any] = np.zeros(capacity, dtype=SHOWN)
        self.next = 0
        self.closed = 0

    @property
    def first(self) -> int:
        """The oldest place still remembered."""
        return max(0, self.next - self.capacity)

    def add(self, position: int, at_ms: int, pctr: float, p: float, fate: int, billed_micros: int) -> None:
        """Remember an impression."""
        self.ring[self.next % self.capacity] = (
            position, at_ms, pctr, p, np.nan, billed_micros, 0, 0, fate, 0,
        )  # fmt: skip
        self.next += 1

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

    def find_click(self, position: int, impression_position: int | None) -> Any:
        """Find the record whose click stands at a journal position, by its impression's position.

        Without one (the impression came while the click was being taken back) all are looked at: ~1 ms.
        """
        if impression_position is None:
            found = np.flatnonzero(self.ring["click_position"] == position)
            return self.ring[int(found[0])] if found.size else None
        record = self.find(impression_position)
        return record if record is not None and record["click_position"] == position else None

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
        self.ring[np.arange(next_place - len(records), next_place) % self.capacity] = records
