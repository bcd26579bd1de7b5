"""Snapshots by a short-lived follower process, which proves the fold while it is at it.

The follower loads the last sound snapshot, folds the journal to the position that it was told, compares
its running hash with the node's, and writes the state it arrived at. The node only starts it and waits.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Any

import structlog

from app.domain.lines import Verdict
from app.flows.follow import fold
from app.flows.loading import trained_under
from app.flows.node import Node
from app.journal import snapshots
from app.journal.reader import SqliteReader
from app.journal.snapshots import Damaged
from app.rules.features import SCHEMA_VERSION
from app.state import saving
from app.state.state import State
from app.state.version import RESTORED_FROM, STATE_VERSION

LOG = structlog.get_logger()
CHECK_S = 1.0


class FoldDiffers(Exception):
    """Two folds of the same lines came to different states: a bug, or a damaged machine."""


def load(folder: Path, columns: int, upto: int | None = None) -> tuple[State, list[str]]:
    """Restore the newest sound snapshot (at or before a position), or an empty state.

    It reads trained models where a data directory has them: beside the snapshots.
    Returns the state and the names of damaged snapshots that were refused.
    """
    damaged: list[str] = []
    trained = trained_under(folder.parent)
    for listed in sorted(snapshots.listing(folder), key=lambda one: one.position, reverse=True):
        if upto is not None and listed.position > upto:
            continue
        try:
            state = restored(listed.path, columns)
        except Damaged as error:
            damaged.append(f"{listed.path.name}: {error}")
        else:
            state.trained = trained
            return state, damaged
    state = State(columns)
    state.trained = trained
    return state, damaged


def restored(path: Path, columns: int) -> State:
    """Read a snapshot and make its state.

    Errors  Damaged, also when it is sound and another build wrote it.
    """
    snapshot = snapshots.read(path)
    if snapshot.facts.get("schema_version") != SCHEMA_VERSION:
        raise Damaged("of another feature schema")
    fold_of = snapshot.facts.get("state_version", 0)
    if not RESTORED_FROM <= fold_of <= STATE_VERSION:
        raise Damaged(f"of another build: state version {fold_of}, not {RESTORED_FROM} to {STATE_VERSION}")
    state = State(columns)
    try:
        saving.restore(state, snapshot.position, snapshot.parts)
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise Damaged(f"of another build: {error}") from error
    return state


def save(folder: Path, state: State, at_ms: int) -> Path:
    """Write a state as a snapshot."""
    facts = {
        "schema_version": SCHEMA_VERSION, "state_version": STATE_VERSION, "clock_ms": state.clock_ms,
        "at_ms": at_ms, "hash": state.hash.hex(), "columns": state.model.columns,
    }  # fmt: skip
    return snapshots.write(folder, state.position, saving.parts(state), facts)


def follow_and_save(
    data: Path, columns: int, position: int, expected_hash: str, at_ms: int
) -> dict[str, Any]:
    """Do a follower's work; returns what it did.

    Errors  FoldDiffers when the fold does not arrive at the node's hash: nothing is written then.
    """
    started = perf_counter()
    state, damaged = load(data / "snapshots", columns, position)
    reader = SqliteReader(data / "journal.db")
    first = state.position
    verdicts: list[tuple[bytes, Verdict]] = fold(state, reader, position)
    if state.hash.hex() != expected_hash:
        raise FoldDiffers(f"at {position}: {state.hash.hex()}, the node has {expected_hash}")
    state.check()
    path = save(data / "snapshots", state, at_ms)
    return {
        "path": path.name, "position": position, "lines": position - first, "verdicts": len(verdicts),
        "damaged": damaged, "seconds": round(perf_counter() - started, 3),
    }  # fmt: skip


def fold_and_save(data: Path, columns: int) -> dict[str, Any]:
    """Fold a journal that nobody writes to, and snapshot where it ends; returns what was done.

    Errors  Refused("journal_trimmed") when no snapshot reaches the lines that are left.
    """
    state, damaged = load(data / "snapshots", columns)
    first, reader = state.position, SqliteReader(data / "journal.db")
    fold(state, reader)
    state.check()
    path = save(data / "snapshots", state, max(state.clock_ms, reader.last_ms()))
    reader.close()
    lines = state.position - first
    return {"name": path.name, "position": state.position, "lines": lines, "damaged": damaged}


async def snapshot_now(node: Node, *, idle: bool = True) -> dict[str, Any]:
    """Have a follower snapshot the node's present position; returns what it did.

    It runs when nobody else wants the processor, unless not `idle`: a node that ends has no ads to answer.
    Verdicts up to there are durable first: lines at or before a snapshot are never folded again.
    Errors  FoldDiffers, and RuntimeError when the follower failed otherwise.
    """
    settings, state = node.settings, node.state
    position, expected = state.position, state.hash.hex()
    while node.journal.verdicts_through < position:  # noqa: ASYNC110 - told by another thread, soon
        await asyncio.sleep(0.02)
    arguments = (settings.data, settings.columns, position, expected, node.now_ms(), int(idle))
    follower_end, node_end = os.pipe()
    try:
        process = await asyncio.to_thread(_follower, arguments, follower_end)
        if idle:
            yield_to_the_node(process.pid)
        out, err = await asyncio.to_thread(process.communicate)
    finally:
        os.close(node_end)  # open until now: its end tells a follower that its node is gone
    if process.returncode == 3:
        raise FoldDiffers(err.decode().strip())
    if process.returncode != 0:
        raise RuntimeError(f"the snapshot's follower failed: {err.decode()[-2000:]}")
    node.counters.snapshot_position.set(position)
    node.counters.snapshot_seconds.set(node.now_ms() / 1000)
    kept = settings.snapshots, settings.trace_hours, node.now_ms()
    await asyncio.to_thread(
        snapshots.prune, settings.data / "snapshots", *kept
    )  # deleting takes milliseconds
    answer: dict[str, Any] = json.loads(out)
    return answer


def note_newest(node: Node) -> None:
    """Tell the metrics of the newest snapshot that is there as the node starts."""
    sound = [one for one in snapshots.listing(node.settings.data / "snapshots") if one.reason is None]
    if sound:
        node.counters.snapshot_position.set(sound[0].position)
    newest_ms = sound[0].facts.get("at_ms") if sound else None
    node.counters.snapshot_seconds.set((newest_ms or node.now_ms()) / 1000)


def _follower(arguments: Sequence[object], stdin: int) -> subprocess.Popen[bytes]:
    """Start the process. Off the loop, and not by the loop: uvloop forks, which takes milliseconds of it."""
    command = (sys.executable, "-m", "app.flows.snapshotting", *map(str, arguments))
    with open(stdin, "rb", buffering=0) as read:
        return subprocess.Popen(command, stdin=read, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


async def snapshot_forever(node: Node) -> None:
    """Snapshot every so many seconds or lines, whichever comes first."""
    settings = node.settings
    note_newest(node)
    last_position, last_s = node.state.position, perf_counter()
    while True:
        await asyncio.sleep(CHECK_S)
        lines, age_s = node.state.position - last_position, perf_counter() - last_s
        if lines < settings.snapshot_every_lines and age_s < settings.snapshot_every_s:
            continue
        last_position, last_s = node.state.position, perf_counter()
        try:
            LOG.info("snapshot", **await snapshot_now(node))
        except (FoldDiffers, RuntimeError) as error:
            node.counters.snapshot_failures.inc()
            LOG.error("snapshot_failed", error=str(error))  # noqa: TRY400 - the text says it all


def yield_to_the_node(pid: int = 0) -> None:
    """Let a process (this one) run only when nobody else wants the processor: the loop answers ads meanwhile.

    Its parent says so as soon as it is there: a second of imports at the node's own priority was a p99 of
    80 ms. When these processes were merely nice, it was seconds.
    """
    with suppress(AttributeError, OSError):  # Linux has it; the process may have ended
        os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))


def main(arguments: Sequence[str]) -> int:
    """Run as the follower process: DATA COLUMNS POSITION HASH AT_MS IDLE."""
    data, columns, position, expected, at_ms, idle = arguments
    threading.Thread(target=_die_with_the_node, daemon=True).start()
    if int(idle):
        yield_to_the_node()
    try:
        done = follow_and_save(Path(data), int(columns), int(position), expected, int(at_ms))
    except FoldDiffers as error:
        print(error, file=sys.stderr)
        return 3
    print(json.dumps(done))
    return 0


def _die_with_the_node() -> None:
    """End a follower whose node was killed, before the next node's follower writes beside it."""
    while os.read(0, 4_096):  # not sys.stdin: a thread may not hold its lock when the interpreter ends
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
