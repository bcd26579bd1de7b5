"""Is this machine fit to run a node, and is what a data directory holds sound? Nothing is changed.

It may run beside a node: files are read as its followers read them.
"""

from __future__ import annotations

import os
import resource
import shutil
import socket
import time
from contextlib import closing, suppress
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import apsw

from app.domain.refusals import Refused
from app.flows.snapshotting import restored
from app.journal import snapshots
from app.journal.reader import UNREADABLE, SqliteReader
from app.journal.sqlite import SCHEMA

# 3.51.3 is the first SQLite without the WAL-reset corruption bug.
SOUND_SQLITE = (3, 51, 3)
SLOW_SYNC_MS = 20.0
MEMORY_MIB = 2_048
OPEN_FILES = 1_024
CORES = 2
LEAST_FREE = 0.1
LEAST_FREE_MIB = 1_024
PORTS = (8000, 8001)
SECRETS = ("admin.key", "admin.key.sha256", "token.key", "user.key")
READ_LINES = 10_000
Finding = dict[str, Any]


def examine(data: Path, columns: int) -> list[Finding]:
    """Examine the machine, the place of a data directory, and what it holds; each finding says if it is well.

    Cost    reads the journal and the newest snapshot whole: seconds for each GiB.
    """
    machine = [_sqlite(), _sync(data), _room(data), _memory(), _cores(), _schedule(), _clock(), _files()]
    ports = [_port(port) for port in PORTS]
    if data.exists() and not data.is_dir():
        return [*machine, *ports, _finding("data", f"{data} is a file", False, "name a directory")]
    if not (data / "journal.db").exists():
        return [*machine, *ports, _finding("data", f"{data} holds no journal yet", True, "")]
    journal = _journal(data)
    if not journal[0]["ok"]:
        return [*machine, *ports, *journal, _secrets(data)]
    return [*machine, *ports, *journal, *_snapshots(data, columns), _secrets(data)]


def _finding(what: str, found: object, ok: bool, advice: str) -> Finding:
    return {"what": what, "found": found, "ok": ok, "advice": None if ok else advice}


# The machine.


def _sqlite() -> Finding:
    version = apsw.sqlite_lib_version()
    ok = tuple(map(int, version.split("."))) >= SOUND_SQLITE
    return _finding("sqlite", version, ok, "install the locked apsw: older SQLite may corrupt a WAL")


def _place(data: Path) -> Path:
    return data if data.is_dir() else data.absolute().parent


def _sync(data: Path) -> Finding:
    """Time fsync where the journal would stand."""
    place = _place(data)
    if not place.is_dir():
        return _finding("fsync_ms", None, False, f"{place} does not exist")
    try:
        found = round(median(_sync_times_ms(place)), 3)
    except OSError as error:
        advice = f"nothing can be written in {place}: make room there, or give its user the right to"
        return _finding("fsync_ms", error.strerror, False, advice)
    return _finding("fsync_ms", found, found < SLOW_SYNC_MS, "events wait for this: use a local disk")


def _sync_times_ms(place: Path) -> list[float]:
    times = []
    with TemporaryDirectory(dir=place) as folder, (Path(folder) / "probe").open("wb", buffering=0) as file:
        for _ in range(20):
            os.write(file.fileno(), bytes(4096))
            started = time.perf_counter()
            os.fsync(file.fileno())
            times.append((time.perf_counter() - started) * 1000)
    return times


def _room(data: Path) -> Finding:
    place = _place(data)
    if not place.is_dir():
        return _finding("disk_free_mib", None, False, f"{place} does not exist")
    disk = shutil.disk_usage(place)
    ok = disk.free >= LEAST_FREE * disk.total and disk.free >> 20 >= LEAST_FREE_MIB
    return _finding("disk_free_mib", disk.free >> 20, ok, "make room: at a full disk events are refused")


def _memory() -> Finding:
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    bounds = [pages * size, _bound("memory.max")]
    found = min(bound for bound in bounds if bound is not None) >> 20
    return _finding("memory_mib", found, found >= MEMORY_MIB, f"have at least {MEMORY_MIB} MiB")


def _bound(name: str) -> int | None:
    """Read a bound of the container that we may be in."""
    with suppress(OSError, ValueError):
        return int(Path("/sys/fs/cgroup", name).read_text().split()[0])
    return None


def _cores() -> Finding:
    found = float(len(os.sched_getaffinity(0)))
    quota = _bound("cpu.max")
    if quota is not None:
        found = min(found, quota / 100_000)
    advice = "snapshots, archive and reports need a core beside the loop's"
    return _finding("cores", found, found >= CORES, advice)


def _schedule() -> Finding:
    """May a process step back? Snapshots are made by ones that run only when nobody else wants to."""
    name = {os.SCHED_OTHER: "other", os.SCHED_IDLE: "idle", os.SCHED_BATCH: "batch"}
    found = os.sched_getscheduler(0)
    ok = found == os.SCHED_OTHER
    return _finding("schedule", name.get(found, "real-time"), ok, "run the node under the usual scheduler")


def _clock() -> Finding:
    now = time.gmtime()
    return _finding("clock", time.strftime("%Y-%m-%dT%H:%M:%SZ", now), now.tm_year >= 2025, "set the clock")


def _files() -> Finding:
    found = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _finding("open_files", found, found >= OPEN_FILES, "raise the limit of open files")


def _port(port: int) -> Finding:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return _finding(f"port_{port}", "taken", True, "")
    return _finding(f"port_{port}", "free", True, "")


# The data.


def _journal(data: Path) -> list[Finding]:
    path = data / "journal.db"
    try:
        with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
            checked = connection.execute("PRAGMA quick_check(1)").fetchone()
            schema = connection.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone()
    except apsw.Error as error:
        return [_finding("journal", str(error), False, "bring back a backup: `adjudge restore`")]
    if checked != ("ok",):
        return [_finding("journal", str(checked), False, "bring back a backup: `adjudge restore`")]
    if schema is not None and int(str(schema[0])) > SCHEMA:
        return [_finding("journal", f"schema {schema[0]}", False, "a later build wrote it: run that one")]
    return _lines(path)


def _lines(path: Path) -> list[Finding]:
    """Read every line: none is missing, none unreadable, and none is of the future."""
    with closing(SqliteReader(path)) as reader:
        first, last = reader.first_position, reader.last_position
        position = first - 1 if first else 0
        flaw = ""
        try:
            while not flaw and (entries := reader.read(position, READ_LINES)):
                for entry in entries:
                    if entry.position != position + 1:
                        flaw = f"no line at {position + 1}"
                        break
                    position = entry.position
        except Refused as error:
            found = error.message.removesuffix(f": {UNREADABLE}")
            return [_finding("journal", found, False, UNREADABLE)]
        except Exception as error:  # whatever is wrong with a line, it is this finding
            flaw = f"behind line {position}: {error}"
        if flaw:
            return [_finding("journal", flaw, False, "bring back a backup: `adjudge restore`")]
        ahead_s = (reader.last_ms() - time.time_ns() // 1_000_000) / 1000
    found = f"lines {first} to {last}"
    clock = _finding(
        "clock_ahead_s",
        round(max(ahead_s, 0.0), 1),
        ahead_s < 5,
        "the clock went back: the node's stands still",
    )
    return [_finding("journal", found, True, ""), clock]


def _snapshots(data: Path, columns: int) -> list[Finding]:
    """Is there one to start from? Where the journal is trimmed there has to be."""
    damaged, newest = [], None
    for one in snapshots.listing(data / "snapshots"):
        try:
            state = restored(one.path, columns)
        except snapshots.Damaged as error:
            damaged.append(f"{one.path.name}: {error.reason}")
            continue
        newest = state.position
        break
    with closing(SqliteReader(data / "journal.db")) as reader:  # behind the snapshots: a node may be at work
        trimmed, last = reader.trimmed_through, reader.last_position
    ok = (newest is not None and trimmed <= newest <= last) or (newest is None and not trimmed)
    advice = "without one a trimmed journal cannot be started from: bring back a backup, or the build before"
    found = "none yet" if newest is None else f"newest sound at {newest}, {last - newest} lines behind"
    findings = [_finding("snapshots", found, ok, advice)]
    if damaged:
        findings.append(
            _finding("damaged", "; ".join(damaged), False, "remove them; the node passes them over")
        )
    return findings


def _secrets(data: Path) -> Finding:
    there = [data / name for name in SECRETS if (data / name).exists()]
    loose = [path.name for path in there if path.stat().st_mode & 0o077]
    return _finding("secrets", ", ".join(loose) or "their owner's alone", not loose, "chmod 600 them")
