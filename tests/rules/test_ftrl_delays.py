"""Feedback that comes apart, late, in bursts, or was false: what it costs on planted truth.

Goal: the fold may learn an impression and its click as they come, and take false events back. Method: one
log of 300,000 samples whose truth is known; the same log is learned under several schedules, each
prediction made before that moment's learning, and the normalised entropy (NE) of the second half compared.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from app.offline.planted import PRIOR, Planted, plant
from app.rules import ftrl
from app.rules.evaluation import normalised_entropy

SAMPLES = 300_000
HYPER = ftrl.Rates().array()
PRIOR_LOGIT = float(np.log(PRIOR / (1.0 - PRIOR)))
CELLS = 13 * 6
CLICKS_LATE, IMPRESSIONS_LATE = 2_000, 5_000

Event = tuple[int, float, float]  # sample, impressions, clicks
Schedule = Callable[[int], Iterable[Event]]  # what is learned after a sample was predicted


@cache
def log() -> Planted:
    return plant(SAMPLES, seed=1)


class Model:
    """A fresh matrix over the planted log."""

    def __init__(self) -> None:
        cell_count = log().row_count * log().stride
        self.z, self.n = np.zeros(cell_count), np.zeros(cell_count)
        self.w = np.zeros(cell_count, np.float32)
        self._cells = np.empty(CELLS, np.int64)

    def _lit(self, sample: int) -> tuple[NDArray[np.int64], int, int]:
        planted = log()
        rows, columns = planted.rows[sample], planted.columns[sample]
        main, total = ftrl.cells_of(rows, columns, planted.stride, ftrl.NO_MAIN_ONLY, self._cells)
        return self._cells, main, total

    def predict(self, sample: int) -> float:
        cells, _, total = self._lit(sample)
        return ftrl.sigmoid(ftrl.logit_of(self.w, cells, total, PRIOR_LOGIT))

    def learn(self, event: Event) -> float:
        sample, impressions, clicks = event
        lit = self._lit(sample)
        return ftrl.learn(self.z, self.n, self.w, *lit, PRIOR_LOGIT, impressions, clicks, HYPER)

    def unlearn(self, event: Event, p: float) -> None:
        sample, impressions, clicks = event
        gradient, advance = ftrl.sums_of(p, impressions, clicks)
        ftrl.unlearn(self.z, self.n, self.w, *self._lit(sample), gradient, advance, HYPER)

    def check(self) -> None:
        assert np.isfinite(self.z).all()
        assert (self.n >= 0.0).all()
        derived = np.empty_like(self.w).reshape(log().row_count, -1)
        shape = derived.shape
        ftrl.derive_weights(self.z.reshape(shape), self.n.reshape(shape), derived, 0, 0, HYPER)
        assert derived.tobytes() == self.w.tobytes()


def second_half(p: NDArray[np.float64]) -> float:
    half = SAMPLES // 2
    entropy = normalised_entropy(p[half:], np.ones(SAMPLES - half), log().clicks[half:])
    assert entropy is not None
    return entropy


def ne_of(schedule: Schedule) -> float:
    model, p = Model(), np.empty(SAMPLES)
    for sample in range(SAMPLES):
        p[sample] = model.predict(sample)
        for event in schedule(sample):
            model.learn(event)
    model.check()
    return second_half(p)


def clicked(sample: int) -> bool:
    return bool(log().clicks[sample])


def joined(sample: int) -> Iterator[Event]:
    yield sample, 1.0, float(clicked(sample))


def apart(sample: int) -> Iterator[Event]:
    yield sample, 1.0, 0.0
    if clicked(sample):
        yield sample, 0.0, 1.0


def clicks_late(sample: int) -> Iterator[Event]:
    yield sample, 1.0, 0.0
    if sample >= CLICKS_LATE and clicked(sample - CLICKS_LATE):
        yield sample - CLICKS_LATE, 0.0, 1.0


def all_late(sample: int) -> Iterator[Event]:
    if sample >= IMPRESSIONS_LATE:
        yield from apart(sample - IMPRESSIONS_LATE)


def in_bursts(sample: int) -> Iterator[Event]:
    """Nothing for 5,000 decisions, then all at once, the youngest of them already 5,000 late."""
    if sample >= IMPRESSIONS_LATE and (sample + 1) % IMPRESSIONS_LATE == 0:
        for late in range(sample + 1 - 2 * IMPRESSIONS_LATE, sample + 1 - IMPRESSIONS_LATE):
            yield from apart(late)


@cache
def ne_joined() -> float:
    return ne_of(joined)


#   schedule      NE at most above the joined sample's   why
LATE = [
    (apart,       0.001, "an impression and its click add up, w moving between"),
    (clicks_late, 0.001, "a click 2,000 impressions late"),
    (all_late,    0.01,  "an impression 5,000 decisions late, learned with the p of its own moment"),
    (in_bursts,   0.01,  "the same, 5,000 at once"),
]  # fmt: skip


@pytest.mark.parametrize(("schedule", "cost", "why"), LATE)
def test_late_feedback_costs_little(schedule: Schedule, cost: float, why: str) -> None:
    assert abs(ne_of(schedule) - ne_joined()) <= cost, why


def test_what_a_wrong_schedule_costs_is_visible() -> None:
    """The measure can fail: clicks that never come ruin the model."""
    assert ne_of(lambda sample: [(sample, 1.0, 0.0)]) > ne_joined() + 0.1


# ------------------------------------------------------------------------------------ taking back
def ne_with_false_clicks(false_on: NDArray[np.int64], taken_back_after: int | None) -> float:
    """Learn the log, and after every twentieth sample (5 %) an impression and a click that never were.

    false_on says whose features those carry; each pair is taken back, newest first, after so many events.
    """
    model, p = Model(), np.empty(SAMPLES)
    to_take_back: list[tuple[int, list[tuple[Event, float]]]] = []
    position = oldest = 0
    for sample in range(SAMPLES):
        p[sample] = model.predict(sample)
        for event in apart(sample):
            model.learn(event)
            position += 1
        if sample % 20 == 0:
            shown = int(false_on[sample])
            pair: list[Event] = [(shown, 1.0, 0.0), (shown, 0.0, 1.0)]
            to_take_back.append((position, [(event, model.learn(event)) for event in pair]))
        if taken_back_after is None:
            continue
        while oldest < len(to_take_back) and to_take_back[oldest][0] + taken_back_after <= position:
            for event, learned_with in reversed(to_take_back[oldest][1]):
                model.unlearn(event, learned_with)
            oldest += 1
    model.check()
    return second_half(p)


@pytest.mark.parametrize("events", [0, ftrl.UNLEARN_HORIZON_EVENTS])
def test_false_clicks_taken_back_within_the_horizon_leave_the_model_as_if_never_seen(events: int) -> None:
    anywhere = np.random.default_rng(5).integers(0, SAMPLES, SAMPLES)
    assert abs(ne_with_false_clicks(anywhere, events) - ne_of(apart)) <= 0.001


def test_false_clicks_that_stay_do_harm() -> None:
    anywhere = np.random.default_rng(5).integers(0, SAMPLES, SAMPLES)
    assert ne_with_false_clicks(anywhere, None) > ne_of(apart) + 0.03
