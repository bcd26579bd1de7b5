"""Ways of learning from late conversions, on a small market with a known truth."""

from __future__ import annotations

import numpy as np
import pytest

from app.offline.sample import sample_catalogue
from app.offline.world import delays
from app.offline.world.delays import Late, all_ways, draw_late, entropy, known
from app.offline.world.log import LogPlan
from app.offline.world.market import Market
from app.rules.delays import BINS


@pytest.fixture(scope="module")
def late() -> Late:
    market = Market(2, sample_catalogue(2, 60))
    return draw_late(market, LogPlan(samples=40_000, days=8, ctr=0.2, cvr=0.2, seed=2))


def test_what_is_drawn_converts_by_its_truth_and_late_by_its_campaign(late: Late) -> None:
    assert late.converts.mean() == pytest.approx(late.truth.mean(), rel=0.1)
    assert (np.diff(late.at_s) >= 0.0).all()
    means = np.bincount(late.campaign, late.late_s) / np.bincount(late.campaign)
    assert np.nanmax(means) > 3.0 * np.nanmin(means)


def test_nothing_is_known_before_it_happened(late: Late) -> None:
    what = known(late)
    assert not what.lived[0].any()
    assert not what.conversions[0].any()
    assert (np.diff(what.lived.sum(axis=(1, 2))) >= -1e-9).all()
    came = (late.converts & (late.at_s + late.late_s < 3 * delays.DAY_S)).sum()
    assert what.conversions[72].sum() == came
    assert what.shares.shape[2] == BINS


def test_the_node_s_way_is_nearer_to_the_truth_than_the_plain_ones(late: Late) -> None:
    ways = all_ways(late)
    later = late.at_s > delays.DAY_S
    found = {name: entropy(p[later], late.truth[later]) for name, p in ways.items()}
    assert found["the truth"] == min(found.values())
    ours = found["ripening (the node's)"]
    assert ours < found["unconverted is negative"]
    assert ours < found["wait for the week"]
    assert ours < found["corrected by clicks / sum F"]
    assert ways["ripening (the node's)"][later].sum() == pytest.approx(late.truth[later].sum(), rel=0.15)
    for p in ways.values():
        assert ((p > 0.0) & (p < 1.0)).all()
