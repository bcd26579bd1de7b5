"""Negative down-sampling: the correction, what is kept, and that nothing but noise is lost."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rules.ftrl_learner import ftrl_learner, main_learner
from app.rules.learner import Samples, Space, fields_of
from app.rules.sampling import corrected, down_sampled, kept, thinned, without_empty
from tests.rules.learner_laws import SPACE, drawn

KEEPS = st.floats(0.01, 1.0)


def test_the_published_value() -> None:
    assert corrected(np.array([0.1]), 0.01)[0] == pytest.approx(0.00111, abs=5e-6)


@given(st.floats(0.001, 0.999), KEEPS)
def test_the_correction_is_a_shift_of_the_logit(p: float, keep: float) -> None:
    """And the inverse of what thinning does: p clicks beside keep (1 - p) others."""
    thick = p / (p + (1.0 - p) * keep)
    assert corrected(np.array([thick]), keep)[0] == pytest.approx(p)
    shift = np.log(thick / (1 - thick)) - np.log(p / (1 - p))
    assert shift == pytest.approx(-np.log(keep))


def test_what_is_kept_is_the_share_wherever_the_stream_is_cut() -> None:
    whole = kept(0, 200_000, 0.1)
    assert whole.mean() == pytest.approx(0.1, abs=0.003)
    assert np.concatenate([kept(0, 77, 0.1), kept(77, 923, 0.1)]).tolist() == whole[:1_000].tolist()
    # No rhythm: every tenth, hundredth ... place is kept as often.
    for step in (2, 10, 24, 100):
        assert whole[::step].mean() == pytest.approx(0.1, abs=0.03)


def test_clicks_stay_and_aggregates_are_taken_in_part() -> None:
    one, count = np.zeros((4, 1), np.int32), np.array([1.0, 1.0, 100.0, 0.0])
    clicks = np.array([1.0, 0.0, 10.0, 1.0])
    less = thinned(Samples(one, one, count, clicks), 0.2)
    assert less.clicks.tolist() == clicks.tolist()
    assert less.impressions[[0, 2, 3]].tolist() == [1.0, pytest.approx(10 + 0.2 * 90), 0.0]
    assert less.impressions[1] in (0.0, 1.0)


def test_keeping_all_is_the_learner_itself() -> None:
    samples = drawn(3, 50, [(1.0, 0.0), (1.0, 1.0), (5.0, 2.0)])
    plain, all_kept = ftrl_learner(SPACE), down_sampled(ftrl_learner, SPACE, 1.0)
    expected = plain.learn(plain.fresh(), samples)
    assert all_kept.learn(all_kept.fresh(), samples) == pytest.approx(expected, rel=1e-9)


def test_what_is_dropped_moves_nothing_so_it_may_be_left_out() -> None:
    samples = drawn(4, 400, [(1.0, 0.0), (1.0, 0.0), (1.0, 1.0)])
    less, learner = thinned(samples, 0.3), ftrl_learner(SPACE)
    with_empty, without = learner.fresh(), learner.fresh()
    learner.learn(with_empty, less)
    learner.learn(without, without_empty(less))
    assert len(without_empty(less)) < 0.7 * len(samples)
    assert with_empty["z"].tolist() == without["z"].tolist()
    assert with_empty["n"].tolist() == without["n"].tolist()


@pytest.mark.parametrize("keep", [1.0, 0.5, 0.1])
def test_predictions_come_out_right_on_the_whole(keep: float) -> None:
    """Ads of 2, 4 and 8 %: learned from 60,000 impressions, whatever share of them."""
    random = np.random.default_rng(5)
    space = Space(fields_of(()), fields_of((3,)), prior=0.05)
    ads = random.integers(0, 3, 60_000)
    clicks = (random.random(60_000) < np.array([0.02, 0.04, 0.08])[ads]).astype(np.float64)
    columns = np.stack([np.zeros(60_000, np.int64), ads + 1], axis=1).astype(np.int32)
    samples = Samples(np.zeros((60_000, 1), np.int32), columns, np.ones(60_000), clicks)
    learner = down_sampled(main_learner, space, keep)
    state = learner.fresh()
    p = learner.learn(state, samples)
    assert p[30_000:].sum() / clicks[30_000:].sum() == pytest.approx(1.0, abs=0.06)
    each = [int(np.flatnonzero(ads == ad)[0]) for ad in range(3)]
    learned = [float(learner.predict(state, samples.part(k, k + 1))[0]) for k in each]
    assert learned == pytest.approx([0.02, 0.04, 0.08], rel=0.15)
