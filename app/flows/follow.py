"""The one loop that applies the journal: at start-up, in steady state, in a follower, in a replay.

Lines are applied in order, in turns of about a millisecond, so that ads are answered between turns.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from time import perf_counter

from app.domain.lines import Entry, Verdict
from app.domain.refusals import Busy, Refused
from app.journal.protocol import Committed, Journal
from app.journal.reader import SqliteReader
from app.state.apply import Outcome, Receipt, apply
from app.state.state import State

TURN_S = 0.001
READ_LINES = 2_000


class Repeated(Receipt, frozen=True):
    """The receipt of a line that was there already: the first one's position, nothing billed or learned."""


def fold(
    state: State, journal: Journal | SqliteReader, upto: int | None = None
) -> list[tuple[bytes, Verdict]]:
    """Apply what the journal holds behind the state, up to a position, without stopping.

    Returns the verdicts of what was applied. For followers and replays: a node's loop takes turns.
    Errors  Refused("journal_trimmed") when the lines behind the state are gone.
    """
    verdicts: list[tuple[bytes, Verdict]] = []
    while upto is None or state.position < upto:
        limit = READ_LINES if upto is None else min(READ_LINES, upto - state.position)
        entries = journal.read(state.position, limit)
        if not entries:
            break
        _must_follow(state, entries[0])
        for entry in entries:
            verdicts += apply(state, entry).verdicts
    return verdicts


def _must_follow(state: State, entry: Entry) -> None:
    """Refuse to fold over a hole.

    Errors  Refused("journal_trimmed") when the lines between a state and the next one are gone.
    """
    if entry.position != state.position + 1:
        raise Refused(
            "journal_trimmed",
            f"the journal begins at {entry.position}, what was before is trimmed: it takes a snapshot from "
            f"{entry.position - 1} or later to go on from, not one from {state.position}",
        )


class Follow:
    """Applies committed lines on the loop and answers their tickets.

    `on_outcome` is told of everything applied, for the node's counters. A line that cannot be applied is a
    bug: nothing may be decided beyond it, so `failed` gets the error and the node ends.
    """

    def __init__(self, state: State, journal: Journal, on_outcome: Callable[[Entry, Outcome], None]) -> None:
        self.state = state
        self.journal = journal
        self.on_outcome = on_outcome
        self.waiting: deque[Committed] = deque()
        self.failed: asyncio.Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._scheduled = False

    async def catch_up(self) -> int:
        """Apply what the journal holds, in turns; returns how many lines. Then follow what is committed.

        Errors  Refused("journal_trimmed") when the lines behind the state are gone.
        """
        start = self.state.position
        self._loop = asyncio.get_running_loop()
        self.failed = self._loop.create_future()
        self._scheduled = True  # what is committed from here on waits until the past is done with
        self.journal.on_commit = self._committed
        while entries := await asyncio.to_thread(self.journal.read, self.state.position, READ_LINES):
            verdicts: list[tuple[bytes, Verdict]] = []
            turn_ends = perf_counter() + TURN_S
            _must_follow(self.state, entries[0])
            for entry in entries:
                verdicts += apply(self.state, entry).verdicts
                if perf_counter() > turn_ends:
                    await asyncio.sleep(0)
                    turn_ends = perf_counter() + TURN_S
            if self.state.position > self.journal.verdicts_through:
                self.journal.write_verdicts(self.state.position, verdicts)
        self._turn()
        return self.state.position - start

    def _committed(self, batch: list[Committed]) -> None:
        """Take a commit over from the writer's thread."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._arrived, batch)

    def _arrived(self, batch: list[Committed]) -> None:
        self.waiting.extend(batch)
        if not self._scheduled:
            self._scheduled = True
            self._turn()

    def _turn(self) -> None:
        """Apply for one turn; if lines are left, come back after others had theirs."""
        verdicts: list[tuple[bytes, Verdict]] = []
        turn_ends = perf_counter() + TURN_S
        try:
            while self.waiting:
                self._take(self.waiting.popleft(), verdicts)
                if perf_counter() > turn_ends:
                    break
        except Exception as error:
            assert self.failed is not None
            if not self.failed.done():
                self.failed.set_exception(error)
            return
        if verdicts or self.state.position > self.journal.verdicts_through:
            self.journal.write_verdicts(self.state.position, verdicts)
        if self.waiting:
            assert self._loop is not None
            self._loop.call_soon(self._turn)
        else:
            self._scheduled = False

    def _take(self, committed: Committed, verdicts: list[tuple[bytes, Verdict]]) -> None:
        if committed.error is not None:
            _answer(committed.ticket, committed.error)
        elif committed.repeat:
            event_id = committed.line.event_id  # type: ignore[union-attr] # only events repeat
            code = committed.verdict.code if committed.verdict else None
            _answer(committed.ticket, Repeated(event_id, committed.position, "repeat", code=code))
        elif committed.position <= self.state.position:  # applied by catching up, its receipt with it
            _answer(committed.ticket, Busy("not_ready", 1000))
        else:
            entry = Entry(committed.position, committed.line, committed.referred)
            outcome = apply(self.state, entry)
            verdicts += outcome.verdicts
            self.on_outcome(entry, outcome)
            _answer(committed.ticket, outcome.receipt)


def _answer(ticket: object, result: Receipt | Exception | None) -> None:
    """Answer whoever still waits; a caller that went away (a closed connection) is not an error."""
    if not isinstance(ticket, asyncio.Future) or ticket.done():
        return
    if isinstance(result, Exception):
        ticket.set_exception(result)
    else:
        ticket.set_result(result)
