"""Which values of a large vocabulary are frequent enough to be learned, in little memory.

Poisson inclusion: each sighting of a value admits it by the same small chance, so that it takes so many on
average, and nothing is counted. A counting Bloom filter admits with the n-th sighting, or early where others
share all of its places, never late.

Source  McMahan et al. 2013, section 4.1.
"""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

HASHES = 3
_CHANCES = 2**32


def drawn(value: int, occasion: bytes, chance: float) -> bool:
    """Draw whether a sighting of a value admits it; the same occasion draws the same for it.

    >>> drawn(7, b"x", 1.0), drawn(7, b"x", 0.0)
    (True, False)
    """
    lot = blake2b(occasion + value.to_bytes(8, "little"), digest_size=4).digest()
    return int.from_bytes(lot, "little") < chance * _CHANCES


def places_of(value: int, size: int) -> list[int]:
    """Name a value's places in a filter of `size` of them, from its 60-bit hash.

    Source  Kirsch and Mitzenmacher 2008: two halves of one hash do for many.
    """
    first, second = value & 0x3FFFFFFF, value >> 30 | 1
    return [(first + number * second) % size for number in range(HASHES)]


class CountingBloom:
    """Counts values up to `least`, in bytes shared by hashes.

    >>> seen = CountingBloom(1 << 10, least=2)
    >>> [seen.see(12_345_678) for _ in range(3)]
    [False, True, True]
    """

    def __init__(self, size: int, least: int) -> None:
        self.counts: NDArray[np.uint8] = np.zeros(size, dtype=np.uint8)
        self.least = least

    def see(self, value: int) -> bool:
        """Count a sighting; says whether that many have been seen now. Never too few for what was."""
        places = places_of(value, self.counts.size)
        count = min(int(self.counts[place]) for place in places) + 1
        if count <= self.least:
            for place in places:  # only the least of them: fewer counts are too high (conservative update)
                self.counts[place] = max(int(self.counts[place]), count)
        return count >= self.least
