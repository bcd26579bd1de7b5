"""Field-aware vectors: kernels against their plain twin, one ad against all of them, and what they find."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rules import ffm, ftrl, ranking
from app.rules.ffm import FactorRates, Factors
from app.rules.ffm_learner import ffm_learner
from app.rules.ffm_plain import PlainFactors
from app.rules.ftrl import Rates
from app.rules.ftrl_learner import ftrl_learner
from app.rules.learner import F64, I32, NOTHING, Samples, Space, fields_of, single
from tests.rules.learner_laws import SPACE, logs

NO_CELLS = Rates(alpha_main=1e-12, alpha_cross=1e-12)
RATES = FactorRates(alpha=0.3, start=0.5, spread=0.5)
EVENTS = [(1.0, 0.0), (1.0, 1.0), (0.0, 1.0)]


def _lit(places: list[int], fields: I32) -> list[tuple[int, int]]:
    return [(place, int(fields[place])) for place in places if place != NOTHING and fields[place]]


def _plain() -> PlainFactors:
    vectors = ffm.first_vectors(np.arange(SPACE.row_count), int(SPACE.column_fields.max()), 4, RATES.spread)
    return PlainFactors(4, RATES.alpha, RATES.start, lambda row, kind: vectors[row, kind - 1].tolist())


@given(logs(EVENTS))
def test_the_kernel_learns_what_its_twin_learns(samples: Samples) -> None:
    """The cells held still, so that the vectors alone explain the predictions."""
    learner, plain = ffm_learner(SPACE, NO_CELLS, factor_rates=RATES), _plain()
    state = learner.fresh()
    p = learner.learn(state, samples)
    for k in range(len(samples)):
        rows = _lit(samples.rows[k].tolist(), SPACE.row_fields)
        columns = _lit(samples.columns[k].tolist(), SPACE.column_fields)
        expected = float(ftrl.sigmoid(SPACE.prior_logit + plain.added(rows, columns)))
        assert p[k] == pytest.approx(expected, rel=1e-4)
        plain.step(rows, columns, *ftrl.sums_of(expected, samples.impressions[k], samples.clicks[k]))
    for (row, kind), vector in plain.rows.items():
        assert state["row_vectors"][row, kind - 1] == pytest.approx(vector, rel=1e-3, abs=1e-5)
    for (column, field), vector in plain.columns.items():
        assert state["column_vectors"][field - 1, :, column] == pytest.approx(vector, rel=1e-3, abs=1e-5)


def _drawn(random: np.random.Generator, factors: int) -> tuple[Factors, int, int]:
    """Vectors of 40 rows, 64 shared columns of three fields, and 192 ads' own."""
    row_fields = np.concatenate([[0], random.integers(0, 5, 39)]).astype(np.int32)
    shared, ads = 64, 192
    column_fields = np.concatenate([[0], random.integers(1, 4, shared - 1), np.full(ads, 4)]).astype(np.int32)
    one = ffm.fresh(row_fields, column_fields, 4, 4, factors)
    one.row_vectors[:] = random.normal(0.0, 0.3, one.row_vectors.shape)
    one.column_vectors[:] = random.normal(0.0, 0.3, one.column_vectors.shape)
    one.column_vectors[:, :, 0] = 0.0
    return one, shared, ads


@given(st.integers(0, 2**32 - 1), st.sampled_from([4, 8]))
def test_all_ads_at_once_get_what_each_gets_alone(seed: int, factors: int) -> None:
    random = np.random.default_rng(seed)
    vectors, shared, ads = _drawn(random, factors)
    rows = random.choice(40, random.integers(1, 17), replace=False).astype(np.int32)
    used = int(random.integers(40, shared + 1))
    alive = np.where(random.random(ads // 64) < 0.7, np.uint64(2**64 - 1), np.uint64(0))
    before = random.normal(0.0, 1.0, shared + ads).astype(np.float32)
    sums = before.copy()
    ffm.add_factors(vectors, rows, used, shared, alive, sums)
    for ad in range(ads):
        columns = np.array([0, *random.integers(1, used, 3), shared + ad], np.int32)
        added = float(sums[columns].astype(float).sum() - before[columns].astype(float).sum())
        if alive[ad // 64]:
            assert added == pytest.approx(
                ffm.meet(vectors, rows, columns, ffm.nothing_met(vectors)), abs=1e-4
            )
        else:
            assert sums[shared + ad] == before[shared + ad]


def test_until_it_learned_it_adds_nothing_and_a_new_ad_never_does() -> None:
    space = Space(fields_of((3, 2)), fields_of((4,)), prior=0.1)
    learner, linear = ffm_learner(space), ftrl_learner(space)
    state, cells = learner.fresh(), linear.fresh()
    for _ in range(50):
        learner.learn(state, single([0, 1, 4], [0, 2], 1.0, 1.0))
        linear.learn(cells, single([0, 1, 4], [0, 2], 1.0, 1.0))
    assert np.abs(state["column_vectors"][:, :, 2]).min() > 0.0
    assert (state["column_vectors"][:, :, [0, 1, 3, 4]] == 0.0).all()
    new_ad = single([0, 1, 4], [0, 3], 1.0, 0.0)
    alone = ftrl.sigmoid(space.prior_logit + state["w"].reshape(6, 5)[[0, 1, 4]][:, [0, 3]].sum())
    assert learner.predict(state, new_ad)[0] == pytest.approx(alone)


def test_rows_without_crosses_have_no_vectors() -> None:
    space = Space(fields_of((2, 2)), fields_of((2,)), prior=0.1, main_only_from=3)
    learner = ffm_learner(space)
    state = learner.fresh()
    learner.learn(state, single([0, 3, 4], [0, 1], 1.0, 1.0))
    assert (state["row_vectors"][[0, 3, 4]] == 0.0).all()
    assert (state["column_vectors"] == 0.0).all()


def test_what_begins_is_hashed_from_its_place_and_small() -> None:
    few = ffm.first_vectors(np.arange(7), 5, 4, 0.1)
    assert few.tobytes() == ffm.first_vectors(np.arange(500), 5, 4, 0.1)[:7].tobytes()
    many = ffm.first_vectors(np.arange(2_000), 5, 8, 0.1)
    assert np.abs(many).max() <= 0.1
    assert abs(many.mean()) < 0.001
    assert many.std() == pytest.approx(0.1 / np.sqrt(3.0), rel=0.01)
    assert np.unique(many).size > 0.99 * many.size


def _low_rank_log(count: int, seed: int) -> tuple[Space, Samples, F64]:
    """60 rows x 200 columns whose crosses are products of two numbers, and nothing else."""
    random = np.random.default_rng(seed)
    space = Space(fields_of((60,)), fields_of((200,)), prior=0.1)
    left, right = random.normal(0.0, 1.0, 61), random.normal(0.0, 1.0, 201)
    rows, columns = random.integers(1, 61, count), random.integers(1, 201, count)
    p = 1.0 / (1.0 + np.exp(-(space.prior_logit + left[rows] * right[columns])))
    zeros = np.zeros(count, np.int64)
    lit = [np.stack([zeros, one], axis=1).astype(np.int32) for one in (rows, columns)]
    clicks = (random.random(count) < p).astype(np.float64)
    return space, Samples(lit[0], lit[1], np.ones(count), clicks), p


def test_it_finds_low_rank_crosses_that_cells_have_too_few_samples_for() -> None:
    """12,000 cells, of which each is shown five times, and clicked less than once, before the later half."""
    space, samples, truth = _low_rank_log(120_000, seed=1)
    later = slice(len(samples) // 2, None)

    def excess(p: F64) -> float:
        """Log loss above the truth's, per sample of the later half."""
        y = samples.clicks[later]

        def loss(q: F64) -> float:
            return float(-(y * np.log(q[later]) + (1.0 - y) * np.log1p(-q[later])).mean())

        return loss(p) - loss(truth)

    learner, linear = ffm_learner(space), ftrl_learner(space)
    by_vectors = excess(learner.learn(learner.fresh(), samples))
    by_cells = excess(linear.learn(linear.fresh(), samples))
    assert by_vectors < 0.5 * by_cells


def test_the_scan_leaves_what_it_is_not_asked_for() -> None:
    """Nobody in: the shared columns alone are written, as `sum_rows` does."""
    vectors, shared, ads = _drawn(np.random.default_rng(1), 4)
    nobody, sums = np.zeros(ads // 64, np.uint64), np.zeros(shared + ads, np.float32)
    rows = np.array([0, 3, 9], np.int32)
    weights, touched = np.zeros((40, shared + ads), np.float32), np.zeros(40, np.bool_)
    ranking.sum_rows(weights, touched, rows, shared, shared, nobody, sums)
    ffm.add_factors(vectors, rows, shared, shared, nobody, sums)
    assert np.abs(sums[1:shared]).min() > 0.0
    assert (sums[shared:] == 0.0).all()
