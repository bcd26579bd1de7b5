"""What a journal promises: an ordered, durable list of lines. The one Protocol of the house.

The laws, which every journal here passes (`tests/journal/test_laws.py`):
1. Positions start at 1, grow by one, and have no gaps; what is trimmed is missing at the beginning alone.
2. A line is told of (`on_commit`) after it is durable, and in journal order.
3. An event id is counted once for ever: a second line with it is a repeat of the first, and adds nothing.
4. A line that refers to an event carries what was known of that event when the line was inserted.
5. A batch that could not be written leaves nothing behind; each of its tickets is told so.

A journal knows lines and ids. It does not know what the fold makes of them, but keeps its verdicts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from app.domain.lines import Entry, Line, Referred, Verdict

# A conversion's token lives 30 days from its issue; ids are grouped by whole days (1), and a clock may be
# off or an event wait in a queue (1).
ID_LIFE_DAYS = 30 + 1 + 1


@dataclass(slots=True)
class Committed:
    """What became of one appended line.

    `position` is the line's own, or the first one's for a repeat, or 0 with an error. `referred` is what the
    writer found of the event that the line refers to; `verdict`, of a repeat, is the first one's where the
    fold has written it back.
    """

    ticket: object
    line: Line
    position: int
    repeat: bool = False
    referred: Referred | None = None
    verdict: Verdict | None = None
    error: Exception | None = None


OnCommit = Callable[[list[Committed]], None]


class Journal(Protocol):
    """An ordered, durable list of lines with one writer and any number of readers."""

    on_commit: OnCommit | None

    def append(self, line: Line, ticket: object = None) -> None:
        """Queue a line. `on_commit` is called on the writer's thread when it is durable, or failed.

        Cost    about a microsecond; never blocks.
        Errors  Busy("journal_full") when too many lines wait, Busy("journal_unavailable") once closed.
        """

    def write_verdicts(self, through: int, verdicts: Sequence[tuple[bytes, Verdict]]) -> None:
        """Queue what the fold made of events, by event id; all positions up to `through` are thereby told.

        They are written before the lines of the next commit, within some 50 ms when no lines come. Safe to
        send twice. Ids that the journal does not know are passed over.
        """

    @property
    def verdicts_through(self) -> int:
        """The position up to which all verdicts are durable."""

    @property
    def last_position(self) -> int:
        """The position of the last durable line; 0 when there is none."""

    def read(self, after: int, limit: int) -> list[Entry]:
        """Read durable lines behind a position, in order. Any thread may."""

    def entry_at(self, position: int) -> Entry | None:
        """Read one line."""

    def find(self, event_id: bytes) -> tuple[int, Verdict | None] | None:
        """Tell an event's position and, where written back, the fold's verdict."""

    def position_at(self, at_ms: int) -> int:
        """Tell the last position whose time is not after `at_ms`; 0 when there is none.

        Of the lines that are trimmed the times are forgotten: the last of them, where none that is kept is
        as old.
        """

    def forget(self, before_day: int) -> None:
        """Drop the ids whose every token had died before a UTC day (days since 1970): pass today.

        Done by the writer, a little at a time.
        """

    def wipe(self, upto: int) -> None:
        """Take what belongs to a person out of the lines up to a position, for ever: keys, profiles, sources.

        Their places, ids and money stay. Done by the writer, a little at a time. Pass no position behind the
        oldest snapshot that is to be folded on from.
        """

    @property
    def trimmed_through(self) -> int:
        """The position up to which lines are gone; 0 when all are kept."""

    def trim(self, upto: int) -> None:
        """Drop the lines up to a position for ever, but never the last one. Their ids and verdicts stay.

        Done by the writer, a little at a time. Pass no position behind the oldest snapshot that is to be
        folded on from, and none that somebody may still want to read.
        """

    def close(self) -> None:
        """Write what waits, tell of it, and rest. Safe to call twice."""
