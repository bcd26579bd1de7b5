"""Decisions as they were taken, kept to be explained: a second file, bounded, on a thread of its own.

They explain, they are not money. So a record may be lost with the power (`synchronous=NORMAL`) or when the
disk cannot follow, which is counted, but the thread that decides never waits.

Writing must cost little, for it happens at every request; finding may cost milliseconds. So records are
kept a batch to a row, and found through an index of sections: one integer per id of a record,

    section: number / 4,096 | hash of the id 24 bits | place: number % 4,096

where records are numbered without gaps. New entries fall into the few pages of the running section, however
many records are kept; a search asks every section, and compares the records themselves, as hashes may meet.
"""

from __future__ import annotations

import logging
import random
import threading
from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from itertools import islice, pairwise
from pathlib import Path
from typing import NamedTuple, TypeVar, cast
from zlib import crc32

import apsw
import msgspec
import numpy as np
from numpy.typing import NDArray

from app.domain.decisions import Record
from app.journal.connections import Readers, give_way, open_writer

KEY_BYTES = 14  # of a decision id: the part that all placements of a request share
MAX_BYTES = 2 * 1024**3
MAX_BUFFERED = 20_000
FLUSH_S = 0.2
MAX_LOOKED_AT = 5_000
_CHUNK = 1_000  # records written at a time, and oldest ones deleted, so that no step takes long
_BATCH = 200  # records in a row; between rows the thread that decides gets its turn
_WAL_BYTES = 16 * 1024**2
_CHECKPOINT_PAGES = 200  # little at a time: 1,000 held up the loop on its core for 8 ms
_PLACE_BITS = 12
_HASH_BYTES = 3
_HASH_BITS = 8 * _HASH_BYTES
_SECTION_SHIFT = _HASH_BITS + _PLACE_BITS  # leaves 2**39 records, 17 years of 1,000 a second
_PLACES = (1 << _PLACE_BITS) - 1
_HASHES = (1 << _HASH_BITS) - 1


Number = TypeVar("Number", int, NDArray[np.int64])


class _Keyed(msgspec.Struct, frozen=True, array_like=True):
    """The beginning of a record: what follows is skipped, not read."""

    request_key: bytes


class _Encoded(NamedTuple):
    """A record on its way to the disk."""

    key: bytes
    request_id: str
    position: int
    at_ms: int
    body: bytes


_log = logging.getLogger(__name__)
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Record).decode
_key_of = msgspec.msgpack.Decoder(_Keyed).decode
_split = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode

# Records come in the order of their positions, so `number`, that of a batch's first, orders by position too.
_TABLES = """
CREATE TABLE IF NOT EXISTS batches(
  number INTEGER PRIMARY KEY,
  records INTEGER NOT NULL,
  first_position INTEGER NOT NULL,
  last_position INTEGER NOT NULL,
  at_ms INTEGER NOT NULL,
  body BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS batches_by_position ON batches(last_position);
CREATE TABLE IF NOT EXISTS entries(entry INTEGER PRIMARY KEY) STRICT;
"""
_NUMBERS = """
SELECT coalesce((SELECT min(number) FROM batches), 0),
  coalesce((SELECT number + records FROM batches ORDER BY number DESC LIMIT 1), 0)
"""
_INSERT = "INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?)"
# In one step, which does not need the interpreter.
_INSERT_ENTRIES = "INSERT OR IGNORE INTO entries SELECT value FROM carray(?)"
_BATCH_OF = "SELECT number, body FROM batches WHERE number <= ? ORDER BY number DESC LIMIT 1"
_BATCH_BEHIND = """
SELECT number, body FROM batches WHERE last_position > ? ORDER BY last_position, number LIMIT 1
"""
_SECTIONS = f"""
SELECT value FROM carray(?)
WHERE EXISTS (SELECT 1 FROM entries WHERE entry BETWEEN value AND value + {_PLACES}) ORDER BY value DESC
"""
_ENTRIES = f"SELECT entry FROM entries WHERE entry BETWEEN ?1 AND ?1 + {_PLACES} ORDER BY entry DESC"


class DecisionReader:
    """Reads kept decisions through a read-only connection of each calling thread's own.

    A reader needs no store in its process: a command or a worker opens the file by itself.
    """

    def __init__(self, path: Path | str) -> None:
        self._readers = Readers(Path(path))

    def get(self, decision_id: bytes) -> Record | None:
        """Find the record of the request that a decision belongs to.

        Cost    a look-up for every 4,096 records kept: 1 or 2 ms of a full file.
        """
        key = decision_id[:KEY_BYTES]
        found = self._records(self._numbers_of(_hash_of_key(key)))
        return next((each for each in found if each.request_key[:KEY_BYTES] == key), None)

    def by_request(
        self, request_id: str, limit: int, wanted: Callable[[Record], bool] = lambda record: True
    ) -> list[Record]:
        """List the decisions taken for a request id of the caller's, those that are wanted, the latest first.

        Cost    as `get`, and some 0.1 ms for each batch of which some are looked at: at most the latest
                MAX_LOOKED_AT of that id, since callers may send one id, or none, with every request.
        """
        found = self._records(self._numbers_of(_hash_of_request(request_id)))
        same = islice((each for each in found if each.request.request_id == request_id), MAX_LOOKED_AT)
        return list(islice(filter(wanted, same), limit))

    def sample(self, count: int, seed: int, after_position: int = 0) -> list[Record]:
        """Draw records spread evenly over those behind a position, in the order of their positions.

        All of them where there are no more than `count`. The same seed draws the same of the same.
        """
        numbers = _numbers(self._readers.get())
        first = self._first_number(after_position, numbers.stop)
        available = numbers.stop - first
        if count <= 0 or available <= 0:
            return []
        if available <= count:
            return list(self._records(range(first, numbers.stop)))
        chance = random.Random(seed)
        # One from each of `count` stretches of about equal length: never twice the same.
        edges = [first + available * part // count for part in range(count + 1)]
        return list(self._records(chance.randrange(low, high) for low, high in pairwise(edges)))

    def latest(self, since_ms: int) -> Iterator[Record]:
        """Go through the decisions taken since a time, the latest first.

        Cost    some 20 us for each.
        """
        number = _numbers(self._readers.get()).stop - 1
        while number >= 0:
            first, batch = self._batch(_BATCH_OF, number)
            for raw in reversed(batch[: number + 1 - first]):
                record = _decode(raw)
                if record.choice.clock_ms < since_ms:
                    return
                yield record
            if not batch:
                return
            number = first - 1

    def wanted(self, keys: Set[bytes], from_ms: int, to_ms: int) -> Iterator[Record]:
        """Go through the records of some request keys (as long as `KEY_BYTES`), decided in [from_ms, to_ms].

        Cost    half a microsecond for each record of that time, and 20 us for each wanted.
        """
        connection = self._readers.get()
        query = (
            "SELECT number FROM batches WHERE at_ms <= ?2 AND number >= coalesce("
            "(SELECT max(number) FROM batches WHERE at_ms < ?1), 0) ORDER BY number"
        )
        for (number,) in connection.execute(query, (from_ms, to_ms)).fetchall():
            for raw in self._batch(_BATCH_OF, cast(int, number))[1]:
                if _key_of(raw).request_key[:KEY_BYTES] in keys:
                    yield _decode(raw)

    def count(self) -> int:
        """Tell how many records are kept."""
        return len(_numbers(self._readers.get()))

    def oldest_position(self) -> int:
        """Tell the journal position of the oldest record kept; 0 when there is none."""
        query = "SELECT first_position FROM batches ORDER BY number LIMIT 1"
        row = self._readers.get().execute(query).fetchone()
        return cast(int, row[0]) if row else 0

    def close(self) -> None:
        """Close every thread's connection."""
        self._readers.close()

    def _numbers_of(self, hashed: int) -> Iterator[int]:
        """Find the numbers of the records that may have an id of this hash, the latest first."""
        connection = self._readers.get()
        kept = _numbers(connection)
        if not kept:
            return
        sections = range(kept.start >> _PLACE_BITS, (kept.stop - 1 >> _PLACE_BITS) + 1)
        firsts = array("q", (section << _SECTION_SHIFT | hashed << _PLACE_BITS for section in sections))
        for first in connection.execute(_SECTIONS, (apsw.carray(firsts),)).fetchall():
            for row in connection.execute(_ENTRIES, first).fetchall():
                entry = cast(int, row[0])
                yield entry >> _SECTION_SHIFT << _PLACE_BITS | entry & _PLACES

    def _records(self, numbers: Iterable[int]) -> Iterator[Record]:
        """Read records by number, those that are gone left out; neighbours cost one look-up together."""
        first, batch = 0, list[msgspec.Raw]()
        for number in numbers:
            if not first <= number < first + len(batch):
                first, batch = self._batch(_BATCH_OF, number)
            if first <= number < first + len(batch):
                yield _decode(batch[number - first])

    def _batch(self, query: str, about: int) -> tuple[int, list[msgspec.Raw]]:
        row = self._readers.get().execute(query, (about,)).fetchone()
        return (cast(int, row[0]), _split(cast(bytes, row[1]))) if row else (0, [])

    def _first_number(self, after_position: int, none: int) -> int:
        """Find the first record behind a position."""
        first, batch = self._batch(_BATCH_BEHIND, after_position)
        if not batch:
            return none
        return first + bisect_right(batch, after_position, key=lambda raw: _decode(raw).choice.position)


class DecisionStore(DecisionReader):
    """Keeps the last decisions that fit into `max_bytes`. One thread puts; any thread may ask.

    `lost` counts the records that were dropped because the buffer was full, the disk failed or they cannot
    be written.
    """

    def __init__(
        self, path: Path | str, max_bytes: int = MAX_BYTES, max_buffered: int = MAX_BUFFERED
    ) -> None:
        self.lost = 0
        self._max_bytes = max_bytes
        self._max_buffered = max_buffered
        # An Event in the buffer is a caller of `flush`, who waits for all that stands before it.
        self._buffer: deque[_Encoded | threading.Event] = deque()
        super().__init__(path)
        self._connection = open_writer(Path(path), "NORMAL")
        self._connection.execute(_TABLES)
        self._connection.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_PAGES}")
        self._connection.execute(f"PRAGMA journal_size_limit={_WAL_BYTES}")
        self._next = _numbers(self._connection).stop
        self._forget_before_ms = 0
        self._wake = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="decisions", daemon=True)
        self._thread.start()

    def put(self, record: Record) -> None:
        """Keep a record, readable about a fifth of a second later.

        Cost    about a microsecond: encoded at once, while it is in the caches. Never blocks.
        """
        if len(self._buffer) >= self._max_buffered:
            self.lost += 1
            return
        try:
            body = _encode(record)
        except Exception as failure:
            _log.error("decisions: a record lost: %r", failure)
            self.lost += 1
            return
        key, request, choice = record.request_key, record.request, record.choice
        self._buffer.append(_Encoded(key, request.request_id, choice.position, choice.clock_ms, body))

    def forget(self, before_ms: int) -> None:
        """Drop the records from before a time, and off the disk; done by the store's thread."""
        self._forget_before_ms = max(self._forget_before_ms, before_ms)

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
        give_way(10)
        while not self._closing:
            self._wake.wait(FLUSH_S)
            self._wake.clear()
            self._write_buffered()
            self._forget_old()
        self._write_buffered()
        self._readers.close()
        self._connection.close()

    def _write_buffered(self) -> None:
        while self._buffer:
            self._write_some()

    def _write_some(self) -> None:
        taken = [self._buffer.popleft() for _ in range(min(len(self._buffer), _CHUNK))]
        records = [each for each in taken if isinstance(each, _Encoded)]
        unwritten = len(records)
        try:
            with self._connection:
                self._insert(records)
            self._next += len(records)
            unwritten = 0
            self._forget_oldest()
        except Exception as failure:  # the disk, most likely; whatever it is, this thread must live
            _log.error("decisions: %d records lost: %r", unwritten, failure)
            self.lost += unwritten
        for each in taken:
            if isinstance(each, threading.Event):
                each.set()

    def _insert(self, records: Sequence[_Encoded]) -> None:
        for start in range(0, len(records), _BATCH):
            batch = records[start : start + _BATCH]
            body = _encode([msgspec.Raw(each.body) for each in batch])
            first, last = batch[0], batch[-1]
            row = (self._next + start, len(batch), first.position, last.position, first.at_ms, body)
            self._connection.execute(_INSERT, row)
        if records:
            entries = _entries(self._next, records)
            self._connection.execute(_INSERT_ENTRIES, (apsw.carray(entries),))

    def _forget_oldest(self) -> None:
        while self._used_bytes() > self._max_bytes:
            kept = _numbers(self._connection)
            if not kept:
                return
            self._drop(min(kept.start + _CHUNK, kept.stop))

    def _forget_old(self) -> None:
        query = "SELECT number + records, at_ms FROM batches ORDER BY number LIMIT 1"
        try:
            while row := self._connection.execute(query).fetchone():
                below, at_ms = cast(tuple[int, int], row)
                if at_ms >= self._forget_before_ms:
                    return
                self._connection.execute("PRAGMA secure_delete=ON")
                self._drop(below)
                self._connection.execute("PRAGMA secure_delete=OFF")
        except apsw.Error as failure:
            _log.error("decisions: old records stay for now: %r", failure)

    def _drop(self, below: int) -> None:
        with self._connection:
            self._connection.execute("DELETE FROM batches WHERE number < ?", (below,))
            # Entries go by whole sections; those that outlive their records find nothing.
            self._connection.execute("DELETE FROM entries WHERE entry < ?", (_entry(below & ~_PLACES, 0),))

    def _used_bytes(self) -> int:
        def pragma(name: str) -> int:
            return cast(int, self._connection.pragma(name))

        return (pragma("page_count") - pragma("freelist_count")) * pragma("page_size")


def _numbers(connection: apsw.Connection) -> range:
    """Tell the numbers of the records that are kept: they have no gaps."""
    first, after = connection.execute(_NUMBERS).fetchall()[0]
    return range(cast(int, first), cast(int, after))


def _entries(first: int, records: Sequence[_Encoded]) -> NDArray[np.int64]:
    """Make the index's entries of records, in order: neighbours in a page are written together."""
    keys = b"".join([record.key[:KEY_BYTES] for record in records])
    ends = np.frombuffer(keys, np.uint8).reshape(-1, KEY_BYTES)[:, -_HASH_BYTES:].astype(np.int64)
    hashes = np.empty((2, len(records)), dtype=np.int64)
    hashes[0] = ends @ (1 << np.arange(8 * (_HASH_BYTES - 1), -1, -8))
    hashes[1] = [_hash_of_request(record.request_id) for record in records]
    entries: NDArray[np.int64] = _entry(np.arange(first, first + len(records)), hashes)
    return np.sort(entries, axis=None)


def _hash_of_key(key: bytes) -> int:
    return int.from_bytes(key[KEY_BYTES - _HASH_BYTES : KEY_BYTES], "big")  # random already


def _hash_of_request(request_id: str) -> int:
    return crc32(request_id.encode()) & _HASHES


def _entry(number: Number, hashed: Number) -> Number:
    return number >> _PLACE_BITS << _SECTION_SHIFT | hashed << _PLACE_BITS | number & _PLACES
