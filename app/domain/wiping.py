"""A line without the person: what is left of it when the retention is over. Money, ids and learning stay."""

from __future__ import annotations

from typing import Any

import msgspec

from app.domain.lines import (
    Clicked,
    Converted,
    Dismissed,
    Erased,
    Feedback,
    Line,
    Noticed,
    Profiled,
    Refunded,
    Returned,
    Shown,
)
from app.domain.people import Profile

# The kinds that may tell of a person, as the journal names them.
PERSONAL_KINDS = (
    "shown", "clicked", "converted", "dismissed", "noticed", "returned", "refunded", "profiled", "erased",
)  # fmt: skip


def without_person(line: Line) -> Line:
    """Write a line anew without what belongs to a person: user keys, profiles, and where an event came from.

    Returns the same line where there is nothing to take out.
    """
    match line:
        case Profiled() if line.user:
            return Profiled(at_ms=line.at_ms, user=b"", profile=Profile())
        case Erased() if line.users:
            return Erased(at_ms=line.at_ms, users=())
        case Refunded():
            target = _nobodys(line.target)
            return line if target is line.target else msgspec.structs.replace(line, target=target)
        case Shown() | Clicked() | Converted() | Dismissed() | Noticed() | Returned():
            wiped: Feedback = _nobodys(line)
            return wiped
        case _:
            return line


def _nobodys(event: Any) -> Any:
    changes: dict[str, object] = {}
    if event.ad.user or event.ad.former_user:
        changes["ad"] = msgspec.structs.replace(event.ad, user=b"", former_user=b"")
    sender = getattr(event, "sender", None)
    if sender is not None and sender.source:
        changes["sender"] = msgspec.structs.replace(sender, source=b"")
    return msgspec.structs.replace(event, **changes) if changes else event
