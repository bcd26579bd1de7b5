"""Calibration: what the model says, put right by what became of it; in logits, by pieces, always rising.

A curve says for each knot, a raw logit, which calibrated logit it stands for; between knots it is straight.
It is fitted to decayed sums of predictions and clicks in a bucket around each knot, in two steps of
shrinkage: the buckets of a slice (a placement) to the slice's own ratio of clicks to predictions, that to
what holds for the whole. Within a slice a higher raw logit always stays higher, so that no two pCTRs swap.

Shape, everywhere here: clicks and predicted (KNOTS,) float64, weighted counts by bucket; ratio (KNOTS,)
clicks over predicted; a curve (2, PIECES) float64 holds of each piece, the first below all knots, the
calibrated logit at a raw one of 0, and the slope. A curve (2, 0) leaves everything as it is.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

KNOTS = 32
LOWEST, STEP = -10.0, 0.375  # raw logits -10 to 1.6: rates from 0.005 % to 83 %
PER_STEP, FIRST = 1.0 / STEP, 1.0 - LOWEST / STEP  # a logit x lies in piece x * PER_STEP + FIRST
LEAST_SLOPE = 0.1
MOST_LOGIT = 6.0
PIECES = KNOTS + 1
NO_CURVE: NDArray[np.float64] = np.zeros((2, 0))
_LOGITS = LOWEST + STEP * np.arange(KNOTS)
BUCKET_RATES = tuple(f"{1.0 / (1.0 + math.exp(-logit)):.3g}" for logit in _LOGITS)  # as labels


@njit(nogil=True, cache=True, inline="always")
def calibrated(logit, curve):  # type: ignore[no-untyped-def]
    """Give the calibrated logit of a raw one. Beyond the knots it rises as the raw one does."""
    if curve.shape[1] == 0:
        return logit
    piece = int(min(max(logit * PER_STEP + FIRST, 0.0), 1.0 * KNOTS))
    return curve[0, piece] + curve[1, piece] * logit


def calibrated_plain(logit: float, curve: NDArray[np.float64]) -> float:
    """The kernel's twin.

    >>> calibrated_plain(-4.0, NO_CURVE)
    -4.0
    """
    if not curve.size:
        return logit
    piece = sum(logit >= knot for knot in _LOGITS)
    return float(curve[0, piece] + curve[1, piece] * logit)


def bucket_of(p: float) -> int:
    """Find the bucket of a raw prediction: the knot nearest to its logit.

    >>> bucket_of(1e-9), bucket_of(1 / (1 + math.exp(4))), bucket_of(0.999)
    (0, 16, 31)
    """
    if not 0.0 < p < 1.0:
        return 0 if p <= 0.0 else KNOTS - 1
    place = (math.log(p / (1.0 - p)) - LOWEST) / STEP
    return int(min(max(place + 0.5, 0.0), KNOTS - 1.0))


def ratio_of(
    clicks: NDArray[np.float64], predicted: NDArray[np.float64], parent: NDArray[np.float64], strength: float
) -> NDArray[np.float64]:
    """Estimate clicks over predicted for each bucket, shrunk to the slice's, and that to the parent's.

    Units   strength in clicks: with so many expected, a bucket's own ratio weighs as much as its slice's.

    >>> ratio_of(np.array([30.0, 0.0]), np.array([10.0, 0.0]), np.ones(2), 10.0).round(2).tolist()
    [2.5, 2.0]
    """
    whole = (clicks.sum() + strength) / ((predicted * parent).sum() + strength)
    ratio: NDArray[np.float64] = (clicks + strength * parent * whole) / (predicted + strength)
    return ratio


def curve_of(ratio: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn ratios into a curve that rises by at least LEAST_SLOPE everywhere.

    Pools neighbours that fall (weighted, in logits: Ayer et al. 1955) after the least slope was taken off.

    >>> curve_of(np.ones(KNOTS), np.ones(KNOTS)).round(9)[:, 5].tolist()
    [0.0, 1.0]
    """
    p = np.minimum(ratio / (1.0 + np.exp(-_LOGITS)), 1.0 - 1e-9)
    logits = np.minimum(np.log(p / (1.0 - p)), MOST_LOGIT)
    sloping = LEAST_SLOPE * _LOGITS
    values = pooled(logits - sloping, weight) + sloping
    slope = np.concatenate([[1.0], np.diff(values) / STEP, [1.0]])
    start = np.concatenate([[0], np.arange(KNOTS)])  # a knot of each piece
    return np.stack([values[start] - slope * _LOGITS[start], slope])


@njit(nogil=True, cache=True)
def pooled(values, weight):  # type: ignore[no-untyped-def]
    """Find the rising sequence that is nearest to values, by weighted squares (pool adjacent violators)."""
    level, mass = np.empty(values.size), np.empty(values.size)
    size, blocks = np.empty(values.size, dtype=np.int64), 0
    for i in range(values.size):
        level[blocks], mass[blocks], size[blocks] = values[i], weight[i], 1
        blocks += 1
        while blocks > 1 and level[blocks - 2] > level[blocks - 1]:
            total = mass[blocks - 2] + mass[blocks - 1]
            level[blocks - 2] = (
                level[blocks - 2] * mass[blocks - 2] + level[blocks - 1] * mass[blocks - 1]
            ) / total
            mass[blocks - 2] = total
            size[blocks - 2] += size[blocks - 1]
            blocks -= 1
    rising, at = np.empty(values.size), 0
    for block in range(blocks):
        rising[at : at + size[block]] = level[block]
        at += size[block]
    return rising
