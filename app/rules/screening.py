"""One placement's auction up to its candidates, in one call: who may enter, what they score at most.

The steps are eligibility's and ranking's; here they only follow one another, because each call of a kernel
from Python costs about a microsecond.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from app.rules.eligibility import judge, leave, lose, name_all, take_out
from app.rules.ranking import bound_all, drop_below_floor, sum_rows


@njit(nogil=True, cache=True)
def screen(  # type: ignore[no-untyped-def]
    program, sets, taken, standing, standing_totals, alive, passing, planes, totals, same, below,
    weights, touched, rows, shared, first, sums, columns, base, bid, quality, per_click, log_score, floor,
    index, bound
):  # fmt: skip
    """Judge every ad, sum the rows where one is still in, and bound the scores; returns how many are left.

    Shape   as in eligibility and ranking. `standing` (words,) are the ads that stand and `standing_totals`
            (reasons,) why others do not; alive (>= words,) is written: the candidates; passing is scratch
            like it. `taken` are places that the request gave away already, lost as `same`; those under the
            floor are lost as `below`.
    Units   floor in micros per 1,000 impressions, 0 for none.
    """
    alive, passing = alive[: standing.size], passing[: standing.size]
    alive[:] = standing
    totals[:] = standing_totals
    judge(program, sets, alive, passing, planes, totals)
    take_out(taken, same, alive, planes, totals)
    sum_rows(weights, touched, rows, shared, first, alive, sums)
    left = name_all(alive, index)
    bound_all(sums, columns, base, log_score, per_click, index, left, bound)
    if floor > 0:
        passing[:] = alive
        left = drop_below_floor(
            sums, columns, base, bid, quality, per_click, floor, index, left, bound, passing
        )
        leave(alive, passing, planes[below], totals, below)
    return left


@njit(nogil=True, cache=True)
def count_outbid(taken, words, alive, planes, totals, code):  # type: ignore[no-untyped-def]
    """Count the candidates that were not taken (places) as outbid. Winners are nobody's loss.

    Shape   alive as `screen` left it, in its first `words`; it is used up.
    """
    for place in taken:
        alive[place // 64] &= ~(np.uint64(1) << np.uint64(place % 64))
    count = 0
    for i in range(words):
        if alive[i]:
            count += lose(alive[i], i, planes[code])
    totals[code] += count
