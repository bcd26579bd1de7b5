"""The last clicks that counted: so that those which turn out to be invalid can be found again.

A ring in the order in which they counted. Whose a click was (user, address, placement, publisher, as numbers
of 64 bits) is known for a day; then user and address are wiped out: the ring may turn slowly.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.domain.ids import EVENT_BYTES
from app.domain.lines import Verdict

CLICK = np.dtype(
    [
        ("position", "<i8"),
        ("impression_position", "<i8"),
        ("at_ms", "<i8"),
        ("billed_micros", "<i8"),
        ("unbilled_micros", "<i8"),
        ("whose", "<u8", (4,)),  # user, source, placement, publisher
        ("event_id", "u1", (EVENT_BYTES,)),
        ("learned", "u1"),
        ("fate", "u1"),
    ]
)
# It counts; it is to be taken back; it was, or was marked, and is nobody's business any more.
COUNTED, QUEUED, DONE = 1, 2, 3


class Clicks:
    """The last `capacity` clicks. Places grow without end; place modulo capacity is the ring's index."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.ring: NDArray[Any] = np.zeros(capacity, dtype=CLICK)
        self.next = 0
        self.forgotten = 0  # nobody knows any more whose those before this place were

    @property
    def first(self) -> int:
        """The oldest place still remembered."""
        return max(0, self.next - self.capacity)

    def add(
        self, position: int, impression_position: int, at_ms: int, event_id: bytes,
        whose: NDArray[np.uint64], verdict: Verdict,
    ) -> None:  # fmt: skip
        """Remember a click that counted. Times never fall."""
        row = self.ring[self.next % self.capacity]
        row["position"], row["impression_position"], row["at_ms"] = position, impression_position, at_ms
        row["billed_micros"], row["unbilled_micros"] = verdict.billed_micros, verdict.unbilled_micros
        row["whose"] = whose
        row["event_id"] = np.frombuffer(event_id, dtype=np.uint8)
        row["learned"], row["fate"] = verdict.fate == "learned", COUNTED
        self.next += 1

    def of(self, whose: int, key: int, since_ms: int) -> list[Any]:
        """Find the clicks that still count of one user, source, placement or publisher since a time.

        Cost    a look at each click since then, some nanoseconds.
        """
        if not key:
            return []
        places = np.arange(self._since(since_ms), self.next) % self.capacity
        rows = self.ring[places]
        found = places[(rows["whose"][:, whose] == np.uint64(key)) & (rows["fate"] == COUNTED)]
        return [self.ring[place] for place in found]

    def mark(self, position: int, fate: int) -> None:
        """Change what became of the click at a journal position, where it is remembered."""
        found = np.flatnonzero(self.ring["position"][: min(self.next, self.capacity)] == position)
        self.ring["fate"][found] = fate

    def with_fate(self, fate: int) -> list[int]:
        """List the positions of clicks with a fate."""
        used = self.ring[: min(self.next, self.capacity)]
        positions: list[int] = used["position"][used["fate"] == fate].tolist()
        return positions

    def forget_before(self, at_ms: int) -> None:
        """Wipe out whose the clicks up to a time were. Cost: a look at one place, mostly."""
        self.forgotten = max(self.forgotten, self.first)
        while self.forgotten < self.next:
            row = self.ring[self.forgotten % self.capacity]
            if row["at_ms"] > at_ms:
                break
            row["whose"][:2] = 0
            self.forgotten += 1

    def forget_user(self, user: int) -> None:
        """Wipe out a user."""
        self.ring["whose"][self.ring["whose"][:, 0] == np.uint64(user), :2] = 0

    def parts(self) -> NDArray[Any]:
        """Copy what is remembered, oldest first, as the bytes of its rows."""
        rows: NDArray[Any] = self.ring[np.arange(self.first, self.next) % self.capacity]
        return rows.view(np.uint8)

    def restore(self, part: NDArray[Any], next_place: int, forgotten: int) -> None:
        """Take back what `parts` copied."""
        self.next, self.forgotten = next_place, forgotten
        rows = part.view(CLICK)
        self.ring[np.arange(next_place - len(rows), next_place) % self.capacity] = rows

    def _since(self, at_ms: int) -> int:
        """Find the first place after a time."""
        low, high = self.first, self.next
        times = self.ring["at_ms"]
        while low < high:
            middle = (low + high) // 2
            if times[middle % self.capacity] <= at_ms:
                low = middle + 1
            else:
                high = middle
        return low
