"""A journal in memory: the SQLite journal's twin for tests and simulations. Every law holds but durability.

Lines are kept as their bytes, so that nobody can change one after the fact, and a line that cannot be
written fails here too.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable

from app.domain.ids import issue_day
from app.domain.lines import Entry, Line, Referred, Verdict, decode, encode
from app.domain.wiping import without_person
from app.journal.protocol import Committed, OnCommit
from app.journal.writer import MAX_WAITING, GroupWriter, Verdicts, Waiting


class MemoryJournal(GroupWriter):
    """Keeps lines in a list and event ids in a dict.

    >>> from app.domain.lines import Ticked
    >>> journal = MemoryJournal(threaded=False)
    >>> journal.append(Ticked(at_ms=5))
    >>> journal.last_position, journal.commit(), journal.last_position
    (0, 1, 1)
    """

    def __init__(
        self,
        on_commit: OnCommit | None = None,
        *,
        max_waiting: int = MAX_WAITING,
        on_commit_seconds: Callable[[float], None] | None = None,
        threaded: bool = True,
    ) -> None:
        super().__init__(
            on_commit, max_waiting=max_waiting, on_commit_seconds=on_commit_seconds, threaded=threaded
        )
        self._bodies: list[tuple[bytes, Referred | None]] = []
        self._times_ms: list[int] = []
        self._wiped_through = 0
        self._ids: dict[bytes, tuple[int, Verdict | None]] = {}
        self._start()

    def read(self, after: int, limit: int) -> list[Entry]:
        """Read lines behind a position, in order."""
        after = max(after, self._trimmed_through)
        last = min(self._last_position, after + limit)
        return [self._entry(position) for position in range(after + 1, last + 1)]

    def entry_at(self, position: int) -> Entry | None:
        """Read one line."""
        return self._entry(position) if self._trimmed_through < position <= self._last_position else None

    def find(self, event_id: bytes) -> tuple[int, Verdict | None] | None:
        """Tell an event's position and, where written back, the fold's verdict."""
        return self._ids.get(event_id)

    def position_at(self, at_ms: int) -> int:
        """Tell the last position whose time is not after `at_ms`; 0 when there is none."""
        return max(bisect_right(self._times_ms, at_ms), self._trimmed_through)

    def _entry(self, position: int) -> Entry:
        body, referred = self._bodies[position - 1]
        return Entry(position, decode(body), referred)

    def _write(self, batch: list[Waiting], verdicts: Verdicts, through: int) -> list[Committed]:
        for event_id, verdict in verdicts:
            if event_id in self._ids:
                self._ids[event_id] = (self._ids[event_id][0], verdict)
        told = [self._take(line, ticket) for line, ticket in batch]
        self._last_position = len(self._bodies)
        return told

    def _take(self, line: Line, ticket: object) -> Committed:
        try:
            body = encode(line)
            event_id: bytes | None = getattr(line, "event_id", None)
            refers_to: bytes | None = getattr(line, "refers_to", None)
        except Exception as failure:  # one bad line must not take the others with it
            return Committed(ticket, line, 0, error=failure)
        if event_id is not None and event_id in self._ids:
            position, verdict = self._ids[event_id]
            return Committed(ticket, line, position, repeat=True, verdict=verdict)
        found = self._ids.get(refers_to) if refers_to is not None else None
        referred = Referred(*found) if found is not None else None
        self._bodies.append((body, referred))
        self._times_ms.append(max(line.at_ms, self._times_ms[-1] if self._times_ms else line.at_ms))
        position = len(self._bodies)
        if event_id is not None:
            self._ids[event_id] = (position, None)
        return Committed(ticket, line, position, referred=referred)

    def _rest(self) -> None:
        upto = min(self._trim_upto, self._last_position - 1)
        for at in range(self._trimmed_through, upto):
            self._trimmed_through = at + 1
            self._bodies[at] = b"", None
        self._wiped_through = max(self._wiped_through, self._trimmed_through)
        for at in range(self._wiped_through, min(self._wipe_upto, self._last_position)):
            body, referred = self._bodies[at]
            self._bodies[at] = encode(without_person(decode(body))), referred
            self._wiped_through = at + 1
        if self._forget_before == 0:
            return
        for event_id in [each for each in self._ids if issue_day(each) < self._forget_before]:
            del self._ids[event_id]
        self._forget_before = 0

    def _close_store(self) -> None:
        return
