"""How much traffic is to come: rates by hour of week, shrunk to what is known, times the present level.

A profile has 168 places, hour of week from Monday 00:00 on the node's wall clock. Rates are requests per
second. Before there is data everything is uniform; then hours of the day differ, then hours of the week.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

HOURS = 168
HOUR_S = 3_600.0
SEASON_MEMORY = 0.7  # what a week leaves of the weeks before it: about three weeks count
# Seconds of an hour seen at which its own rate weighs as much as the next wider one.
DAY_HOUR_PRIOR_S = 1_800.0
WEEK_HOUR_PRIOR_S = 1_800.0
LEVEL_MEMORY_H = 24.0
LEVEL_PRIOR_H = 3.0  # hours as forecast that stand against what was seen: one odd hour moves little
LEVEL_BOUNDS = (0.2, 5.0)
PRIOR_ERROR = 0.2  # relative error of an hour's forecast before any was ever checked
_PRIOR_CHECKS = 6.0
NORMAL_95 = 1.96
LEAST_WATCHED_S = 1.0
# Of a gamma distribution of shape one half, in parts of its mean: where 95 % of it lies.
_UNSEEN_95 = (0.00098, 5.024)
UNKNOWN_SHARE = (0.5, 0.025, 0.975)  # of which nothing was seen: uniform


def profile(requests: NDArray[np.float64], seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Estimate the rate of every hour of the week from what was counted, and for how long it was watched.

    Shape   both (..., 168); returns the same. Nothing watched at all gives zeros.
    Source  shrinkage in two steps (hour of week to hour of day to the mean): an hour that was never seen
            has the rate of its hour on other days, before that of all hours.

    >>> seen = np.zeros(168)
    >>> bool(profile(seen, seen).any())
    False
    >>> profile(seen + 7200, seen + 3600.0).round(6).tolist() == [2.0] * 168
    True
    """
    total_s = seconds.sum(axis=-1, keepdims=True)
    mean = np.divide(
        requests.sum(axis=-1, keepdims=True), total_s, out=np.zeros_like(total_s), where=total_s > 0
    )
    shape = (*requests.shape[:-1], 7, 24)
    by_day_r, by_day_s = requests.reshape(shape), seconds.reshape(shape)
    hourly = (by_day_r.sum(axis=-2) + DAY_HOUR_PRIOR_S * mean) / (by_day_s.sum(axis=-2) + DAY_HOUR_PRIOR_S)
    weekly = (by_day_r + WEEK_HOUR_PRIOR_S * hourly[..., None, :]) / (by_day_s + WEEK_HOUR_PRIOR_S)
    return np.asarray(weekly.reshape(requests.shape))


def next_level(counted: float, expected: float, decayed: tuple[float, float]) -> tuple[float, float, float]:
    """Take an hour's count into the level (trend): actual over expected, of about the last day.

    Units   decayed: the sums (actual, expected) so far; returns (level, the two sums).

    >>> round(next_level(120.0, 100.0, (0.0, 0.0))[0], 3)
    1.05
    """
    keep = 1.0 - 1.0 / LEVEL_MEMORY_H
    actual, forecast = decayed[0] * keep + counted, decayed[1] * keep + expected
    prior = LEVEL_PRIOR_H * expected
    level = (actual + prior) / (forecast + prior) if forecast + prior > 0 else 1.0
    return min(max(level, LEVEL_BOUNDS[0]), LEVEL_BOUNDS[1]), actual, forecast


def next_error(counted: float, expected: float, checked: tuple[float, float]) -> tuple[float, float]:
    """Take an hour's miss into the squared relative error: (decayed sum, decayed weight).

    What Poisson counting explains is taken off, so that thin traffic does not look unpredictable.
    """
    keep = 1.0 - 1.0 / HOURS
    if expected <= 0:
        return checked
    excess = max(0.0, (counted - expected) ** 2 - expected) / expected**2
    return checked[0] * keep + min(excess, 4.0), checked[1] * keep + 1.0


def relative_error(checked: tuple[float, float]) -> float:
    """Say how far an hour's forecast is usually off, relative.

    >>> relative_error((0.0, 0.0))
    0.2
    """
    squares = checked[0] + _PRIOR_CHECKS * PRIOR_ERROR**2
    return math.sqrt(squares / (checked[1] + _PRIOR_CHECKS))


def share_interval(part: float, whole: float) -> tuple[float, float, float]:
    """Estimate a share of a sample with its 95 % interval (Wilson 1927): (share, low, high).

    >>> [round(x, 3) for x in share_interval(10, 100)]
    [0.1, 0.055, 0.174]
    """
    if whole <= 0:
        return 0.0, 0.0, 1.0
    z2, share = NORMAL_95**2, part / whole
    middle = (share + z2 / (2 * whole)) / (1 + z2 / whole)
    half = NORMAL_95 / (1 + z2 / whole) * math.sqrt(share * (1 - share) / whole + z2 / (4 * whole**2))
    return share, max(0.0, middle - half), min(1.0, middle + half)


def count_interval(expected: float, error: float) -> tuple[float, float]:
    """Bound a count to come, 95 %: Poisson noise, and a forecast that may be off as a whole.

    >>> count_interval(10_000.0, 0.1)
    (8030.2, 11969.8)
    """
    half = NORMAL_95 * math.sqrt(expected + (error * expected) ** 2)
    return round(max(0.0, expected - half), 1), round(expected + half, 1)


def unseen_rate(watched_s: float) -> float:
    """Estimate the rate of requests where none came in the time that was watched: half of one.

    Source  Jeffreys' prior for a Poisson rate; its posterior after no event is a gamma of shape 1/2.

    >>> unseen_rate(0.0), unseen_rate(3_600.0) * 3_600
    (0.5, 0.5)
    """
    return 0.5 / max(watched_s, LEAST_WATCHED_S)


def unseen_interval(expected: float) -> tuple[float, float]:
    """Bound a count to come at an `unseen_rate`, 95 %.

    >>> unseen_interval(12.0)
    (0.0, 60.3)
    """
    return round(expected * _UNSEEN_95[0], 1), round(expected * _UNSEEN_95[1], 1)


def rate_error(hourly_error: float, counted: float) -> float:
    """Say how far a forecast may be off, relative: by the hour, and by the few requests that it rests on.

    >>> round(rate_error(0.2, 4.0), 3), rate_error(0.2, 1e12)
    (0.539, 0.2)
    """
    return math.hypot(hourly_error, 1 / math.sqrt(counted)) if counted < 1e9 else hourly_error
