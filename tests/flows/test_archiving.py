"""The archive tells what the journal told: the same report before and after, with the lines gone.

A played-out day is archived hour by hour; then its lines are struck from the journal, so that nothing but the
archive can have told of them. What is refunded afterwards counts as taken back.
"""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import apsw
import duckdb
import pytest

from app.domain.ids import DAY_MS, HOUR_MS
from app.domain.lines import Clicked, Converted, Shown
from app.flows import archiving
from app.flows.archiving import archive_next, next_hour
from app.flows.feedback import refund
from app.flows.node import Node
from app.flows.reporting import Asked, report, verdicts_until
from app.flows.tallies import DIMENSIONS
from app.journal import archive
from app.journal.archive import HourWriter
from app.journal.reader import SqliteReader
from tests.flows.test_reporting import BUDGET_MICROS, HOURS, START_MS, Clock, play
from tests.node import ask_for, decide, running_node, send, small_catalogue, tick

CHOICES = [
    (), ("day",), ("hour", "placement"), ("publisher", "minute"), ("campaign",), ("ad_group", "creative"),
    ("advertiser", "hour"), ("variant", "placement", "creative"), DIMENSIONS,
]  # fmt: skip
SPANS_MS = [
    (0, 2**50), (START_MS + 90 * 60_000 + 7, START_MS + 5 * HOUR_MS + 1), (START_MS, START_MS + HOUR_MS),
]  # fmt: skip


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a sync is for no test can see; the one that has them fail sets its own."""
    monkeypatch.setattr(archive, "fsync", lambda _handle: None)


async def archive_all(node: Node) -> int:
    """Archive whatever is due; says how many hours."""
    done = 0
    while await archive_next(node) is not None:
        done += 1
    return done


async def told(node: Node) -> list[Any]:
    """Ask for reports by many dimensions over many spans, also as one advertiser."""
    answers = []
    for from_ms, to_ms in SPANS_MS:
        for number, by in enumerate(CHOICES):
            advertisers = (None, ("adv-1",), None, ("another",))[number % 4]
            only = (None, None, ("campaign", "c-1"), None, ("placement", "plc-2"))[number % 5]
            asked = Asked(from_ms=from_ms, to_ms=to_ms, by=by, advertisers=advertisers, only=only)
            answers.append(json.loads(await report(node, asked), parse_float=Decimal))
    return answers


def same(one: Any, other: Any) -> None:
    """Hold reports together: everything to the micro; sums of probabilities but for the order of adding."""
    assert len(one["rows"]) == len(other["rows"])
    for row, twin in zip([*one["rows"], one["totals"]], [*other["rows"], other["totals"]], strict=True):
        for name in ("predicted_clicks", "calibration", "log_loss", "ne"):
            a, b = row.pop(name), twin.pop(name)
            assert a == b or float(a) == pytest.approx(float(b), rel=1e-9)
        assert row == twin


def strike(data: Path, before_ms: int) -> None:
    """Take the lines of events and ticks before a time out of the journal."""
    connection = apsw.Connection(str(data / "journal.db"))
    connection.execute("DELETE FROM lines WHERE at_ms < ? AND kind NOT IN ('configured', 'catalogued')",
                       (before_ms,))  # fmt: skip
    assert connection.changes() > 100
    connection.close()


async def played(node: Node, clock: Clock) -> None:
    """Nine hours of traffic, then two days and an hour in which nothing happens but a tick."""
    await play(node, clock)
    clock.at_ms += 2 * DAY_MS + HOUR_MS
    await tick(node)
    await verdicts_until(node, node.state.position)


def test_reports_read_the_same_before_and_after_archiving(tmp_path: Path) -> None:
    async def work() -> None:
        clock, things = Clock(), small_catalogue(budget_daily_micros=BUDGET_MICROS)
        async with running_node(tmp_path, clock_ms=clock, things=things) as node:
            await played(node, clock)
            before = await told(node)
            assert before[0]["totals"]["clicks"] > 10
            assert {"refunded", "no_impression"} <= before[0]["totals"]["invalid"].keys()
            assert await archive_all(node) == HOURS + 49 - 2, "the last two are to settle"
            strike(tmp_path, START_MS + 10 * HOUR_MS)
            for one, other in zip(before, await told(node), strict=True):
                same(one, other)

    asyncio.run(work())


def test_what_is_refunded_later_counts_as_taken_back(tmp_path: Path) -> None:
    """By the journal's line at first, then by the archive's own."""

    async def work() -> None:
        clock = Clock()
        async with running_node(tmp_path, clock_ms=clock, things=small_catalogue()) as node:
            receipts = []
            for ad in decide(node, ask_for("plc-1", "plc-2")).ads:
                receipts.append(await send(node, "impression", ad))
                receipts.append(await send(node, "click", ad))
            clock.at_ms += 20 * HOUR_MS
            await tick(node)
            assert await archive_all(node) > 0
            await refund(node, [receipt.event_id for receipt in receipts[1:]], "accidental_click")
            clock.at_ms += 3 * DAY_MS
            await tick(node)
            await verdicts_until(node, node.state.position)
            asked = Asked(from_ms=0, to_ms=clock.at_ms + 1, by=("creative", "day"))
            late = json.loads(await report(node, asked), parse_float=Decimal)
            assert late["totals"]["impressions"] == 1
            assert late["totals"]["invalid"] == {"accidental_click": 3}
            assert late["totals"]["spend"] * 1_000_000 == receipts[0].billed_micros
            assert await archive_all(node) > 0
            same(late, json.loads(await report(node, asked), parse_float=Decimal))

    asyncio.run(work())


def test_an_hour_tells_everything_but_the_person(tmp_path: Path) -> None:
    async def work() -> None:
        clock = Clock()
        async with running_node(tmp_path, clock_ms=clock, things=small_catalogue()) as node:
            await played(node, clock)
            await asyncio.to_thread(node.decisions.flush)
            await archive_all(node)

    asyncio.run(work())
    reader = SqliteReader(tmp_path / "journal.db")
    lines = [entry.line for entry in reader.read(0, 10**6)]
    reader.close()
    with duckdb.connect() as database:
        files = str(tmp_path / "archive" / "*" / "*" / "kind={}" / "*.parquet")
        for kind, of in (("impressions", Shown), ("clicks", Clicked), ("conversions", Converted)):
            query = """
                SELECT position, event_id, row_names, column_names, len(rows), len(columns)
                FROM read_parquet(?) ORDER BY position
            """
            rows = database.execute(query, [files.format(kind)]).fetchall()
            assert [row[1] for row in rows] == [line.event_id for line in lines if isinstance(line, of)]
            named = [row[2] for row in rows if row[2] is not None]
            assert len(named) > len(rows) / 2
            assert all({"any", "publisher:pub-1"} <= set(names) for names in named)
            assert all({"placement:plc-1", "placement:plc-2"} & set(names) for names in named)
            assert all("campaign:c-1" in row[3] for row in rows)
            assert all(row[2] is None or len(row[2]) == row[4] for row in rows)
            assert all(len(row[3]) == row[5] for row in rows)
        table = database.execute("SELECT * FROM read_parquet(?)", [files.format("clicks")])
        assert not {"user", "former_user", "source", "sender"} & {each[0] for each in table.description}
        kinds = database.execute("SELECT DISTINCT kind FROM read_parquet(?, hive_partitioning = true)",
                                 [files.format("*").replace("kind=*", "*")])  # fmt: skip
        assert {"impressions", "clicks", "requests", "refunds"} <= {row[0] for row in kinds.fetchall()}


def test_only_settled_hours_are_archived_each_once(tmp_path: Path) -> None:
    async def work() -> None:
        clock = Clock()
        async with running_node(tmp_path, clock_ms=clock, things=small_catalogue()) as node:
            first = START_MS // HOUR_MS
            assert next_hour(tmp_path) == first
            clock.at_ms = START_MS + 3 * HOUR_MS - 1
            await tick(node)
            assert await archive_next(node) is None
            clock.at_ms += 1
            await tick(node)
            facts = await archive_next(node)
            assert facts is not None
            assert (facts.hour, next_hour(tmp_path)) == (first, first + 1)
            assert archive.facts_of(tmp_path / "archive", first) == facts
            assert await archive_next(node) is None

    asyncio.run(work())


def test_a_crash_leaves_no_half_hour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever sync of an hour is its last: the hour is there whole or not at all, and made anew."""
    folder = tmp_path / "archive"

    async def work() -> None:
        clock = Clock()
        async with running_node(tmp_path, clock_ms=clock, things=small_catalogue()) as node:
            await play(node, clock)
            await verdicts_until(node, node.state.position)
            assert await archive_next(node) is not None
            hour, made, fails_at = START_MS // HOUR_MS + 1, False, 0
            while not made:
                fails_at += 1
                fail_at(monkeypatch, fails_at)
                try:
                    made = await archive_next(node) is not None
                except OSError:
                    whole = archive.path_of(folder, hour).exists()
                    assert archive.hours(folder) == ([hour - 1, hour] if whole else [hour - 1])
                    made = whole  # the last sync, of the day's folder: the hour stands
            assert fails_at > 5
            facts = archive.facts_of(folder, hour)
            assert sum(facts.rows.values()) > 20
            assert facts.rows == {kind: rows_of(tmp_path, hour, kind) for kind in facts.rows}
            monkeypatch.undo()
            await archive_next(node)
            assert archive.hours(folder) == [hour - 1, hour, hour + 1]
            assert not list(folder.glob("making-*"))

    asyncio.run(work())


def fail_at(monkeypatch: pytest.MonkeyPatch, call: int) -> None:
    """Let this process's archive have its n-th sync refused."""
    calls = 0

    def failing(_handle: int) -> None:
        nonlocal calls
        calls += 1
        if calls == call:
            raise OSError("no space left")

    monkeypatch.setattr(archive, "fsync", failing)


def rows_of(data: Path, hour: int, kind: str) -> int:
    with duckdb.connect() as database:
        files = archive.files(data / "archive", [hour], kind)
        row = database.execute("SELECT count(*) FROM read_parquet(?)", [files]).fetchone()
    assert row is not None
    return int(row[0])


def test_a_long_hour_is_written_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        clock = Clock()
        async with running_node(tmp_path, clock_ms=clock, things=small_catalogue()) as node:
            await played(node, clock)
            asked = Asked(from_ms=0, to_ms=clock.at_ms, by=("hour",))
            before = json.loads(await report(node, asked), parse_float=Decimal)
            monkeypatch.setattr(archiving, "PART_ROWS", 5)
            monkeypatch.setattr(SqliteReader.scan, "__defaults__", (3,))
            await archive_all(node)
            assert list((tmp_path / "archive").glob("*/*/kind=impressions/part-0001.parquet"))
            same(before, json.loads(await report(node, asked), parse_float=Decimal))

    asyncio.run(work())


def test_an_hour_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    HourWriter(tmp_path, 5).finish(1, 2)
    HourWriter(tmp_path, 5).finish(3, 4)
    assert archive.facts_of(tmp_path, 5).through_position == 2
    assert [path.name for path in tmp_path.iterdir()] == ["date=1970-01-01"]


def test_a_gap_ends_the_archive(tmp_path: Path) -> None:
    for hour in (5, 6, 8):
        HourWriter(tmp_path, hour).finish(0, 0)
    assert archive.hours(tmp_path) == [5, 6]
