"""Opening SQLite files: how the writers and the readers of this room are set up."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

import apsw

Row = tuple[int | float | bytes | str | None, ...]
MAX_ROWS = 128  # rows in one statement: the largest power of two that stays far below SQLite's limits
_BUSY_MS = 5_000
_STATEMENTS = 400  # kept compiled: eight sizes of a few statements over some days' tables


def give_way(niceness: int) -> None:
    """Let this thread run behind the loop's where they share a processor: ads are answered first."""
    with suppress(AttributeError, OSError):  # Linux has a priority for each thread
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)


def open_writer(
    path: Path, synchronous: Literal["FULL", "NORMAL"], vfs: str | None = None
) -> apsw.Connection:
    """Open (or make) a file in WAL mode for its one writer, who checkpoints by himself.

    Errors  apsw.Error when the file is not a database or the disk refuses.
    """
    connection = apsw.Connection(str(path), vfs=vfs, statementcachesize=_STATEMENTS)
    try:
        connection.set_busy_timeout(_BUSY_MS)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={synchronous}")
        connection.execute("PRAGMA wal_autocheckpoint=0")
        connection.execute("PRAGMA mmap_size=0")  # an I/O error in a mapping would be a signal, not an error
        connection.execute("PRAGMA cache_size=-65536")  # KiB: the id pages of the running hour
    except BaseException:
        connection.close()
        raise
    return connection


class Readers:
    """Read-only connections to one file, one for each thread that asks."""

    def __init__(self, path: Path, vfs: str | None = None) -> None:
        self._path = path
        self._vfs = vfs
        self._local = threading.local()
        self._opened: list[apsw.Connection] = []
        self._lock = threading.Lock()

    def get(self) -> apsw.Connection:
        """Give the calling thread's connection."""
        connection: apsw.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = apsw.Connection(str(self._path), flags=apsw.SQLITE_OPEN_READONLY, vfs=self._vfs)
            connection.set_busy_timeout(_BUSY_MS)
            connection.execute("PRAGMA mmap_size=0")
            self._local.connection = connection
            with self._lock:
                self._opened.append(connection)
        return connection

    def close(self) -> None:
        """Close them all; a reader that comes later opens a new one."""
        with self._lock:
            opened, self._opened = self._opened, []
        self._local = threading.local()
        for connection in opened:
            connection.close()


def execute_rows(connection: apsw.Connection, before: str, rows: Sequence[Row], after: str = "") -> None:
    """Run `before VALUES (?,..),(?,..).. after` over rows, many of them in each statement.

    Each step of a statement gives up the interpreter and may wait long to get it back beside a busy event
    loop; so a commit takes few steps. Sizes are powers of two, so that few statements are kept compiled.
    """
    start = 0
    while start < len(rows):
        size = min(MAX_ROWS, 1 << ((len(rows) - start).bit_length() - 1))
        some = rows[start : start + size]
        row = "(" + ",".join("?" * len(some[0])) + ")"
        bindings = [value for each in some for value in each]
        connection.execute(before + " VALUES " + ",".join([row] * size) + after, bindings)
        start += size


def select_in(connection: apsw.Connection, select: str, wanted: Iterable[bytes]) -> list[Row]:
    """Run `select IN (?,..)` over wanted ids, many of them in each statement."""
    found: list[Row] = []
    ids = list(wanted)
    for start in range(0, len(ids), MAX_ROWS):
        some = ids[start : start + MAX_ROWS]
        size = 1 << (len(some) - 1).bit_length()
        some += some[-1:] * (size - len(some))  # asking twice for one id finds it once
        found += connection.execute(f"{select} IN ({','.join('?' * size)})", some).fetchall()
    return found
