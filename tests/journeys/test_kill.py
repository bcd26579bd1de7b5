"""Whatever a node acknowledged survives `kill -9` at any instant: once, at its position, billed as said.

Method: nodes are forked (`nursery.py`), loaded over real sockets (`load.py`) and killed at seeded instants:
under load, while they start and catch up (with people at the door or not), while their followers write
snapshots (killed with them, or left to finish beside the next node). Between lives a second pair of books
(`ledger.py`) folds the journal from its first line and holds it against every answer that was given, and
against snapshot + rest.

`ADJUDGE_KILLS` sets how many kills, e.g. `ADJUDGE_KILLS=1000 pytest tests/journeys/test_kill.py`; 200 by
default. As many as `LIVES` share a data directory; the next ones begin with an empty one.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
from pathlib import Path
from time import monotonic, sleep

import pytest

from app.flows.tracing import retrace_sample
from tests.journeys import ledger
from tests.journeys.commanded import Commanded
from tests.journeys.load import Load, Memory
from tests.journeys.nursery import COLUMNS, Forked, Nursery, nursery

KILLS = int(os.environ.get("ADJUDGE_KILLS", "200"))
LIVES = 50  # in a data directory
CHECK_EVERY = 17
AT_START = 0.1  # share of the kills that come while a node starts
EARLY = 0.3  # share of the lives in which people come before the node is ready
COMMANDS = 10  # kills of the real command, which takes two seconds to start
LEFT_BEHIND_S = 20.0  # how long its processes may take to notice


async def live_and_die(
    node: Forked | Commanded,
    chance: random.Random,
    memory: Memory,
    data: Path,
    longest_s: float = 0.2,
    followers: bool | None = None,
) -> None:
    """Load a node, and kill it at a moment that it cannot know, with its followers or (by chance) alone."""
    load = Load(chance, memory, node.ready(), data)
    if not memory.sent_names:
        await load.register()
    visiting = asyncio.ensure_future(load.run())
    await asyncio.sleep(chance.uniform(0.01, longest_s))
    node.kill(followers=chance.random() < 0.5 if followers is None else followers)
    load.stopped = True
    await visiting


async def be_awaited_and_die(node: Forked, load: Load, chance: random.Random) -> None:
    """Load a node from before it listens, through its catching up, and kill it."""
    load.early = True
    visiting = asyncio.ensure_future(load.run())
    await asyncio.sleep(chance.uniform(0.05, 0.25))
    load.stopped = True
    node.kill()
    await visiting


async def one_life(nodes: Nursery, ports: tuple[int, int], memory: Memory, data: Path, seed: str) -> None:
    chance = random.Random(seed)
    fate = chance.random() if memory.names else 1.0
    node = nodes.node(data, ports)
    try:
        if fate < AT_START:
            await asyncio.sleep(chance.uniform(0.0, 0.09))
        elif fate < AT_START + EARLY:
            public, admin = (f"http://127.0.0.1:{port}" for port in ports)
            await be_awaited_and_die(
                node, Load(chance, memory, {"public": public, "admin": admin}, data), chance
            )
        else:
            await live_and_die(node, chance, memory, data)
    finally:
        node.kill()


def free_ports() -> tuple[int, int]:
    """Find two ports that nobody listens on, so that a node can come back where it was."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]


def check(data: Path, memory: Memory) -> ledger.Books:
    """Hold the journal against all answers, and the restored state against the fold of the journal."""
    books = ledger.read_books(data, COLUMNS)
    ledger.check_acknowledged(books, memory)
    state, damaged = ledger.restored(data, COLUMNS)
    assert damaged == []
    assert ledger.differences(books.state, state) == []
    traced = retrace_sample(data, COLUMNS, 30, seed=len(memory.acknowledged))
    assert [one.decision_id for one in traced if not one.agrees] == []
    return books


@pytest.mark.slow
@pytest.mark.parametrize("directory", range(-(-KILLS // LIVES)))
def test_a_killed_node_loses_nothing_acknowledged(directory: int, tmp_path: Path) -> None:
    memory, data, ports = Memory(), tmp_path / "data", free_ports()
    with nursery() as nodes:
        for life in range(1, min(LIVES, KILLS - directory * LIVES) + 1):
            asyncio.run(one_life(nodes, ports, memory, data, f"{directory}:{life}"))
            if life % CHECK_EVERY == 0:
                nodes.settle()
                check(data, memory)
        # The last node is not killed: it answers what the dead ones left unanswered, and stops in peace.
        node = nodes.node(data, ports)
        asyncio.run(Load(random.Random(directory), memory, node.ready(), data).settle())
        node.stop()
        nodes.settle()
    books = check(data, memory)
    check_the_story(books, memory, data)


@pytest.mark.slow
def test_the_killed_command_loses_nothing_acknowledged(tmp_path: Path) -> None:
    chance, memory, data = random.Random("command"), Memory(), tmp_path / "data"
    for _ in range(COMMANDS):
        node = Commanded(data, snapshot_every_lines=150)
        try:
            asyncio.run(live_and_die(node, chance, memory, data, longest_s=0.8))
        finally:
            node.kill()
    node = Commanded(data)
    asyncio.run(Load(chance, memory, node.ready(), data).settle())
    assert node.stop() == 0
    check_the_story(check(data, memory), memory, data)


@pytest.mark.slow
def test_a_killed_command_leaves_no_process_behind(tmp_path: Path) -> None:
    """Its worker and its snapshot's follower see that it is gone, and go too."""
    chance, data = random.Random("orphans"), tmp_path / "data"
    node = Commanded(data, snapshot_every_lines=50)
    try:
        asyncio.run(live_and_die(node, chance, Memory(), data, longest_s=0.5, followers=False))
        deadline = monotonic() + LEFT_BEHIND_S
        while node.left_behind() and monotonic() < deadline:
            sleep(0.1)
        assert not node.left_behind()
    finally:
        node.kill()


def check_the_story(books: ledger.Books, memory: Memory, data: Path) -> None:
    """Else the kills would prove little: much was acknowledged, much retried, and snapshots were made."""
    log = ledger.log_events(data)
    assert len(memory.acknowledged) > 500
    assert memory.repeats, "no event was taken by a node that died before it could say so"
    assert memory.refunded
    assert memory.retried
    assert ledger.logged(log, "snapshot")
    failed = [event["error"] for event in ledger.logged(log, "snapshot_failed")]
    assert not [error for error in failed if "the node has" in error], "a follower's fold differs"
    assert any(receipt.unbilled_micros for receipt in books.receipts.values()), "no budget was reached"
    assert any(receipt.status == "held" for receipt in books.receipts.values())
