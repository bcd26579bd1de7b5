"""Campaigns that pay for conversions: how an oCPM bid follows its target, and when a CPA campaign stops.

Pure arithmetic over sums that the state keeps. Units: micros of the account currency.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LEAST_PERCENT, MOST_PERCENT = 50, 150
# So many conversions at the target are taken for granted, lest the first few decide: ten targets spent
# without a conversion halve the bid, and conversions that are only late have until then to come.
TAKEN_FOR_GRANTED = 10


def ocpm_percents(
    target_micros: NDArray[np.int64], spent_micros: NDArray[np.float64], conversions: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Say at how many hundredths of its target each ad group bids: target over realised cost, within bounds.

    Shape   (g,) each; a group without a target has 0 and stays at 100.
    Units   whole percents, so that a bid moves in steps and not at every tick.

    >>> spent, conversions = np.array([0.0, 20e3, 1e3, 9.0]), np.array([0, 10, 50, 1.0])
    >>> ocpm_percents(np.array([1000, 1000, 1000, 0]), spent, conversions)
    array([100,  67, 150, 100])
    """
    taken = TAKEN_FOR_GRANTED * target_micros
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = target_micros * (conversions + TAKEN_FOR_GRANTED) / (spent_micros + taken)
    percents = np.rint(100.0 * np.where(target_micros > 0, ratio, 1.0))
    return np.clip(percents, LEAST_PERCENT, MOST_PERCENT).astype(np.int64)


def conversions_to_come(
    unripe: NDArray[np.float64], ripe: NDArray[np.float64], conversions: NDArray[np.float64],
    prior_cvr: NDArray[np.float64],
) -> NDArray[np.float64]:  # fmt: skip
    """Say how many conversions open clicks will still bring, at the rate of those that had the time.

    With one conversion at the prior rate taken for granted.
    Shape   (g,) each: what the clicks lack to be ripe (a click whose conversion would have come by now with
            a chance of 30 % lacks 0.7), what they are ripe, conversions so far.

    >>> conversions_to_come(np.array([7.0]), np.array([50.0]), np.array([9.0]), np.array([0.02]))
    array([0.7])
    """
    rate = (conversions + 1.0) / (ripe + 1.0 / prior_cvr)
    return np.asarray(unripe * np.minimum(rate, 1.0))


def expected_conversions(
    clicks: NDArray[np.float64], clicks_then: NDArray[np.float64], conversions: NDArray[np.float64],
    prior_cvr: NDArray[np.float64],
) -> NDArray[np.float64]:  # fmt: skip
    """Say how many conversions should have come since a campaign's last one.

    At the rate that it had shown until then, with one conversion at the prior rate taken for granted; not at
    the model's pCVR, which falls with every click and would never expect much.
    Shape   (c,) each: clicks so far, by how ripe they are, and when the last conversion came; conversions.

    >>> expected_conversions(np.array([500, 60]), np.array([0, 50]), np.array([0, 4]), np.array([0.02, 0.02]))
    array([10. ,  0.5])
    """
    rate = (conversions + 1) / (clicks_then + 1.0 / prior_cvr)
    return np.round((clicks - clicks_then) * rate, 9)  # clicks are sums of parts
