"""The delayed-feedback model against its likelihood, its plain twin, and a truth with late conversions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rules.delayed_learner import delayed_gradients, delayed_learner
from app.rules.delayed_plain import plain_learn_delayed, plain_loss
from app.rules.ftrl_learner import ftrl_learner
from app.rules.ftrl_plain import PlainCell
from app.rules.learner import Samples, Space, fields_of

LOGITS, TIMES = st.floats(-5.0, 5.0), st.floats(0.0, 8.0)
SPACE = Space(fields_of((2,)), fields_of((2,)), prior=0.1)


def _sigmoid(logit: float) -> float:
    return 1.0 / (1.0 + math.exp(-logit))


@given(LOGITS, st.floats(-2.0, 2.0), st.booleans(), TIMES)
def test_gradients_are_those_of_the_likelihood(
    logit: float, log_rate: float, came: bool, time: float
) -> None:
    step = 1e-5
    by_logit, by_rate = (
        (plain_loss(logit + a, log_rate + b, came, time) - plain_loss(logit - a, log_rate - b, came, time))
        / (2 * step)
        for a, b in ((step, 0.0), (0.0, step))
    )
    found = delayed_gradients(_sigmoid(logit), math.exp(log_rate), came, time)
    assert found == pytest.approx((by_logit, by_rate), rel=1e-4, abs=1e-7)


def _samples(random: np.random.Generator, count: int) -> Samples:
    rows, columns = (
        np.stack([np.zeros(count, np.int32), random.integers(1, 3, count).astype(np.int32)], axis=1)
        for _ in range(2)
    )
    came = (random.random(count) < 0.3).astype(np.float64)
    return Samples(rows, columns, np.ones(count), came, random.exponential(86_400.0, count))


def test_the_kernel_agrees_with_its_plain_twin() -> None:
    random = np.random.default_rng(3)
    samples = _samples(random, 60)
    learner = delayed_learner(SPACE)
    p = learner.learn(learner.fresh(), samples)
    settings = {"beta": 1.0, "l1": 0.0, "l2": 1.0}
    cells, late = (
        {
            (row, column): PlainCell(alpha=0.02 if row and column else 0.1, **settings)
            for row in range(3)
            for column in range(3)
        }
        for _ in range(2)
    )
    assert samples.seconds is not None
    for k in range(len(samples)):
        lit = [(int(row), int(column)) for row in samples.rows[k] for column in samples.columns[k]]
        came, time = bool(samples.clicks[k]), float(samples.seconds[k]) / 86_400.0
        known = [cells[cell] for cell in lit], [late[cell] for cell in lit]
        assert plain_learn_delayed(*known, SPACE.prior_logit, came, time) == pytest.approx(p[k], rel=1e-6)


def test_where_nothing_more_will_come_it_is_the_logistic_model() -> None:
    samples = _samples(np.random.default_rng(4), 50)
    final = Samples(samples.rows, samples.columns, samples.impressions, samples.clicks)
    ours, plain = delayed_learner(SPACE), ftrl_learner(SPACE)
    assert ours.learn(ours.fresh(), final) == pytest.approx(plain.learn(plain.fresh(), final))


def test_it_sees_through_young_clicks() -> None:
    """Clicks of the last two days, conversions a day late: half of what comes has not come yet."""
    random = np.random.default_rng(5)
    count, rate, mean_s = 20_000, 0.2, 86_400.0
    age_s, late_s = random.uniform(0.0, 2 * mean_s, count), random.exponential(mean_s, count)
    came = (random.random(count) < rate) & (late_s <= age_s)
    lit = np.zeros((count, 1), np.int32)
    seconds = np.where(came, late_s, age_s)
    samples = Samples(lit, lit, np.ones(count), came.astype(np.float64), seconds)
    predicted = []
    for maker, seen in (
        (delayed_learner, samples),
        (ftrl_learner, Samples(lit, lit, np.ones(count), samples.clicks)),
    ):
        learner = maker(SPACE)
        state = learner.fresh()
        for _ in range(3):
            learner.learn(state, seen)
        predicted.append(float(learner.predict(state, samples.part(0, 1))[0]))
    assert predicted[0] == pytest.approx(rate, rel=0.1)
    assert predicted[1] < 0.7 * rate
