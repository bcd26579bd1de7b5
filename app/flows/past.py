"""Events whose lines have left the journal, read back from the archive: what a refund needs of them.

They come without the person: what was counted to somebody stays counted. Their time is the journal's.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.domain.decisions import ServedAd
from app.domain.lines import Clicked, Converted, Shown, decode, encode
from app.flows.archived import archived_hours, opened
from app.flows.reporting import in_worker
from app.journal import archive
from app.journal.reader import SqliteReader

if TYPE_CHECKING:  # the worker needs the words of this file, not a node's kernels
    from app.flows.node import Node

Event = Shown | Clicked | Converted
_AD = (
    "decision_id", "ad_index", "creative", "placement", "publisher", "rows", "columns", "schema_version",
    "price_micros", "price_kind", "pctr", "variant", "issued_at_ms", "deal", "pcvr",
)  # fmt: skip
_LINES: dict[str, type[Event]] = {"impressions": Shown, "clicks": Clicked, "conversions": Converted}


async def past_events(node: Node, positions: Iterable[int]) -> dict[int, Event]:
    """Read back the impressions, clicks and conversions at some trimmed positions; others are left out.

    Cost    of a worker, some 10 ms for each hour that they lie in; nothing where all are in the journal.
    Errors  Busy when no worker is left.
    """
    wanted = sorted(each for each in positions if each <= node.journal.trim_upto)
    if not wanted:
        return {}
    packed = await in_worker(node, run_past, node.settings.data, wanted)
    events: dict[int, Event] = {}
    for position, body in packed.items():
        line = decode(body)
        assert isinstance(line, Shown | Clicked | Converted)
        events[position] = line
    return events


# In the worker.


def run_past(data: Path, positions: list[int]) -> dict[int, bytes]:
    """Find events by their positions in the archive; their lines as bytes."""
    reader = SqliteReader(data / "journal.db")
    try:
        hours = archived_hours(data, reader)
    finally:
        reader.close()
    folder = data / "archive"
    by_hour: dict[int, list[int]] = {}
    for position in positions:
        at = bisect_left(hours, position, key=lambda hour: archive.facts_of(folder, hour).through_position)
        if at < len(hours):
            by_hour.setdefault(hours[at], []).append(position)
    found: dict[int, bytes] = {}
    for hour, some in by_hour.items():
        found.update(_events_of(folder, hour, some))
    return found


def _events_of(folder: Path, hour: int, positions: list[int]) -> Iterable[tuple[int, bytes]]:
    with opened() as database:
        for kind, make in _LINES.items():
            files = archive.files(folder, [hour], kind)
            if not files:
                continue
            query = f"SELECT position, at_ms, {', '.join(_AD)} FROM read_parquet(?) WHERE position IN ?"
            for position, at_ms, *ad in database.execute(query, [files, positions]).fetchall():
                yield position, encode(make(at_ms=at_ms, ad=_ad(dict(zip(_AD, ad, strict=True)))))


def _ad(told: dict[str, Any]) -> ServedAd:
    """Write the ad of an archived row: without its index, which may be another's by now, and the person."""
    for ours, theirs in (("creative_id", "creative"), ("placement_id", "placement"), ("deal_id", "deal"),
                         ("publisher_id", "publisher")):  # fmt: skip
        told[ours] = told.pop(theirs)
    for name in ("rows", "columns"):
        told[name] = b"".join(number.to_bytes(2, "little") for number in told[name])
    return ServedAd(creative_index=0, generation=0, **told)
