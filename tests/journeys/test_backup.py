"""Backup and restore. Goal: a restored node stands where the original stood at that position, and goes on.

Method: the real commands beside a real node under load; the original's journal is folded to the position of
the backup and compared hash by hash; then a node starts on the copy and is told the same events again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from app.flows.follow import fold
from app.flows.snapshotting import load
from app.journal.reader import SqliteReader
from app.offline.client import Client
from tests.journeys.commanded import Commanded
from tests.journeys.load import JSON_TYPE, Load, Memory
from tests.journeys.nursery import COLUMNS, ROOT

PATIENCE = 12
ENVIRONMENT = {**os.environ, "ADJUDGE_COLUMNS": str(COLUMNS)}


def adjudge(*arguments: object, code: int = 0) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "app", *map(str, arguments), "--json"],
        cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == code, done.stderr + done.stdout
    return json.loads(done.stdout) if done.stdout else done.stderr


async def live(node: dict[str, Any], data: Path, memory: Memory, seconds: float, copy: Path | None) -> Any:
    """Have visitors come and go for some seconds; meanwhile take a backup."""
    load_ = Load(random.Random(3), memory, node, data)
    for _ in range(
        PATIENCE
    ):  # a busy machine may take longer than a visitor waits; an import can be sent again
        with contextlib.suppress(TimeoutError):
            await load_.register()
            break
    running = asyncio.create_task(load_.run())
    told = None
    if copy is not None:
        await asyncio.sleep(seconds / 2)
        [told] = await asyncio.to_thread(adjudge, "backup", copy, "--data", data)
    await asyncio.sleep(seconds / 2)
    load_.stopped = True
    await running
    return told


async def tell_again(node: dict[str, Any], memory: Memory, upto: int) -> list[str]:
    """Report events again that the original had counted before the backup."""
    known = [(key, one) for key, one in memory.acknowledged.items() if one.position <= upto][:200]
    events = [{"token": token, "kind": kind, "id": own} for (token, kind, own), _ in known]
    async with Client(node["public"], 1) as client:
        answer = await client.post("/v1/events", JSON_TYPE, json.dumps({"events": events}).encode(), 60)
    results = json.loads(answer.body)["results"]
    assert [each["position"] for each in results] == [one.position for _, one in known]
    return [each["status"] for each in results]


@pytest.mark.slow
def test_a_restored_node_is_the_original_at_that_position(tmp_path: Path) -> None:
    data, copy, again = tmp_path / "data", tmp_path / "copy", tmp_path / "again"
    memory = Memory()
    node = Commanded(data, snapshot_every_lines=300, log_level="error")
    try:
        told = asyncio.run(live(node.ready(), data, memory, 3.0, copy))
    finally:
        node.kill()
    position = told["position"]
    with closing(SqliteReader(data / "journal.db")) as reader:
        assert 0 < position < reader.last_position, "the node went on meanwhile"
        original, _ = load(data / "snapshots", COLUMNS, position)
        fold(original, reader, position)
    [restored] = adjudge("restore", copy, "--data", again)
    assert (restored["position"], restored["hash"]) == (position, original.hash.hex())
    assert again.stat().st_mode & 0o077 == 0
    assert all(
        row["ok"] for row in adjudge("doctor", "--data", again) if row["what"] in {"journal", "secrets"}
    )
    node = Commanded(again, log_level="error")
    try:
        urls = node.ready()
        assert urls["position"] >= position
        statuses = asyncio.run(tell_again(urls, memory, position))
        assert set(statuses) == {"repeat"}
        assert len(statuses) > 50
        assert "data_locked" in adjudge("snapshot", "make", "--data", again, code=1)
    finally:
        node.kill()
    assert adjudge("rotate", "tokens", "--data", again) == [{"secrets": 2}]
    assert adjudge("rotate", "admin", "--data", again) == [{"admin_key": str(again / "admin.key")}]
    [made] = adjudge("snapshot", "make", "--data", again)
    assert adjudge("snapshot", "ls", "--data", again)[0]["position"] == made["position"] >= position
    assert all(row["sound"] for row in adjudge("snapshot", "verify", "--data", again))
