"""Intervals that hold whenever one looks: experiments may be watched after every event, and ended on sight.

An ordinary 95 % interval is wrong in one look of twenty; who looks a thousand times sees it wrong most of the
time. These are wrong, over all looks together, in one experiment of twenty: a normal mixture over the effect
that might be there makes the likelihood ratio a martingale, which Ville's inequality bounds for all time.

What is measured are ratios (clicks of impressions, revenue of requests) of sums over buckets of users. A
bucket's deviation from its arm's ratio counts as one observation, so that it does not matter how the events
of one user hang together. Where the shares of the traffic were changed, each stage is compared with itself
alone and the stages are added up: else a treatment that was ramped up on a good day would look good.

The variance is estimated, so the intervals are as good as the central limit theorem: nothing is said while
too few buckets have any event.

Source  Robbins 1970 (the mixture); Johari, Koomen, Pekelis and Walsh 2022 (always valid inference);
        Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas 2024 (with an estimated variance); Cochran 1954 (the
        weights of the stages).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
ALPHA = 0.05
LEAST_FILLED = 32  # buckets with an event, in each arm, before anything is said
# The effect for which the interval is tightest, as a share of the control's value. Any other is found, too.
EXPECTED = 0.1


class Estimate(NamedTuple):
    """A value and its variance; variance is inf while too little is known."""

    value: float
    variance: float


class Effect(NamedTuple):
    """How much an arm's value is above the control's, stage by stage compared; `control` is the control's."""

    difference: Estimate
    control: float


def half_width(variance: float, expected: float, alpha: float = ALPHA) -> float:
    """Half the width of an interval that holds at all looks together with confidence 1 - alpha.

    Units   expected: the effect to be tightest for, in the unit of the value; variance in its square.
    Source  Robbins 1970; as in Johari et al. 2022, theorem 1.

    >>> half_width(1.0, 1.0) > 1.96, half_width(math.inf, 1.0)
    (True, inf)
    """
    if not math.isfinite(variance) or expected <= 0.0:
        return math.inf
    if variance <= 0.0:
        return 0.0
    spread = expected * expected
    whole = variance + spread
    return math.sqrt(variance * whole / spread * math.log(whole / (variance * alpha * alpha)))


def ratio(numerator: F64, denominator: F64) -> Estimate | None:
    """Estimate an arm's ratio of two sums; None where there is nothing to divide by.

    Shape   (buckets,) both; or (stages, buckets), which are added up.

    >>> ratio(np.array([1.0, 3.0]), np.array([10.0, 10.0])).value
    0.2
    """
    top, bottom = _stages(numerator).sum(axis=0), _stages(denominator).sum(axis=0)
    total = float(bottom.sum())
    if total <= 0.0:
        return None
    value = float(top.sum()) / total
    return Estimate(value, _variance((top - value * bottom) / total, top))


def effect(numerator: F64, denominator: F64, base_numerator: F64, base_denominator: F64) -> Effect | None:
    """Compare an arm's ratio with the control's (`base`); None where no stage has both.

    Shape   (stages, buckets) or (buckets,), all four.
    """
    arms = [(_stages(numerator), _stages(denominator)), (_stages(base_numerator), _stages(base_denominator))]
    totals = [bottom.sum(axis=1) for _, bottom in arms]
    both = (totals[0] > 0.0) & (totals[1] > 0.0)
    if not both.any():
        return None
    weight = np.zeros(both.size)
    weight[both] = 1.0 / (1.0 / totals[0][both] + 1.0 / totals[1][both])
    weight /= weight.sum()
    values, variances = [], []
    for (top, bottom), total in zip(arms, totals, strict=True):
        each = top[both].sum(axis=1) / total[both]
        parts = (top[both] - each[:, None] * bottom[both]) * (weight[both] / total[both])[:, None]
        values.append(float((each * weight[both]).sum()))
        variances.append(_variance(parts.sum(axis=0), top[both].sum(axis=0)))
    return Effect(Estimate(values[0] - values[1], variances[0] + variances[1]), values[1])


def interval(estimate: Estimate, around: float, alpha: float = ALPHA) -> tuple[float, float] | None:
    """Bound a value at all looks together; None while too little is known. `around` is the value's size."""
    half = half_width(estimate.variance, EXPECTED * abs(around), alpha)
    return (estimate.value - half, estimate.value + half) if math.isfinite(half) else None


def verdict(bounds: tuple[float, float] | None) -> str:
    """Say what an interval of a difference tells: `higher`, `lower` or `undecided`.

    >>> verdict((0.1, 0.3)), verdict((-0.1, 0.3)), verdict(None)
    ('higher', 'undecided', 'undecided')
    """
    if bounds is None or bounds[0] <= 0.0 <= bounds[1]:
        return "undecided"
    return "higher" if bounds[0] > 0.0 else "lower"


def _stages(sums: F64) -> F64:
    return sums[None, :] if sums.ndim == 1 else sums


def _variance(deviations: F64, events: F64) -> float:
    """Of a sum of deviations, one a bucket; inf where too few buckets have an event."""
    count = deviations.size
    if count < 2 or np.count_nonzero(events) < min(LEAST_FILLED, count):
        return math.inf
    return float((deviations**2).sum()) * count / (count - 1)
