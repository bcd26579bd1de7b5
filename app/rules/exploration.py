"""Exploration: new ads get the views that their uncertainty deserves (Thompson sampling).

Each decision draws, for every column of the ads, one normal deviate scaled by how unsure the main cell of
that column is (row 0: any request), and ranks by the sums so shifted. What is known well hardly moves; what
nobody clicked on yet is tried until it is known. Chance is a hash of decision and column: the same decision
draws the same again.

The doubt about a weight is Laplace's: 1 / sqrt(prior precision + n), where n, FTRL's sum of squared
gradients, is expected to be the sum of p (1 - p), and the prior precision is beta / alpha + l2.
Source: Chapelle and Li 2011, algorithm 3.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.rules.ranking import stretches

DEVIATES = 4_096
NORMAL: NDArray[np.float32] = np.array(
    [NormalDist().inv_cdf((i + 0.5) / DEVIATES) for i in range(DEVIATES)], dtype=np.float32
)
_COLUMN, _FIRST, _SECOND = np.uint32(0x9E3779B9), np.uint32(0x7FEB352D), np.uint32(0x846CA68B)
_HALF, _NEARLY, _TOP = np.uint32(16), np.uint32(15), np.uint32(20)
# How fast the scale follows its ceiling: by about 5 % a second, so within a minute.
_FOLLOW = 0.05
LEAST_FACTOR = 0.01
LEAST_PRECISION = 0.01
# An interval of a logit takes the doubts so many times as wide: cells are not independent, and the model does
# not know what it cannot express. Chosen on the simulated market (python -m loadtest exploration).
INTERVAL_SCALE = 1.4


@njit(nogil=True, cache=True, inline="always")
def deviate(seed, column):  # type: ignore[no-untyped-def]
    """Draw a column's normal deviate for a decision, from a table of quantiles.

    32 bits throughout, so that eight columns are mixed at once. Source: Wellons 2018, lowbias32.
    """
    mixed = np.uint32(np.uint32(seed) + np.uint32(np.uint32(column) * _COLUMN))
    mixed = np.uint32(np.uint32(mixed ^ (mixed >> _HALF)) * _FIRST)
    mixed = np.uint32(np.uint32(mixed ^ (mixed >> _NEARLY)) * _SECOND)
    return NORMAL[np.uint32(mixed ^ (mixed >> _HALF)) >> _TOP]


@njit(nogil=True, cache=True)
def perturb(means, doubts, scale, seed, shared, first, alive, sums):  # type: ignore[no-untyped-def]
    """Write the sums that one decision ranks by: the means, each ad column shifted by its deviate.

    Shape   means, sums (stride,) float32, doubts (stride,) float32 as of `doubt_of`; shared, first and alive
            as in `ranking.sum_rows`. Column 0, of all ads, is not shifted.
    Cost    about 2 ns for each column looked at.
    """
    starts = np.empty(alive.size + 1, dtype=np.int64)
    ends = np.empty(alive.size + 1, dtype=np.int64)
    factor = np.float32(scale)
    for k in range(stretches(shared, first, alive, starts, ends)):
        for c in range(starts[k], ends[k]):
            sums[c] = means[c] + factor * doubts[c] * deviate(seed, c)
    sums[0] = means[0]


def perturb_plain(
    means: NDArray[np.float32], doubts: NDArray[np.float32], scale: float, seed: int
) -> NDArray[np.float32]:
    """The kernel's twin, over all columns, in plain Python."""
    mask, sums = 2**32 - 1, means.copy()
    for c in range(1, means.size):
        mixed = seed + c * int(_COLUMN) & mask
        for shift, factor in ((16, _FIRST), (15, _SECOND)):
            mixed = (mixed ^ mixed >> shift) * int(factor) & mask
        moved = np.float32(np.float32(scale) * doubts[c]) * NORMAL[(mixed ^ mixed >> 16) >> 20]
        sums[c] = means[c] + moved
    return sums


@njit(nogil=True, cache=True)
def doubt(n, columns, precision, damping, doubts):  # type: ignore[no-untyped-def]
    """Derive the doubt of some columns' main cells: n (stride,) float64 is row 0's, doubts is written.

    Shape   damping (stride,) float64: by which a doubt is less than it is, for what is to be explored less.
    """
    for c in columns:
        doubts[c] = damping[c] / math.sqrt(max(precision + n[c], LEAST_PRECISION))


def next_factor(factor: float, cost: float, ceiling: float) -> float:
    """Turn exploration down while it costs more than its ceiling, and up again to at most 1.

    Units   cost and ceiling as shares of what greedy choices would bring; called once a second.

    >>> next_factor(1.0, 0.10, 0.05) < 1.0, next_factor(1.0, 0.01, 0.05)
    (True, 1.0)
    """
    moved = factor * (1.0 - _FOLLOW if cost > ceiling else 1.0 + _FOLLOW)
    return min(max(moved, LEAST_FACTOR), 1.0)
