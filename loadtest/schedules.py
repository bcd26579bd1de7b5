"""A planted log learned under a schedule: feedback apart, late, in bursts, false and taken back.

Each sample is predicted first, with the model of that moment; then the schedule says what is learned. What
is measured is the normalised entropy (NE) of the second half. Tests state what it may cost; the report of
`python -m loadtest learning` shows it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.offline.world.planted import PRIOR, Planted
from app.rules import ftrl
from app.rules.evaluation import normalised_entropy

HYPER = ftrl.Rates().array()
PRIOR_LOGIT = float(np.log(PRIOR / (1.0 - PRIOR)))

Event = tuple[int, float, float]  # sample, impressions, clicks
Schedule = Callable[[int], Iterable[Event]]  # what is learned after a sample was predicted


class Learner:
    """A fresh matrix over a planted log, driven event by event as a node drives it."""

    def __init__(self, log: Planted) -> None:
        cell_count = log.row_count * log.stride
        self.z, self.n = np.zeros(cell_count), np.zeros(cell_count)
        self.w = np.zeros(cell_count, np.float32)
        self._log = log
        self._cells = np.empty(log.rows.shape[1] * log.columns.shape[1], np.int64)

    def _lit(self, sample: int) -> tuple[NDArray[np.int64], int, int]:
        log = self._log
        rows, columns = log.rows[sample], log.columns[sample]
        main, total = ftrl.cells_of(rows, columns, log.stride, ftrl.NO_MAIN_ONLY, self._cells)
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
        """No NaN, n never negative, no stale weight."""
        assert np.isfinite(self.z).all()
        assert (self.n >= 0.0).all()
        shape = (self._log.row_count, self._log.stride)
        derived = np.empty(shape, np.float32)
        ftrl.derive_weights(self.z.reshape(shape), self.n.reshape(shape), derived, 0, 0, HYPER)
        assert derived.tobytes() == self.w.tobytes()


def second_half(log: Planted, p: NDArray[np.float64]) -> float:
    """The NE of the later half of these predictions."""
    half = p.size // 2
    entropy = normalised_entropy(p[half:], np.ones(p.size - half), log.clicks[half:])
    assert entropy is not None
    return entropy


def ne_of(log: Planted, schedule: Schedule) -> float:
    """Predict each sample, then learn what the schedule says; the NE of the second half."""
    learner, p = Learner(log), np.empty(log.clicks.size)
    for sample in range(p.size):
        p[sample] = learner.predict(sample)
        for event in schedule(sample):
            learner.learn(event)
    learner.check()
    return second_half(log, p)


def joined(log: Planted) -> Schedule:
    """The impression and its click as one sample."""
    return lambda sample: [(sample, 1.0, float(log.clicks[sample]))]


def apart(log: Planted, *, clicks_late: int = 0) -> Schedule:
    """The impression at once, its click by itself, so many impressions later."""

    def schedule(sample: int) -> Iterable[Event]:
        yield sample, 1.0, 0.0
        shown = sample - clicks_late
        if shown >= 0 and log.clicks[shown]:
            yield shown, 0.0, 1.0

    return schedule


def all_late(log: Planted, late: int) -> Schedule:
    """Everything so many decisions late, one at a time."""
    now = apart(log)
    return lambda sample: now(sample - late) if sample >= late else []


def in_bursts(log: Planted, late: int) -> Schedule:
    """Nothing for so many decisions, then as many at once, the youngest of them already that late."""
    now = apart(log)

    def schedule(sample: int) -> Iterable[Event]:
        if sample >= late and (sample + 1) % late == 0:
            for shown in range(sample + 1 - 2 * late, sample + 1 - late):
                yield from now(shown)

    return schedule


@dataclass(frozen=True, slots=True)
class FalseClicks:
    """Impressions with clicks that never were: after which samples, and whose features they carry."""

    after: NDArray[np.bool_]
    features_of: NDArray[np.int64]


def false_anywhere(log: Planted) -> FalseClicks:
    """After every twentieth sample (5 %), each with the features of some sample of the log."""
    count = log.clicks.size
    after = np.arange(count) % 20 == 0
    return FalseClicks(after, np.random.default_rng(5).integers(0, count, count))


def false_burst(log: Planted) -> FalseClicks:
    """After a fifth of the samples of one tenth of the log, all on its most shown creative; then silence."""
    place = np.arange(log.clicks.size)
    tenth = log.clicks.size // 10
    after = (place % 5 == 0) & (place >= 2 * tenth) & (place < 3 * tenth)
    creatives = np.bincount(log.columns[:, 1])
    shown = np.flatnonzero(log.columns[:, 1] == creatives.argmax())
    return FalseClicks(after, shown[place % shown.size])


def ne_with_false_clicks(log: Planted, false: FalseClicks, taken_back_after: int | None) -> float:
    """Learn the log with false clicks in it, each pair taken back so many events later, or never."""
    learner, p, now = Learner(log), np.empty(log.clicks.size), apart(log)
    waiting: list[tuple[int, list[tuple[Event, float]]]] = []
    position = oldest = 0
    for sample in range(p.size):
        p[sample] = learner.predict(sample)
        for event in now(sample):
            learner.learn(event)
            position += 1
        if false.after[sample]:
            shown = int(false.features_of[sample])
            pair: list[Event] = [(shown, 1.0, 0.0), (shown, 0.0, 1.0)]
            waiting.append((position, [(event, learner.learn(event)) for event in pair]))
        while taken_back_after is not None and oldest < len(waiting):
            learned_at, events = waiting[oldest]
            if learned_at + taken_back_after > position:
                break
            for event, learned_with in reversed(events):
                learner.unlearn(event, learned_with)
            oldest += 1
    learner.check()
    return second_half(log, p)
