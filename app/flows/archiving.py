"""Archiving: once its verdicts have settled, an hour of the journal is written to Parquet, a process apart.

The loop says which hour is due and who stands above whom; the worker reads the journal and the decisions for
itself. No user keys and nothing of where an event came from enter the archive, so that there is nothing to
take out of it later. What is refunded after its hour was archived stands, as a line of the hour of the
refund, under `refunds`: reports hold it against the events.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import polars as pl
import structlog

from app.domain.catalogue import AdGroup, Advertiser, Campaign, Creative
from app.domain.decisions import Record, ServedAd
from app.domain.ids import HOUR_MS
from app.domain.lines import (
    Clicked,
    Converted,
    Erased,
    Lost,
    Refunded,
    Shown,
    Ticked,
    Verdict,
    decode,
)
from app.flows.archived import archived_hours, first_whole_hour
from app.flows.paths import PATH, Touches
from app.flows.reporting import in_worker, packed_above, verdicts_until
from app.flows.tallies import FORGOTTEN
from app.journal.archive import HourFacts, HourWriter
from app.journal.decisions import KEY_BYTES, DecisionReader
from app.journal.folders import sole_writer
from app.journal.reader import SqliteReader
from app.rules.features import BLOCKS
from app.state.columns import column_keys
from app.state.row_names import RowNames

if TYPE_CHECKING:  # the worker needs the words of this file, not a node's kernels
    from app.flows.node import Node

LOG = structlog.get_logger()
ARCHIVE_S = 60.0
SETTLE_MS = 2 * HOUR_MS  # most refunds come sooner, and every held click has settled
DECISIONS_MS = 600_000  # how long before its first event a part's decisions are looked for
PART_ROWS = 65_536
KINDS: dict[type, str] = {Shown: "impressions", Clicked: "clicks", Converted: "conversions"}
Event = tuple[int, int, bytes, Shown | Clicked | Converted, Verdict]
_LINES = ("shown", "clicked", "converted", "refunded", "ticked", "lost", "erased")
_PLACEMENT_ROWS = range(BLOCKS["placement"].start, BLOCKS["placement"].end)

# Units: money in micros. `at_ms` is the journal's time. Lit rows and columns by number, and by name where the
# decision is still kept; `columns` are named as the catalogue has them when the hour is archived.
EVENT: dict[str, Any] = {
    "position": pl.Int64, "at_ms": pl.Int64, "event_id": pl.Binary, "decision_id": pl.Binary,
    "ad_index": pl.UInt8, "issued_at_ms": pl.Int64, "advertiser": pl.String, "campaign": pl.String,
    "ad_group": pl.String, "creative": pl.String, "placement": pl.String, "publisher": pl.String,
    "variant": pl.Int32, "deal": pl.String, "price_kind": pl.String, "price_micros": pl.Int64,
    "pctr": pl.Float64, "pcvr": pl.Float64, "value": pl.Float64, "schema_version": pl.Int32,
    "rows": pl.List(pl.UInt16), "columns": pl.List(pl.UInt16), "row_names": pl.List(pl.String),
    "column_names": pl.List(pl.String), "fate": pl.String, "billed_micros": pl.Int64,
    "unbilled_micros": pl.Int64, "code": pl.String,
}  # fmt: skip
REFUND: dict[str, Any] = {
    "position": pl.Int64, "at_ms": pl.Int64, "event_id": pl.Binary, "target_id": pl.Binary,
    "target_kind": pl.String, "target_at_ms": pl.Int64, "refunded_micros": pl.Int64, "code": pl.String,
}  # fmt: skip
REQUESTS: dict[str, Any] = {
    "at_ms": pl.Int64, "placement": pl.String, "requests": pl.Int64, "eligible": pl.Int64,
}  # fmt: skip
LOSSES: dict[str, Any] = {
    "at_ms": pl.Int64, "campaign": pl.String, "reason": pl.String, "count": pl.Int64,
}  # fmt: skip


class Above(msgspec.Struct, frozen=True, array_like=True):
    """Who stands above a creative, and the names of the columns that it lights."""

    ad_group: str = ""
    campaign: str = ""
    advertiser: str = ""
    columns: tuple[str, ...] = ()


_NOBODY = Above()


async def archive_forever(node: Node) -> None:
    """Archive what is due every minute, the oldest hour first."""
    while True:
        try:
            while (facts := await archive_next(node)) is not None:
                LOG.info("archived", **msgspec.structs.asdict(facts))
        except Exception as error:  # what fails now (a disk, most likely) may not in a minute
            LOG.error("archiving_failed", error=str(error))  # noqa: TRY400
        await asyncio.sleep(ARCHIVE_S)


async def archive_next(node: Node) -> HourFacts | None:
    """Archive the oldest hour that is due; None where none is.

    Errors  Busy when verdicts are not written back in time, or no worker is left. OSError of the disk.
    """
    hour = await asyncio.to_thread(next_hour, node.settings.data)
    settled_ms = max(SETTLE_MS, node.settings.fold.held_s * 1000 + HOUR_MS)
    if hour is None or (hour + 1) * HOUR_MS + settled_ms > node.state.clock_ms:
        return None
    upto = node.state.position
    above = await packed_above(node, _above)
    await verdicts_until(node, upto)
    settings = node.settings
    return await in_worker(
        node, run_archive, settings.data, hour, upto, above, settings.attribution_days, pool=node.archivers
    )


def next_hour(data: Path) -> int | None:
    """Tell the hour that follows the archived ones: the journal's first where there are none.

    Never one of which the journal has only a part: it was archived, and would be archived anew as less.
    """
    reader = SqliteReader(data / "journal.db")
    try:
        archived, first_ms, whole = archived_hours(data, reader), reader.first_ms(), first_whole_hour(reader)
    finally:
        reader.close()
    if first_ms is None:
        return None
    return max(archived[-1] + 1 if archived else first_ms // HOUR_MS, whole)


def _above(creative: Creative, group: AdGroup, campaign: Campaign, advertiser: Advertiser) -> Above:
    named = [f"{kind}:{key}" for kind, key in column_keys(creative, group, campaign, advertiser)]
    return Above(group.id, campaign.id, advertiser.id, ("any", *named, f"creative:{creative.id}"))


# In the worker.


def run_archive(data: Path, hour: int, upto: int, above: list[bytes], attribution_days: int = 0) -> HourFacts:
    """Write an hour of the journal's lines, up to a position, into the archive.

    Cost    some 20 us an event, and 60 us for each whose decision is still kept.
    """
    parents: dict[str, Above] = {}
    for packed in above:
        parents.update(msgspec.msgpack.decode(packed, type=dict[str, Above]))
    reader, decisions = SqliteReader(data / "journal.db"), DecisionReader(data / "decisions.db")
    try:
        after = reader.position_at(hour * HOUR_MS - 1)
        through = min(upto, reader.position_at((hour + 1) * HOUR_MS - 1))
        with sole_writer(data / "archive"):
            touches = Touches(data, hour, attribution_days)
            part = Part(HourWriter(data / "archive", hour), reader, decisions, parents, touches)
            for rows in reader.scan(after, through, _LINES):
                part.take(rows)
                if len(part) >= PART_ROWS:
                    part.write()
            part.write()
            for rows in reader.scan(through, upto, ("erased",)):  # the sooner, the better
                part.take(rows)
            part.write_paths()
            return part.writer.finish(after, max(after, through))
    finally:
        reader.close()
        decisions.close()


class Part:
    """The rows gathered for the next part of each kind."""

    def __init__(
        self,
        writer: HourWriter,
        reader: SqliteReader,
        decisions: DecisionReader,
        parents: Mapping[str, Above],
        touches: Touches,
    ) -> None:
        self.writer = writer
        self.reader = reader
        self.decisions = decisions
        self.parents = parents
        self.touches = touches
        self._clear()

    def __len__(self) -> int:
        return sum(map(len, (*self._events.values(), self._refunds, self._requests, self._losses)))

    def take(self, rows: Sequence[tuple[int, int, bytes]]) -> None:
        """Gather a batch of lines."""
        events = []
        for position, at_ms, body in rows:
            line = decode(body)
            match line:
                case Shown() | Clicked() | Converted() | Refunded():
                    events.append((position, at_ms, line, line.event_id))
                case Ticked():
                    self._requests += [(at_ms, *counts) for counts in line.requests]
                case Lost():
                    for campaign in line.campaigns:
                        self._losses += [(at_ms, campaign, *lost) for lost in line.of(campaign).items()]
                case Erased():
                    self.touches.erase(line)
                case _:
                    raise AssertionError(f"not asked for: {type(line)}")
        verdicts = self.reader.verdicts([event_id for *_, event_id in events])
        for position, at_ms, line, event_id in events:
            verdict = verdicts.get(event_id)
            if isinstance(line, Refunded):
                back_micros = -verdict.billed_micros if verdict is not None else None
                kind = KINDS[type(line.target)]
                told = (event_id, line.target_id, kind, line.target.at_ms, back_micros, line.code_told)
                self._refunds.append((position, at_ms, *told))
            else:
                event = (position, at_ms, event_id, line, verdict or FORGOTTEN)
                above = self.parents.get(line.ad.creative_id, _NOBODY)
                payer = (above.advertiser, above.campaign)
                self.touches.take(at_ms, event_id, line, verdict or FORGOTTEN, payer)
                self._events[KINDS[type(line)]].append(event)

    def write(self) -> None:
        """Write what was gathered."""
        named = self._row_names()
        for kind, events in self._events.items():
            rows = [self._event_row(event, named) for event in events]
            self._add(kind, EVENT, rows)
        self._add("refunds", REFUND, self._refunds)
        self._add("requests", REQUESTS, self._requests)
        self._add("losses", LOSSES, self._losses)
        self.touches.pack()
        self._clear()

    def write_paths(self) -> None:
        """Write the paths that the hour's conversions ended, and those that ended without one."""
        self.writer.add("paths", self.touches.close().to_dict(as_series=False), PATH)

    def _clear(self) -> None:
        self._events: dict[str, list[Event]] = {kind: [] for kind in KINDS.values()}
        self._refunds: list[tuple[Any, ...]] = []
        self._requests: list[tuple[Any, ...]] = []
        self._losses: list[tuple[Any, ...]] = []

    def _add(self, kind: str, types: dict[str, Any], rows: Sequence[tuple[Any, ...]]) -> None:
        if rows:
            columns = zip(*rows, strict=True)
            self.writer.add(kind, dict(zip(types, (list(column) for column in columns), strict=True)), types)

    def _event_row(self, event: Event, named: Mapping[bytes, RowNames]) -> tuple[Any, ...]:
        position, at_ms, event_id, line, verdict = event
        ad, above = line.ad, self.parents.get(line.ad.creative_id, Above())
        rows, names = _numbers(ad.rows), named.get(ad.decision_id)
        return (
            position, at_ms, event_id, ad.decision_id, ad.ad_index, ad.issued_at_ms, above.advertiser,
            above.campaign, above.ad_group, ad.creative_id, ad.placement_id, ad.publisher_id, ad.variant,
            ad.deal_id, ad.price_kind, ad.price_micros, ad.pctr, ad.pcvr,
            line.value if isinstance(line, Converted) else None, ad.schema_version,
            rows, _numbers(ad.columns), None if names is None else [names.of(row) for row in rows],
            list(above.columns) or None,
            verdict.fate, verdict.billed_micros, verdict.unbilled_micros, verdict.code,
        )  # fmt: skip

    def _row_names(self) -> dict[bytes, RowNames]:
        """Name the rows that the decisions of the gathered events lit, where they are still kept."""
        events = [event for some in self._events.values() for event in some]
        if not events:
            return {}
        ads: list[ServedAd] = [line.ad for _, _, _, line, _ in events]
        times = [at_ms for _, at_ms, *_ in events]
        wanted = {ad.decision_id[:KEY_BYTES] for ad in ads}
        named: dict[bytes, RowNames] = {}
        for record in self.decisions.wanted(wanted, min(times) - DECISIONS_MS, max(times)):
            named.update(_names_of(record))
        return named


def _names_of(record: Record) -> Iterable[tuple[bytes, RowNames]]:
    for placed in record.choice.placed:
        if placed.wins:
            places = {row: placed.placement_id for row in placed.rows if row in _PLACEMENT_ROWS}
            yield placed.decision_id, RowNames(record.request, places, [placed.publisher_id])


def _numbers(packed: bytes) -> list[int]:
    """Read little-endian uint16."""
    return [packed[at] | packed[at + 1] << 8 for at in range(0, len(packed), 2)]
