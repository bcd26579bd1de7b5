"""How much work waits, who takes a turn, and who is refused when it is too much. No HTTP in here.

One thread answers, so waiting work is a queue on the loop. Ad requests go through it in turns of about two
milliseconds: between turns the loop reads its sockets, so that what must be refused is refused at once and
not behind the answers in front of it. Other classes pass at once, and are shed by how long the loop keeps
everybody waiting, smallest class first:

  class        is shed when
  admin        requests have waited 12 ms or more, each of them, for a tenth of a second; or the ads' queue
               is a quarter full
  impressions  ... 40 ms; the pixel is answered and not counted
  ads          the queue would last longer than `longest_wait_s`, or holds `most_waiting`
  clicks       ... 400 ms; the person is sent on, the click not counted

Fewer than sixteen waiting, or twenty in a window, are no overload but a slow machine. A wait is judged by
the shortest of a tenth of a second: a hiccup passes, a standing queue does not (Nichols and Jacobson 2012,
CoDel).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from math import inf
from time import perf_counter

from app.domain.refusals import Busy

TURN_S = 0.002
WINDOW_S = 0.1
ADMIN_WAIT_S, IMPRESSIONS_WAIT_S, CLICKS_WAIT_S = 0.012, 0.04, 0.4
ADMIN_QUEUE_SHARE = 0.25
# Fewer than so many are no overload, only a slow machine: they are answered, however long that takes.
FEW_WAITING, FEW_IN_WINDOW = 16, 20
RETRY_MS = 1_000
_EASE = 1 / 16  # how fast the running means follow
_FIRST_COST_S = 0.0003
_LEAST_COST_S, _MOST_COST_S = 20e-6, 0.02


class Limiter:
    """The queue of ad requests, and how long everybody waits. Units: seconds."""

    def __init__(
        self,
        most_waiting: int = 1_000,
        longest_wait_s: float = 0.05,
        clock_s: Callable[[], float] = perf_counter,
    ) -> None:
        self.most_waiting = most_waiting
        self.longest_wait_s = longest_wait_s
        self.clock_s = clock_s
        self.draining = False  # each connection is to end with its next answer
        self._waiting: deque[Callable[[], None]] = deque()
        self._room = 1  # who may still go in this turn without waiting
        self._scheduled, self._scheduled_s = False, 0.0
        self._cost_s = _FIRST_COST_S  # of one answer
        self._interval_s = _FIRST_COST_S  # between two answers while there is a queue, all else included
        self._turned_s, self._woken = 0.0, 0
        self.lap_s = 0.0  # how long the loop was lately away from its sockets, at worst
        self._window_ends_s, self._window_least_s, self._window_count = 0.0, inf, 0
        self._standing_s = 0.0

    # The queue of ad requests.

    @property
    def wait_s(self) -> float:
        """How long an ad request that comes now would wait."""
        return len(self._waiting) * max(self._interval_s, self._cost_s)

    def full(self) -> bool:
        """Say whether an ad request that comes now is refused. Cost: well under a microsecond."""
        waiting = len(self._waiting)
        if waiting < FEW_WAITING:
            return waiting >= self.most_waiting
        return waiting >= self.most_waiting or self.wait_s > self.longest_wait_s

    def take(self, work: Callable[[], None]) -> None:
        """Do a piece of work when its turn comes: at once while there is room in the present one.

        Errors  Busy `overloaded`.
        """
        if not self._scheduled:
            self._schedule()
        if self._room > 0 and not self._waiting:
            self._room -= 1
            work()
        elif self.full():
            raise Busy("overloaded", RETRY_MS)
        else:
            self._waiting.append(work)

    async def turn(self) -> None:
        """Wait for a turn; returns at once while there is room in the present one.

        Errors  Busy `overloaded`.
        """
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def go() -> None:
            if not place.done():  # else its caller has hung up
                place.set_result(None)

        self.take(go)
        await place

    def answered(self, cost_s: float) -> None:
        """Hear what an answer cost."""
        bounded = min(max(cost_s, _LEAST_COST_S), _MOST_COST_S)
        self._cost_s += (bounded - self._cost_s) * _EASE

    def _schedule(self) -> None:
        self._scheduled, self._scheduled_s = True, self.clock_s()
        asyncio.get_running_loop().call_soon(self._next_turn)

    def _next_turn(self) -> None:
        """Begin a turn: those who waited longest go first. Sockets were read since the last one.

        A turn waits for the loop like any request: it tells how long, for those that were answered in it.
        """
        now_s = self.clock_s()
        self.began(now_s - self._scheduled_s)
        if self._woken:
            lap_s = now_s - self._turned_s
            self.lap_s = max(lap_s, self.lap_s * (1 - _EASE))
            interval_s = min(lap_s / self._woken, _MOST_COST_S)
            self._interval_s += (interval_s - self._interval_s) * _EASE
        else:
            self.lap_s = 0.0
        room = max(1, int(TURN_S / self._cost_s))
        going = min(room, len(self._waiting))
        self._turned_s, self._woken, self._room = now_s, going, room - going
        try:
            for _ in range(going):
                self._waiting.popleft()()
        finally:
            self._scheduled = False
            if going:
                self._schedule()

    # How long everybody waits.

    def began(self, waited_s: float) -> None:
        """Hear how long a request waited for the loop, of whatever class."""
        now_s = self.clock_s()
        if now_s >= self._window_ends_s:
            over = now_s >= self._window_ends_s + WINDOW_S  # nobody came for a whole window
            busy = self._window_count >= FEW_IN_WINDOW and not over
            self._standing_s = self._window_least_s if busy else 0.0
            self._window_ends_s, self._window_least_s, self._window_count = now_s + WINDOW_S, inf, 0
        self._window_count += 1
        if waited_s < self._window_least_s:
            self._window_least_s = waited_s
            self._standing_s = min(self._standing_s, waited_s)  # it is over as soon as one need not wait

    def quiet(self) -> bool:
        """Say whether nobody has asked for anything for a tenth of a second or two."""
        return self.clock_s() >= self._window_ends_s + WINDOW_S

    def sheds_admin(self) -> bool:
        """Say whether operators' work is put off."""
        queued = len(self._waiting) >= FEW_WAITING and self.wait_s > self.longest_wait_s * ADMIN_QUEUE_SHARE
        return self._standing_s > ADMIN_WAIT_S or queued

    def sheds_impressions(self) -> bool:
        """Say whether impressions are answered uncounted."""
        return self._standing_s > IMPRESSIONS_WAIT_S

    def sheds_clicks(self) -> bool:
        """Say whether clicks are sent on uncounted."""
        return self._standing_s > CLICKS_WAIT_S
