"""A copy of a data directory from which a node goes on as the original stood: taken while that one works.

Order is everything. Snapshots first, then the journal in one read transaction (it reaches at least as far as
they do, and its writer does not wait), then whatever its lines name: lists, models, archive. The manifest is
written last, with a sha256 of every file: what has none is no backup.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import apsw
import msgspec

from app import __version__
from app.domain.refusals import Refused
from app.flows.follow import fold
from app.flows.snapshotting import load
from app.journal import snapshots
from app.journal.folders import sync_folder
from app.journal.reader import SqliteReader

MANIFEST = "backup.json"
STORES = ("decisions.db", "journal.db")  # the journal last
SNAPSHOTS = 2  # the newest; should one be damaged there is another
# Of this machine and this run alone, or copied in its own way.
_LEFT_OUT = (
    "lock",
    "kernels",
    "snapshots",
    *(f"{name}{end}" for name in STORES for end in ("", "-wal", "-shm")),
)
_BLOCK = 1 << 20


class Manifest(msgspec.Struct, frozen=True):
    """What a backup holds: the journal's last position, and every file's sha256."""

    version: str
    position: int
    at_ms: int
    files: dict[str, str]


def back_up(data: Path, target: Path) -> dict[str, Any]:
    """Copy a data directory into a new one; a node may be at work on it.

    Errors  Refused: `no_data`, `not_empty`, `backup_failed`. OSError and apsw.Error when a disk refuses.
    """
    if not (data / "journal.db").exists():
        raise Refused("no_data", f"{data} holds no journal")
    _make(target)
    _copy_snapshots(data / "snapshots", target / "snapshots")
    _copy_files(data, target)  # before and after the journal: what it names may leave meanwhile
    for name in STORES:
        if (data / name).exists():
            _copy_store(data / name, target / name)
    _copy_files(data, target)
    with closing(SqliteReader(target / "journal.db")) as reader:
        position, trimmed = reader.last_position, reader.trimmed_through
    if trimmed and not any(one.position >= trimmed for one in snapshots.listing(target / "snapshots")):
        raise Refused(
            "backup_failed", "the journal was trimmed beyond the snapshots that were copied; try again"
        )
    files = {str(path.relative_to(target)): _sum_of(path) for path in _files(target)}
    manifest = Manifest(__version__, position, time.time_ns() // 1_000_000, files)
    _write(target / MANIFEST, msgspec.json.encode(manifest))
    size = sum((target / name).stat().st_size for name in files)
    return {"backup": str(target), "position": position, "files": len(files), "bytes": size}


def bring_back(backup: Path, data: Path, columns: int) -> dict[str, Any]:
    """Make a data directory out of a backup, every byte held against its manifest, and fold its journal.

    Errors  Refused: `no_backup`, `backup_damaged`, `not_empty`, `journal_trimmed`.
    """
    manifest = _manifest_of(backup)
    _make(data)
    for name, expected in manifest.files.items():
        if not (backup / name).is_file():
            raise Refused("backup_damaged", f"{name} is missing")
        _copy_file(backup / name, data / name)
        if _sum_of(data / name) != expected:
            raise Refused("backup_damaged", f"{name} is not what it was")
    state, damaged = load(data / "snapshots", columns)
    with closing(SqliteReader(data / "journal.db")) as reader:
        fold(state, reader)
    state.check()
    told = {"data": str(data), "position": state.position, "hash": state.hash.hex(), "damaged": damaged}
    if state.position != manifest.position:
        raise Refused("backup_damaged", f"its lines end at {state.position}, not at {manifest.position}")
    return told


def _make(folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()):
        raise Refused("not_empty", f"{folder} is not empty")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # keys and people's data are nobody else's


def _manifest_of(backup: Path) -> Manifest:
    try:
        manifest = msgspec.json.decode((backup / MANIFEST).read_bytes(), type=Manifest)
    except OSError as error:
        raise Refused(
            "no_backup", f"{backup} holds no {MANIFEST}: it is no backup, or not a whole one"
        ) from error
    except msgspec.MsgspecError as error:
        raise Refused("backup_damaged", f"{MANIFEST}: {error}") from error
    for name in manifest.files:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise Refused("backup_damaged", f"{MANIFEST} names {name}")
    return manifest


def _copy_store(source: Path, target: Path) -> None:
    """Copy a SQLite file in one read transaction: its writer goes on beside it."""
    with (
        closing(apsw.Connection(str(source), flags=apsw.SQLITE_OPEN_READONLY)) as old,
        closing(apsw.Connection(str(target))) as new,
    ):
        old.set_busy_timeout(5_000)
        with new.backup("main", old, "main") as copying:
            copying.step()
        found = new.execute("PRAGMA quick_check(1)").fetchone()
        new.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    if found != ("ok",):
        raise Refused("backup_failed", f"{source.name}: {found[0] if found else 'unreadable'}")
    target.chmod(0o600)


def _copy_snapshots(source: Path, target: Path) -> None:
    """Copy the newest sound snapshots. One that is pruned meanwhile is passed over."""
    target.mkdir(mode=0o700)
    for one in snapshots.listing(source):
        if len(list(target.iterdir())) == SNAPSHOTS:
            break
        try:
            shutil.copytree(one.path, target / one.path.name)
            snapshots.read(target / one.path.name)
        except (OSError, shutil.Error, snapshots.Damaged):
            shutil.rmtree(target / one.path.name, ignore_errors=True)


def _copy_files(data: Path, target: Path) -> None:
    for path in _files(data):
        name = path.relative_to(data)
        if name.parts[0] in _LEFT_OUT or path.name.startswith(("making-", ".")):
            continue
        with suppress(FileNotFoundError):  # it is gone: nothing in force names it
            _copy_file(path, target / name)


def _copy_file(source: Path, target: Path) -> None:
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.copy2(source, target)
    with target.open("rb") as file:
        os.fsync(file.fileno())
    sync_folder(target.parent)


def _write(path: Path, content: bytes) -> None:
    making = path.with_suffix(".new")
    with making.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    making.replace(path)
    sync_folder(path.parent)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != MANIFEST)


def _sum_of(path: Path) -> str:
    digest = sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
