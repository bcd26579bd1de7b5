"""Which uploaded list each audience has: name, size and since when. Who is in it the fold never sees."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from app.domain.ids import HOUR_MS
from app.domain.lines import Listed


class List(Struct, frozen=True, array_like=True):
    """An uploaded list: the file's name and how many people are in it."""

    name: str
    count: int
    at_ms: int


class Audiences:
    """Lists by audience id; each goes with the retention."""

    def __init__(self) -> None:
        self.lists: dict[str, List] = {}

    def take(self, line: Listed) -> None:
        """Take a list in place of the one before; without a name there is none."""
        if line.name:
            since_ms = line.at_ms if line.since_ms is None else line.since_ms
            self.lists[line.audience_id] = List(line.name, line.count, since_ms)
        else:
            self.lists.pop(line.audience_id, None)

    def expire(self, before_hour: int) -> None:
        """Let go of the lists from before an hour (since 1970)."""
        for audience_id in [key for key, each in self.lists.items() if each.at_ms // HOUR_MS < before_hour]:
            del self.lists[audience_id]

    def parts(self) -> list[tuple[str, List]]:
        """Copy everything."""
        return sorted(self.lists.items())

    def restore(self, parts: Any) -> None:
        """Take back what `parts` copied."""
        self.lists = dict(msgspec.convert(parts, list[tuple[str, List]]))
