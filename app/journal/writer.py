"""The writer's thread: gathers waiting lines into commits. What a commit is, a subclass knows.

One thread writes, because several writers of one file wait for each other's locks (measured: a p99 of
hundreds of milliseconds). Nothing here touches a disk.
"""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from time import perf_counter

from app.domain.lines import Line, Verdict
from app.domain.refusals import Busy
from app.journal.protocol import ID_LIFE_DAYS, Committed, OnCommit

MAX_WAITING = 100_000
MAX_BATCH = 256  # lines in a commit; more would make those behind them wait
GATHER_S = 0.002  # how long the first line of a commit waits for company
REST_S = 0.05  # verdicts without lines are written this late; housekeeping is done this often

Waiting = tuple[Line, object]
Verdicts = Sequence[tuple[bytes, Verdict]]

_log = logging.getLogger(__name__)


class GroupWriter(ABC):
    """Queues lines and verdicts, and commits them in groups on a thread of its own.

    `on_commit` hears of every commit, on the writer's thread, in journal order, after durability;
    `on_commit_seconds` hears how long it took. With `threaded=False` nothing happens until `commit()` is
    called, on the caller's thread: what a simulation needs.
    """

    def __init__(
        self,
        on_commit: OnCommit | None = None,
        *,
        max_waiting: int = MAX_WAITING,
        on_commit_seconds: Callable[[float], None] | None = None,
        threaded: bool = True,
    ) -> None:
        self.on_commit = on_commit
        self.on_commit_seconds = on_commit_seconds
        self._max_waiting = max_waiting
        self._lines: deque[Waiting] = deque()
        self._verdicts: deque[tuple[int, Verdicts]] = deque()
        self._verdicts_through = 0
        self._last_position = 0
        self._forget_before = 0  # ids issued before this day are to go
        self._wipe_upto = 0  # lines up to this position are to lose what belongs to a person
        self._trim_upto = 0  # lines up to this position are to go
        self._trimmed_through = 0
        self._wake = threading.Event()
        self._full = threading.Event()
        self._closing = False
        self._closed = False
        self._thread: threading.Thread | None = None
        if threaded:
            self._thread = threading.Thread(target=self._run, name="journal", daemon=True)

    @abstractmethod
    def _write(self, batch: list[Waiting], verdicts: Verdicts, through: int) -> list[Committed]:
        """Make a commit durable: the verdicts and watermark first, then the lines. All or nothing."""

    @abstractmethod
    def _rest(self) -> None:
        """Do some housekeeping; no line waits."""

    @abstractmethod
    def _close_store(self) -> None:
        """Nothing will be written any more."""

    @property
    def verdicts_through(self) -> int:
        """The position up to which all verdicts are durable."""
        return self._verdicts_through

    @property
    def last_position(self) -> int:
        """The position of the last durable line; 0 when there is none."""
        return self._last_position

    @property
    def waiting(self) -> int:
        """How many lines wait to be written."""
        return len(self._lines)

    @property
    def trimmed_through(self) -> int:
        """The position up to which lines are gone; 0 when all are kept."""
        return self._trimmed_through

    @property
    def trim_upto(self) -> int:
        """The position up to which lines are gone or going."""
        return max(self._trim_upto, self._trimmed_through)

    def append(self, line: Line, ticket: object = None) -> None:
        """Queue a line; see `Journal.append`."""
        if self._closing:
            raise Busy("journal_unavailable", 1000)
        waiting = len(self._lines)
        if waiting >= self._max_waiting:
            raise Busy("journal_full", 1000)
        self._lines.append((line, ticket))
        # The line is queued before the flag is read, and the writer clears the flag before it looks at the
        # queue: so a line is never overlooked, and the lock inside `set` is taken only when it is needed.
        if not self._wake.is_set():
            self._wake.set()
        if waiting + 1 >= MAX_BATCH and not self._full.is_set():
            self._full.set()

    def write_verdicts(self, through: int, verdicts: Verdicts) -> None:
        """Queue the fold's verdicts; see `Journal.write_verdicts`."""
        self._verdicts.append((through, verdicts))

    def forget(self, before_day: int) -> None:
        """Drop the ids of dead tokens; see `Journal.forget`."""
        self._forget_before = max(self._forget_before, before_day - ID_LIFE_DAYS)

    def wipe(self, upto: int) -> None:
        """Take what belongs to a person out of old lines; see `Journal.wipe`."""
        self._wipe_upto = max(self._wipe_upto, upto)

    def trim(self, upto: int) -> None:
        """Drop old lines; see `Journal.trim`."""
        self._trim_upto = max(self._trim_upto, upto)

    def commit(self) -> int:
        """Commit all that waits, on the caller's thread; tell how many lines waited. Unthreaded only."""
        assert self._thread is None
        count = len(self._lines)
        while self._lines:
            self._commit()
        if self._verdicts:
            self._commit()
        self._guarded(self._rest)
        return count

    def close(self) -> None:
        """Write what waits, tell of it, and rest. Safe to call twice."""
        self._closing = True
        if self._thread is not None:
            self._wake.set()
            self._full.set()
            self._thread.join()
        elif not self._closed:
            self.commit()
            self._guarded(self._close_store)
        self._closed = True

    def _start(self) -> None:
        """Begin to write; the last step of a subclass's start."""
        if self._thread is not None:
            self._thread.start()

    def _run(self) -> None:
        while not self._closing or self._lines:
            self._wake.wait(REST_S)
            self._wake.clear()
            if self._lines:
                self._commit_all()
            elif self._verdicts:
                self._commit()
            else:
                self._guarded(self._rest)
        if self._verdicts:
            self._commit()
        self._guarded(self._close_store)

    def _commit_all(self) -> None:
        while self._lines:
            if len(self._lines) < MAX_BATCH and not self._closing:
                self._full.clear()
                self._full.wait(GATHER_S)
            self._commit()

    def _commit(self) -> None:
        batch = [self._lines.popleft() for _ in range(min(len(self._lines), MAX_BATCH))]
        taken = [self._verdicts.popleft() for _ in range(len(self._verdicts))]
        verdicts = taken[0][1] if len(taken) == 1 else [each for _, some in taken for each in some]
        through = max([self._verdicts_through, *(through for through, _ in taken)])
        started = perf_counter()
        try:
            told = self._write(batch, verdicts, through)
        except Exception as failure:  # a full disk, a failing one: the writer lives on
            _log.error("journal: a commit of %d lines failed: %r", len(batch), failure)
            self._verdicts.extendleft(reversed(taken))  # the watermark must not run ahead of them
            told = [_failed(waiting, failure) for waiting in batch]
        else:
            self._verdicts_through = through
            if self.on_commit_seconds is not None:
                self.on_commit_seconds(perf_counter() - started)
        if told and self.on_commit is not None:
            listener = self.on_commit
            self._guarded(lambda: listener(told))

    def _guarded(self, step: Callable[[], object]) -> None:
        """Run what must not end the writer: the lines behind it still have to become durable."""
        try:
            step()
        except Exception:
            _log.exception("journal: the writer goes on after a failure")


def _failed(waiting: Waiting, failure: Exception) -> Committed:
    line, ticket = waiting
    busy = Busy("journal_unavailable", 1000)
    busy.__cause__ = failure
    return Committed(ticket, line, 0, error=busy)
