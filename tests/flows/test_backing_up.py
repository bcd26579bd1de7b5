"""Backups: what is refused, and that damage is told. Goal: nobody starts a node on half a copy.

Method: a node's directory in this process, copied while it is open; files of the copy changed by hand.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.domain.refusals import Refused
from app.flows.backing_up import back_up, bring_back
from app.flows.snapshotting import fold_and_save
from tests.node import COLUMNS, ask_for, decide, running_node, send, small_catalogue


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A backup of a node that is at work, and what it told."""
    folder = tmp_path_factory.mktemp("node")
    data, target = folder / "data", folder / "copy"
    data.mkdir()

    async def live() -> dict[str, Any]:
        async with running_node(data, things=small_catalogue()) as node:
            for _ in range(20):
                for ad in decide(node, ask_for("plc-1")).ads:
                    await send(node, "impression", ad)
            fold_and_save(data, COLUMNS)
            for ad in decide(node, ask_for("plc-2")).ads:
                await send(node, "impression", ad)
            (data / "token.key").write_text("ab" * 32)
            (data / "archive").mkdir()
            (data / "archive" / "hour.parquet").write_bytes(b"an hour")
            (data / "lock").touch()
            (data / "kernels").mkdir()
            told = back_up(data, target)
            assert told["position"] == node.journal.last_position
            return {**told, "hash": node.state.hash.hex()}

    return target, asyncio.run(live())


def test_it_holds_all_but_what_is_this_machines_own(copy: tuple[Path, dict[str, Any]]) -> None:
    target, _ = copy
    there = {path.name.split("-")[0] for path in target.iterdir()}
    assert there == {"archive", "backup.json", "decisions.db", "journal.db", "snapshots", "token.key"}
    assert target.stat().st_mode & 0o077 == 0


def test_it_comes_back_as_it_was(copy: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    target, told = copy
    back = bring_back(target, tmp_path / "data", COLUMNS)
    assert (back["position"], back["hash"], back["damaged"]) == (told["position"], told["hash"], [])
    assert (tmp_path / "data" / "archive" / "hour.parquet").read_bytes() == b"an hour"


def _cut(name: str) -> Callable[[Path], None]:
    def cut(folder: Path) -> None:
        (folder / name).write_bytes((folder / name).read_bytes()[:-1] + b"!")

    return cut


#   what happens to the copy                              code               why
TABLE = [
    (lambda folder: (folder / "backup.json").unlink(),    "no_backup",       "it was cut short"),
    (_cut("backup.json"),                                 "backup_damaged",  "its manifest is"),
    (_cut("journal.db"),                                  "backup_damaged",  "a file is not what it was"),
    (lambda folder: (folder / "token.key").unlink(),      "backup_damaged",  "a file is missing"),
]  # fmt: skip


@pytest.mark.parametrize(("harm", "code", "why"), TABLE)
def test_a_damaged_one_is_refused(
    copy: tuple[Path, dict[str, Any]], tmp_path: Path, harm: Callable[[Path], Any], code: str, why: str
) -> None:
    shutil.copytree(copy[0], tmp_path / "copy")
    harm(tmp_path / "copy")
    with pytest.raises(Refused) as refused:
        bring_back(tmp_path / "copy", tmp_path / "data", COLUMNS)
    assert refused.value.code == code, why


def test_nothing_is_written_over(copy: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    works: list[Callable[[], Any]] = [
        lambda: back_up(copy[0], tmp_path),
        lambda: bring_back(copy[0], tmp_path, COLUMNS),
    ]
    for work in works:
        with pytest.raises(Refused) as refused:
            work()
        assert refused.value.code == "not_empty"


def test_where_there_is_no_journal_there_is_no_backup(tmp_path: Path) -> None:
    with pytest.raises(Refused) as refused:
        back_up(tmp_path, tmp_path / "copy")
    assert refused.value.code == "no_data"
