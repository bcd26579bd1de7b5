"""Ways of choosing ads compete on the same visits: who loses how many clicks against knowing the truth?

A policy sees what a node sees: the request's rows, the ads' columns, and the clicks on what it chose. What it
misses is its regret: the best ad's true click probability less the chosen one's, summed over the visits. All
clicks are worth the same here; prices would hide what is being compared.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.offline.world.log import DAY_HOURS, HOUR_S, lives, moments
from app.offline.world.market import CLICKS, Market
from app.offline.world.truth import logit_of
from app.rules.learner import F64, I32, NOTHING, Learner, Samples

ARRIVALS_SEED, CLICKS_SEED = 5, 6
FOUND = 10  # chosen so often, an ad has had its chance


@dataclass(frozen=True, slots=True)
class Choice:
    """What a policy is asked: the rows of a visit, the columns of the ads that may be shown, and chance."""

    rows: I32
    ads: I32
    numbers: NDArray[np.int64]  # which ads these are
    random: np.random.Generator


@dataclass(frozen=True, slots=True)
class Policy:
    """A way of choosing: a place among the ads; and what it makes of what came of it."""

    name: str
    choose: Callable[[Choice], int]
    learn: Callable[[I32, I32, bool], None]


@dataclass(frozen=True, slots=True)
class ContestPlan:
    """How many visits, over how long, with how many ads to choose from at each."""

    visits: int = 30_000
    days: int = 7
    candidates: int = 50
    ctr: float = 0.04
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Trail:
    """What a policy did.

    Shape   (visits,): regret and true probability of each choice, and the ad chosen; (ads,): how often each
            was among the candidates, and how often it had been when it was chosen for the FOUND-th time.
    """

    regret: F64
    p: F64
    chosen: NDArray[np.int64]
    is_new: NDArray[np.bool_]  # the ad had come within the contest's time
    offered: NDArray[np.int64]
    found_after: F64  # inf where it never was
    begins: F64

    @property
    def total_regret(self) -> float:
        """Clicks lost, all told."""
        return float(self.regret.sum())


def contest(market: Market, policy: Policy, plan: ContestPlan) -> Trail:
    """Let a policy choose at every visit; visits, candidates and arrivals are the same for every policy.

    Cost    about 0.2 ms a visit with a learner of all crosses.
    """
    random = np.random.default_rng([market.seed, ARRIVALS_SEED, plan.seed])
    at_share = moments(random, plan.visits, plan.days) / (plan.days * DAY_HOURS * HOUR_S)
    begins, ends = lives(random, len(market.creatives))
    rows = market.rows_of(*market.draw_visitors(random, plan.visits))
    clicks = np.random.default_rng([market.seed, CLICKS_SEED, plan.seed])
    own = np.random.default_rng([market.seed, CLICKS_SEED + 1, plan.seed])
    shift = logit_of(plan.ctr) - logit_of(CLICKS.rate)
    trail = Trail(
        np.zeros(plan.visits), np.zeros(plan.visits), np.zeros(plan.visits, np.int64),
        np.zeros(plan.visits, np.bool_), np.zeros(begins.size, np.int64),
        np.full(begins.size, np.inf), begins,
    )  # fmt: skip
    times = np.zeros(begins.size, np.int64)
    for visit, at in enumerate(at_share):
        living = np.flatnonzero((begins <= at) & (at <= ends))
        numbers = random.choice(living, min(plan.candidates, living.size), replace=False)
        lit = rows[visit][rows[visit] != NOTHING]
        ads = market.ads[numbers]
        p = market.clicks.p_of_all(lit, ads, shift)
        chosen = policy.choose(Choice(lit, ads, numbers, own))
        policy.learn(lit, ads[chosen], bool(clicks.random() < p[chosen]))
        trail.regret[visit], trail.p[visit] = p.max() - p[chosen], p[chosen]
        ad = numbers[chosen]
        trail.chosen[visit], trail.is_new[visit] = ad, begins[ad] > 0.0
        trail.offered[numbers] += 1
        times[ad] += 1
        if times[ad] == FOUND:
            trail.found_after[ad] = trail.offered[ad]
    return trail


# ------------------------------------------------------------------------------------ the plainest policies
def uniform() -> Policy:
    """Any ad, without looking."""
    return Policy("uniform", lambda choice: int(choice.random.integers(len(choice.ads))), _forget)


def _forget(rows: I32, columns: I32, clicked: bool) -> None:
    """Nothing is learned."""


def epsilon_greedy(learner: Learner, epsilon: float = 0.0) -> Policy:
    """The best ad by the learner's own prediction; once in 1 / epsilon visits, any. 0 is greedy."""
    state = learner.fresh()

    def choose(choice: Choice) -> int:
        if epsilon and choice.random.random() < epsilon:
            return int(choice.random.integers(len(choice.ads)))
        return int(np.argmax(learner.predict(state, offered(choice.rows, choice.ads))))

    def learn(rows: I32, columns: I32, clicked: bool) -> None:
        learner.learn(state, offered(rows, columns[None, :], float(clicked)))

    name = f"epsilon-greedy {epsilon:g}" if epsilon else "greedy"
    return Policy(name, choose, learn)


def offered(rows: I32, ads: I32, clicks: float = 0.0) -> Samples:
    """One request with each of some ads, as samples of one impression each."""
    count = len(ads)
    lit = np.ascontiguousarray(np.broadcast_to(rows, (count, rows.size)))
    return Samples(lit, np.ascontiguousarray(ads), np.ones(count), np.full(count, clicks))
