"""Who gets which variant: users are split by a hash that is salted with the experiment.

A variant's users are those from its own corner of the circle on, so that a larger share keeps those of the
smaller one. Each user also falls into one of a number of buckets, whatever the variant: results are compared
bucket by bucket, since the events of one user are not independent of each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple

BUCKETS = 128
_POINT = float(1 << 32)


class Place(NamedTuple):
    """Where somebody stands: a point of the circle, in [0, 1), and a bucket."""

    point: float
    bucket: int


def place_of(experiment_id: str, unit: bytes) -> Place:
    """Find the place of a user's key (itself a keyed hash), or of a request where there is none.

    Cost    about a microsecond.

    >>> place_of("e-1", b"somebody") == place_of("e-1", b"somebody") != place_of("e-2", b"somebody")
    True
    """
    digest = blake2b(unit, digest_size=8, key=experiment_id.encode(), person=b"experiment").digest()
    bucket = int.from_bytes(digest[4:], "little") % BUCKETS
    return Place(int.from_bytes(digest[:4], "little") / _POINT, bucket)


def arm_of(point: float, shares: Sequence[float]) -> int:
    """Say whose a point of the circle is: 0 the control's, else the number of a variant.

    Shape   shares of the variants, each at most 1 / how many there are.

    >>> [arm_of(point, [0.1, 0.5]) for point in (0.05, 0.15, 0.55, 0.99)]
    [1, 0, 2, 2]
    """
    at = int(point * len(shares))
    return at + 1 if shares and point - at / len(shares) < shares[at] else 0


def number_of(seat: int, bucket: int) -> int:
    """Write who decided, and the user's bucket, as one number, as tokens carry it. Seats begin at 1.

    >>> seat_of(number_of(3, 127)), seat_of(0)
    ((3, 127), (0, 0))
    """
    return seat * BUCKETS + bucket


def seat_of(number: int) -> tuple[int, int]:
    """Read a number written by `number_of`: (seat, bucket)."""
    return divmod(number, BUCKETS)
