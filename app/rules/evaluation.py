"""How good predictions were: log loss, normalised entropy, AUC and calibration of (p, impressions, clicks).

Pure arithmetic over arrays; a sample may stand for many impressions.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from app.rules.intervals import Z_95, wilson

F64 = NDArray[np.float64]
SMALLEST_P = 1e-15  # where log loss is taken, and only there, p is kept away from 0 and 1


@dataclass(frozen=True, slots=True)
class Metrics:
    """The four figures of a part of a log; None where one has no meaning (no click, say)."""

    log_loss: float | None
    ne: float | None
    auc: float | None
    calibration: float | None


def total_log_loss(p: F64, impressions: F64, clicks: F64) -> float:
    """The summed log loss of all impressions, in nats.

    >>> round(total_log_loss(np.array([0.5]), np.array([2.0]), np.array([1.0])), 6)
    1.386294
    """
    return float(_losses(p, impressions, clicks).sum())


def log_loss(p: F64, impressions: F64, clicks: F64) -> float | None:
    """The mean log loss of an impression, in nats; None without impressions."""
    shown = float(impressions.sum())
    return total_log_loss(p, impressions, clicks) / shown if shown > 0.0 else None


def normalised_entropy(p: F64, impressions: F64, clicks: F64) -> float | None:
    """Log loss over that of always predicting these samples' own click rate: 1 is no skill, less is better.

    None where the rate is 0 or 1: there is nothing to normalise by.
    Source  He et al. 2014, 2.1.

    >>> one = np.ones(4)
    >>> normalised_entropy(one / 4, one, np.array([0.0, 0.0, 0.0, 1.0]))
    1.0
    """
    shown = float(impressions.sum())
    rate = float(clicks.sum()) / shown if shown > 0.0 else 0.0
    if not 0.0 < rate < 1.0:
        return None
    entropy = -(rate * np.log(rate) + (1.0 - rate) * np.log1p(-rate))
    return float(total_log_loss(p, impressions, clicks) / shown / entropy)


def auc(p: F64, impressions: F64, clicks: F64) -> float | None:
    """The chance that a click was predicted above a non-click; ties count half.

    None without both. Cost: one sort.

    >>> auc(np.array([0.1, 0.4, 0.35, 0.8]), np.ones(4), np.array([0.0, 0.0, 1.0, 1.0]))
    0.75
    """
    values, group = np.unique(p, return_inverse=True)
    positive = np.bincount(group, weights=clicks, minlength=values.size)
    negative = np.bincount(group, weights=impressions - clicks, minlength=values.size)
    pairs = float(positive.sum() * negative.sum())
    if pairs <= 0.0:
        return None
    below = np.cumsum(negative) - negative
    return float((positive * (below + 0.5 * negative)).sum() / pairs)


def calibration(p: F64, impressions: F64, clicks: F64) -> float | None:
    """Predicted clicks over actual clicks; None without a click."""
    clicked = float(clicks.sum())
    return float((p * impressions).sum()) / clicked if clicked > 0.0 else None


def measure(p: F64, impressions: F64, clicks: F64) -> Metrics:
    """All four figures of these samples."""
    return Metrics(
        log_loss=log_loss(p, impressions, clicks),
        ne=normalised_entropy(p, impressions, clicks),
        auc=auc(p, impressions, clicks),
        calibration=calibration(p, impressions, clicks),
    )


@dataclass(frozen=True, slots=True)
class Gap:
    """How much more NE one set of predictions has than another of the same samples; a 95 % interval."""

    mean: float
    half_width: float


def paired_gap(p: F64, other: F64, impressions: F64, clicks: F64) -> Gap | None:
    """The difference of two models' NE, by the differences of their losses sample by sample.

    Most of what makes a loss large is common to both models, so the pairs tell more than the two means.
    None where NE is.

    >>> one = np.ones(1_000)
    >>> gap = paired_gap(one * 0.5, one * 0.25, one, np.tile([0.0, 0.0, 0.0, 1.0], 250))
    >>> round(gap.mean, 3), 0.0 < gap.half_width < 0.1
    (0.233, True)
    """
    shown = float(impressions.sum())
    rate = float(clicks.sum()) / shown if shown > 0.0 else 0.0
    if not 0.0 < rate < 1.0:
        return None
    entropy = -(rate * np.log(rate) + (1.0 - rate) * np.log1p(-rate))
    losses = _losses(p, impressions, clicks) - _losses(other, impressions, clicks)
    mean = float(losses.sum()) / shown
    spread = float(np.sqrt(((losses - mean * impressions) ** 2).sum())) / shown
    return Gap(float(mean / entropy), float(Z_95 * spread / entropy))


def _losses(p: F64, impressions: F64, clicks: F64) -> F64:
    kept = np.clip(p, SMALLEST_P, 1.0 - SMALLEST_P)
    return np.asarray(-(clicks * np.log(kept) + (impressions - clicks) * np.log1p(-kept)))


@dataclass(frozen=True, slots=True)
class Reliability:
    """Of each bin of predictions: their mean, the click rate, and its 95 % interval. Shape (bins,)."""

    predicted: F64
    actual: F64
    low: F64
    high: F64


def reliability(p: F64, impressions: F64, clicks: F64, bins: int = 20) -> Reliability:
    """Cut samples into bins of about equally many impressions by their prediction.

    >>> p = np.repeat([0.25, 0.5], 64)
    >>> reliability(p, np.ones(128), np.tile([0.0, 1.0], 64), bins=2).predicted.tolist()
    [0.25, 0.5]
    """
    order = np.argsort(p, kind="stable")
    place = np.cumsum(impressions[order]) / max(float(impressions.sum()), 1.0)
    group = np.minimum((place * bins - 1e-9).astype(np.int64), bins - 1)
    shown = np.bincount(group, impressions[order], bins)
    clicked = np.bincount(group, clicks[order], bins)
    predicted = np.bincount(group, (p * impressions)[order], bins)
    there = shown > 0.0
    shown, clicked, predicted = shown[there], clicked[there], predicted[there]
    bounds = [wilson(*counts) for counts in zip(clicked.tolist(), shown.tolist(), strict=True)]
    low, high = np.array(bounds, np.float64).reshape(-1, 2).T
    return Reliability(predicted / shown, clicked / shown, low, high)


def over_time(p: F64, impressions: F64, clicks: F64, spans: int = 40) -> list[float | None]:
    """NE of each of so many spans of equally many samples; None where a span has no click."""
    cuts = np.linspace(0, p.size, min(spans, max(p.size, 1)) + 1).astype(np.int64)
    return [
        normalised_entropy(p[first:last], impressions[first:last], clicks[first:last])
        for first, last in pairwise(cuts)
    ]


def logit(p: float) -> float:
    """The logit of a probability.

    >>> round(logit(0.01), 4)
    -4.5951
    """
    return math.log(p / (1.0 - p))
