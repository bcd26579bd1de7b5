"""What another way of choosing would have earned, from a log of this one with its propensities.

Arithmetic over arrays: of each decision its reward (from 0 to 1), the weight (the probability that the policy
in question chooses what was chosen, over the propensity with which it was), and what a model expects of it.
Sound only where the propensities are those that chance really had.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.rules.intervals import Z_95, wilson

F64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean reward with its 95 % interval."""

    value: float
    low: float
    high: float


def _around(value: float, deviations: F64, rewards: F64, weights: F64) -> Estimate:
    """By the normal approximation, but never narrower than so many effective decisions could tell.

    Where few rewards, or none, carry any weight the deviations look small: nothing seen is not nothing there.
    """
    half = Z_95 * float(np.sqrt((deviations**2).sum())) / deviations.size
    count = effective_count(weights)
    rate = float((weights * rewards).sum()) / max(float(weights.sum()), 1e-300)
    low, high = wilson(rate * count, count)
    below, above = rate - (0.0 if low is None else low), (1.0 if high is None else high) - rate
    return Estimate(value, value - max(half, below), value + max(half, above))


def ips(rewards: F64, weights: F64) -> Estimate:
    """Inverse propensity scoring: without bias, and as noisy as its largest weights.

    Source  Horvitz & Thompson 1952.

    >>> ips(np.array([1.0, 0.0, 0.0, 1.0]), np.array([2.0, 0.0, 2.0, 0.0])).value
    0.5
    """
    terms = weights * rewards
    value = float(terms.mean())
    return _around(value, terms - value, rewards, weights)


def snips(rewards: F64, weights: F64) -> Estimate:
    """Self-normalised: a little bias against much noise; always between the least and the greatest reward.

    Without any weight nothing is known: 0, and the interval says so.
    Source  Swaminathan & Joachims 2015; interval by the delta method.

    >>> snips(np.array([1.0, 0.0, 0.0, 1.0]), np.array([2.0, 0.0, 4.0, 0.0])).value
    0.3333333333333333
    """
    total = max(float(weights.sum()), 1e-300)
    value = float((weights * rewards).sum()) / total
    return _around(value, weights * (rewards - value) * (weights.size / total), rewards, weights)


def doubly_robust(rewards: F64, weights: F64, expected: F64, expected_of_policy: F64) -> Estimate:
    """What a model expects of the policy, put right by what it missed: sound if either side is.

    Shape   expected: of what was chosen; expected_of_policy: of what the policy would choose; all (k,).
    Source  Dudik, Langford & Li 2011.

    >>> zeros = np.zeros(4)
    >>> rewards, weights = np.array([1.0, 0.0, 0.0, 1.0]), np.array([2.0, 0.0, 2.0, 0.0])
    >>> doubly_robust(rewards, weights, zeros, zeros) == ips(rewards, weights)
    True
    """
    terms = expected_of_policy + weights * (rewards - expected)
    value = float(terms.mean())
    return _around(value, terms - value, rewards, weights)


def effective_count(weights: F64) -> float:
    """As many decisions of weight 1 as would be worth these. Source: Kish 1965.

    >>> effective_count(np.array([1.0, 1.0, 0.0, 0.0]))
    2.0
    """
    squares = float((weights**2).sum())
    return float(weights.sum()) ** 2 / squares if squares > 0.0 else 0.0
