"""A day's lines agree with the plan at the present, end at what the day may spend, and never fall.

Traffic is played as ticks would bring it, as in the tests of pacing.
"""

from __future__ import annotations

from app.state.courses import Course, course_of
from tests.state.test_pacing import MIDNIGHT_MS, plan, play, world_with
from tests.state.world import DAY_MS, HOUR_MS, WON, World


def course(world: World) -> Course:
    return course_of(world.state, 0, plan(world), world.state.clock_ms)


def test_the_lines_meet_the_plan_now_and_the_budget_at_midnight() -> None:
    budget = 25_200 * WON
    world = world_with(budget_daily_micros=budget)
    play(world, 3_700, tick_ms=10_000)
    now_ms, told, drawn = world.state.clock_ms, plan(world), course(world)
    assert (drawn.from_ms, drawn.to_ms) == (MIDNIGHT_MS - DAY_MS, MIDNIGHT_MS)
    planned, ahead = dict(drawn.planned), dict(drawn.ahead)
    assert told.planned is not None
    assert abs(planned[now_ms] - told.planned) <= 1
    assert ahead[now_ms] == told.spent_today
    assert told.day_end is not None
    assert abs(ahead[MIDNIGHT_MS] - told.day_end) <= 1
    assert 0 <= budget - planned[MIDNIGHT_MS] < budget / 10_000, "but for what was in flight when it was laid"
    for line in (drawn.planned, drawn.ahead):
        assert line == sorted(line)
        assert [value for _, value in line] == sorted(value for _, value in line)
    hours = [at_ms for at_ms, _ in drawn.planned if at_ms not in {now_ms, drawn.planned[0][0]}]
    assert all(at_ms % HOUR_MS == 0 for at_ms in hours)


def test_what_is_not_paced_has_no_lines() -> None:
    world = world_with()
    play(world, 30)
    assert (course(world).planned, course(world).ahead) == ([], [])


def test_several_plans_at_once_are_each_alone() -> None:
    world = world_with(budget_daily_micros=10_000 * WON)
    play(world, 30)
    state = world.state
    assert state.pacing.plans_of([0, 0], state.clock_ms, state.supply, state.group_standing) == [
        plan(world), plan(world),
    ]  # fmt: skip
