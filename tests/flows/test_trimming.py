"""Lines leave the journal only when nobody can need them, and then nobody misses them.

A played-out day on a real node is snapshot, archived and trimmed. What is told before must be told after:
reports, funnels, refunds, a start from any snapshot that is kept. A crash between any two steps of it is a
copy of the files as they are then; and a child that trims for its life is killed at instants it cannot know.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import random
import shutil
import signal
from collections.abc import Callable, Coroutine
from decimal import Decimal
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import msgspec
import pytest

from app.domain.ids import DAY_MS, HOUR_MS
from app.domain.lines import Clicked, Lost, Refunded
from app.domain.refusals import Refused
from app.flows import trimming
from app.flows.archiving import next_hour
from app.flows.feedback import line_of, refund, take_event
from app.flows.follow import fold
from app.flows.funnels import funnel
from app.flows.node import Node
from app.flows.past import past_events
from app.flows.reporting import Asked, report, verdicts_until
from app.flows.snapshotting import load, save
from app.flows.tracing import retrace
from app.flows.trimming import droppable, trim
from app.journal import archive, snapshots, sqlite
from app.journal.decisions import DecisionReader
from app.journal.reader import SqliteReader
from app.state.apply import Receipt
from app.state.state import State
from app.state.traffic import Pending
from tests.flows.test_archiving import archive_all, same, told
from tests.flows.test_keeping import until
from tests.flows.test_reporting import BUDGET_MICROS, START_MS, Clock, play
from tests.node import COLUMNS, ask_for, decide, running_node, send, small_catalogue, tick

LIVES = 4
Work = Callable[[Node, Clock], Coroutine[Any, Any, None]]


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trim a few lines at a time, and wait for no disk."""
    monkeypatch.setattr(sqlite, "_TRIM_LINES", 40)
    monkeypatch.setattr(archive, "fsync", lambda _handle: None)


@pytest.fixture(scope="module")
def archived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a node that has played, and archived what it could."""
    data = tmp_path_factory.mktemp("archived")

    async def work(node: Node, clock: Clock) -> None:
        await played(node, clock)
        await archive_all(node)
        await asyncio.to_thread(node.decisions.flush)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archive, "fsync", lambda _handle: None)
        on_a_node(data, work)
    return data


@pytest.fixture
def data(archived: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(archived, tmp_path / "data")
    return tmp_path / "data"


def on_a_node(data: Path, work: Work) -> None:
    """Do something with a node that has a played clock; it goes on from what the directory holds."""

    async def main() -> None:
        clock, things = Clock(), small_catalogue(budget_daily_micros=BUDGET_MICROS)
        if (data / "journal.db").exists():
            things = []
            with reading(data) as reader:
                clock.at_ms = last_ms(reader)
        async with running_node(data, clock_ms=clock, things=things) as node:
            await work(node, clock)

    asyncio.run(main())


class reading:  # noqa: N801 - used as a word
    """A reader, closed afterwards."""

    def __init__(self, data: Path) -> None:
        self.reader = SqliteReader(data / "journal.db")

    def __enter__(self) -> SqliteReader:
        return self.reader

    def __exit__(self, *_: object) -> None:
        self.reader.close()


def last_ms(reader: SqliteReader) -> int:
    entry = reader.entry_at(reader.last_position)
    assert entry is not None
    return entry.line.at_ms


def snapshot(node: Node) -> None:
    """Save the node's state, as its follower does, and prune."""
    folder = node.settings.data / "snapshots"
    save(folder, node.state, node.now_ms())
    snapshots.prune(folder, node.settings.snapshots, node.settings.trace_hours, node.now_ms())


async def pass_days(node: Node, clock: Clock, days: int = 3) -> None:
    """Let days go by in which little happens but a snapshot every six hours."""
    for _ in range(days * 4):
        clock.at_ms += 6 * HOUR_MS
        await tick(node)
        snapshot(node)
    await verdicts_until(node, node.state.position)


async def trimmed(node: Node) -> int:
    """Archive and trim whatever may be, and wait for the writer."""
    await archive_all(node)
    upto = await trim(node)
    await until(lambda: node.journal.trimmed_through == upto)
    return upto


async def played(node: Node, clock: Clock) -> None:
    """Nine hours of traffic with losses told at both ends, then three quiet days."""
    for sizes in (1, 2):
        counts = sizes.to_bytes(4, "little")
        await node.submit(Lost(at_ms=node.now_ms(), reasons=("size",), campaigns=("c-1",), counts=counts))
        if sizes == 1:
            await play(node, clock)
    snapshot(node)
    await pass_days(node, clock)


@pytest.mark.slow
def test_what_was_told_before_trimming_is_told_after(tmp_path: Path) -> None:
    async def work(node: Node, clock: Clock) -> None:
        await played(node, clock)
        before, lost = await told(node), await funnel(node, "c-1", 0, clock.at_ms)
        assert before[0]["totals"]["clicks"] > 10
        assert lost == {"size": 3}
        upto = await trimmed(node)
        assert upto > 200
        assert node.journal.entry_at(upto) is None
        assert node.journal.entry_at(upto + 1) is not None
        for one, other in zip(before, await told(node), strict=True):
            same(one, other)
        assert await funnel(node, "c-1", 0, clock.at_ms) == lost
        assert await funnel(node, "c-1", 0, START_MS + HOUR_MS) == {"size": 1}

    on_a_node(tmp_path, work)


@pytest.mark.slow
def test_what_is_archived_later_goes_on_where_it_was(data: Path) -> None:
    """Hours without a line, behind a journal that begins later: positions still follow each other."""

    async def work(node: Node, clock: Clock) -> None:
        await trimmed(node)
        hour = next_hour(data)
        asked = Asked(from_ms=0, to_ms=2**50, by=("day",))
        await pass_days(node, clock, days=4)
        before = json.loads(await report(node, asked), parse_float=Decimal)
        assert await trimmed(node) > 0
        assert (next_hour(data) or 0) > (hour or 0)
        same(before, json.loads(await report(node, asked), parse_float=Decimal))
        facts = [archive.facts_of(data / "archive", each) for each in archive.hours(data / "archive")]
        assert all(one.through_position == later.after_position for one, later in pairwise(facts))

    on_a_node(data, work)


def test_nothing_goes_that_somebody_may_need(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What must be there first; each taken away in turn, and nothing is trimmed."""

    async def work(node: Node, clock: Clock) -> None:
        (data / "archive").rename(data / "elsewhere")
        assert await trim(node) == 0, "nothing is archived"
        (data / "elsewhere").rename(data / "archive")
        folder, hours = data / "archive", archive.hours(data / "archive")
        before_ms = clock.at_ms - 2 * DAY_MS
        young = next(each for each in hours if (each + 1) * HOUR_MS > before_ms)
        cut = droppable(data, before_ms)
        assert 0 < cut <= archive.facts_of(folder, young - 1).through_position, "two days stay"
        held = [each.path for each in snapshots.listing(data / "snapshots")]
        oldest = held[-1]
        shutil.copytree(oldest, data / "kept")
        flip(oldest / "rest")
        assert await trim(node) == 0, "the oldest snapshot is damaged"
        shutil.rmtree(oldest)
        (data / "kept").rename(oldest)
        part = next(archive.path_of(folder, hours[3]).glob("kind=*/*.parquet"))
        whole = part.read_bytes()
        part.write_bytes(whole[:-7])
        assert await trim(node) == 0, "an archived file is damaged"
        part.unlink()
        assert await trim(node) == 0, "an archived file is gone"
        part.write_bytes(whole)
        monkeypatch.setattr(trimming, "LEAST_SNAPSHOTS", len(held) + 1)
        assert await trim(node) == 0, "too few snapshots"
        monkeypatch.setattr(trimming, "LEAST_SNAPSHOTS", 2)
        settings = node.settings
        node.settings = dataclasses.replace(settings, journal_days=0)
        assert await trim(node) == 0, "everything is to be kept"
        node.settings = settings
        assert await trim(node) == droppable(data, before_ms - HOUR_MS) > 0

    on_a_node(data, work)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_snapshot_that_is_replaced_while_it_is_read_is_no_damage(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, read_paths = snapshots.read, list[Path]()

    def pruned(path: Path) -> snapshots.Snapshot:
        if not read_paths:
            (path / snapshots.MANIFEST).unlink()
        read_paths.append(path)
        return read(path)

    monkeypatch.setattr(snapshots, "read", pruned)
    listed = [each.path for each in snapshots.listing(data / "snapshots")]
    assert trimming.prove(data, COLUMNS, 1) == ""
    assert read_paths == [listed[-1], listed[-2], listed[0]]


def test_no_line_behind_a_kept_snapshot_goes(tmp_path: Path) -> None:
    async def work(node: Node, clock: Clock) -> None:
        await play(node, clock)
        snapshot(node)
        oldest = node.state.position
        for _ in range(20):
            await tick(node)
        clock.at_ms += 4 * DAY_MS
        await tick(node)
        save(tmp_path / "snapshots", node.state, node.now_ms())
        assert await trimmed(node) == oldest

    on_a_node(tmp_path, work)


def test_events_whose_lines_are_gone_can_be_refunded(tmp_path: Path) -> None:
    """Their money comes back to the micro, once; what is not in the archive any more is told apart."""

    async def work(node: Node, clock: Clock) -> None:
        (ad, *_) = ads = decide(node, ask_for("plc-1", "plc-2", count=2)).ads
        kinds = ("impression", "click", "conversion")
        receipts = [await send(node, kind, one) for one in ads for kind in kinds]
        clock.at_ms += 5_000  # else the clicks were accidents
        returned = await send(node, "return", ad)
        noted = await send(node, "win", ad)
        for _ in range(50):
            await tick(node)
        snapshot(node)
        await pass_days(node, clock)
        billed = int(node.state.catalogue.campaign_accounts.spent[0])
        assert billed == sum(one.billed_micros for one in receipts) > 0
        assert await trimmed(node) >= noted.position
        assert all(node.journal.entry_at(one.position) is None for one in receipts)
        answers = await refund(node, [one.event_id for one in receipts], "test")
        assert [one.billed_micros for one in answers if isinstance(one, Receipt)] == [
            one.billed_micros for one in receipts
        ]
        assert int(node.state.catalogue.campaign_accounts.spent[0]) == 0
        again = await refund(node, [receipts[0].event_id, bytes(15), noted.event_id], "test")
        assert isinstance(again[0], Receipt) and again[0].status == "repeat"
        assert [one.code for one in again[1:] if isinstance(one, Refused)] == ["unknown_event", "too_old"]
        repeat = await take_event(node, line_of("return", ad, node.now_ms()))
        assert (repeat.status, repeat.position) == ("repeat", returned.position)
        node.state.check()
        asked = Asked(from_ms=0, to_ms=clock.at_ms + 1)
        totals = json.loads(await report(node, asked), parse_float=Decimal)["totals"]
        assert (totals["spend"], totals["invalid"]) == (0, {"refunded": len(receipts)})

    on_a_node(tmp_path, work)


def test_an_event_comes_back_from_the_archive_as_it_was_but_for_the_person(data: Path) -> None:
    async def work(node: Node, clock: Clock) -> None:
        lines = {entry.position: entry.line for entry in node.journal.read(0, 10**6)}
        upto = await trimmed(node)
        events = {
            position: line for position, line in lines.items()
            if position <= upto and type(line).__name__ in {"Shown", "Clicked", "Converted"}
        }  # fmt: skip
        past = await past_events(node, [*lines])
        assert past.keys() == events.keys()
        for position, line in past.items():
            expected: Any = events[position]
            ad = msgspec.structs.replace(
                expected.ad, creative_index=0, generation=0, user=b"", former_user=b"", flaw=""
            )
            assert line.ad == ad
            assert abs(line.at_ms - expected.at_ms) < 1_000
            assert line.event_id == expected.event_id or expected.own_id is not None

    on_a_node(data, work)


def test_a_click_found_invalid_late_is_taken_back_from_the_archive(tmp_path: Path) -> None:
    from app.flows.traffic import take_back

    async def work(node: Node, clock: Clock) -> None:
        (ad,) = decide(node, ask_for("plc-1")).ads
        shown, clicked = await send(node, "impression", ad), await send(node, "click", ad)
        for _ in range(50):
            await tick(node)
        snapshot(node)
        await pass_days(node, clock)
        await trimmed(node)
        pending = Pending("publisher_ctr", shown.position, node.now_ms())
        node.state.traffic.pending = {clicked.position: pending, 2: pending}
        assert await take_back(node) == 0, "the tick does not wait for it"
        assert node.recalling is not None
        await node.recalling
        assert node.state.traffic.pending.keys() == {2}, "what nobody has is not asked for again"
        await take_back(node)
        assert node.recalling.done()
        last = node.journal.entry_at(node.state.position)
        assert last is not None and isinstance(last.line, Refunded)
        assert isinstance(last.line.target, Clicked) and last.line.code == "publisher_ctr"

    on_a_node(tmp_path, work)


def test_a_node_starts_from_a_trimmed_journal(data: Path) -> None:
    """From the newest snapshot; from the one before, where that is damaged; from none, it says so."""
    hashes: list[bytes] = []

    async def work(node: Node, clock: Clock) -> None:
        await trimmed(node)
        for _ in range(3):
            await tick(node)
        hashes.append(node.state.hash)

    on_a_node(data, work)
    for damaged in range(3):
        state, refused = load(data / "snapshots", COLUMNS)
        assert len(refused) == damaged
        with reading(data) as reader:
            fold(state, reader)
        assert state.hash == hashes[0]
        flip(snapshots.listing(data / "snapshots")[damaged].path / "rest")
    shutil.rmtree(data / "snapshots")
    with reading(data) as reader, pytest.raises(Refused) as caught:
        fold(State(COLUMNS), reader)
    assert caught.value.code == "journal_trimmed"


def test_the_command_says_that_it_cannot_start(data: Path) -> None:
    from app.main import open_node
    from app.settings import Settings

    on_a_node(data, _trimmed)
    shutil.rmtree(data / "snapshots")

    async def start() -> None:
        async with open_node(Settings(columns=1_024), data, "http://127.0.0.1", loopback=True):
            raise AssertionError("it started")

    with pytest.raises(Refused, match="trimmed, and no sound snapshot") as caught:
        asyncio.run(start())
    assert caught.value.code == "journal_trimmed"


async def _trimmed(node: Node, _clock: Clock) -> None:
    await trimmed(node)


def test_a_decision_from_before_every_snapshot_is_too_old(data: Path) -> None:
    async def work(node: Node, clock: Clock) -> None:
        (late,) = decide(node, ask_for("plc-1")).choice.placed
        await asyncio.to_thread(node.decisions.flush)
        await trimmed(node)
        reader = DecisionReader(data / "decisions.db")
        records = reader.sample(10**6, seed=0)
        with pytest.raises(Refused) as caught:
            retrace(data, COLUMNS, records[:1])
        assert caught.value.code == "too_old"
        (traced,) = retrace(data, COLUMNS, [one for one in [reader.get(late.decision_id)] if one])
        assert traced.agrees

    on_a_node(data, work)


def test_hours_taken_out_of_the_archive_are_not_made_anew_of_what_is_left(data: Path) -> None:
    """Old days may be moved elsewhere; a hole whose lines are still here is filled."""

    async def work(node: Node, clock: Clock) -> None:
        upto = await trimmed(node)
        folder, hours = data / "archive", archive.hours(data / "archive")
        gone = [each for each in hours if archive.facts_of(folder, each).through_position <= upto]
        for hour in (gone[0], gone[4], hours[-2]):
            shutil.rmtree(archive.path_of(folder, hour))
        assert next_hour(data) == hours[-2]
        await archive_all(node)
        assert {*archive.hours(folder, whole_from=hours[-1])} == {*hours} - {gone[0], gone[4]}
        shutil.rmtree(folder)
        folder.mkdir()
        assert (next_hour(data) or 0) > gone[-1]

    on_a_node(data, work)


def test_a_crash_between_any_two_steps_leaves_what_a_start_needs(data: Path, tmp_path: Path) -> None:
    """Copies of the directory as it is after each slice: all lines behind the kept snapshots are there."""
    copies = list[Path]()
    hashes: list[bytes] = []

    async def work(node: Node, clock: Clock) -> None:
        hashes.append(node.state.hash)
        step = node.journal._trim_some

        def copied() -> None:
            before = node.journal.trimmed_through
            step()
            if node.journal.trimmed_through > before:
                copies.append(tmp_path / f"copy-{len(copies)}")
                shutil.copytree(data, copies[-1])

        node.journal._trim_some = copied  # type: ignore[method-assign]
        upto = await trim(node)
        await until(lambda: node.journal.trimmed_through == upto)

    on_a_node(data, work)
    assert len(copies) > 5
    for copy in copies:
        oldest = snapshots.listing(copy / "snapshots")[-1]
        for upto in (None, oldest.position):
            state, damaged = load(copy / "snapshots", COLUMNS, upto)
            assert damaged == []
            with reading(copy) as reader:
                assert reader.trimmed_through > 0
                fold(state, reader)
            assert state.hash == hashes[0]


@pytest.mark.slow
def test_a_node_killed_while_it_trims_goes_on(data: Path) -> None:
    """Days go by at once; it serves, archives, snapshots and trims until it is killed, again and again."""
    chance, begun = random.Random(4), get_context("forkserver")
    begun.set_forkserver_preload([__name__])  # with nothing at work in it yet that a fork would lose
    on_a_node(data, _trimmed)
    first = held_together(data)
    for _ in range(LIVES):
        life = begun.Process(target=_live, args=(data,))
        life.start()
        try:
            await_trimming(data)
            sleep(chance.uniform(0.0, 0.3))
        finally:
            life.kill()
            life.join()
        assert life.exitcode == -signal.SIGKILL, "it died by itself"
        first, before = held_together(data), first
        assert first > before


def await_trimming(data: Path) -> None:
    """Wait until lines have gone that were there just now."""
    with reading(data) as reader:
        first, deadline = reader.first_position, monotonic() + 60
        while reader.first_position == first:
            assert monotonic() < deadline, "nothing is trimmed"
            sleep(0.01)


def _live(data: Path) -> None:
    sqlite._TRIM_LINES = 5
    vars(archive)["fsync"] = lambda _handle: None
    on_a_node(data, _live_for_ever)


async def _live_for_ever(node: Node, clock: Clock) -> None:
    chance = random.Random(node.state.position)
    while True:
        clock.at_ms += 3 * HOUR_MS
        for ad in decide(node, ask_for("plc-1", "plc-2", count=2)).ads:
            await send(node, "impression", ad)
            if chance.random() < 0.5:
                await send(node, "click", ad)
        for _ in range(10):
            await tick(node)
        snapshot(node)
        await archive_all(node)
        await trim(node)


def held_together(data: Path) -> int:
    """Every way to start comes to the same state; lines and archive leave nothing out between them."""
    with reading(data) as reader:
        first, last = reader.first_position, reader.last_position
        positions = [entry.position for entry in reader.read(0, 10**6)]
        assert positions == list(range(first, last + 1))
        hours = archive.hours(data / "archive")
        assert archive.facts_of(data / "archive", hours[-1]).through_position >= first - 1
        hashes = set()
        for listed in snapshots.listing(data / "snapshots"):
            state, damaged = load(data / "snapshots", COLUMNS, listed.position)
            assert damaged == []
            fold(state, reader)
            hashes.add((state.position, state.hash))
    assert len(hashes) == 1
    return first
