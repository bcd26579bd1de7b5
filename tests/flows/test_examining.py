"""The doctor. Goal: each kind of damage is found and named with what to do, and health is called health.

Method: a node's directory, harmed in one way at a time.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest

from app.flows import examining
from app.flows.examining import examine
from app.flows.snapshotting import fold_and_save
from tests.node import COLUMNS, running_node, small_catalogue


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("data")

    async def live() -> None:
        async with running_node(data, things=small_catalogue()):
            pass

    asyncio.run(live())
    fold_and_save(data, COLUMNS)
    (data / "token.key").write_text("ab" * 32)
    (data / "token.key").chmod(0o600)
    return data


def findings(data: Path) -> dict[str, dict[str, Any]]:
    return {one["what"]: one for one in examine(data, COLUMNS)}


def test_a_sound_directory_is_called_sound(kept: Path) -> None:
    found = findings(kept)
    wrong = {what for what, one in found.items() if not one["ok"]}
    assert wrong <= {"cores", "memory_mib", "disk_free_mib", "fsync_ms", "open_files"}, "the machine's own"
    assert {"journal", "clock_ahead_s", "snapshots", "secrets", "sqlite", "schedule"} <= found.keys()
    assert found["snapshots"]["found"].endswith(" 0 lines behind")


def test_what_is_not_there_yet_is_no_damage(tmp_path: Path) -> None:
    assert findings(tmp_path / "data")["data"]["ok"]


def _sql(statement: str) -> Callable[[Path], None]:
    def change(data: Path) -> None:
        with closing(apsw.Connection(str(data / "journal.db"))) as connection:
            connection.execute(statement)

    return change


def _snapshot_cut(data: Path) -> None:
    [snapshot] = (data / "snapshots").iterdir()
    (snapshot / "rest").write_bytes(b"cut")


FUTURE_MS = int(time.time() * 1000) + 3_600_000
#   what happened                                                   finding          why
TABLE = [
    (_sql("DELETE FROM lines WHERE position = 4"),                  "journal",       "a line is missing"),
    (_sql("UPDATE lines SET body = x'00' WHERE position = 3"),      "journal",       "a line cannot be read"),
    (_sql("UPDATE meta SET value = 99 WHERE name = 'schema'"),      "journal",       "a later build's"),
    (lambda data: (data / "journal.db").write_bytes(b"x" * 9_000),  "journal",       "it is no journal"),
    (_sql(f"UPDATE lines SET at_ms = {FUTURE_MS}"),                 "clock_ahead_s", "the clock went back"),
    (_snapshot_cut,                                                 "damaged",       "a snapshot is damaged"),
    (_sql("DELETE FROM lines WHERE position > 3"),                  "snapshots",     "ahead of the journal"),
    (lambda data: (data / "token.key").chmod(0o644),                "secrets",       "others may read a key"),
]  # fmt: skip


@pytest.mark.parametrize(("harm", "what", "why"), TABLE, ids=[row[-1] for row in TABLE])
def test_damage_is_found_and_told_with_what_to_do(
    kept: Path, tmp_path: Path, harm: Callable[[Path], Any], what: str, why: str
) -> None:
    data = tmp_path / "data"
    shutil.copytree(kept, data)
    harm(data)
    one = next(each for each in examine(data, COLUMNS) if each["what"] == what)
    assert not one["ok"], why
    assert one["advice"]


def test_a_trimmed_journal_needs_its_snapshot(kept: Path, tmp_path: Path) -> None:
    shutil.copytree(kept, tmp_path / "data")
    _sql("DELETE FROM lines WHERE position < 5")(tmp_path / "data")
    assert findings(tmp_path / "data")["snapshots"]["ok"]
    shutil.rmtree(tmp_path / "data" / "snapshots")
    assert not findings(tmp_path / "data")["snapshots"]["ok"]


def test_a_full_disk_and_a_slow_one_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examining, "LEAST_FREE", 1.1)
    monkeypatch.setattr(examining, "SLOW_SYNC_MS", 0.0)
    found = findings(tmp_path)
    assert not found["disk_free_mib"]["ok"]
    assert not found["fsync_ms"]["ok"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_place_that_takes_no_writing_is_a_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("app.flows.examining.TemporaryDirectory", refuse)
    found = findings(tmp_path)["fsync_ms"]
    assert (found["ok"], found["found"]) == (False, os.strerror(code))
    assert str(tmp_path) in found["advice"]


def test_a_file_is_no_data_directory(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    found = findings(tmp_path / "data")["data"]
    assert (found["ok"], found["advice"]) == (False, "name a directory")
