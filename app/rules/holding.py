"""Money that may yet be charged: how long it counts against budgets, and what is learned of that.

An answer holds its price times the chance of its charge, a click on a CPA ad that of its conversion. Of what
is held a share p comes, late by T in the mean. What came lets go of its own part; the rest fades with the
time constant

    tau = T / sqrt(1 - p)

so that what is held is in the mean what is still to come, whatever p is: with charges late by an exponential
time, the integral of exp(-a / tau) (1 - p + p exp(-a / T)) over all ages a is T. (What surely comes is held
until it does, and of what hardly ever comes the share that is not late yet.)
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

# One charge at the expected lateness is taken for granted: the estimate is sound from the first on.
TAKEN_FOR_GRANTED = 1.0
LEAST_OF_PRIOR, MOST_OF_PRIOR = 1 / 48, 10.0  # bounds of T, in times the expected
MOST_SHARE = 0.99  # of p
MEMORY_OF_PRIOR = 100.0  # how long lateness is remembered, in times the expected


def mean_lateness_s(
    prior_s: float, come: NDArray[np.float64], charges: NDArray[np.float64], late: NDArray[np.float64],
    aged: NDArray[np.float64], share: NDArray[np.float64],
) -> NDArray[np.float64]:  # fmt: skip
    """Estimate how late charges come in the mean, those that are still out counted in.

    Without them the first answers would be the quick ones alone: after a minute nothing is late by an hour.
    What is out weighs as what it holds, which overstates it by 2 / (1 + sqrt(1 - p)) when much of it comes.
    Units   come in micros, charges a number; late and aged in micros x seconds (of what came, is held).
    Source  Chapelle 2014 (delayed feedback), its E and M steps in closed form for an exponential delay.

    >>> come, n, late = np.array([0, 99e6, 99e6]), np.array([0, 99.0, 99.0]), np.array([0, 99e7, 99e7])
    >>> mean_lateness_s(60.0, come, n, late, np.array([9.0, 0, 99e7]), np.array([0, 0, 0.0])).tolist()
    [60.0, 10.5, 20.4]
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        granted = TAKEN_FOR_GRANTED * come / charges
        out = aged * (1.0 + np.sqrt(1.0 - share)) / 2.0
        found = (granted * prior_s + late + out) / (granted + come)
    found = np.where((charges > 0) & (come > 0), found, prior_s)
    return np.clip(found, LEAST_OF_PRIOR * prior_s, MOST_OF_PRIOR * prior_s)


def share_that_comes(came: NDArray[np.float64], held: NDArray[np.float64]) -> NDArray[np.float64]:
    """Estimate which share of answers (or clicks) is charged in the end.

    >>> share_that_comes(np.array([0, 5.0, 100.0]), np.array([0, 99.0, 50.0])).tolist()
    [0.0, 0.05, 0.99]
    """
    return np.minimum(came / (held + 1.0), MOST_SHARE)


def time_constants_s(mean_s: NDArray[np.float64], share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Say how what is held fades.

    >>> time_constants_s(np.array([10.0, 10.0]), np.array([0.0, 0.96])).round(6).tolist()
    [10.0, 50.0]
    """
    return np.asarray(mean_s / np.sqrt(1.0 - share))


def still_held_micros(micros: float, age_s: float, time_constant_s: float) -> int:
    """Say what is left of what was held.

    >>> still_held_micros(1000, 0.0, 60.0), still_held_micros(1000, 60.0, 60.0)
    (1000, 367)
    """
    return int(micros * math.exp(-max(0.0, age_s) / time_constant_s))
