"""Which interests and segments are known well enough to light their rows: drawn by lot, told by ticks.

With a chance of 1 every word lights its row at first sight. With less, each sighting of a strange word draws
whether it is admitted; what was drawn enters with the next tick. Admitted words lie in two filters of bits:
the younger takes the older's place after half of the time for which a word may be unused.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from app.domain.requests import MAX_LIT_VALUES, Person
from app.rules.admission import drawn, places_of
from app.rules.projection_plain import admission_hash

BITS = 1 << 20  # 128 KiB a filter: of 100,000 words one in 60 strange ones is taken for another
HASH_BYTES = 8
DAY_MS = 86_400_000
Lit = tuple[tuple[str, ...], tuple[str, ...]]


class Admission:
    """Filters of the words admitted. Shape: each BITS bits, as bytes."""

    def __init__(self) -> None:
        self.chance = 1.0  # a setting
        self.unused_days = 0  # a setting; 0: nothing is forgotten
        self.younger, self.older = bytearray(BITS // 8), bytearray(BITS // 8)
        self.since_ms = 0

    def lit(self, person: Person) -> Lit:
        """Choose the interests and segments that light rows: the first ones admitted, 16 in all.

        Cost    where all are admitted at sight, nothing; else a microsecond a word.
        """
        interests, segments = person.interests, person.segments
        if self.chance < 1.0:
            interests = tuple(word for word in interests if self.admitted(admission_hash("interest", word)))
            segments = tuple(word for word in segments if self.admitted(admission_hash("segment", word)))
        interests = interests[:MAX_LIT_VALUES]
        return interests, segments[: MAX_LIT_VALUES - len(interests)]

    def admitted(self, value: int) -> bool:
        """Say whether a word, by its hash, is known well enough."""
        return _has(self.younger, value) or _has(self.older, value)

    def drawn(self, person: Person, occasion: bytes) -> list[int]:
        """List the words that this sighting admits, or keeps: of those that the younger filter has not."""
        if self.chance >= 1.0:
            return []
        values = [admission_hash("interest", word) for word in person.interests]
        values += [admission_hash("segment", word) for word in person.segments]
        return [
            each for each in values if not _has(self.younger, each) and drawn(each, occasion, self.chance)
        ]

    def take(self, packed: bytes, now_ms: int) -> None:
        """Admit what a tick tells, and let the younger filter grow old in its time."""
        half_ms = self.unused_days * DAY_MS // 2
        if not self.since_ms:
            self.since_ms = now_ms
        elif half_ms and now_ms >= self.since_ms + half_ms:
            self.older, self.younger = self.younger, bytearray(BITS // 8)
            self.since_ms = now_ms
        for value in np.frombuffer(packed, dtype="<u8").tolist():
            for place in places_of(value, BITS):
                self.younger[place >> 3] |= 1 << (place & 7)

    def parts(self) -> NDArray[np.uint8]:
        """Copy both filters."""
        return np.frombuffer(bytes(self.younger + self.older), dtype=np.uint8)

    def restore(self, part: NDArray[np.uint8], since_ms: int) -> None:
        """Take back what `parts` copied."""
        whole = bytearray(np.asarray(part).tobytes())
        self.younger, self.older, self.since_ms = whole[: BITS // 8], whole[BITS // 8 :], since_ms


def _has(bits: bytearray, value: int) -> bool:
    return all(bits[place >> 3] >> (place & 7) & 1 for place in places_of(value, BITS))
