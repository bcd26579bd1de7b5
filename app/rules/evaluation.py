"""How good predictions were: log loss, normalised entropy, AUC and calibration of (p, impressions, clicks).

Pure arithmetic over arrays; a sample may stand for many impressions.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
    kept = np.clip(p, SMALLEST_P, 1.0 - SMALLEST_P)
    return float(-(clicks * np.log(kept) + (impressions - clicks) * np.log1p(-kept)).sum())


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
