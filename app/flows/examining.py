"""Is this machine fit to run a node? SQLite's version, the disk's sync time, memory, clock, ports, files."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import apsw

# 3.51.3 is the first SQLite without the WAL-reset corruption bug.
SOUND_SQLITE = (3, 51, 3)
SLOW_SYNC_MS = 20.0
MEMORY_MIB = 2_048
OPEN_FILES = 1_024
PORTS = (8000, 8001)


def examine(data: Path) -> list[dict[str, Any]]:
    """Examine the machine and the place of a data directory; each finding says whether it is well."""
    return [_sqlite(), _sync(data), _memory(), _clock(), _files(), *map(_port, PORTS)]


def _finding(what: str, found: object, ok: bool, advice: str) -> dict[str, Any]:
    return {"what": what, "found": found, "ok": ok, "advice": None if ok else advice}


def _sqlite() -> dict[str, Any]:
    version = apsw.sqlite_lib_version()
    ok = tuple(map(int, version.split("."))) >= SOUND_SQLITE
    return _finding("sqlite", version, ok, "install the locked apsw: older SQLite may corrupt a WAL")


def _sync(data: Path) -> dict[str, Any]:
    """Time fsync where the journal would stand."""
    place = data if data.is_dir() else data.absolute().parent
    if not place.is_dir():
        return _finding("fsync_ms", None, False, f"{place} does not exist")
    times = []
    with TemporaryDirectory(dir=place) as folder, (Path(folder) / "probe").open("wb", buffering=0) as file:
        for _ in range(20):
            file.write(bytes(4096))
            started = time.perf_counter()
            os.fsync(file.fileno())
            times.append((time.perf_counter() - started) * 1000)
    found = round(median(times), 3)
    return _finding("fsync_ms", found, found < SLOW_SYNC_MS, "events wait for this: use a local disk")


def _memory() -> dict[str, Any]:
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    found = pages * size >> 20
    return _finding("memory_mib", found, found >= MEMORY_MIB, f"have at least {MEMORY_MIB} MiB")


def _clock() -> dict[str, Any]:
    year = time.gmtime().tm_year
    return _finding(
        "clock", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), year >= 2025, "set the clock"
    )


def _files() -> dict[str, Any]:
    found = os.sysconf("SC_OPEN_MAX")
    return _finding("open_files", found, found >= OPEN_FILES, "raise the limit of open files")


def _port(port: int) -> dict[str, Any]:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return _finding(f"port_{port}", "taken", True, "")
    return _finding(f"port_{port}", "free", True, "")
