"""How far a rate may be from what was counted."""

from __future__ import annotations

import math

Z_95 = 1.959963984540054  # the normal quantile of 97.5 %


def wilson(successes: float, trials: float, z: float = Z_95) -> tuple[float | None, float | None]:
    """Bound a rate with 95 % confidence, or that of `z`; (None, None) where nothing was tried.

    More clicks than impressions can be reported (an impression's report got lost): they bound as all.
    Source  Wilson 1927, the score interval without continuity correction.

    >>> [round(bound, 4) for bound in wilson(15, 1000)]
    [0.0091, 0.0246]
    """
    if trials <= 0:
        return None, None
    rate, z2 = min(1.0, successes / trials), z**2
    middle = rate + z2 / (2 * trials)
    spread = z * math.sqrt(rate * (1 - rate) / trials + z2 / (4 * trials * trials))
    whole = 1 + z2 / trials
    # At 0 and at 1 a bound is the rate itself, but for the last bit.
    return min(rate, max(0.0, (middle - spread) / whole)), max(rate, min(1.0, (middle + spread) / whole))
