"""The journal on disk: SQLite in WAL mode, every commit synced, one writer thread with group commit.

A line is told of after its commit's fsync: neither `kill -9` nor a power cut loses it. Event ids live in one
table per UTC day of issue, which outlives every token of that day: counting twice is impossible, not just
unlikely. What an event refers to is looked up in the insert's own transaction, so that the fold never has to.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import starmap
from pathlib import Path
from time import monotonic
from typing import cast, get_args

import apsw
import msgspec

from app.domain.ids import issue_day
from app.domain.lines import (
    LINE_VERSION,
    Catalogued,
    Clustered,
    Configured,
    Entry,
    Erased,
    Keyed,
    Likened,
    Line,
    Listed,
    Loaded,
    Lost,
    Profiled,
    Referred,
    Ticked,
    Verdict,
    decode,
    encode,
)
from app.domain.refusals import Refused
from app.domain.wiping import PERSONAL_KINDS, without_person
from app.journal.connections import Row, execute_rows, open_writer, select_in
from app.journal.protocol import Committed, OnCommit
from app.journal.reader import SqliteReader, ids_table, verdict_of
from app.journal.writer import MAX_WAITING, GroupWriter, Verdicts, Waiting

SCHEMA = 1
WAL_BOUND_PAGES = 4_096  # 16 MiB: checkpointed even under load, so that the WAL and the stall stay small
WAL_REST_PAGES = 256  # 1 MiB: worth a checkpoint when nothing waits
_FORGET_ROWS = 2_000  # ids dropped at a time: a whole day's table at once would hold up the writer
_WIPE_LINES = 1_000  # lines freed of people at a time: some 10 ms
_FORGET_S = 0.25  # and this often under load: the busiest day is gone within a day
_TRIM_LINES = 256  # lines dropped at a time: some 1 ms
_TRIM_S = 0.1  # and this often under load: faster than 1,600 lines/s come

_KINDS: dict[type, str] = {kind: str(kind.__struct_config__.tag) for kind in get_args(Line)}
_WITHOUT_ID = (
    Configured, Ticked, Lost, Catalogued, Keyed, Profiled, Erased, Listed, Clustered, Likened, Loaded,
)  # fmt: skip
_encode_verdict = msgspec.msgpack.Encoder().encode

_TABLES = """
CREATE TABLE IF NOT EXISTS meta(name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS lines(
  position INTEGER PRIMARY KEY,
  at_ms INTEGER NOT NULL,     -- the line's, or its forerunner's where that is greater: never falls
  kind TEXT NOT NULL,
  version INTEGER NOT NULL,
  ref_position INTEGER,       -- of the event that the line refers to, as found when it was inserted
  ref_verdict BLOB,
  body BLOB NOT NULL
) STRICT;
"""
_INSERT_LINES = "INSERT INTO lines(position, at_ms, kind, version, ref_position, ref_verdict, body)"
_PUT_META = "INSERT OR REPLACE INTO meta(name, value)"


@dataclass(slots=True)
class _Prepared:
    """A waiting line with all that needs no database."""

    line: Line
    ticket: object
    body: bytes = b""
    event_id: bytes | None = None
    refers_to: bytes | None = None
    error: Exception | None = None


class SqliteJournal(GroupWriter):
    """A journal in one SQLite file (and its `-wal` and `-shm`), which this process alone may write.

    `vfs` names another SQLite VFS, for tests that fail or cut the power under it.

    Errors  apsw.Error when the file cannot be opened; Refused("journal_version") when it is a newer one's.
    """

    def __init__(
        self,
        path: Path | str,
        on_commit: OnCommit | None = None,
        *,
        max_waiting: int = MAX_WAITING,
        on_commit_seconds: Callable[[float], None] | None = None,
        threaded: bool = True,
        vfs: str | None = None,
    ) -> None:
        super().__init__(
            on_commit, max_waiting=max_waiting, on_commit_seconds=on_commit_seconds, threaded=threaded
        )
        self._connection = open_writer(Path(path), "FULL", vfs)
        self._reader = SqliteReader(Path(path), vfs)
        self._wal_pages = 0
        self._forgot_at = self._trimmed_at = monotonic()
        try:
            self._prepare_file()
        except BaseException:
            self._connection.close()
            raise
        self._days = self._read_days()
        self._verdicts_through = self._number("SELECT value FROM meta WHERE name = 'verdicts_through'")
        self._wiped_through = self._number("SELECT value FROM meta WHERE name = 'wiped_through'")
        self._last_position = self._number("SELECT max(position) FROM lines")
        self._trimmed_through = max(0, self._number("SELECT min(position) FROM lines") - 1)
        self._last_at_ms = self._number("SELECT at_ms FROM lines ORDER BY position DESC LIMIT 1")
        self._connection.set_wal_hook(self._note_wal)
        self._start()

    def read(self, after: int, limit: int) -> list[Entry]:
        """Read durable lines behind a position, in order. Any thread may."""
        return self._reader.read(after, limit)

    def entry_at(self, position: int) -> Entry | None:
        """Read one line."""
        return self._reader.entry_at(position)

    def find(self, event_id: bytes) -> tuple[int, Verdict | None] | None:
        """Tell an event's position and, where written back, the fold's verdict."""
        return self._reader.find(event_id)

    def position_at(self, at_ms: int) -> int:
        """Tell the last position whose time is not after `at_ms`; 0 when there is none."""
        return self._reader.position_at(at_ms)

    def _write(self, batch: list[Waiting], verdicts: Verdicts, through: int) -> list[Committed]:
        prepared = list(starmap(_prepare, batch))
        connection = self._connection
        last_position, last_at_ms = self._last_position, self._last_at_ms
        self._roll_back()  # where the last one's rollback failed too
        connection.execute("BEGIN IMMEDIATE")
        try:
            self._put_verdicts(verdicts, through)
            known = self._look_up(prepared)
            told, lines, ids = _settle(prepared, known, last_position, last_at_ms)
            if lines:
                execute_rows(connection, _INSERT_LINES, lines)
                self._put_ids(ids)
            connection.execute("COMMIT")
        except BaseException:
            with suppress(apsw.Error):
                self._roll_back()
            raise
        self._days.update(ids)
        if lines:
            self._last_position, self._last_at_ms = cast(tuple[int, int], lines[-1][:2])
        return told

    def _put_verdicts(self, verdicts: Verdicts, through: int) -> None:
        by_day: dict[int, list[Row]] = defaultdict(list)
        for event_id, verdict in verdicts:
            by_day[issue_day(event_id)].append((event_id, _encode_verdict(verdict)))
        for day, rows in by_day.items():
            if day in self._days:
                table = ids_table(day)
                # CROSS JOIN keeps the order: for each verdict one look-up. Unknown ids find nothing.
                before = f"REPLACE INTO {table} SELECT known.id, known.position, told.column2 FROM ("
                after = f") AS told CROSS JOIN {table} AS known ON known.id = told.column1"
                execute_rows(self._connection, before, rows, after)
        if through > self._verdicts_through:
            execute_rows(self._connection, _PUT_META, [("verdicts_through", through)])

    def _look_up(self, prepared: list[_Prepared]) -> dict[bytes, tuple[int, bytes | None]]:
        by_day: dict[int, set[bytes]] = defaultdict(set)
        for each in prepared:
            if each.event_id is not None:
                by_day[issue_day(each.event_id)].add(each.event_id)
            if each.refers_to is not None:
                by_day[issue_day(each.refers_to)].add(each.refers_to)
        known: dict[bytes, tuple[int, bytes | None]] = {}
        for day, wanted in by_day.items():
            if day in self._days:
                select = f"SELECT id, position, verdict FROM {ids_table(day)} WHERE id"
                for event_id, position, verdict in select_in(self._connection, select, wanted):
                    known[cast(bytes, event_id)] = cast(int, position), cast(bytes | None, verdict)
        return known

    def _put_ids(self, ids: dict[int, list[Row]]) -> None:
        for day, rows in ids.items():
            table = ids_table(day)
            if day not in self._days:
                self._connection.execute(
                    f"CREATE TABLE IF NOT EXISTS {table}(id BLOB PRIMARY KEY, position INTEGER NOT NULL,"
                    " verdict BLOB) STRICT, WITHOUT ROWID"
                )
            execute_rows(self._connection, f"INSERT INTO {table}(id, position)", rows)

    def _roll_back(self) -> None:
        if self._connection.in_transaction:  # SQLite has rolled back by itself after some errors
            self._connection.execute("ROLLBACK")

    def _rest(self) -> None:
        if self._wal_pages >= WAL_REST_PAGES:
            self._checkpoint()
        self._forget_some()
        self._trim_some()
        self._wipe_some()

    def _trim_some(self) -> None:
        """Drop some old lines, off the disk: what they said of people is zeroed, their pages are used again.

        The last line stays whatever is asked: it holds the journal's place and time.
        """
        self._trimmed_at = monotonic()
        upto = min(self._trim_upto, self._trimmed_through + _TRIM_LINES, self._last_position - 1)
        if upto <= self._trimmed_through:
            return
        self._connection.execute("PRAGMA secure_delete=ON")
        with self._connection:
            self._connection.execute("DELETE FROM lines WHERE position <= ?", (upto,))
        self._connection.execute("PRAGMA secure_delete=OFF")
        self._trimmed_through = upto

    def _wipe_some(self) -> None:
        """Take people out of some old lines, and off the disk: what is overwritten is zeroed."""
        self._wiped_through = max(self._wiped_through, self._trimmed_through)
        upto = min(self._wipe_upto, self._wiped_through + _WIPE_LINES, self._last_position)
        if upto <= self._wiped_through:
            return
        kinds = ",".join(f"'{kind}'" for kind in PERSONAL_KINDS)
        query = f"SELECT position, body FROM lines WHERE position > ? AND position <= ? AND kind IN ({kinds})"
        connection = self._connection
        connection.execute("PRAGMA secure_delete=ON")
        with connection:
            for position, body in connection.execute(query, (self._wiped_through, upto)).fetchall():
                line = decode(cast(bytes, body))
                wiped = without_person(line)
                if wiped is not line:
                    update = "UPDATE lines SET body = ? WHERE position = ?"
                    connection.execute(update, (encode(wiped), position))
            execute_rows(connection, _PUT_META, [("wiped_through", upto)])
        connection.execute("PRAGMA secure_delete=OFF")
        self._wiped_through = upto

    def _forget_some(self) -> None:
        self._forgot_at = monotonic()
        day = min(self._days, default=self._forget_before)
        if day >= self._forget_before:
            return
        table = ids_table(day)
        query = f"SELECT id FROM {table} ORDER BY id LIMIT 1 OFFSET {_FORGET_ROWS}"
        row = self._connection.execute(query).fetchone()
        if row is None:
            self._connection.execute(f"DROP TABLE {table}")
            self._days.discard(day)
        else:
            self._connection.execute(f"DELETE FROM {table} WHERE id < ?", row)

    def _note_wal(self, _connection: apsw.Connection, _name: str, pages: int) -> int:
        self._wal_pages = pages
        return apsw.SQLITE_OK

    def _commit(self) -> None:
        super()._commit()
        if self._wal_pages >= WAL_BOUND_PAGES:  # after the commit was told of: its tickets need not wait
            self._guarded(self._checkpoint)
        if monotonic() - self._forgot_at > _FORGET_S:
            self._guarded(self._forget_some)
            self._guarded(self._wipe_some)
        if monotonic() - self._trimmed_at > _TRIM_S:
            self._guarded(self._trim_some)

    def _checkpoint(self) -> None:
        self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        self._wal_pages = 0

    def _close_store(self) -> None:
        self._reader.close()
        try:
            self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        finally:
            self._connection.close()

    def _prepare_file(self) -> None:
        with self._connection:
            self._connection.execute(_TABLES)
            schema = self._number("SELECT value FROM meta WHERE name = 'schema'") or SCHEMA
            if schema > SCHEMA:
                raise Refused(
                    "journal_version", f"the journal has schema {schema}, this build reads {SCHEMA}"
                )
            execute_rows(self._connection, _PUT_META, [("schema", SCHEMA)])

    def _read_days(self) -> set[int]:
        query = "SELECT substr(name, 5) FROM sqlite_master WHERE type = 'table' AND name GLOB 'ids_[0-9]*'"
        return {int(cast(str, row[0])) for row in self._connection.execute(query).fetchall()}

    def _number(self, query: str) -> int:
        row = self._connection.execute(query).fetchone()
        return 0 if row is None or row[0] is None else cast(int, row[0])


def _prepare(line: Line, ticket: object) -> _Prepared:
    try:
        if isinstance(line, _WITHOUT_ID):
            return _Prepared(line, ticket, encode(line))
        return _Prepared(line, ticket, encode(line), line.event_id, line.refers_to)
    except Exception as failure:  # one bad line must not take the others with it
        return _Prepared(line, ticket, error=failure)


def _settle(
    prepared: list[_Prepared],
    known: dict[bytes, tuple[int, bytes | None]],
    last_position: int,
    last_at_ms: int,
) -> tuple[list[Committed], list[Row], dict[int, list[Row]]]:
    """Give out positions; tell repeats and what is referred to. `known` grows with the batch's own ids."""
    told: list[Committed] = []
    lines: list[Row] = []
    ids: dict[int, list[Row]] = defaultdict(list)
    for each in prepared:
        line, event_id = each.line, each.event_id
        if each.error is not None:
            told.append(Committed(each.ticket, line, 0, error=each.error))
            continue
        if event_id is not None:
            first = known.get(event_id)
            if first is not None:
                position, verdict = first
                told.append(Committed(each.ticket, line, position, True, verdict=verdict_of(verdict)))
                continue
        last_position += 1
        last_at_ms = max(last_at_ms, line.at_ms)
        found = known.get(each.refers_to) if each.refers_to is not None else None
        ref_position, ref_verdict = found if found is not None else (None, None)
        lines.append(
            (
                last_position,
                last_at_ms,
                _KINDS[type(line)],
                LINE_VERSION,
                ref_position,
                ref_verdict,
                each.body,
            )
        )
        if event_id is not None:
            known[event_id] = last_position, None
            ids[issue_day(event_id)].append((event_id, last_position))
        referred = None if ref_position is None else Referred(ref_position, verdict_of(ref_verdict))
        told.append(Committed(each.ticket, line, last_position, referred=referred))
    return told, lines, ids
