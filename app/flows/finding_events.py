"""Finding events by where they happened and what was found against them: what may be refunded, before it is.

Read backwards in a worker, the latest first, so far as it takes no longer than a person waits. Nothing of a
person is told.
"""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec import Struct

from app.domain import ids
from app.domain.catalogue import AdGroup, Campaign, Creative
from app.domain.keys import Caller
from app.domain.lines import Clicked, Converted, Line, Shown, Verdict, decode
from app.flows.reporting import in_worker, verdicts_until
from app.journal.reader import SqliteReader

if TYPE_CHECKING:  # the worker needs the words of this file, not a node's kernels
    from app.flows.node import Node

MOST_FOUND = 200
LONGEST_S = 2.0
PLACES_AT_ONCE = 4_096
_KINDS: dict[type[Line], str] = {Shown: "impression", Clicked: "click", Converted: "conversion"}


class Wanted(Struct, frozen=True, kw_only=True):
    """Which events are looked for; "" and None: any. `reason`: what was found against them, "-" for nothing.

    `billed` keeps to those that cost something.
    """

    since_ms: int
    kind: Literal["", "impression", "click", "conversion"] = ""
    by: Literal["", "publisher", "placement", "campaign", "creative"] = ""
    id: str = ""
    reason: str = ""
    billed: bool = False
    creatives: frozenset[str] | None = None


class FoundEvent(Struct, frozen=True, kw_only=True):
    """One event as the fold judged it. Units: micros."""

    event_id: str
    kind: str
    at_ms: int
    placement: str
    publisher: str
    creative: str
    fate: str
    code: str | None
    billed_micros: int


class Found(Struct, frozen=True):
    """The latest first. `since_ms` is how far back was looked: the time asked for, or later."""

    events: list[FoundEvent]
    since_ms: int


async def find_events(node: Node, caller: Caller, wanted: Wanted) -> Found:
    """Find events, at most `MOST_FOUND`; a bound caller finds those of its own ads.

    Errors  Busy as of `report`.
    """
    wanted = msgspec.structs.replace(wanted, creatives=_creatives(node, caller, wanted))
    upto = node.state.position
    await verdicts_until(node, upto)
    packed = msgspec.msgpack.encode(wanted)
    return msgspec.msgpack.decode(
        await in_worker(node, run_find, node.settings.data, upto, packed), type=Found
    )


def _creatives(node: Node, caller: Caller, wanted: Wanted) -> frozenset[str] | None:
    """Name the creatives whose events may be told; None for all."""
    catalogue = node.state.catalogue
    if caller.advertiser_ids is None and wanted.by != "campaign":
        return None
    kept: set[str] = set()
    owners = catalogue.things["campaign"].values() if wanted.by != "campaign" else [
        catalogue.get("campaign", wanted.id)
    ]  # fmt: skip
    for campaign in owners:
        if isinstance(campaign, Campaign) and caller.sees(campaign.advertiser_id):
            for group in catalogue.children_of("campaign", campaign.id):
                assert isinstance(group, AdGroup)
                kept.update(each.id for each in catalogue.children_of("ad_group", group.id)
                            if isinstance(each, Creative))  # fmt: skip
    return frozenset(kept)


# In the worker.


def run_find(data: Path, upto: int, packed: bytes) -> bytes:
    """Look at events, the latest first. Cost: some 6 us for each."""
    wanted = msgspec.msgpack.decode(packed, type=Wanted)
    reader = SqliteReader(data / "journal.db")
    try:
        return msgspec.msgpack.encode(_look(reader, upto, wanted))
    finally:
        reader.close()


def _look(reader: SqliteReader, upto: int, wanted: Wanted) -> Found:
    until_s = perf_counter() + LONGEST_S
    kinds = [name for name, kind in _KIND_NAMES if not wanted.kind or kind == wanted.kind]
    found: list[FoundEvent] = []
    at_ms = reader.time_at(upto)
    for rows in reader.scan_back(upto, kinds, PLACES_AT_ONCE):
        events = []
        for _, at_ms, body in rows:
            if at_ms < wanted.since_ms:
                break
            line = decode(body)
            assert isinstance(line, Shown | Clicked | Converted)
            if _fits(wanted, line):
                events.append((at_ms, line, line.event_id))
        verdicts = reader.verdicts([event_id for *_, event_id in events])
        for one_ms, line, event_id in events:
            verdict = verdicts.get(event_id)
            if verdict is not None and _judged(wanted, verdict):
                found.append(_told(one_ms, line, event_id, verdict))
        if at_ms < wanted.since_ms:
            break
        if len(found) >= MOST_FOUND or perf_counter() > until_s:
            since_ms = found[MOST_FOUND - 1].at_ms if len(found) >= MOST_FOUND else at_ms
            return Found(found[:MOST_FOUND], since_ms)
    return Found(found, wanted.since_ms)


_KIND_NAMES = (("shown", "impression"), ("clicked", "click"), ("converted", "conversion"))


def _fits(wanted: Wanted, line: Shown | Clicked | Converted) -> bool:
    ad = line.ad
    if wanted.creatives is not None and ad.creative_id not in wanted.creatives:
        return False
    match wanted.by:
        case "publisher":
            return ad.publisher_id == wanted.id
        case "placement":
            return ad.placement_id == wanted.id
        case "creative":
            return ad.creative_id == wanted.id
        case _:
            return True


def _judged(wanted: Wanted, verdict: Verdict) -> bool:
    if wanted.billed and not verdict.billed_micros:
        return False
    told = verdict.code or ("-" if verdict.fate in {"learned", "skipped", "held"} else verdict.fate)
    return not wanted.reason or told == wanted.reason


def _told(at_ms: int, line: Shown | Clicked | Converted, event_id: bytes, verdict: Verdict) -> FoundEvent:
    return FoundEvent(
        event_id=ids.to_text(event_id), kind=_KINDS[type(line)], at_ms=at_ms, placement=line.ad.placement_id,
        publisher=line.ad.publisher_id, creative=line.ad.creative_id, fate=verdict.fate, code=verdict.code,
        billed_micros=verdict.billed_micros,
    )  # fmt: skip
