"""What came before what it follows, as it is kept until then; `waiting` says what becomes of it."""

from __future__ import annotations

import msgspec

from app.domain.lines import Clicked, Converted


class Held(msgspec.Struct, array_like=True):
    """A click that came before its impression, and until when it may wait."""

    position: int
    line: Clicked
    until_ms: int


class Early(msgspec.Struct, array_like=True):
    """A conversion that came before its click, and until when it may wait; `code` marks invalid traffic."""

    position: int
    line: Converted
    until_ms: int
    code: str | None = None


class Complaint(msgspec.Struct, array_like=True):
    """What a dismissal says against an ad, and until when it may wait. Nothing of who said it."""

    creative_id: str
    reason: str
    until_ms: int
