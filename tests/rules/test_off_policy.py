"""Off-policy estimates: what they are by hand, what they keep, and intervals that hold the truth."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rules.off_policy import Estimate, doubly_robust, effective_count, ips, snips

#   rewards       weights        IPS    SNIPS   why
BY_HAND = [
    ([1, 0, 0, 1], [1, 1, 1, 1], 0.5,   0.5,    "the policy is the one that logged"),
    ([1, 0, 0, 1], [2, 0, 2, 0], 0.5,   0.5,    "chosen evenly, wanted half"),
    ([1, 0, 0, 1], [4, 0, 0, 0], 1.0,   1.0,    "one decision speaks for all"),
    ([1, 1, 1, 1], [2, 2, 0, 2], 1.5,   1.0,    "uneven weights: rewards end at 1"),
    ([1, 0, 0, 1], [0, 0, 0, 0], 0.0,   0.0,    "the policy never chose so"),
]  # fmt: skip


@pytest.mark.parametrize(("rewards", "weights", "by_ips", "by_snips", "why"), BY_HAND)
def test_by_hand(rewards: list[int], weights: list[int], by_ips: float, by_snips: float, why: str) -> None:
    one, other = np.array(rewards, float), np.array(weights, float)
    assert ips(one, other).value == pytest.approx(by_ips), why
    assert snips(one, other).value == pytest.approx(by_snips), why


def holds(one: Estimate, truth: float) -> bool:
    return one.low <= truth <= one.high


DECISIONS = st.lists(
    st.tuples(st.integers(0, 1), st.floats(0.0, 20.0), st.floats(0.0, 1.0), st.floats(0.0, 1.0)),
    min_size=1, max_size=40,
)  # fmt: skip


@given(DECISIONS)
def test_laws(decisions: list[tuple[int, float, float, float]]) -> None:
    rewards, weights, expected, of_policy = np.array(decisions, float).T
    for one in (
        ips(rewards, weights),
        snips(rewards, weights),
        doubly_robust(rewards, weights, expected, of_policy),
    ):
        assert np.isfinite([one.value, one.low, one.high]).all()
        assert one.low <= one.value <= one.high
        assert one.low < one.high  # nothing is ever certain
    assert 0.0 <= snips(rewards, weights).value <= 1.0 + 1e-9
    assert 0.0 <= effective_count(weights) <= len(decisions) + 1e-6
    zeros = np.zeros(len(decisions))
    assert doubly_robust(rewards, weights, zeros, zeros) == ips(rewards, weights)


def test_a_perfect_model_needs_no_rewards() -> None:
    """Doubly robust: with the truth as the model the weights' noise cancels."""
    random = np.random.default_rng(1)
    p, of_policy = random.uniform(0.1, 0.3, 1_000), random.uniform(0.2, 0.4, 1_000)
    weights = random.exponential(1.0, 1_000)
    assert doubly_robust(p, weights, p, of_policy).value == pytest.approx(of_policy.mean())


def test_what_was_never_seen_is_not_known_to_be_nothing() -> None:
    """160 effective decisions without a reward: the rate may well be 1 %."""
    weights = np.where(np.arange(5_000) < 160, 34.0, 0.0)
    for one in (ips(np.zeros(5_000), weights), snips(np.zeros(5_000), weights)):
        assert one.value == 0.0
        assert 0.01 < one.high < 0.05
