"""How good an ad is to its audience: complaints and accidental clicks against the node's mean, shrunk.

The index multiplies an ad's score. Only its ratio between two ads matters to who wins and what is paid, so
it is measured against the mean of all: where nobody ever complained, every index is exactly 1.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LOWEST, HIGHEST = 0.5, 2.0


class Counts(NamedTuple):
    """What is known of each ad.

    Shape   each (ads,) int64. complaints are weighted dismissals after an impression; accidents are clicks
            that were taken back as accidental, of `clicks`.
    """

    shown: NDArray[np.int64]
    complaints: NDArray[np.int64]
    clicks: NDArray[np.int64]
    accidents: NDArray[np.int64]


def quality_of(counts: Counts, prior: float, strength: float) -> NDArray[np.float64]:
    """Work out every ad's index: (complaint ratio x accident ratio) to the power -strength, in [0.5, 2].

    A ratio is the ad's rate against the mean rate of all, as a Gamma posterior with the mean as prior.

    Units   prior in events: as many expected complaints (or accidents) speak for the mean.
    Cost    ~0.15 ms for 10,000 ads.
    Source  empirical Bayes, a Gamma prior on Poisson rates (Gelman et al., Bayesian Data Analysis, 2.6).

    >>> fair = np.array([1000, 1000])
    >>> complained = Counts(fair, np.array([0, 9]), fair, np.array([0, 0]))
    >>> quality_of(complained, prior=5.0, strength=0.5).round(3)
    array([1.378, 0.824])
    """
    ratio = _against_mean(counts.complaints, counts.shown, prior)
    ratio *= _against_mean(counts.accidents, counts.clicks, prior)
    return np.clip(ratio**-strength, LOWEST, HIGHEST)


def _against_mean(events: NDArray[np.int64], trials: NDArray[np.int64], prior: float) -> NDArray[np.float64]:
    """Divide each rate by the mean rate of all: (prior + events) / (prior + trials x mean)."""
    mean = float(events.sum()) / max(1.0, float(trials.sum()))
    return np.asarray((prior + events) / (prior + trials * mean))


def quality_plain(counts: Counts, prior: float, strength: float) -> list[float]:
    """The twin of `quality_of`, one ad at a time in plain Python."""
    shown, complaints, clicks, accidents = ([int(n) for n in each] for each in counts)
    found = []
    for at in range(len(shown)):
        ratio = 1.0
        for events, trials in ((complaints, shown), (accidents, clicks)):
            mean = sum(events) / max(1, sum(trials))
            ratio *= (prior + events[at]) / (prior + trials[at] * mean)
        found.append(min(HIGHEST, max(LOWEST, math.exp(-strength * math.log(ratio)))))
    return found
