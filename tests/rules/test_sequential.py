"""Intervals that hold at every look. Goal: who looks after every event is wrong in one experiment of twenty
at most, and a true effect is found.

Method: experiments are simulated in which the events of a user hang together (everybody has a click rate and
a habit of their own) and the intervals are looked at after each event of either arm, until one excludes 0.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from app.rules import sequential
from app.rules.intervals import Z_95
from app.rules.sequential import effect, half_width, interval, ratio, verdict
from app.rules.splitting import BUCKETS

EVENTS = 6_000
USERS = 600


def watched(seed: int, lift: float, *, valid: bool = True, prices: bool = False) -> float | None:
    """Run one experiment, look after every event, and tell the effect seen when 0 was first excluded."""
    chance = np.random.default_rng(seed)
    rate = chance.beta(2.0, 18.0, USERS)
    habit = chance.dirichlet(np.full(USERS, 0.5))
    user = chance.choice(USERS, size=EVENTS, p=habit)
    treated = chance.random(USERS) < 0.5
    bucket = chance.integers(0, BUCKETS, USERS)
    clicked = chance.random(EVENTS) < rate[user] * np.where(treated[user], 1.0 + lift, 1.0)
    value = clicked * (chance.lognormal(0.0, 0.7, EVENTS) if prices else 1.0)
    sums = Running()
    for at in range(EVENTS):
        difference = sums.add(int(treated[user[at]]), int(bucket[user[at]]), float(value[at]))
        if difference is None:
            continue
        gap, variance, control = difference
        half = half_width(variance, sequential.EXPECTED * control) if valid else Z_95 * math.sqrt(variance)
        if abs(gap) > half:
            return gap
    return None


class Running:
    """`effect` of one stage, event by event: the same sums, kept up instead of added up anew."""

    def __init__(self) -> None:
        self.top: NDArray[np.float64] = np.zeros((2, BUCKETS))
        self.bottom: NDArray[np.float64] = np.zeros((2, BUCKETS))
        self.squares = [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]  # of top, top x bottom, of bottom
        self.totals = [[0.0, 0.0], [0.0, 0.0]]
        self.filled = [0, 0]

    def add(self, arm: int, bucket: int, value: float) -> tuple[float, float, float] | None:
        top, bottom = float(self.top[arm, bucket]), float(self.bottom[arm, bucket])
        more_top, more_bottom = top + value, bottom + 1.0
        self.filled[arm] += top == 0.0 and value != 0.0
        squares, totals = self.squares[arm], self.totals[arm]
        squares[0] += more_top**2 - top**2
        squares[1] += more_top * more_bottom - top * bottom
        squares[2] += more_bottom**2 - bottom**2
        totals[0] += value
        totals[1] += 1.0
        self.top[arm, bucket], self.bottom[arm, bucket] = more_top, more_bottom
        if min(self.filled) < sequential.LEAST_FILLED:
            return None
        values, variance = [], 0.0
        for (tt, tb, bb), (tops, bottoms) in zip(self.squares, self.totals, strict=True):
            each = tops / bottoms
            values.append(each)
            spread = (tt - 2.0 * each * tb + each * each * bb) / bottoms**2
            variance += max(0.0, spread) * BUCKETS / (BUCKETS - 1)
        return values[1] - values[0], variance, values[0]


def test_the_running_sums_are_the_rule() -> None:
    chance, sums = np.random.default_rng(5), Running()
    for _ in range(900):
        found = sums.add(int(chance.integers(2)), int(chance.integers(BUCKETS)), float(chance.integers(3)))
    plain = effect(sums.top[1], sums.bottom[1], sums.top[0], sums.bottom[0])
    assert found is not None
    assert plain is not None
    assert found == pytest.approx((*plain.difference, plain.control))


@pytest.mark.slow
@pytest.mark.parametrize("prices", [False, True])
def test_who_looks_after_every_event_is_seldom_wrong(prices: bool) -> None:
    """At most alpha of them; an ordinary interval is wrong in a fifth (below)."""
    wrong = sum(watched(seed, 0.0, prices=prices) is not None for seed in range(200))
    assert wrong <= 10, f"{wrong} of 200 experiments without an effect found one"


@pytest.mark.slow
def test_an_ordinary_interval_is_wrong_when_looked_at_so_often() -> None:
    """Else the test above would prove little."""
    wrong = sum(watched(seed, 0.0, valid=False) is not None for seed in range(200))
    assert wrong > 20


@pytest.mark.slow
def test_a_true_effect_is_found_on_its_side() -> None:
    found = [watched(seed, 1.0) for seed in range(40)]
    assert sum(gap is not None and gap > 0.0 for gap in found) >= 36
    assert not any(gap is not None and gap < 0.0 for gap in found)


def test_stages_are_compared_each_with_itself() -> None:
    """Simpson: within each stage nothing differs, but the arm grew on the day when everybody clicks."""
    chance = np.random.default_rng(1)
    shown = np.array([[10.0, 90.0], [90.0, 10.0]])  # (stage, arm): the arm's share goes from 10 to 90 %
    sizes = chance.multinomial(4_000, np.full(BUCKETS, 1 / BUCKETS), (2, 2)) * shown[:, :, None] / 100.0
    clicks = sizes * np.array([0.01, 0.05])[:, None, None]
    arm, control = slice(None), slice(None)
    apart = effect(clicks[arm, 0], sizes[arm, 0], clicks[control, 1], sizes[control, 1])
    pooled = effect(clicks[:, 0].sum(0), sizes[:, 0].sum(0), clicks[:, 1].sum(0), sizes[:, 1].sum(0))
    assert apart is not None
    assert pooled is not None
    assert apart.difference.value == pytest.approx(0.0, abs=1e-12)
    assert pooled.difference.value > 0.02


# fmt: off
WIDTHS = [
    # variance, expected, alpha, why
    (1e-6,      0.01,     0.05,  "known well"),
    (1e-2,      0.01,     0.05,  "hardly known"),
    (1e-6,      1.0,      0.01,  "a far larger effect was expected"),
]
# fmt: on


@pytest.mark.parametrize(("variance", "expected", "alpha", "why"), WIDTHS)
def test_the_half_width_is_where_the_mixture_reaches_its_bound(
    variance: float, expected: float, alpha: float, why: str
) -> None:
    """The likelihood ratio of N(x; 0, variance + expected^2) to N(x; 0, variance) is 1 / alpha there."""
    x, whole = half_width(variance, expected, alpha), variance + expected**2
    log_ratio = -0.5 * math.log(whole / variance) + 0.5 * x * x * (1.0 / variance - 1.0 / whole)
    assert log_ratio == pytest.approx(math.log(1.0 / alpha)), why


def test_too_little_says_nothing() -> None:
    few = np.zeros(BUCKETS)
    few[:31] = 1.0
    many = np.ones(BUCKETS)
    known, unknown = ratio(many, 2 * many), ratio(few, many)
    assert known is not None
    assert unknown is not None
    assert interval(unknown, unknown.value) is None
    assert interval(known, known.value) == (0.5, 0.5)
    assert ratio(few, np.zeros(BUCKETS)) is None
    assert effect(many, many, few, np.zeros(BUCKETS)) is None
    assert verdict(None) == "undecided"
