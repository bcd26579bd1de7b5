"""A short memory of conversions: what each was learned with and billed, and which clicks already taught one.

A ring over the last conversions in the journal's order. One conversion of a click teaches; those after it
are told apart while the first is remembered.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.domain.ids import EVENT_BYTES

CAPACITY = 1 << 16
NO_CLICK = bytes(EVENT_BYTES)  # the click of a conversion whose ad was only seen
CONVERTED = np.dtype(
    [
        ("position", "<i8"),
        ("p", "<f8"),  # that it was learned with; nan where it was not
        ("lesson", "<i8"),  # which lesson of the conversion model it was
        ("billed_micros", "<i8"),
        ("click", "u1", EVENT_BYTES),  # its click's event id
    ]
)


class Conversions:
    """The last `capacity` conversions; `lessons` counts everything the conversion model was taught."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.capacity = capacity
        self.ring: NDArray[Any] = np.zeros(capacity, dtype=CONVERTED)
        self.next = 0
        self.lessons = 0
        self._places: dict[int, int] = {}  # by position
        self.owed: dict[int, None] = {}  # positions of those to be refunded: their click was taken back
        self._taught: dict[bytes, int] = {}  # by click: the position of the conversion that taught
        self._of_click: dict[bytes, list[int]] = {}  # by click: the positions of all

    def taught(self, click: bytes) -> bool:
        """Say whether a conversion of this click was learned."""
        return click in self._taught

    def of_click(self, click: bytes) -> Sequence[int]:
        """Tell the positions of a click's conversions, as far as they are remembered."""
        return self._of_click.get(click, ())

    def owe(self, click: bytes) -> None:
        """Note that a click was taken back: what its conversions were billed is to be refunded."""
        for position in self.of_click(click):
            if self.find(position)["billed_micros"]:
                self.owed[position] = None

    def add(self, position: int, click: bytes, p: float, billed_micros: int) -> None:
        """Remember a conversion."""
        at = self.next % self.capacity
        if self.next >= self.capacity:
            self._forget(self.ring[at])
        self.ring[at] = (position, p, self.lessons, billed_micros, tuple(click))
        self.next += 1
        self._name(position, at, click, p)

    def find(self, position: int) -> Any:
        """Find the conversion at a journal position: its record, writable, or None when forgotten."""
        at = self._places.get(position)
        return None if at is None else self.ring[at]

    def find_taught(self, click: bytes) -> Any:
        """Find the conversion of a click that was learned, or None."""
        position = self._taught.get(click)
        return None if position is None else self.find(position)

    def unteach(self, record: Any) -> None:
        """Note that what a conversion taught was taken back; another of its click may teach then."""
        self._taught.pop(record["click"].tobytes(), None)
        record["p"] = math.nan

    def _forget(self, record: Any) -> None:
        position = int(record["position"])
        del self._places[position]
        self.owed.pop(position, None)
        click = record["click"].tobytes()
        if self._taught.get(click) == position:
            del self._taught[click]
        if click != NO_CLICK:
            self._of_click[click].remove(position)  # the first: the ring forgets in their order
            if not self._of_click[click]:
                del self._of_click[click]

    def _name(self, position: int, at: int, click: bytes, p: float) -> None:
        self._places[position] = at
        if click != NO_CLICK:
            self._of_click.setdefault(click, []).append(position)
        if not math.isnan(p):
            self._taught[click] = position

    def parts(self) -> NDArray[Any]:
        """Copy what is remembered, oldest first, as the bytes of its records."""
        places = np.arange(max(0, self.next - self.capacity), self.next)
        records: NDArray[Any] = self.ring[places % self.capacity]
        return records.view(np.uint8)

    def restore(self, part: NDArray[Any], next_place: int, lessons: int, owed: Sequence[int] = ()) -> None:
        """Take back what `parts` copied."""
        self.next, self.lessons, self.owed = next_place, lessons, dict.fromkeys(owed)
        records = part.view(CONVERTED)
        for place, record in zip(range(next_place - len(records), next_place), records, strict=True):
            at = place % self.capacity
            self.ring[at] = record
            self._name(int(record["position"]), at, record["click"].tobytes(), float(record["p"]))
