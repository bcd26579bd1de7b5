"""Reading the SQLite journal: what any thread may do, and any other process too."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import cast

import apsw
import msgspec

from app.domain.ids import issue_day
from app.domain.lines import Entry, Referred, Verdict, decode
from app.domain.refusals import Refused
from app.journal.connections import Readers, Row, select_in

UNREADABLE = "run the build that wrote it, if that is a later one, or bring back a backup (adjudge restore)"
_verdict_decoder = msgspec.msgpack.Decoder(Verdict)
SCAN_LINES = 4_096  # in a batch
_COLUMNS = "SELECT position, body, ref_position, ref_verdict FROM lines"


def ids_table(day: int) -> str:
    """Name the table of the event ids issued on a UTC day (days since 1970)."""
    return f"ids_{day:d}"


def verdict_of(body: object) -> Verdict | None:
    """Read a verdict as an id row keeps it; none where it has not been written back."""
    return None if body is None else _verdict_decoder.decode(cast(bytes, body))


@lru_cache(maxsize=65_536)
def _verdict_kept(body: bytes) -> Verdict:
    return _verdict_decoder.decode(body)


class SqliteReader:
    """Reads durable lines through a read-only connection of each calling thread's own.

    A reader needs no writer in its process: a follower or a command opens the file by itself.
    """

    def __init__(self, path: Path, vfs: str | None = None) -> None:
        self._readers = Readers(path, vfs)

    @property
    def last_position(self) -> int:
        """The position of the last durable line; 0 when there is none."""
        return self._number("SELECT max(position) FROM lines")

    @property
    def first_position(self) -> int:
        """The position of the oldest line still kept; 0 when there is none."""
        return self._number("SELECT min(position) FROM lines")

    @property
    def trimmed_through(self) -> int:
        """The position up to which lines are gone; 0 when all are kept."""
        return max(0, self.first_position - 1)

    def first_ms(self) -> int | None:
        """The time of the oldest line still kept; None when there is none."""
        first = self.first_position
        return self.time_at(first) if first else None

    @property
    def verdicts_through(self) -> int:
        """The position up to which all verdicts are durable."""
        return self._number("SELECT value FROM meta WHERE name = 'verdicts_through'")

    @property
    def wiped_through(self) -> int:
        """The position up to which lines have lost what belongs to a person."""
        return self._number("SELECT value FROM meta WHERE name = 'wiped_through'")

    def read(self, after: int, limit: int) -> list[Entry]:
        """Read durable lines behind a position, in order.

        Cost    a few microseconds a line.
        Errors  Refused("journal_unreadable") where one of them is a later build's, or damaged.
        """
        query = _COLUMNS + " WHERE position > ? ORDER BY position LIMIT ?"
        return [_entry(row) for row in self._readers.get().execute(query, (after, limit)).fetchall()]

    def entry_at(self, position: int) -> Entry | None:
        """Read one line."""
        row = self._readers.get().execute(_COLUMNS + " WHERE position = ?", (position,)).fetchone()
        return None if row is None else _entry(row)

    def find(self, event_id: bytes) -> tuple[int, Verdict | None] | None:
        """Tell an event's position and, where written back, the fold's verdict."""
        connection = self._readers.get()
        table = ids_table(issue_day(event_id))
        if not _has_table(connection, table):
            return None
        query = f"SELECT position, verdict FROM {table} WHERE id = ?"
        row = connection.execute(query, (event_id,)).fetchone()
        return None if row is None else (cast(int, row[0]), verdict_of(row[1]))

    def scan(
        self, after: int, upto: int, kinds: Sequence[str], limit: int = SCAN_LINES
    ) -> Iterator[list[tuple[int, int, bytes]]]:
        """Read the lines of some kinds in (after, upto], in order, as batches of (position, at_ms, body).

        The time is the journal's, which never falls. For reports: bodies come as they are kept.
        Cost    half a microsecond a line; one statement for each batch, so that no read lock lasts.
        """
        marks = ",".join("?" * len(kinds))
        query = (
            f"SELECT position, at_ms, body FROM lines WHERE position > ? AND position <= ?"
            f" AND kind IN ({marks}) ORDER BY position LIMIT ?"
        )
        while after < upto:
            found = self._readers.get().execute(query, (after, upto, *kinds, limit)).fetchall()
            if not found:
                return
            rows = cast(list[tuple[int, int, bytes]], found)
            yield rows
            after = rows[-1][0]

    def scan_back(
        self, upto: int, kinds: Sequence[str], limit: int = SCAN_LINES
    ) -> Iterator[list[tuple[int, int, bytes]]]:
        """Read the lines of some kinds from `upto` back to the first kept, the latest first.

        Each batch is what `limit` places of the journal hold of them, maybe nothing: whoever looks for
        something rare can stop when it has taken long enough.
        """
        marks = ",".join("?" * len(kinds))
        query = (
            f"SELECT position, at_ms, body FROM lines WHERE position > ? AND position <= ?"
            f" AND kind IN ({marks}) ORDER BY position DESC"
        )
        first = self.trimmed_through
        while upto > first:
            after = max(first, upto - limit)
            found = self._readers.get().execute(query, (after, upto, *kinds)).fetchall()
            yield cast(list[tuple[int, int, bytes]], found)
            upto = after

    def verdicts(self, event_ids: Iterable[bytes]) -> dict[bytes, Verdict]:
        """Look up the verdicts of many events; one that is unknown or not yet judged is left out.

        Cost    about a microsecond each when asked together: neighbours in time are neighbours on disk.
        """
        connection = self._readers.get()
        by_day: dict[int, list[bytes]] = {}
        for event_id in event_ids:
            by_day.setdefault(issue_day(event_id), []).append(event_id)
        found: dict[bytes, Verdict] = {}
        for day, wanted in by_day.items():
            table = ids_table(day)
            if _has_table(connection, table):
                select = f"SELECT id, verdict FROM {table} WHERE id"
                for identity, body in select_in(connection, select, sorted(wanted)):
                    if body is not None:
                        found[cast(bytes, identity)] = _verdict_kept(cast(bytes, body))
        return found

    def position_at(self, at_ms: int) -> int:
        """Tell the last position whose time is not after `at_ms`; 0 when there is none.

        The last of the trimmed lines, whose times are forgotten, where none that is kept is as old.
        Cost    some twenty look-ups: times never fall with the position, so no index is kept on them.
        """
        low, high = self.first_position, self.last_position
        if high == 0 or self.time_at(low) > at_ms:
            return max(0, low - 1)
        while low < high:
            middle = (low + high + 1) // 2
            if self.time_at(middle) <= at_ms:
                low = middle
            else:
                high = middle - 1
        return low

    def last_ms(self) -> int:
        """The time of the last line; 0 when there is none."""
        return self.time_at(self.last_position)

    def close(self) -> None:
        """Close every thread's connection."""
        self._readers.close()

    def time_at(self, position: int) -> int:
        """The time of a line; 0 where it is not kept."""
        return self._number("SELECT at_ms FROM lines WHERE position = ?", position)

    def _number(self, query: str, *bindings: int) -> int:
        row = self._readers.get().execute(query, bindings).fetchone()
        return 0 if row is None or row[0] is None else cast(int, row[0])


def _has_table(connection: apsw.Connection, table: str) -> bool:
    query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
    return connection.execute(query, (table,)).fetchone() is not None


def _entry(row: Row) -> Entry:
    position, body, ref_position, ref_verdict = row
    referred = None if ref_position is None else Referred(cast(int, ref_position), verdict_of(ref_verdict))
    try:
        return Entry(cast(int, position), decode(cast(bytes, body)), referred)
    except msgspec.DecodeError as error:
        raise Refused("journal_unreadable", f"line {cast(int, position)} ({error}): {UNREADABLE}") from error
