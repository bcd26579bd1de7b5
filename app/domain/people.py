"""What may be known of a person beside a request: a stored profile, under the key that stands for them."""

from __future__ import annotations

from msgspec import Struct

MAX_WORDS = 64  # interests, and segments, of one profile


class Profile(Struct, frozen=True, kw_only=True, array_like=True):
    """Stored attributes of a person; absent is unknown. What a request says wins, attribute by attribute."""

    gender: str | None = None
    age: int | None = None
    region: str | None = None
    interests: tuple[str, ...] = ()
    segments: tuple[str, ...] = ()
