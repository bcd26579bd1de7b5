"""What alerts hang on: the journal's room and the snapshots' age are told as they are.

Method: a node in this process; its registry is read as a scrape reads it.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from app.flows.node import Node
from app.flows.room import look_at_room
from app.flows.snapshotting import note_newest, save
from tests.node import running_node, small_catalogue


def told(node: Node, name: str) -> float:
    found = node.counters.registry.get_sample_value(f"adjudge_{name}")
    assert found is not None
    return found


def test_journal_and_disk_are_measured(tmp_path: Path) -> None:
    async def live() -> None:
        async with running_node(tmp_path, things=small_catalogue()) as node:
            look_at_room(node)
            files = [tmp_path / "journal.db", tmp_path / "journal.db-wal"]
            assert told(node, "journal_bytes") == sum(path.stat().st_size for path in files) > 0
            assert told(node, "journal_waiting_lines") == 0
            assert 0 < told(node, "disk_free_bytes") < told(node, "disk_size_bytes")

    asyncio.run(live())


def test_the_newest_snapshot_is_told_from_the_start(tmp_path: Path) -> None:
    async def live() -> None:
        async with running_node(tmp_path, things=small_catalogue()) as node:
            now_ms = node.now_ms()
            note_newest(node)
            assert told(node, "snapshot_timestamp_seconds") * 1000 >= now_ms, "none yet: as old as this start"
            save(tmp_path / "snapshots", node.state, now_ms - 5_000)
            note_newest(node)
            assert told(node, "snapshot_timestamp_seconds") == (now_ms - 5_000) / 1000
            assert told(node, "snapshot_position") == node.state.position

    asyncio.run(live())
