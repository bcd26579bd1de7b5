"""Parts of a log learned apart and merged: many machines, one model, and what that costs in quality.

In each round every shard starts from the model of the round before, learns its own part of the round's
samples and hands its state in; `Learner.merge` makes one of them. One round is a log learned wholly apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from time import perf_counter

import numpy as np

from app.rules.learner import Learner, Samples, State, copy_of
from app.rules.sampling import thinned, without_empty


@dataclass(frozen=True, slots=True)
class Training:
    """How a log is learned: kept share of non-clicks, the share learned in one pass first, and the cut."""

    keep: float = 1.0
    rounds: int = 1
    shards: int = 1
    warm: float = 0.0


def trained(learner: Learner, samples: Samples, plan: Training) -> tuple[State, float]:
    """Learn samples as planned; the state, and the seconds of the longest shard of each round, summed.

    With `keep` below 1 the predictions are those of the thinned log: see `sampling.corrected`.

    >>> from app.rules.hctr import hctr_learner
    >>> from app.rules.learner import Space, fields_of
    >>> learner = hctr_learner(Space(fields_of((2,)), fields_of((2,))), bits=8)
    >>> lit = np.zeros((10, 1), np.int32)
    >>> samples = Samples(lit, lit, np.ones(10), np.zeros(10))
    >>> float(trained(learner, samples, Training(rounds=2, shards=3))[0]["shown"].max())
    10.0
    """
    assert plan.shards == 1 or learner.merge is not None
    if plan.keep < 1.0:
        samples = without_empty(thinned(samples, plan.keep))
    state, warm = learner.fresh(), int(len(samples) * plan.warm)
    started = perf_counter()
    learner.learn(state, samples.part(0, warm))
    seconds = perf_counter() - started
    for part in _cut(samples.part(warm, len(samples)), plan.rounds):
        shards = [copy_of(state) for _ in range(plan.shards)] if plan.shards > 1 else [state]
        longest = 0.0
        for shard, samples_of_shard in zip(shards, _cut(part, plan.shards), strict=True):
            started = perf_counter()
            learner.learn(shard, samples_of_shard)
            longest = max(longest, perf_counter() - started)
        seconds += longest
        state = _one_of(learner, state, shards)
    return state, seconds


def _one_of(learner: Learner, base: State, shards: Sequence[State]) -> State:
    if len(shards) == 1:
        return shards[0]
    assert learner.merge is not None
    return learner.merge(base, shards)


def _cut(samples: Samples, parts: int) -> list[Samples]:
    """Cut samples into so many runs of about equal length, in order."""
    cuts = np.linspace(0, len(samples), parts + 1).astype(np.int64)
    return [samples.part(int(first), int(last)) for first, last in pairwise(cuts)]
