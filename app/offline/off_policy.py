"""`adjudge off-policy`: what other ways of choosing would have earned, from a log with propensities.

Policies and the model of the doubly robust estimate are learned on the first part of the log, and judged on
the rest: what judges has not been learned from.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from app.domain.refusals import Refused
from app.offline.logs import read_log
from app.offline.replay import MODELS, check_size, encoded, warm
from app.offline.schema import read_schema
from app.rules.ftrl import Rates
from app.rules.learner import F64, I32, Learner, Samples, Space, State
from app.rules.off_policy import Estimate, doubly_robust, effective_count, ips, snips

UNIFORM = "uniform"
JUDGE = "main"  # the model of the doubly robust estimate


@dataclass(frozen=True, slots=True)
class Judged:
    """One policy's estimates of the mean reward, and how many decisions they rest on."""

    policy: str
    ips: Estimate
    snips: Estimate
    doubly_robust: Estimate
    effective: float


@dataclass(frozen=True, slots=True)
class OffPolicy:
    """All policies over the later part of a log; `logged` is what the log's own policy earned there."""

    log: str
    decisions: int
    actions: int
    clicks: int
    logged: Estimate
    policies: tuple[Judged, ...]

    def as_json(self) -> dict[str, Any]:
        """The shape that `off-policy --json` prints."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Decisions:
    """Decisions among the same actions each time.

    Shape   samples of what was chosen (k,); chosen (k,) its action; propensity (k,); columns (actions, C).
    """

    samples: Samples
    chosen: NDArray[np.int64]
    propensity: F64
    columns: I32

    def part(self, first: int, last: int) -> "Decisions":
        """The decisions from `first` up to, not including, `last`."""
        cut = slice(first, last)
        return Decisions(self.samples.part(first, last), self.chosen[cut], self.propensity[cut], self.columns)


def off_policy_file(log: Path, schema: Path, policies: Iterable[str], train_share: float = 0.5) -> OffPolicy:
    """Judge policies by a log whose schema names `action` and `propensity`.

    Errors  Refused: unknown_policy; no_propensity; bad_value; the schema's; the log's; too_large.
    """
    wanted = list(policies)
    for policy in wanted:
        if policy != UNIFORM and policy not in MODELS:
            message = f"no policy {policy!r}; known: {UNIFORM}, {', '.join(MODELS)}"
            raise Refused("unknown_policy", message, "policies")
    read = read_schema(schema)
    if read.action is None or read.propensity is None:
        message = "the schema must name the fields `action` and `propensity`"
        raise Refused("no_propensity", message, "schema")
    rows = read_log(log, read, schema.parent)
    space, samples = encoded(rows, read)
    propensity = np.asarray(rows.fields[read.propensity].cast(pl.Float64, strict=False).fill_null(0.0))
    if not ((propensity > 0.0) & (propensity <= 1.0)).all():
        raise Refused("bad_value", f"{read.propensity} is not always above 0 and at most 1", "propensity")
    named = rows.fields[read.action].fill_null("").to_numpy().astype(str)
    _, first_of, chosen = np.unique(named, return_index=True, return_inverse=True)
    decisions = Decisions(samples, chosen, propensity, samples.columns[first_of])
    return judged(log.name, space, decisions, wanted, train_share)


def judged(
    log: str, space: Space, decisions: Decisions, policies: list[str], train_share: float = 0.5
) -> OffPolicy:
    """Learn on the first share, judge on the rest. With a share of 0, models know the prior alone."""
    cut, actions = int(len(decisions.samples) * train_share), len(decisions.columns)
    taught, judging = decisions.part(0, cut), decisions.part(cut, len(decisions.samples))
    expected = expectations(*_learned(JUDGE, space, taught.samples), judging)
    judgements = []
    for policy in policies:
        if policy == UNIFORM:
            probabilities = np.full((len(judging.samples), actions), 1.0 / actions)
        else:
            probabilities = greedy(expectations(*_learned(policy, space, taught.samples), judging))
        judgements.append(judge(policy, judging, probabilities, expected))
    rewards = judging.samples.clicks
    return OffPolicy(
        log=log,
        decisions=len(judging.samples),
        actions=actions,
        clicks=int(rewards.sum()),
        logged=ips(rewards, np.ones(rewards.size)),
        policies=tuple(judgements),
    )


def judge(policy: str, decisions: Decisions, probabilities: F64, expected: F64) -> Judged:
    """All estimates of one policy. Shape probabilities, expected: (k, actions)."""
    place = np.arange(len(decisions.samples)), decisions.chosen
    rewards, weights = decisions.samples.clicks, probabilities[place] / decisions.propensity
    of_policy = (probabilities * expected).sum(axis=1)
    return Judged(
        policy,
        ips(rewards, weights),
        snips(rewards, weights),
        doubly_robust(rewards, weights, expected[place], of_policy),
        effective_count(weights),
    )


def _learned(model: str, space: Space, samples: Samples) -> tuple[Learner, State]:
    check_size(space, model)
    warm(MODELS[model])
    learner = MODELS[model](space, Rates())
    state = learner.fresh()
    learner.learn(state, samples)
    return learner, state


def expectations(learner: Learner, state: State, decisions: Decisions) -> F64:
    """What a model expects of every action in every decision. Shape (k, actions)."""
    rows, ones = decisions.samples.rows, np.ones(len(decisions.samples))
    found = [
        learner.predict(state, Samples(rows, np.tile(columns, (len(rows), 1)), ones, ones))
        for columns in decisions.columns
    ]
    return np.stack(found, axis=1)


def greedy(expected: F64) -> F64:
    """The probabilities of always choosing what is expected to be best; the first of equals."""
    probabilities = np.zeros_like(expected)
    probabilities[np.arange(len(expected)), expected.argmax(axis=1)] = 1.0
    return probabilities


def off_policy_table(one: OffPolicy) -> str:
    """A line a policy, in clicks of 1,000 decisions."""
    logged = _interval(one.logged)
    lines = [
        f"{one.log}: {one.decisions:,} decisions among {one.actions} actions, {one.clicks:,} clicks; "
        "clicks of 1,000 decisions with 95 % intervals",
        f"{'policy':14}{'IPS':>24}{'SNIPS':>24}{'doubly robust':>24}{'effective':>11}",
        f"{'as logged':14}{logged:>24}{logged:>24}{logged:>24}{one.decisions:>11,}",
    ]
    lines += [
        f"{of.policy:14}{_interval(of.ips):>24}{_interval(of.snips):>24}{_interval(of.doubly_robust):>24}"
        f"{of.effective:>11,.0f}"
        for of in one.policies
    ]
    return "\n".join(lines)


def _interval(one: Estimate) -> str:
    return f"{1e3 * one.value:.2f} [{1e3 * one.low:.2f}, {1e3 * one.high:.2f}]"
