"""One flipped bit in a snapshot: it is refused and said so, the one before it is used, and nothing is lost.

Method: a forked node takes some load in three lives and leaves a snapshot at the end of each. Bits are then
flipped in copies of its directory. What is used instead is held against a fold of the journal from empty.
"""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.flows.follow import fold
from app.flows.snapshotting import load
from app.journal import snapshots
from app.journal.reader import SqliteReader
from app.state import saving
from app.state.state import State
from tests.journeys import ledger
from tests.journeys.load import Load, Memory
from tests.journeys.nursery import COLUMNS, Nursery, nursery

LIVES = 3
LOAD_S = 0.4
QUIET: dict[str, Any] = {"snapshot_every_lines": 1_000_000}  # one snapshot a life, when it stops


async def visit(load: Load) -> None:
    """Load a node for a moment."""
    if not load.memory.sent_names:
        await load.register()
    visiting = asyncio.ensure_future(load.run())
    await asyncio.sleep(LOAD_S)
    load.stopped = True
    await visiting


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nursery]:
    with nursery() as mine:
        yield mine


@pytest.fixture(scope="module")
def sound(nodes: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a node that lived three times and stopped in peace."""
    data, chance, memory = tmp_path_factory.mktemp("sound") / "data", random.Random(5), Memory()
    for _ in range(LIVES):
        node = nodes.node(data, **QUIET)
        asyncio.run(visit(Load(chance, memory, node.ready(), data)))
        node.stop()
    return data


@pytest.fixture
def data(sound: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    shutil.copytree(sound, tmp_path / "data")
    return tmp_path / "data"


def newest_first(data: Path) -> list[Path]:
    return [each.path for each in snapshots.listing(data / "snapshots")]


def flip(path: Path, chance: random.Random) -> None:
    """Flip one bit of a file."""
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def folded(data: Path, upto: int) -> State:
    """Fold a journal from its first line up to a position."""
    state, reader = State(COLUMNS), SqliteReader(data / "journal.db")
    fold(state, reader, upto)
    reader.close()
    return state


def test_snapshots_are_what_the_journal_folds_to(data: Path) -> None:
    paths = newest_first(data)
    assert len(paths) == LIVES
    for path in paths:
        state = State(COLUMNS)
        snapshot = snapshots.read(path)
        saving.restore(state, snapshot.position, snapshot.parts)
        assert ledger.differences(state, folded(data, state.position)) == []
        state.check()


def test_a_bit_flipped_anywhere_is_refused_and_the_one_before_is_used(data: Path) -> None:
    """Each file of the newest snapshot in turn, the manifest among them, three bits each."""
    newest, before, _ = newest_first(data)
    plain = folded(data, snapshots.read(before).position)
    files = sorted(path for path in newest.iterdir() if path.stat().st_size)
    assert newest / snapshots.MANIFEST in files
    assert len(files) > 5
    for path in files:
        kept = path.read_bytes()
        for seed in range(3):
            flip(path, random.Random(f"{path.name}:{seed}"))
            state, damaged = load(data / "snapshots", COLUMNS)
            assert [reason.partition(":")[0] for reason in damaged] == [newest.name], path.name
            assert ledger.differences(state, plain) == [], path.name
            path.write_bytes(kept)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "count"),
    #  which file          of how many snapshots, newest first
    [("manifest.json", 1), ("model_z", 1), ("rest", 2), ("manifest.json", LIVES), ("rest", LIVES)],
)
def test_a_node_says_so_and_comes_up_all_the_same(
    data: Path, nodes: Nursery, target: str, count: int
) -> None:
    paths = newest_first(data)
    for path in paths[:count]:
        flip(path / target, random.Random(path.name))
    used = snapshots.read(paths[count]).position if count < LIVES else 0
    Path(f"{data}.log").unlink(missing_ok=True)
    node = nodes.node(data, **QUIET)
    node.ready()
    node.stop()
    log = ledger.log_events(data)
    refused = [event["reason"].partition(":")[0] for event in ledger.logged(log, "snapshot_refused")]
    assert refused == [path.name for path in paths[:count]]
    books = ledger.read_books(data, COLUMNS)
    (caught_up,) = ledger.logged(log, "caught_up")
    assert caught_up["position"] - caught_up["lines"] - 1 == used, "all behind it, and a tick"
    assert not ledger.logged(log, "snapshot_failed"), "the node's own fold differs from its follower's"
    state, damaged = ledger.restored(data, COLUMNS)
    assert damaged == [], "the snapshot of its stop is newer and sound"
    assert ledger.differences(state, books.state) == []
