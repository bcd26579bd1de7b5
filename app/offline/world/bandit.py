"""Decisions among a few ads, propensities and truth known: what off-policy estimates are held to."""

from dataclasses import dataclass

import numpy as np

from app.offline.off_policy import Decisions
from app.offline.world.market import CLICKS, Market
from app.offline.world.truth import logit_of
from app.rules.learner import F64, Samples, filled_behind

BANDIT_SEED = 8


@dataclass(frozen=True, slots=True)
class BanditPlan:
    """How many decisions among how many ads; greater `taste`s log the better ads more often. 0: evenly."""

    decisions: int = 20_000
    actions: int = 10
    ctr: float = 0.04
    taste: float = 1.0
    seed: int = 1


def draw_decisions(market: Market, plan: BanditPlan) -> tuple[Decisions, F64]:
    """Draw decisions and the true probability of every action in each. Shape of that: (k, actions)."""
    random = np.random.default_rng([market.seed, BANDIT_SEED, plan.seed])
    numbers = np.random.default_rng([market.seed, BANDIT_SEED]).choice(
        len(market.ads), plan.actions, replace=False
    )
    rows = market.rows_of(*market.draw_visitors(random, plan.decisions))
    columns, shift = market.ads[numbers], logit_of(plan.ctr) - logit_of(CLICKS.rate)
    truth = np.stack(
        [market.clicks.p(rows, np.tile(one, (plan.decisions, 1)), shift) for one in columns], axis=1
    )
    # The logging policy knows a little: the ads' mean rates, and nothing of the person.
    liking = np.exp(plan.taste * np.log(truth.mean(axis=0)))
    propensities = np.broadcast_to(liking / liking.sum(), truth.shape)
    chosen = random.choice(plan.actions, plan.decisions, p=propensities[0])
    place = np.arange(plan.decisions), chosen
    clicks = (random.random(plan.decisions) < truth[place]).astype(np.float64)
    samples = Samples(filled_behind(rows), columns[chosen], np.ones(plan.decisions), clicks)
    return Decisions(samples, chosen, propensities[place], columns), truth
