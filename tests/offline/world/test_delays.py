"""Ways of learning from late conversions, on a small market with a known truth."""

from __future__ import annotations

import numpy as np
import pytest

from app.offline import late as delays
from app.offline.late import WAYS, Late, Learnt, known
from app.offline.sample import sample_catalogue
from app.offline.world.delays import draw_late, entropy
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
    learnt = Learnt(late)
    ways = {way: learnt.predict(way) for way in WAYS}
    later = late.at_s > delays.DAY_S
    found = {name: entropy(p[later], late.truth[later]) for name, p in ways.items()}
    assert entropy(late.truth[later], late.truth[later]) < min(found.values())
    assert all(found["ripening"] < found[way] for way in ("negative", "wait-week", "corrected"))
    assert ways["ripening"][later].sum() == pytest.approx(late.truth[later].sum(), rel=0.15)
    for p in ways.values():
        assert ((p > 0.0) & (p < 1.0)).all()


def test_who_expects_delays_as_they_are_is_right_from_the_first_day(late: Late) -> None:
    """A day is expected where nothing is said: longer than this market's, so the first clicks seem to be
    worth more than they are; what all campaigns' clicks say comes too late to mend it."""
    first = late.at_s < delays.DAY_S
    truth = late.truth[first].sum()
    off = [
        abs(Learnt(late, mean_s).predict("ripening")[first].sum() / truth - 1.0)
        for mean_s in (86_400.0, 21_600.0)
    ]
    assert off[1] < off[0]
