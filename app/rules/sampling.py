"""Negative down-sampling: all clicks are learned, and a share of what was not clicked, then set right.

A learner that sees the share w of the non-clicks predicts q, too high by that: logit q + ln w is the logit of
what was asked for. Which samples are kept follows from their place in the stream alone.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from app.rules.learner import F64, Ability, Learner, Samples, Space, State

_ABILITIES: frozenset[Ability] = frozenset({"online"})


def corrected(q: F64, keep: float) -> F64:
    """The probability among all, from that among all clicks and a share of the rest.

    Source  He et al. 2014, 6.3: p = q / (q + (1 - q) / w).

    >>> corrected(np.array([0.1]), keep=0.01).round(5).tolist()
    [0.00111]
    """
    return np.asarray(q / (q + (1.0 - q) / keep))


def kept(first: int, count: int, keep: float) -> NDArray[np.bool_]:
    """Whether the samples from place `first` on would be kept if not clicked, spread evenly by a hash."""
    place = np.arange(first, first + count, dtype=np.uint64)
    with np.errstate(over="ignore"):
        mixed = (place + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(31))) * np.uint64(0xBF58476D1CE4E5B9)
    return np.asarray((mixed >> np.uint64(11)) / float(1 << 53) < keep)


def thinned(samples: Samples, keep: float, first: int = 0) -> Samples:
    """The samples with their non-clicks thinned, and nothing left out: what is dropped has no impressions.

    Of a single impression the whole is kept or dropped; of an aggregate the share is taken.
    """
    missed = samples.impressions - samples.clicks
    stays = np.where(missed > 1.0, keep, kept(first, len(samples), keep).astype(np.float64))
    impressions = np.where(missed > 0.0, samples.clicks + missed * stays, samples.impressions)
    return replace(samples, impressions=impressions)


def without_empty(samples: Samples) -> Samples:
    """Leave out what has neither impressions nor clicks: there is nothing to learn of it."""
    there = (samples.impressions > 0.0) | (samples.clicks > 0.0)
    return Samples(
        samples.rows[there], samples.columns[there], samples.impressions[there], samples.clicks[there]
    )


def thinned_space(space: Space, keep: float) -> Space:
    """The space whose prior is that of the thinned stream: a learner's without data, once set right."""
    return replace(space, prior=space.prior / (space.prior + (1.0 - space.prior) * keep))


def down_sampled(make: Callable[[Space], Learner], space: Space, keep: float) -> Learner:
    """A learner of all clicks and a share of the rest, whose predictions are set right.

    >>> from app.rules.hctr import hctr_learner
    >>> from app.rules.learner import fields_of, single
    >>> learner = down_sampled(hctr_learner, Space(fields_of((2,)), fields_of((2,)), prior=0.1), keep=0.25)
    >>> learner.predict(learner.fresh(), single([0], [0], 1.0, 0.0)).round(9).tolist()
    [0.1]
    """
    inner = make(thinned_space(space, keep))

    def learn(state: State, samples: Samples) -> F64:
        seen = state["seen"]
        # A sample without impressions moves nothing, and still gets the prediction of its moment.
        q = inner.learn(state, thinned(samples, keep, int(seen[0])))
        seen += len(samples)
        return corrected(q, keep)

    return Learner(
        f"{inner.name}, {keep:g} of non-clicks",
        space,
        _ABILITIES,
        lambda: {**inner.fresh(), "seen": np.zeros(1, np.int64)},
        lambda state, samples: corrected(inner.predict(state, samples), keep),
        learn,
    )
