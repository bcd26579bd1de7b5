"""After the retention nothing of a person is left on disk: journal, snapshots, decisions, lists, secrets.

Method: a node with a played clock lives through a month; then every file of it is searched for the person's
keys and words, which must have been there before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec

from app.domain.catalogue import Audience
from app.domain.ids import DAY_MS
from app.domain.people import Profile
from app.domain.requests import Person
from app.flows.audiences import upload
from app.flows.keeping import keep
from app.flows.node import Node
from app.flows.people import enrich, store_profiles
from app.flows.snapshotting import save
from app.flows.user_keys import Period, UserKeys
from app.journal import snapshots
from app.journal.reader import SqliteReader
from tests.node import FOLD, ask_for, decide, now_ms, running_node, send, small_catalogue, tick

AUDIENCE = Audience(id="aud-1", advertiser_id="adv-1")
IDS = "\n".join(f"person-{number}" for number in range(60)).encode()
WORD = b"a-very-telling-interest"


def holding(folder: Path, *traces: bytes) -> set[str]:
    """Name the files that hold any of some bytes."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    found = [path for path in files if any(trace in path.read_bytes() for trace in traces)]
    return {path.relative_to(folder).parts[0] for path in found}


def wiped_through(folder: Path) -> int:
    """Ask the file how far the journal is wiped."""
    reader = SqliteReader(folder / "journal.db")
    try:
        return reader.wiped_through
    finally:
        reader.close()


async def until(done: Callable[[], bool]) -> None:
    """Wait for the writers' threads, for minutes if need be."""
    for _ in range(3_000):
        if done():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it never came")


def test_after_the_retention_nothing_of_a_person_is_left(tmp_path: Path) -> None:
    start_ms, ahead_ms = now_ms(), 0
    saved: list[int] = []
    first = [Period(start_ms, b"s" * 32)]
    keys = UserKeys(first, period_days=30, keep_days=30, save=lambda each: saved.append(len(each)))

    def clock_ms() -> int:
        return start_ms + ahead_ms

    async def visit(node: Node) -> None:
        key, former_key = node.user_keys.of("person-7", node.now_ms())
        person = Person(key=key, former_key=former_key)
        for ad in decide(node, enrich(node, ask_for("plc-1", "plc-2", person=person))).ads:
            await send(node, "impression", ad)
            await send(node, "click", ad)
            await send(node, "conversion", ad, own_id="c-1")

    def snapshot(node: Node) -> None:
        folder = tmp_path / "snapshots"
        save(folder, node.state, node.now_ms())
        snapshots.prune(folder, 1, 24, node.now_ms())

    async def live() -> None:
        nonlocal ahead_ms
        fold = msgspec.structs.replace(FOLD, retention_days=29)
        things = [*small_catalogue(), AUDIENCE]
        async with running_node(tmp_path, things=things, clock_ms=clock_ms, fold=fold) as node:
            node.user_keys = keys
            await upload(node, AUDIENCE, IDS)
            await store_profiles(node, [("person-7", Profile(interests=(WORD.decode(),)))])
            await visit(node)
            await tick(node)
            snapshot(node)
            await keep(node)
            position = node.state.position
        (key,) = keys.all_of("person-7")
        everywhere = {"journal.db", "snapshots", "decisions.db", "audiences"}
        assert holding(tmp_path, key, WORD) == everywhere, "the search finds what is there"
        async with running_node(tmp_path, clock_ms=clock_ms, fold=fold) as node:
            node.user_keys = keys
            for day in range(1, 33):
                ahead_ms = day * DAY_MS
                await tick(node)
                snapshot(node)
                await keep(node)
            await until(lambda: wiped_through(tmp_path) >= position and node.decisions.count() == 0)
            events = node.journal.read(0, 10_000)
            assert any(getattr(entry.line, "ad", None) for entry in events), "the events themselves stay"
        assert holding(tmp_path, key, WORD) == set()

    asyncio.run(live())
    assert saved == [2], "a new secret on day 30; the first goes on day 60"


def test_lines_that_a_snapshot_may_be_folded_on_from_are_left_alone(tmp_path: Path) -> None:
    ahead_ms = 0

    async def live() -> None:
        nonlocal ahead_ms
        async with running_node(tmp_path, clock_ms=lambda: now_ms() + ahead_ms) as node:
            await store_profiles(node, [("person-7", Profile(gender="F"))])
            (key,) = node.user_keys.all_of("person-7")
            ahead_ms = 40 * DAY_MS
            await tick(node)
            await keep(node)  # there is no snapshot: everything may have to be folded again
            for _ in range(5):  # the writer has had its turns
                await tick(node)
        assert wiped_through(tmp_path) == 0
        assert holding(tmp_path, key) == {"journal.db"}

    asyncio.run(live())


def test_a_wiped_journal_folds_again(tmp_path: Path) -> None:
    """Should every snapshot be lost, the wiped lines still make a state."""

    async def live() -> None:
        async with running_node(tmp_path, things=small_catalogue()) as node:
            await store_profiles(node, [("person-7", Profile(gender="F"))])
            key, _ = node.user_keys.of("person-7", node.now_ms())
            (ad,) = decide(node, ask_for("plc-1", person=Person(key=key))).ads
            await send(node, "impression", ad)
            node.journal.wipe(node.state.position)
            await until(lambda: wiped_through(tmp_path) == node.state.position)
        async with running_node(tmp_path) as again:
            again.state.check()
            assert again.state.progress.impressions == 1 and len(again.state.people.profiles) == 0

    asyncio.run(live())
    assert SqliteReader(tmp_path / "journal.db").last_position > 0
