"""Identities: of decisions, of the ads shown in them, and of the events that follow.

Every id begins with the hour of issue, so that an index over them grows at its right edge and the day
on which it may be forgotten can be read off the id itself.
"""

from __future__ import annotations

import re
from hashlib import blake2b

ID_PATTERN = re.compile(r"[A-Za-z0-9._:-]{1,64}")
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
EVENT_BYTES = 15
RANDOM_BYTES = 10
_HOUR_BYTES = 4
_TEXT = re.compile("[0-9a-f]{30}")


def request_key(now_ms: int, randomness: bytes) -> bytes:
    """Make the key that a request's decisions share: the hour of issue, then ten random bytes.

    >>> request_key(3_600_000, bytes(10)).hex()
    '0000000100000000000000000000'
    """
    assert len(randomness) == RANDOM_BYTES
    return (now_ms // HOUR_MS).to_bytes(_HOUR_BYTES, "big") + randomness


def decision_id(key: bytes, ordinal: int) -> bytes:
    """Name the decision on one placement of a request, by the place of it in the request.

    >>> decision_id(request_key(0, bytes(10)), 3).hex()
    '000000000000000000000000000003'
    """
    return key + ordinal.to_bytes(1, "big")


def ad_key(decision: bytes, ad_index: int) -> bytes:
    """Name one ad of one decision; what all its events are counted under."""
    return decision + ad_index.to_bytes(1, "big")


def event_id(key: bytes, kind: str, extra: str | None = None) -> bytes:
    """Derive an event's id from its ad's key and its kind, so that a retry anywhere has the same one.

    Units   key is an ad key; extra is the caller's own id, for the several conversions of one click.

    >>> event_id(ad_key(bytes(15), 0), "click") == event_id(bytes(16), "click")
    True
    """
    digest = blake2b(key, digest_size=EVENT_BYTES - _HOUR_BYTES, person=kind.encode()[:16])
    if extra is not None:
        digest.update(extra.encode())
    return key[:_HOUR_BYTES] + digest.digest()


def issue_hour(identity: bytes) -> int:
    """Read the hour of issue (hours since 1970) off any id."""
    return int.from_bytes(identity[:_HOUR_BYTES], "big")


def issue_day(identity: bytes) -> int:
    """Read the UTC day of issue (days since 1970) off any id."""
    return issue_hour(identity) // 24


def to_text(identity: bytes) -> str:
    """Write an id for people: 30 hexadecimal digits.

    >>> to_text(bytes(15)), from_text("0" * 30) == bytes(15)
    ('000000000000000000000000000000', True)
    """
    return identity.hex()


def from_text(text: str) -> bytes:
    """Read an id written by `to_text`.

    Errors  ValueError when it is not one.
    """
    if _TEXT.fullmatch(text) is None:
        raise ValueError("not an id")
    return bytes.fromhex(text)
