"""Parts learned apart and merged: what is exact, what is not, and that it costs little."""

from collections.abc import Callable

import numpy as np
import pytest

from app.offline.partitions import Training, trained
from app.offline.world.planted import plant
from app.rules.evaluation import normalised_entropy
from app.rules.ftrl import Rates
from app.rules.ftrl_learner import ftrl_learner, main_learner
from app.rules.hctr import hctr_learner
from app.rules.learner import F64, Learner, Samples, Space, fields_of

LOG = plant(40_000, seed=1)
TRAIN, TEST = LOG.samples.part(0, 30_000), LOG.samples.part(30_000, 40_000)


def one_pass(learner: Learner) -> F64:
    return learner.predict(trained(learner, TRAIN, Training())[0], TEST)


def ne(p: F64) -> float:
    one = normalised_entropy(p, TEST.impressions, TEST.clicks)
    assert one is not None
    return one


def test_counts_merge_exactly_however_they_are_cut() -> None:
    learner = hctr_learner(LOG.space, bits=18)
    whole, _ = trained(learner, TRAIN, Training())
    for plan in (Training(rounds=3), Training(shards=4), Training(rounds=5, shards=3)):
        state, _ = trained(learner, TRAIN, plan)
        assert state["shown"].tolist() == whole["shown"].tolist()
        assert state["clicked"].tolist() == whole["clicked"].tolist()


def test_rounds_of_one_shard_are_one_pass() -> None:
    learner = main_learner(LOG.space)
    whole, _ = trained(learner, TRAIN, Training())
    cut, _ = trained(learner, TRAIN, Training(rounds=7))
    assert all(whole[name].tobytes() == cut[name].tobytes() for name in whole)


def test_cells_of_one_part_alone_are_exact() -> None:
    """Two ads, each in a part of its own: what a part learned of its ad is in the merged model to the bit."""
    space = Space(fields_of(()), fields_of((2,)), 0.05)
    learner = ftrl_learner(space, Rates(l1_main=0.1))
    ads = np.repeat([1, 2], 500)
    columns = np.stack([np.zeros(1_000, np.int64), ads], axis=1).astype(np.int32)
    clicks = (np.random.default_rng(1).random(1_000) < 0.1).astype(np.float64)
    samples = Samples(np.zeros((1_000, 1), np.int32), columns, np.ones(1_000), clicks)
    parts = [learner.fresh(), learner.fresh()]
    for k, part in enumerate(parts):
        learner.learn(part, samples.part(500 * k, 500 * (k + 1)))
    assert learner.merge is not None
    both = learner.merge(learner.fresh(), parts)
    for k, part in enumerate(parts):
        for name in ("z", "n", "w"):
            assert both[name][k + 1] == pytest.approx(part[name][k + 1], rel=1e-12)
    assert both["n"][0] == pytest.approx(parts[0]["n"][0] + parts[1]["n"][0])


@pytest.mark.parametrize("make", [ftrl_learner, main_learner])
def test_merging_costs_little_and_adding_up_would_cost_much(make: Callable[[Space], Learner]) -> None:
    """Why the mean of the steps: their sum counts what all parts have seen, the bias, once for each part."""
    learner = make(LOG.space)
    state, _ = trained(learner, TRAIN, Training(rounds=1, shards=8))
    merged = learner.predict(state, TEST)
    assert ne(merged) < ne(one_pass(learner)) + 0.05
    assert merged.mean() == pytest.approx(TEST.clicks.mean(), rel=0.2)
    parts = [learner.fresh() for _ in range(8)]
    for k, part in enumerate(parts):
        learner.learn(part, TRAIN.part(k * 3_750, (k + 1) * 3_750))
    summed = {name: np.sum([part[name] for part in parts], axis=0) for name in ("z", "n", "w")}
    assert ne(learner.predict(summed, TEST)) > 1.5


@pytest.mark.slow
def test_smaller_shards_are_nearer_to_one_pass() -> None:
    learner = ftrl_learner(LOG.space)
    costs = []
    for shards in (2, 16):
        state, _ = trained(learner, TRAIN, Training(rounds=12, shards=shards))
        costs.append(ne(learner.predict(state, TEST)) - ne(one_pass(learner)))
    assert costs[0] < costs[1]
    assert costs[0] < 0.02


def test_thinned_non_clicks_are_fewer_samples() -> None:
    learner = main_learner(LOG.space)
    state, _ = trained(learner, TRAIN, Training(keep=0.1))
    q = learner.predict(state, TEST)
    assert q.mean() > 4 * TEST.clicks.mean()  # to be set right by `sampling.corrected`
