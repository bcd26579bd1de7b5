"""Feedback that comes apart, late, in bursts, or was false: what it may cost on planted truth.

Goal: the fold may learn an impression and its click as they come, and take false events back. Method: one
log of 300,000 samples whose truth is known, learned under several schedules (`loadtest/schedules.py`).
"""

from collections.abc import Callable
from functools import cache

import pytest

from app.offline.world.planted import Planted, plant
from app.rules.ftrl import UNLEARN_HORIZON_EVENTS
from loadtest import schedules
from loadtest.schedules import Schedule, ne_of, ne_with_false_clicks


@cache
def log() -> Planted:
    return plant(300_000, seed=1)


@cache
def ne_joined() -> float:
    return ne_of(log(), schedules.joined(log()))


@cache
def ne_apart() -> float:
    return ne_of(log(), schedules.apart(log()))


def test_an_impression_and_its_click_add_up_with_the_weights_moving() -> None:
    assert ne_apart() == pytest.approx(ne_joined(), abs=0.001)


Prepared = Callable[[], Schedule]

#   schedule                                               NE above   why
LATE: list[tuple[Prepared, float, str]] = [
    (lambda: schedules.apart(log(), clicks_late=2_000),    0.001,     "clicks 2,000 impressions late"),
    (lambda: schedules.all_late(log(), 5_000),             0.01,      "everything 5,000 decisions late"),
    (lambda: schedules.in_bursts(log(), 5_000),            0.01,      "the same, 5,000 at once"),
]  # fmt: skip


@pytest.mark.parametrize(("schedule", "cost", "why"), LATE)
def test_late_feedback_costs_little(schedule: Prepared, cost: float, why: str) -> None:
    assert abs(ne_of(log(), schedule()) - ne_joined()) <= cost, why


def test_what_a_wrong_schedule_costs_is_visible() -> None:
    """The measure can fail: clicks that never come ruin the model."""
    assert ne_of(log(), lambda sample: [(sample, 1.0, 0.0)]) > ne_joined() + 0.1


@pytest.mark.parametrize("events", [0, UNLEARN_HORIZON_EVENTS])
def test_false_events_taken_back_within_the_horizon_leave_the_model_as_if_never_seen(events: int) -> None:
    false = schedules.false_anywhere(log())
    assert ne_with_false_clicks(log(), false, events) == pytest.approx(ne_apart(), abs=0.001)


def test_false_events_that_stay_do_harm() -> None:
    assert ne_with_false_clicks(log(), schedules.false_anywhere(log()), None) > ne_apart() + 0.03


def test_after_the_horizon_taking_back_is_harmful() -> None:
    """Why there is a horizon: after a burst the model has corrected itself, and old inverses throw it off."""
    false = schedules.false_burst(log())
    left_alone = ne_with_false_clicks(log(), false, None)
    assert ne_with_false_clicks(log(), false, UNLEARN_HORIZON_EVENTS) < left_alone
    assert ne_with_false_clicks(log(), false, 60 * UNLEARN_HORIZON_EVENTS) > left_alone
