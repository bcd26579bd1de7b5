"""The laws of learners: what every one keeps, and what comes with each ability that it declares.

A law takes a maker, so that two learners of the same make can be compared: whatever a learner keeps beside
its state would show up there. `tests/rules/test_learners.py` runs them all over all learners.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.rules.learner import NOTHING, Learner, Samples, Space, State, copy_of, fields_of

Make = Callable[[Space], Learner]
ROW_SIZES, COLUMN_SIZES = (3, 4, 2), (2, 6)
SPACE = Space(fields_of(ROW_SIZES), fields_of(COLUMN_SIZES), prior=0.05)
SAME = 1e-9  # two orders of one sum differ by less

#   impressions, clicks  why
COUNTS = [
    (1.0, 0.0),          # an impression
    (0.0, 1.0),          # a click by itself
    (1.0, 1.0),          # both
    (0.0, 0.0),          # nothing happened
    (5.0, 2.0),          # an aggregate
    (100_000.0, 1_500.0),
    (50.0, 50.0),        # whoever saw it clicked
]  # fmt: skip


def _lit(random: np.random.Generator, fields: NDArray[np.int32]) -> list[int]:
    """Place 0, and some of each field: none, one, or two."""
    lit = [0]
    for one in range(1, int(fields.max()) + 1):
        places = np.flatnonzero(fields == one)
        lit += random.choice(places, random.integers(0, 3), replace=False).tolist()
    return lit


def drawn(seed: int, count: int, counts: list[tuple[float, float]]) -> Samples:
    """So many samples of the laws' space, of differing numbers of features."""
    random = np.random.default_rng(seed)
    rows = [_lit(random, SPACE.row_fields) for _ in range(count)]
    columns = [_lit(random, SPACE.column_fields) for _ in range(count)]
    numbers = random.choice(np.array(counts), count)
    return Samples(filled(rows), filled(columns), numbers[:, 0].copy(), numbers[:, 1].copy())


def logs(counts: list[tuple[float, float]] = COUNTS, most: int = 25) -> st.SearchStrategy[Samples]:
    """Samples drawn by a seed (a strategy for each feature would spend the time on drawing)."""
    return st.builds(drawn, st.integers(0, 2**32 - 1), st.integers(1, most), st.just(counts))


def filled(lit: list[list[int]]) -> NDArray[np.int32]:
    """Lists of differing lengths as one array, NOTHING behind."""
    width = max(map(len, lit))
    return np.array([one + [NOTHING] * (width - len(one)) for one in lit], np.int32)


def logit(p: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.log(p / (1.0 - p)))


def bits(state: State) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in state.items()}


def learned(make: Make, samples: Samples) -> tuple[State, NDArray[np.float64]]:
    learner = make(SPACE)
    state = learner.fresh()
    return state, learner.learn(state, samples)


# ------------------------------------------------------------------------------------ every learner's
def is_deterministic(make: Make, samples: Samples) -> None:
    """The same samples give the same bits, whatever another learner of the kind did meanwhile."""
    state, p = learned(make, samples)
    learned(make, samples.part(0, 1))
    again, p_again = learned(make, samples)
    assert bits(state) == bits(again)
    assert p.tobytes() == p_again.tobytes()


def knows_no_order_of_features(make: Make, samples: Samples, seed: int) -> None:
    """Features shuffled within each sample: the same predictions, up to the order of a sum."""
    random = np.random.default_rng(seed)
    shuffled = replace(samples, rows=samples.rows.copy(), columns=samples.columns.copy())
    for lit in (shuffled.rows, shuffled.columns):
        for one in lit:
            random.shuffle(one[: (one != NOTHING).sum()])
    assert learned(make, shuffled)[1] == pytest.approx(learned(make, samples)[1], rel=SAME)


def survives_the_unseen(make: Make, samples: Samples) -> None:
    """A fresh learner predicts the prior for anything; a taught one something for what it never saw."""
    learner = make(SPACE)
    state = learner.fresh()
    assert learner.predict(state, samples) == pytest.approx(np.full(len(samples), SPACE.prior))
    one = np.zeros(1)
    unseen = [
        Samples(np.array([[0, row]], np.int32), np.array([[0, column]], np.int32), one, one)
        for row in range(1, SPACE.row_count)
        for column in range(1, SPACE.column_count)
    ]
    unseen.append(Samples(np.zeros((1, 1), np.int32), np.zeros((1, 1), np.int32), one, one))
    learner.learn(state, samples)
    for sample in unseen:
        is_a_probability(learner.predict(state, sample))


def is_a_probability(p: NDArray[np.float64]) -> None:
    assert np.isfinite(p).all()
    assert ((p > 0.0) & (p < 1.0)).all()


def never_breaks(make: Make, samples: Samples, times: int) -> None:
    """However often, no prediction and no part of the state is ever NaN or infinite."""
    learner = make(SPACE)
    state = learner.fresh()
    for _ in range(times):
        is_a_probability(learner.learn(state, samples))
    for name, array in state.items():
        assert np.isfinite(array).all(), name


def survives_a_snapshot(make: Make, samples: Samples, cut: int) -> None:
    """State to bytes and back, into a learner newly made: what follows is the same to the bit."""
    before, after = samples.part(0, cut), samples.part(cut, len(samples))
    state, _ = learned(make, before)
    restored: dict[str, NDArray[Any]] = {
        name: np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape).copy()
        for name, array in state.items()
    }
    p, p_restored = make(SPACE).learn(state, after), make(SPACE).learn(restored, after)
    assert p.tobytes() == p_restored.tobytes()
    assert bits(state) == bits(restored)


def predicts_without_learning(make: Make, samples: Samples) -> None:
    """`predict` leaves no trace, and says what `learn` would have said of the next sample."""
    learner = make(SPACE)
    state, _ = learned(make, samples)
    before = bits(state)
    p = learner.predict(state, samples.part(0, 1))
    assert bits(state) == before
    assert p == pytest.approx(learner.learn(state, samples.part(0, 1)), rel=SAME)


# ------------------------------------------------------------------------------------ by ability
def learns_online(make: Make, samples: Samples, cut: int) -> None:
    """In two calls or in one: the same predictions and the same state, to the bit."""
    state, p = learned(make, samples)
    learner = make(SPACE)
    again = learner.fresh()
    parts = (samples.part(0, cut), samples.part(cut, len(samples)))
    p_again = np.concatenate([learner.learn(again, part) for part in parts])
    assert p.tobytes() == p_again.tobytes()
    assert bits(state) == bits(again)


def adds_up(make: Make, samples: Samples, within_logit: float) -> None:
    """Impressions and clicks apart, click right after impression, against both joined."""
    learner = make(SPACE)
    joined, _ = learned(make, samples)
    apart = learner.fresh()
    nothing = np.zeros(1)
    for k in range(len(samples)):
        one = samples.part(k, k + 1)
        learner.learn(apart, replace(one, clicks=nothing))
        if one.clicks[0]:
            learner.learn(apart, replace(one, impressions=nothing))
    gap = logit(learner.predict(apart, samples)) - logit(learner.predict(joined, samples))
    assert np.abs(gap).max() <= within_logit


def takes_back(make: Make, kept: Samples, false: Samples, within: float) -> None:
    """What was learned last and is taken back leaves the state as it was, up to rounding."""
    learner = make(SPACE)
    assert learner.unlearn is not None
    state, _ = learned(make, kept)
    before = copy_of(state)
    learner.unlearn(state, false, learner.learn(state, false))
    for name, array in state.items():
        assert array == pytest.approx(before[name], rel=max(1e-6, within), abs=within), name


def merges(make: Make, base: Samples, one: Samples, other: Samples, exact: bool) -> None:
    """A single part comes out as it is; their order is nothing; what is exact is what one pass gives."""
    learner = make(SPACE)
    assert learner.merge is not None
    start, _ = learned(make, base)
    parts = [copy_of(start), copy_of(start)]
    learner.learn(parts[0], one)
    learner.learn(parts[1], other)
    alone = learner.merge(start, parts[:1])
    assert learner.predict(alone, one) == pytest.approx(learner.predict(parts[0], one), rel=1e-5)
    both, swapped = learner.merge(start, parts), learner.merge(start, parts[::-1])
    for name, array in both.items():
        assert array == pytest.approx(swapped[name], rel=1e-6, abs=1e-9), name
        assert np.isfinite(array).all()
    is_a_probability(learner.predict(both, other))
    if exact:
        learner.learn(start, one)
        learner.learn(start, other)
        for name, array in both.items():
            assert array == pytest.approx(start[name]), name
