"""`python -m loadtest exploration`: what exploring costs and finds on a market with a known truth.

Ways of choosing meet the same visits, candidates, arrivals and endings; each learns from its own clicks with
the node's learner. Regret is in clicks: the best candidate's true probability less the chosen one's. A good
new ad (it came later, and is of the best tenth) is found when it was chosen ten times; the table says how
often it had been among the candidates by then. Targets: Thompson sampling loses fewer clicks than the greedy
and the epsilon-greedy, halves the time to find a good new ad, and a 90 % interval covers 80-97 % of truths.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from app.offline.sample import sample_catalogue
from app.offline.world.contest import Choice, ContestPlan, Policy, Trail, contest, epsilon_greedy, uniform
from app.offline.world.explorers import doubts_of, linucb, logits, spread_of, thompson
from app.offline.world.market import CLICKS, Market
from app.offline.world.truth import logit_of, space_of
from app.rules.exploration import INTERVAL_SCALE
from app.rules.ftrl_learner import ftrl_learner
from app.rules.learner import F64, Learner
from loadtest.machine import facts, say, target

GOOD_SHARE = 0.1
NORMAL_90 = 1.645
COVERED = 0.80, 0.97
SCALE = 0.5
WATCHED = 200  # visits at the end, over which an ad's error is averaged

Maker = Callable[[Learner], Policy]
POLICIES: tuple[Maker, ...] = (
    lambda _: uniform(),
    epsilon_greedy,
    lambda learner: epsilon_greedy(learner, 0.02),
    lambda learner: epsilon_greedy(learner, 0.1),
    lambda learner: linucb(learner, 1.0),
    lambda learner: thompson(learner, SCALE),
)


@dataclass(frozen=True, slots=True)
class Result:
    """Sums over the seeds. Units: clicks; `found` in times offered."""

    name: str
    regret: float
    late_regret: float
    clicks: float
    found: list[float]


def run(argv: Sequence[str]) -> int:
    """Print the report; 0 when every target is met."""
    options = _options(argv)
    say(facts("exploration", argv))
    say(f"{options.creatives} ads, {options.visits:,} visits with {options.candidates} candidates each, "
        f"{options.seeds} seeds\n")  # fmt: skip
    plans = [
        ContestPlan(visits=options.visits, candidates=options.candidates, seed=seed)
        for seed in range(1, options.seeds + 1)
    ]
    markets = [Market(plan.seed, sample_catalogue(plan.seed, options.creatives)) for plan in plans]
    say(f"  {'':22}{'regret':>9}{'2nd half':>10}{'clicks':>9}{'good new ads found':>20}{'median after':>14}")
    results = {}
    for make in POLICIES:
        result = _held(markets, make, plans)
        results[result.name] = result
        found = np.isfinite(result.found)
        say(f"  {result.name:22}{result.regret:>9,.0f}{result.late_regret:>10,.0f}{result.clicks:>9,.0f}"
            f"{f'{found.sum()} of {found.size}':>20}{np.median(result.found):>14,.0f}")  # fmt: skip
    covered = float(np.mean([_coverage(*one) for one in zip(markets, plans, strict=True)]))
    return _judged(results, covered)


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="loadtest exploration", description=__doc__)
    parser.add_argument("--creatives", type=int, default=300)
    parser.add_argument("--visits", type=int, default=60_000)
    parser.add_argument("--candidates", type=int, default=50)
    parser.add_argument("--seeds", type=int, default=5)
    return parser.parse_args(argv)


def _held(markets: Sequence[Market], make: Maker, plans: Sequence[ContestPlan]) -> Result:
    policies = [make(_learner(market, plan)) for market, plan in zip(markets, plans, strict=True)]
    trails = [contest(*one) for one in zip(markets, policies, plans, strict=True)]
    half = plans[0].visits // 2
    return Result(
        policies[0].name,
        sum(trail.total_regret for trail in trails),
        sum(float(trail.regret[half:].sum()) for trail in trails),
        sum(float(trail.p.sum()) for trail in trails),
        [after for market, trail in zip(markets, trails, strict=True) for after in _found(market, trail)],
    )


def _learner(market: Market, plan: ContestPlan) -> Learner:
    return ftrl_learner(space_of(market.rows, market.columns, prior=plan.ctr))


def _found(market: Market, trail: Trail) -> list[float]:
    """Say how soon each good new ad was found that was offered often enough to be."""
    worth = market.clicks.effects[0][market.ads].sum(axis=1)
    good = worth >= np.quantile(worth, 1.0 - GOOD_SHARE)
    wanted = good & (trail.begins > 0.0) & (trail.offered >= 100)
    found: list[float] = trail.found_after[wanted].tolist()
    return found


def _coverage(market: Market, plan: ContestPlan) -> float:
    """Count the ads whose true logit lies within the 90 % interval of what their columns may be off by.

    What is explored is the ad's side, so an ad's error is averaged over the last visits of a contest. The
    draws are narrower (SCALE) than the doubt is: so the clicks lost are fewest.
    """
    learner = _learner(market, plan)
    state, shift = learner.fresh(), logit_of(plan.ctr) - logit_of(CLICKS.rate)
    policy = thompson(learner, SCALE, state=state)
    errors: list[F64] = []

    def choose(choice: Choice) -> int:
        if next(visits) >= plan.visits - WATCHED:
            everybody = replace(choice, ads=market.ads)
            p = market.clicks.p_of_all(choice.rows, market.ads, shift)
            errors.append(logits(learner, state, everybody) - np.log(p / (1.0 - p)))
        return policy.choose(choice)

    visits = iter(range(plan.visits))
    contest(market, Policy("watched", choose, policy.learn), plan)
    spread = INTERVAL_SCALE * spread_of(doubts_of(learner, state), market.ads)
    return float((np.abs(np.mean(errors, axis=0)) <= NORMAL_90 * spread).mean())


def _judged(results: dict[str, Result], covered: float) -> int:
    ours, greedy = results[f"thompson {SCALE:g}"], results["greedy"]
    epsilon = min(
        (result for name, result in results.items() if name.startswith("epsilon")), key=lambda one: one.regret
    )
    ours_after, greedy_after = float(np.median(ours.found)), float(np.median(greedy.found))
    say()
    against = ours.regret / greedy.regret, ours.regret / epsilon.regret
    met = [
        target(f"fewer clicks lost than greedy: {against[0]:.2f} x", against[0] < 1.0),
        target(f"fewer than {epsilon.name}: {against[1]:.2f} x", against[1] < 1.0),
        target(f"good new ads found in half the time: {ours_after:,.0f} against {greedy_after:,.0f}",
               ours_after <= greedy_after / 2),
        target(f"90 % interval covers {COVERED[0]:.0%}-{COVERED[1]:.0%} of truths: {covered:.1%}",
               COVERED[0] <= covered <= COVERED[1]),
    ]  # fmt: skip
    return 0 if all(met) else 1
