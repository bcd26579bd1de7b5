"""Decisions as they were taken, kept to be explained: a second file, bounded, on a thread of its own.

They explain, they are not money. So a record may be lost with the power (`synchronous=NORMAL`) or when the
disk cannot follow, which is counted, but the thread that decides never waits.
"""

from __future__ import annotations

import logging
import random
import threading
from collections import deque
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import cast

import apsw
import msgspec

from app.domain.decisions import Record
from app.journal.connections import Readers, Row, execute_rows, open_writer

KEY_BYTES = 14  # of a decision id: the part that all placements of a request share
MAX_BYTES = 2 * 1024**3
MAX_BUFFERED = 20_000
FLUSH_S = 0.1
_CHUNK = 1_000  # records written at a time, and oldest ones deleted, so that no step takes long
_WAL_BYTES = 16 * 1024**2

_log = logging.getLogger(__name__)
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Record).decode

# Records come in the order of their positions, so `number` orders by position too.
_TABLES = """
CREATE TABLE IF NOT EXISTS decisions(
  number INTEGER PRIMARY KEY,
  key BLOB NOT NULL,
  request_id TEXT NOT NULL,
  position INTEGER NOT NULL,
  at_ms INTEGER NOT NULL,
  body BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS decisions_by_key ON decisions(key);
CREATE INDEX IF NOT EXISTS decisions_by_request ON decisions(request_id);
"""
_INSERT = "INSERT INTO decisions(key, request_id, position, at_ms, body)"
_BODY = "SELECT body FROM decisions"


class DecisionReader:
    """Reads kept decisions through a read-only connection of each calling thread's own.

    A reader needs no store in its process: a command or a worker opens the file by itself.
    """

    def __init__(self, path: Path | str) -> None:
        self._readers = Readers(Path(path))

    def get(self, decision_id: bytes) -> Record | None:
        """Find the record of the request that a decision belongs to."""
        found = self._bodies(_BODY + " WHERE key = ? LIMIT 1", decision_id[:KEY_BYTES])
        return found[0] if found else None

    def by_request(self, request_id: str, limit: int) -> list[Record]:
        """List the decisions taken for a request id of the caller's, the latest first."""
        query = _BODY + " WHERE request_id = ? ORDER BY number DESC LIMIT ?"
        return self._bodies(query, request_id, limit)

    def sample(self, count: int, seed: int, after_position: int = 0) -> list[Record]:
        """Draw records spread evenly over those behind a position, in the order of their positions.

        All of them where there are no more than `count`. The same seed draws the same of the same.
        """
        first, last = self._first_number(after_position), self._number("SELECT max(number) FROM decisions")
        available = last - first + 1
        if count <= 0 or available <= 0:
            return []
        if available <= count:
            return self._bodies(_BODY + " WHERE number >= ? ORDER BY number", first)
        chance = random.Random(seed)
        # One from each of `count` stretches of about equal length: never twice the same.
        edges = [first + available * part // count for part in range(count + 1)]
        numbers = (chance.randrange(low, high) for low, high in pairwise(edges))
        return [each for number in numbers for each in self._bodies(_BODY + " WHERE number = ?", number)]

    def count(self) -> int:
        """Tell how many records are kept."""
        # Two look-ups; max and min in one query would read the whole table.
        last = self._number("SELECT max(number) FROM decisions")
        return last and last - self._number("SELECT min(number) FROM decisions") + 1

    def oldest_position(self) -> int:
        """Tell the journal position of the oldest record kept; 0 when there is none."""
        return self._number("SELECT position FROM decisions ORDER BY number LIMIT 1")

    def close(self) -> None:
        """Close every thread's connection."""
        self._readers.close()

    def _bodies(self, query: str, *bindings: int | str | bytes) -> list[Record]:
        rows = self._readers.get().execute(query, bindings).fetchall()
        return [_decode(cast(bytes, row[0])) for row in rows]

    def _number(self, query: str, *bindings: int) -> int:
        row = self._readers.get().execute(query, bindings).fetchone()
        return 0 if row is None or row[0] is None else cast(int, row[0])

    def _first_number(self, after_position: int) -> int:
        """Find the first record behind a position, by halving: numbers have no gaps."""
        low = self._number("SELECT min(number) FROM decisions")
        high = self._number("SELECT max(number) FROM decisions") + 1
        query = "SELECT position FROM decisions WHERE number = ?"
        while low < high:
            middle = (low + high) // 2
            if self._number(query, middle) > after_position:
                high = middle
            else:
                low = middle + 1
        return low


class DecisionStore(DecisionReader):
    """Keeps the last decisions that fit into `max_bytes`. One thread puts; any thread may ask.

    `lost` counts the records that were dropped because the buffer was full or the disk failed.
    """

    def __init__(
        self, path: Path | str, max_bytes: int = MAX_BYTES, max_buffered: int = MAX_BUFFERED
    ) -> None:
        self.lost = 0
        self._max_bytes = max_bytes
        self._max_buffered = max_buffered
        # An Event in the buffer is a caller of `flush`, who waits for all that stands before it.
        self._buffer: deque[Record | threading.Event] = deque()
        super().__init__(path)
        self._connection = open_writer(Path(path), "NORMAL")
        self._connection.execute(_TABLES)
        self._connection.execute("PRAGMA wal_autocheckpoint=1000")
        self._connection.execute(f"PRAGMA journal_size_limit={_WAL_BYTES}")
        self._wake = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="decisions", daemon=True)
        self._thread.start()

    def put(self, record: Record) -> None:
        """Keep a record, readable about a tenth of a second later.

        Cost    a tenth of a microsecond; never blocks.
        """
        if len(self._buffer) >= self._max_buffered:
            self.lost += 1
            return
        self._buffer.append(record)

    def flush(self) -> None:
        """Wait until all that was put is readable (or lost)."""
        written = threading.Event()
        self._buffer.append(written)
        self._wake.set()
        while not written.wait(FLUSH_S) and self._thread.is_alive():
            pass

    def close(self) -> None:
        """Write what is buffered and rest. Safe to call twice."""
        self._closing = True
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closing:
            self._wake.wait(FLUSH_S)
            self._wake.clear()
            self._write_buffered()
        self._write_buffered()
        self._readers.close()
        self._connection.close()

    def _write_buffered(self) -> None:
        while self._buffer:
            self._write_some()

    def _write_some(self) -> None:
        taken = [self._buffer.popleft() for _ in range(min(len(self._buffer), _CHUNK))]
        records = [each for each in taken if isinstance(each, Record)]
        try:
            if records:
                with self._connection:
                    execute_rows(self._connection, _INSERT, _rows(records))
                self._forget_oldest()
        except (
            apsw.Error,
            ValueError,
            OverflowError,
        ) as failure:  # the disk, or a record that cannot be written
            self.lost += len(records)
            _log.error("decisions: %d records lost: %r", len(records), failure)
        for each in taken:
            if isinstance(each, threading.Event):
                each.set()

    def _forget_oldest(self) -> None:
        while self._used_bytes() > self._max_bytes:
            query = "DELETE FROM decisions WHERE number < (SELECT min(number) FROM decisions) + ?"
            self._connection.execute(query, (_CHUNK,))
            if self._connection.changes() == 0:
                return

    def _used_bytes(self) -> int:
        def pragma(name: str) -> int:
            return cast(int, self._connection.pragma(name))

        return (pragma("page_count") - pragma("freelist_count")) * pragma("page_size")


def _rows(records: Iterable[Record]) -> list[Row]:
    return [
        (
            record.request_key[:KEY_BYTES],
            record.request.request_id,
            record.choice.position,
            record.choice.clock_ms,
            _encode(record),
        )
        for record in records
    ]
