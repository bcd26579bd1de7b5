"""Who a campaign was before: its edits and those of what stands under it, from the journal's own lines.

Read backwards in a worker process, so far as it takes no longer than a person waits; lines that were trimmed
are not found any more.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from app.domain.catalogue import Thing, kind_of
from app.domain.lines import Catalogued, decode
from app.domain.refusals import Refused
from app.flows.reporting import in_worker
from app.journal.reader import SqliteReader

if TYPE_CHECKING:  # the worker needs the words of this file, not a node's kernels
    from app.flows.node import Node

MOST_EDITS = 100
LONGEST_S = 2.0
PLACES_AT_ONCE = 20_000
Key = tuple[str, str]


class Edit(Struct, frozen=True, kw_only=True):
    """A thing became `after` at a time. `before` is None where it was made then, or is not known any more."""

    at_ms: int
    position: int
    revision: int
    after: Thing
    before: Thing | None = None

    @property
    def created(self) -> bool:
        """Whether the thing was made by this."""
        return self.revision == 1


class Edits(Struct, frozen=True):
    """The latest edits first. `since_ms` is from when on they are all told of; None: from the beginning."""

    edits: list[Edit]
    since_ms: int | None


async def edits_of(node: Node, campaign_id: str) -> Edits:
    """List the latest edits of a campaign, its ad groups and its creatives.

    Errors  Refused `not_found`; Busy when no worker is left.
    """
    catalogue = node.state.catalogue
    if catalogue.get("campaign", campaign_id) is None:
        raise Refused("not_found", f"there is no campaign {campaign_id}", "id")
    own: dict[Key, int] = {}
    waiting: list[Key] = [("campaign", campaign_id)]
    while waiting:
        key = waiting.pop()
        own[key] = catalogue.revision(*key)
        waiting += catalogue.children.get(key, ())
    packed = msgspec.msgpack.encode(list(own))
    found = await in_worker(node, run_edits, node.settings.data, node.state.position, packed)
    lines, since_ms = msgspec.msgpack.decode(found, type=tuple[list[tuple[int, int, Thing]], int | None])
    return Edits(numbered(lines, own)[:MOST_EDITS], since_ms)


def numbered(lines: list[tuple[int, int, Thing]], revisions: dict[Key, int]) -> list[Edit]:
    """Say of each line, the latest first, which revision it made and what was before it."""
    edits: list[Edit] = []
    later: dict[Key, int] = {}  # the place in `edits` of the edit that followed
    for position, at_ms, thing in lines:
        key = (kind_of(thing), thing.id)
        revision = revisions[key]
        if key in later:
            follower = edits[later[key]]
            edits[later[key]] = msgspec.structs.replace(follower, before=thing)
            revision = follower.revision - 1
        later[key] = len(edits)
        edits.append(Edit(at_ms=at_ms, position=position, revision=revision, after=thing))
    return edits


# In the worker.


def run_edits(data: Path, upto: int, packed: bytes) -> bytes:
    """Find the lines of some things, the latest first, one more than are told: what was before the last.

    Cost    half a microsecond for each line of the journal, and 10 us for each change of any thing.
    """
    own = set(msgspec.msgpack.decode(packed, type=list[Key]))
    reader = SqliteReader(data / "journal.db")
    try:
        return msgspec.msgpack.encode(_found(reader, upto, own))
    finally:
        reader.close()


def _found(
    reader: SqliteReader, upto: int, own: Collection[Key]
) -> tuple[list[tuple[int, int, Thing]], int | None]:
    until_s = perf_counter() + LONGEST_S
    found: list[tuple[int, int, Thing]] = []
    behind = upto
    for rows in reader.scan_back(upto, ("catalogued",), PLACES_AT_ONCE):
        behind = max(0, behind - PLACES_AT_ONCE)
        for position, at_ms, body in rows:
            line = decode(body)
            assert isinstance(line, Catalogued)
            if (kind_of(line.thing), line.thing.id) in own:
                found.append((position, at_ms, line.thing))
        if len(found) > MOST_EDITS or perf_counter() > until_s:
            return found, reader.time_at(behind + 1)
    return found, reader.first_ms() if reader.trimmed_through else None
