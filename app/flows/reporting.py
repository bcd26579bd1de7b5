"""Reports: the journal's lines of a stretch of time, with the fold's verdicts, added up by what one asks.

The loop only says what is asked and who stands under whom; reading and adding run in a worker process,
which opens the journal for itself and hands back the finished body.
"""

from __future__ import annotations

import asyncio
import csv
import gc
import io
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Executor
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec
from msgspec import Struct

from app.domain.catalogue import AdGroup, Advertiser, Campaign, Creative, Placement
from app.domain.ids import DAY_MS, ID_PATTERN
from app.domain.lines import Clicked, Converted, Shown, Ticked, decode
from app.domain.refusals import Busy
from app.flows.archived import archived_between, tally_archive
from app.flows.tallies import MEASURES, Tallies, Tally, measures_of
from app.journal.reader import SqliteReader

if TYPE_CHECKING:  # the workers need the words of this file, not a node's kernels
    from app.flows.node import Node

VERDICTS_WAIT_S = 10.0
FROM_JOURNAL_MS = 2 * DAY_MS  # younger than that is read from the journal, archived or not
CREATIVES_PER_SLICE = 500
_OF_ADS = frozenset({"advertiser", "campaign", "ad_group"})
_EVENT_KINDS = ("shown", "clicked", "converted")
_encode_row = msgspec.json.Encoder(decimal_format="number").encode
_pack = msgspec.msgpack.Encoder().encode
Parent = tuple[str, str, str]
Result = TypeVar("Result")


class Asked(Struct, frozen=True, kw_only=True):
    """What a report is to tell: [from_ms, to_ms), by which dimensions, in which form.

    `advertisers` keeps it to the ads of these; requests, which belong to nobody, are not told then. `only`
    keeps it to what one dimension names, such as ("campaign", "c-1").
    """

    from_ms: int
    to_ms: int
    by: tuple[str, ...] = ()
    form: Literal["json", "csv"] = "json"
    zone: str = "Asia/Seoul"
    advertisers: tuple[str, ...] | None = None
    only: tuple[str, str] | None = None

    @property
    def of_ads(self) -> bool:
        """Whether it must be known who stands above a creative."""
        named = {*self.by, self.only[0]} if self.only is not None else self.by
        return self.advertisers is not None or not _OF_ADS.isdisjoint(named)


async def report(node: Node, asked: Asked) -> bytes:
    """Make a report of everything that has happened up to this call.

    Errors  Busy when the verdicts are not written back in time, or no worker is left.
    """
    return (await reports(node, [asked]))[0]


async def reports(node: Node, asked: Sequence[Asked]) -> list[bytes]:
    """Make several reports of the same stretch of time, at the cost of reading it once.

    Errors  as of `report`.
    """
    assert len({(each.from_ms, each.to_ms) for each in asked}) == 1
    upto = node.state.position
    of_ads = any(each.of_ads for each in asked)
    parents = await packed_above(node, _parents) if of_ads else []
    publishers = {
        thing.id: thing.publisher_id
        for thing in node.state.catalogue.things["placement"].values()
        if isinstance(thing, Placement)
    }
    archived_ms = node.now_ms() - FROM_JOURNAL_MS
    await verdicts_until(node, upto)
    return await in_worker(
        node, run_reports, node.settings.data, upto, _pack(asked), parents, _pack(publishers), archived_ms
    )


async def verdicts_until(node: Node, position: int) -> None:
    """Wait until every verdict up to a position can be read.

    Errors  Busy when that takes too long: the journal's disk does not follow.
    """
    deadline = perf_counter() + VERDICTS_WAIT_S
    while node.journal.verdicts_through < position:
        if perf_counter() > deadline:
            raise Busy("journal_unavailable", 1000)
        await asyncio.sleep(0.01)


async def in_worker(
    node: Node, work: Callable[..., Result], *arguments: Any, pool: Executor | None = None
) -> Result:
    """Run plain work in one of the node's workers, or in another pool.

    Errors  Busy when a worker was killed: the pool is of no use any more.
    """
    try:
        return await asyncio.get_running_loop().run_in_executor(pool or node.workers, work, *arguments)
    except BrokenExecutor as error:
        raise Busy("workers_unavailable", 1000) from error


async def packed_above(
    node: Node, told: Callable[[Creative, AdGroup, Campaign, Advertiser], Any]
) -> list[bytes]:
    """Tell something of each creative and those above it, in slices of a millisecond or two of the loop.

    Shape   MessagePack maps by creative id, one for each slice.
    """
    catalogue = node.state.catalogue
    creatives: list[Any] = list(catalogue.things["creative"].values())
    packed = []
    for start in range(0, len(creatives), CREATIVES_PER_SLICE):
        some = creatives[start : start + CREATIVES_PER_SLICE]
        packed.append(_pack({creative.id: told(*catalogue.chain(creative)) for creative in some}))
        await asyncio.sleep(0)
    return packed


def _parents(_creative: Creative, group: AdGroup, campaign: Campaign, advertiser: Advertiser) -> Parent:
    return group.id, campaign.id, advertiser.id


# In the worker.


def run_reports(
    data: Path, upto: int, asked: bytes, parents: list[bytes], publishers: bytes, archived_ms: int = 0
) -> list[bytes]:
    """Read, add up and write reports: whole hours before `archived_ms` from the archive, as far as it goes.

    Cost    about six microseconds an event of the journal, one or two more for each further report.
    """
    wanted = msgspec.msgpack.decode(asked, type=list[Asked])
    from_ms, to_ms = wanted[0].from_ms, wanted[0].to_ms
    tallied = _tallies(wanted, parents, publishers)
    reader = SqliteReader(data / "journal.db")
    collecting = gc.isenabled()
    gc.disable()  # lines hold no cycles; looking at each batch for them costs a tenth of the time
    try:
        between = archived_between(data, reader, from_ms, to_ms, archived_ms)
        tally_lines(reader, tallied, from_ms, between[0], upto)
        for tallies in tallied:
            tally_archive(data, reader, tallies, *between, upto)
        tally_lines(reader, tallied, between[1], to_ms, upto)
    finally:
        reader.close()
        if collecting:
            gc.enable()
    return [
        to_csv(tallies) if each.form == "csv" else to_json(tallies)
        for each, tallies in zip(wanted, tallied, strict=True)
    ]


def _tallies(asked: Sequence[Asked], parents: list[bytes], publishers: bytes) -> list[Tallies]:
    above: dict[str, Parent] = {}
    for part in parents:
        above.update(msgspec.msgpack.decode(part, type=dict[str, Parent]))
    own = msgspec.msgpack.decode(publishers, type=dict[str, str])
    made = []
    for each in asked:
        tallies = Tallies(each.by, each.zone, above, own)
        if each.advertisers is not None:
            tallies.keep_to(each.advertisers)
        if each.only is not None:
            tallies.keep_only(*each.only)
        made.append(tallies)
    return made


def tally_lines(
    reader: SqliteReader, tallied: Sequence[Tallies], from_ms: int, to_ms: int, upto: int
) -> None:
    """Add up the lines of [from_ms, to_ms) at or before a position."""
    if from_ms >= to_ms:
        return
    after, last = reader.position_at(from_ms - 1), min(upto, reader.position_at(to_ms - 1))
    of_requests = [tallies for tallies in tallied if tallies.counts_requests]
    kinds = (*_EVENT_KINDS, "ticked") if of_requests else _EVENT_KINDS
    for rows in reader.scan(after, last, kinds):
        events = []
        for _, at_ms, body in rows:
            line = decode(body)
            if isinstance(line, Ticked):
                for tallies in of_requests:
                    tallies.take_tick(at_ms, line)
            elif isinstance(line, Shown | Clicked | Converted):
                takers = [tallies for tallies in tallied if tallies.tells_of(line.ad)]
                if takers:
                    events.append((at_ms, line, line.event_id, takers))
        verdicts = reader.verdicts([event_id for _, _, event_id, _ in events])
        for at_ms, line, event_id, takers in events:
            for tallies in takers:
                tallies.take(at_ms, line, verdicts.get(event_id))


def to_json(tallies: Tallies) -> bytes:
    """Write rows in the order of their keys, and the totals."""
    rows = [
        {**dict(zip(tallies.by, key, strict=True)), **measures_of(tally, tallies.counts_requests)}
        for key, tally in sorted(tallies.rows.items())
    ]
    totals = measures_of(tallies.total(), tallies.counts_requests)
    return _encode_row({"rows": rows, "totals": totals})


def to_csv(tallies: Tallies) -> bytes:
    """Write rows as CSV (RFC 4180) under one head; `invalid` as `reason=count;reason=count`."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([*tallies.by, *MEASURES])
    for key, tally in sorted(tallies.rows.items()):
        writer.writerow([*map(plain_cell, key), *_measure_cells(tally, tallies.counts_requests)])
    return text.getvalue().encode()


def _measure_cells(tally: Tally, counts_requests: bool) -> list[Any]:
    measures = measures_of(tally, counts_requests)
    measures["invalid"] = ";".join(f"{reason}={count}" for reason, count in measures["invalid"].items())
    return [measures[name] for name in MEASURES]


def plain_cell(part: str | int) -> str | int:
    """Keep a name that a stranger chose (an unregistered placement's) from being run as a formula."""
    if isinstance(part, int) or ID_PATTERN.fullmatch(part) or not part.startswith(("=", "+", "-", "@", "\t")):
        return part
    return "'" + part
