"""Clicks whose conversions come late, and ways of learning from them.

Each way predicts every click at its moment from what was known by then. Among the ways are the node's
(`ripening`), by the same rules, the plainer one that it was chosen over (`corrected`), and Chapelle's
delayed-feedback model.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from app.rules.delayed_learner import delayed_learner
from app.rules.delays import AGES_S, BINS, EDGES_S, WIDTHS_S, bin_of, ripeness_of, shares_of
from app.rules.ftrl_learner import ftrl_learner
from app.rules.learner import F64, I32, Samples, Space

HOUR_S, DAY_S = 3_600.0, 86_400.0
WEEK_S = float(EDGES_S[-1])
MEAN_EXPECTED_S = DAY_S  # as a node expects before any came
LEARN_EVERY_S = HOUR_S
GRANTED_CLICKS = 5.0  # of the plain correction, lest the first few decide
PASSES = 1  # over the log, of the delayed-feedback model: three are less biased, and overfit by 0.013 NE


@dataclass(frozen=True, slots=True)
class Late:
    """Clicks in order of time. Shapes (k,), rows (k, R), columns (k, C); late_s where `converts`.

    Units   at_s since the beginning; `truth` is the probability, nan where it is not known.
    """

    space: Space
    rows: I32
    columns: I32
    at_s: F64
    campaign: NDArray[np.int64]
    campaigns: int
    truth: F64
    converts: NDArray[np.bool_]
    late_s: F64

    def samples(self, which: NDArray[np.int64], trials: F64, conversions: F64) -> Samples:
        """Samples of some clicks, in the order given."""
        return Samples(self.rows[which], self.columns[which], trials, conversions)


# ------------------------------------------------------------------------------------ what is learned when
@dataclass(frozen=True, slots=True)
class _Lessons:
    """Lessons of clicks: which, when, and what of them."""

    which: NDArray[np.int64]
    at_s: F64
    trials: F64
    conversions: F64


def _lessons(which: NDArray[np.int64], at_s: F64, trials: F64 | float, conversions: F64 | float) -> _Lessons:
    return _Lessons(
        which, at_s, np.broadcast_to(trials, at_s.shape), np.broadcast_to(conversions, at_s.shape)
    )


def _progressive(late: Late, *several: _Lessons) -> F64:
    """Predict each click at its moment, with the node's learner, taught all lessons in their order."""
    clicks = np.arange(late.at_s.size)
    asked = _lessons(clicks, late.at_s, 0.0, 0.0)  # teaches nothing, and stands before what comes with it
    every = (asked, *several)
    at_s = np.concatenate([one.at_s for one in every])
    order = np.argsort(at_s, kind="stable")
    which, trials, conversions = (
        np.concatenate([getattr(one, name) for one in every])[order]
        for name in ("which", "trials", "conversions")
    )
    learner = ftrl_learner(late.space)
    p = learner.learn(learner.fresh(), late.samples(which, trials, conversions))
    is_asked = order < clicks.size
    predicted = np.empty(clicks.size)
    predicted[which[is_asked]] = p[is_asked]
    return predicted


def _conversions(late: Late) -> _Lessons:
    """Each conversion when it comes."""
    which = np.flatnonzero(late.converts)
    return _lessons(which, (late.at_s + late.late_s)[which], 0.0, 1.0)


def oracle(late: Late) -> F64:
    """Learn at the click what will become of it."""
    return _progressive(
        late, _lessons(np.arange(late.at_s.size), late.at_s, 1.0, late.converts.astype(np.float64))
    )


def at_once(late: Late) -> F64:
    """Count a click as unconverted until its conversion comes."""
    return _progressive(late, _lessons(np.arange(late.at_s.size), late.at_s, 1.0, 0.0), _conversions(late))


def waiting(late: Late, window_s: float) -> F64:
    """Learn a click when its window is over, with what came within."""
    came = (late.converts & (late.late_s <= window_s)).astype(np.float64)
    return _progressive(late, _lessons(np.arange(late.at_s.size), late.at_s + window_s, 1.0, came))


@dataclass(frozen=True, slots=True)
class Known:
    """What was known at each full hour. Shapes (hours, campaigns, BINS); lived: clicks through each bin."""

    shares: F64
    lived: F64
    conversions: F64

    def hour(self, at_s: F64) -> NDArray[np.int64]:
        """The last hour before each time."""
        return np.minimum((at_s / LEARN_EVERY_S).astype(np.int64), len(self.shares) - 1)


def known(late: Late, expected_s: float = MEAN_EXPECTED_S) -> Known:
    """Count conversions and clicks by age, campaign by campaign, at every full hour."""
    hours = np.arange(int((late.at_s.max() + WEEK_S) / LEARN_EVERY_S) + 2) * LEARN_EVERY_S
    shape = (hours.size, late.campaigns, BINS)
    lived, conversions = np.zeros(shape), np.zeros(shape)
    which = np.flatnonzero(late.converts)
    came_hour = ((late.at_s + late.late_s)[which] / LEARN_EVERY_S).astype(np.int64) + 1
    bins = np.array([bin_of(seconds) for seconds in late.late_s[which]])
    inside = came_hour < hours.size
    np.add.at(conversions, (came_hour[inside], late.campaign[which][inside], bins[inside]), 1.0)
    conversions = np.cumsum(conversions, axis=0)
    shares = np.empty(shape)
    for hour, now_s in enumerate(hours):
        seen = late.at_s <= now_s
        through = np.clip((now_s - late.at_s[seen, None] - AGES_S[:-1]) / WIDTHS_S, 0.0, 1.0)
        np.add.at(lived[hour], late.campaign[seen], through)
        shares[hour] = shares_of(conversions[hour], lived[hour], expected_s)
    return Known(shares, lived, conversions)


def ripening(late: Late, what: Known) -> F64:
    """Learn of each click at each age what is ripe of it by then: as a node does."""
    clicks, ripe, lessons = np.arange(late.at_s.size), np.zeros(late.at_s.size), []
    for age, age_s in enumerate(AGES_S):
        at_s = late.at_s + age_s
        ripeness = ripeness_of(what.shares[what.hour(at_s), late.campaign])[:, age]
        part = np.maximum(ripeness - ripe, 0.0)
        ripe += part
        lessons.append(_lessons(clicks, at_s, part, 0.0))
    return _progressive(late, *lessons, _conversions(late))


def corrected(late: Late, what: Known, predicted: F64, prior: float) -> F64:
    """Put right what `at_once` predicted, by the campaign's clicks over the sum of F(age) over them.

    In logits, so that it stays a probability: by what it takes at the campaign's own rate.
    """
    clicks = np.zeros((len(what.shares), late.campaigns))
    np.add.at(clicks, ((late.at_s / LEARN_EVERY_S).astype(np.int64) + 1, late.campaign), 1.0)
    clicks = np.cumsum(clicks, axis=0)
    ripe = (what.lived * what.shares).sum(axis=2)
    rate = (what.conversions.sum(axis=2) + 20 * prior) / (clicks + 20)
    right = np.minimum(rate * (clicks + GRANTED_CLICKS) / (ripe + GRANTED_CLICKS), 0.95)
    shift = np.log(right / (1 - right)) - np.log(rate / (1 - rate))
    logit = np.log(predicted / (1 - predicted)) + shift[what.hour(late.at_s), late.campaign]
    return np.asarray(1.0 / (1.0 + np.exp(-logit)))


def delayed_feedback(late: Late, expected_s: float = MEAN_EXPECTED_S) -> F64:
    """Fit the delayed-feedback model at each midnight to what is known then, to predict the day after."""
    predicted = np.full(late.at_s.size, late.space.prior)
    for day in range(1, int(late.at_s.max() / DAY_S) + 1):
        now_s = day * DAY_S
        seen, today = late.at_s < now_s, (late.at_s >= now_s) & (late.at_s < now_s + DAY_S)
        came = late.converts[seen] & (late.at_s[seen] + late.late_s[seen] < now_s)
        seconds = np.where(came, late.late_s[seen], now_s - late.at_s[seen])
        part = late.samples(np.flatnonzero(seen), np.ones(int(seen.sum())), came.astype(np.float64))
        learner = delayed_learner(late.space, mean_late_s=expected_s)
        state = learner.fresh()
        for _ in range(PASSES):
            learner.learn(state, replace(part, seconds=seconds))
        which = np.flatnonzero(today)
        nothing = np.zeros(which.size)
        predicted[which] = learner.predict(state, late.samples(which, nothing, nothing))
    return predicted


Ways = dict[str, F64]
# What each way is called in a comparison, and in words.
WAYS = {
    "ripening": "ripening (the node's)", "delayed": "delayed-feedback model",
    "corrected": "corrected by clicks / sum F", "negative": "unconverted is negative",
    "wait-day": "wait for a day", "wait-week": "wait for the week", "oracle": "oracle",
}  # fmt: skip


class Learnt:
    """The ways of learning one log, by name; what several of them need is worked out once."""

    def __init__(self, late: Late, expected_s: float = MEAN_EXPECTED_S) -> None:
        self.late, self.expected_s = late, expected_s

    @cached_property
    def known(self) -> Known:
        """What was known at each full hour."""
        return known(self.late, self.expected_s)

    @cached_property
    def naive(self) -> F64:
        """What is predicted where an unconverted click is a negative."""
        return at_once(self.late)

    def predict(self, way: str) -> F64:
        """Predict each click at its moment in one of WAYS. Cost: seconds for 30,000 clicks over ten days."""
        late = self.late
        match way:
            case "ripening":
                return ripening(late, self.known)
            case "delayed":
                return delayed_feedback(late, self.expected_s)
            case "corrected":
                return corrected(late, self.known, self.naive, late.space.prior)
            case "negative":
                return self.naive
            case "wait-day":
                return waiting(late, DAY_S)
            case "wait-week":
                return waiting(late, WEEK_S)
            case "oracle":
                return oracle(late)
            case _:
                raise AssertionError(way)
