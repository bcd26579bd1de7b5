"""How late conversions come, estimated from those that came and the clicks that still wait.

Method: simulated clicks with a known delay, seen at some moment, are to give that delay's shares back; and
what holds for any counts is held by hypothesis.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from app.rules.delays import (
    AGES_S,
    BINS,
    EDGES_S,
    WIDTHS_S,
    bin_of,
    exponential_shares,
    ripeness_of,
    shares_of,
)

DAY_S = 86_400.0
COUNTS = arrays(np.float64, (3, BINS), elements=st.floats(0.0, 1e6))


def seen(random: np.random.Generator, clicks: int, rate: float, mean_s: float, days: float) -> np.ndarray:
    """Counts (conversions, lived) of clicks spread over some days, as known at their end."""
    at_s = random.uniform(0.0, days * DAY_S, clicks)
    age_s = days * DAY_S - at_s
    late_s = random.exponential(mean_s, clicks)
    come = (random.random(clicks) < rate) & (late_s <= age_s)
    lived = np.clip((age_s[:, None] - AGES_S[:-1]) / WIDTHS_S, 0.0, 1.0).sum(axis=0)
    conversions = np.bincount([bin_of(late) for late in late_s[come]], minlength=BINS)
    return np.stack([conversions.astype(np.float64), lived])


@pytest.mark.parametrize("mean_s", [600.0, 6 * 3_600.0, 1.5 * DAY_S])
def test_young_clicks_do_not_bend_the_shares(mean_s: float) -> None:
    """Three days of clicks, most of which have most of their conversions to come where these take long."""
    random = np.random.default_rng(5)
    counts = seen(random, 60_000, 0.2, mean_s, 3.0)
    shares = shares_of(counts[:1], counts[1:], DAY_S)[0]
    true = exponential_shares(mean_s)
    known = EDGES_S <= 3.0 * DAY_S
    assert np.cumsum(shares)[known] == pytest.approx(np.cumsum(true)[known], abs=0.1)
    if mean_s > DAY_S:
        early = np.cumsum(counts[0] / counts[0].sum())[known]
        assert (
            np.abs(np.cumsum(shares)[known] - np.cumsum(true)[known]).sum()
            < 0.5 * np.abs(early - np.cumsum(true)[known]).sum()
        )


def test_a_campaign_without_conversions_is_as_late_as_all_others() -> None:
    random = np.random.default_rng(6)
    known = seen(random, 30_000, 0.2, 3_600.0, 7.0)
    counts = np.stack([known, np.stack([np.zeros(BINS), np.full(BINS, 3.0)])], axis=1)
    own, new = shares_of(counts[0], counts[1], DAY_S)
    assert new == pytest.approx(own, abs=0.05)


def test_with_no_data_conversions_are_as_late_as_expected() -> None:
    nothing = np.zeros((2, BINS))
    late, soon = shares_of(nothing, nothing, DAY_S)[0], shares_of(nothing, nothing, 3_600.0)[0]
    assert np.cumsum(late) == pytest.approx(np.cumsum(exponential_shares(DAY_S)), abs=0.1)
    assert np.cumsum(soon)[3] > 0.6 > np.cumsum(late)[3]


@given(COUNTS, COUNTS)
def test_shares_are_shares_whatever_was_counted(conversions: np.ndarray, lived: np.ndarray) -> None:
    shares = shares_of(conversions, lived, DAY_S)
    assert np.isfinite(shares).all()
    assert (shares >= 0.0).all()
    assert shares.sum(axis=1) == pytest.approx(np.ones(3))
    ripe = ripeness_of(shares)
    assert (np.diff(ripe, axis=1) >= -1e-12).all()
    assert (ripe[:, 0] == pytest.approx(shares[:, 0] / 2)) and (ripe[:, -1] == 1.0).all()


@given(st.floats(0.0, 1e9))
def test_every_delay_has_a_bin(late_s: float) -> None:
    at = bin_of(late_s)
    assert late_s <= EDGES_S[at] or at == BINS - 1
    assert late_s > AGES_S[at] or late_s == 0.0
