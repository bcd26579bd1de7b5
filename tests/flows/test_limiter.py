"""Who takes a turn, who waits and who is refused, and how a standing queue is told from a hiccup.

Method: the limiter on a loop of its own, its clock a number that the test moves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from app.domain.refusals import Busy
from app.flows.limiter import (
    ADMIN_WAIT_S,
    CLICKS_WAIT_S,
    FEW_WAITING,
    IMPRESSIONS_WAIT_S,
    TURN_S,
    WINDOW_S,
    Limiter,
)


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def limiter(**options: Any) -> tuple[Limiter, Clock]:
    clock = Clock()
    return Limiter(clock_s=clock, **options), clock


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 10))


def costing(limiter: Limiter, cost_s: float) -> None:
    """Let the limiter learn what an answer costs."""
    for _ in range(200):
        limiter.answered(cost_s)


def test_nobody_waits_where_there_is_room() -> None:
    async def work() -> None:
        one, _ = limiter()
        for _ in range(20):
            await asyncio.wait_for(one.turn(), 1)
            await asyncio.sleep(0)
        assert one.wait_s == 0

    run(work())


@pytest.mark.parametrize("cost_s", [0.0001, 0.0005, 0.01])
def test_turns_are_short_and_in_order(cost_s: float) -> None:
    """Between two looks at the sockets no more is answered than two milliseconds' worth, or one."""

    async def work() -> None:
        one, clock = limiter(longest_wait_s=10)
        costing(one, cost_s)
        begun: list[tuple[int, int]] = []
        laps = 0

        async def ask(number: int) -> None:
            await one.turn()
            begun.append((number, laps))
            clock.now_s += cost_s

        tasks = [asyncio.create_task(ask(number)) for number in range(60)]
        while not all(task.done() for task in tasks):
            await asyncio.sleep(0)
            laps += 1
        assert [number for number, _ in begun] == list(range(60))
        for lap in range(laps + 1):
            assert sum(at == lap for _, at in begun) <= max(1, round(TURN_S / cost_s)) + 1, lap

    run(work())


def test_a_full_queue_refuses_by_number() -> None:
    async def work() -> None:
        one, _ = limiter(most_waiting=3, longest_wait_s=100)
        tasks = [asyncio.create_task(one.turn()) for _ in range(40)]
        results = await asyncio.gather(*tasks, return_exceptions=True)
        refused = [result for result in results if isinstance(result, Busy)]
        assert refused
        assert {error.code for error in refused} == {"overloaded"}
        assert results[0] is None
        assert results[-1] is not None, "who comes last is refused"
        assert not one.full()

    run(work())


def test_a_full_queue_refuses_by_the_time_it_would_take() -> None:
    async def work() -> None:
        one, _ = limiter(longest_wait_s=0.05)
        costing(one, 0.001)
        tasks = [asyncio.create_task(one.turn()) for _ in range(200)]
        await asyncio.sleep(0)
        waiting = sum(not task.done() for task in tasks)
        assert 45 <= waiting <= 55, "about 50 ms of work at 1 ms each"
        await asyncio.gather(*tasks, return_exceptions=True)

    run(work())


def test_a_few_are_answered_however_slow_the_machine() -> None:
    """Who waits among a few is never refused, however long an answer takes."""

    async def work() -> None:
        one, _ = limiter(longest_wait_s=0.000001)
        costing(one, 1.0)
        await asyncio.gather(*(one.turn() for _ in range(FEW_WAITING)))
        assert not one.sheds_admin()

    run(work())


def test_who_has_hung_up_takes_no_turn() -> None:
    async def work() -> None:
        one, _ = limiter(longest_wait_s=100)
        costing(one, 0.01)
        tasks = [asyncio.create_task(one.turn()) for _ in range(6)]
        await asyncio.sleep(0)
        for task in tasks[1:5]:
            task.cancel()
        await asyncio.wait_for(tasks[5], 1)
        assert one.wait_s == 0

    run(work())


def test_work_is_done_at_once_or_in_its_turn() -> None:
    async def work() -> None:
        one, _ = limiter(most_waiting=2)
        done: list[str] = []
        one.take(lambda: done.append("first"))
        one.take(lambda: done.append("second"))
        assert not one.full()
        one.take(lambda: done.append("third"))
        assert done == ["first"]
        assert one.full()
        with pytest.raises(Busy):
            one.take(lambda: done.append("never"))
        await asyncio.sleep(0)
        assert done == ["first", "second", "third"]
        assert one.wait_s == 0

    run(work())


def test_a_turn_goes_on_after_a_bug() -> None:
    async def work() -> None:
        one, _ = limiter()
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        done: list[int] = []
        one.take(lambda: None)
        one.take(lambda: done.append(1 // 0))
        one.take(lambda: done.append(1))
        for _ in range(3):
            await asyncio.sleep(0)
        assert done == [1]

    run(work())


#   shortest wait            admin   impressions  clicks   why
CLASSES = [
    (0.0,                    False,  False,       False,   "nobody waits"),
    (ADMIN_WAIT_S * 1.1,     True,   False,       False,   "operators go first"),
    (IMPRESSIONS_WAIT_S * 1.1, True, True,        False,   "then impressions"),
    (CLICKS_WAIT_S * 1.1,    True,   True,        True,    "clicks last"),
]  # fmt: skip


@pytest.mark.parametrize(("wait_s", "admin", "impressions", "clicks", "why"), CLASSES)
def test_classes_are_shed_in_their_order(
    wait_s: float, admin: bool, impressions: bool, clicks: bool, why: str
) -> None:
    one, clock = limiter()
    for _ in range(100):
        one.began(wait_s)
        clock.now_s += WINDOW_S / 40
    assert (one.sheds_admin(), one.sheds_impressions(), one.sheds_clicks()) == (admin, impressions, clicks), (
        why
    )
    one.began(0.0)
    assert not one.sheds_admin(), "one that need not wait ends it"


def test_a_hiccup_sheds_nothing() -> None:
    """However long one wait was: as long as others in its window did not wait."""
    one, clock = limiter()
    for number in range(100):
        one.began(2.0 if number % 2 else 0.001)
        clock.now_s += WINDOW_S / 50
        assert not one.sheds_admin()


def test_a_few_slow_ones_are_no_overload() -> None:
    """A machine that is busy with other things keeps each request waiting, and has few of them."""
    one, clock = limiter()
    for _ in range(100):
        one.began(0.5)
        clock.now_s += WINDOW_S / 10
        assert not one.sheds_admin()


def test_a_silence_forgets() -> None:
    one, clock = limiter()
    for _ in range(100):
        one.began(1.0)
        clock.now_s += WINDOW_S / 40
    assert one.sheds_clicks()
    clock.now_s += 60
    one.began(1.0)
    assert not one.sheds_admin(), "what was a minute ago says nothing"


def test_a_queue_of_ads_puts_operators_off() -> None:
    async def work() -> None:
        one, _ = limiter(most_waiting=100, longest_wait_s=0.05)
        for _ in range(61):  # of 0.3 ms each, until more is known; the first does not wait
            one.take(lambda: None)
        assert one.sheds_admin()
        assert not one.full()

    run(work())
