"""One placement's auction up to its candidates, in one call: who may enter, what they score at most.

The steps are eligibility's and ranking's; here they only follow one another, because each call of a kernel
from Python costs about a microsecond.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from app.rules.eligibility import judge, leave, lose, name_all, take_out
from app.rules.exploration import perturb
from app.rules.fatigue import light
from app.rules.ffm import add_factors
from app.rules.ranking import bound_all, bound_conversions, drop_below_floor, sum_rows


@njit(nogil=True, cache=True)
def screen(  # type: ignore[no-untyped-def]
    program, sets, capped, taken, standing, aside, aside_codes, alive, passing, planes, totals, frequency,
    same, below, seen, seen_rows, weights, touched, rows, shared, first, means, doubts, scale, seed, sums,
    columns, base, curve, bid, quality, per_click, log_score, floor, index, bound, paid, conversion_weights,
    conversion_touched, conversion, factors,
):  # fmt: skip
    """Judge every ad, sum the rows where one is still in, and bound the scores; returns how many are left.

    Shape   as in eligibility and ranking. `standing` (words,) are the ads that stand; those of `aside`
            (k, words) do not, for the reasons aside_codes (k,). alive (>= words,) is written: the
            candidates; passing is scratch like it. `capped` are places under a frequency cap, lost as
            `frequency`, `taken` those that the request gave away already, lost as `same`; those under the
            floor are lost as `below`. The ads `seen` before light `seen_rows`, each its own, as in fatigue.
            paid (words,) are the ads paid by conversions: the second matrix is read for those still in alone.
            What `factors` add, where there are any, is part of the means, column by column. The sums
            that rank are the means, or, with a scale, drawn around them as in exploration.
    Units   floor in micros per 1,000 impressions, 0 for none.
    """
    alive, passing = alive[: standing.size], passing[: standing.size]
    alive[:] = standing
    totals[:] = 0
    for k in range(aside_codes.size):
        code = aside_codes[k]
        for i in range(standing.size):
            totals[code] += lose(aside[k, i], i, planes[code])
    judge(program, sets, alive, passing, planes, totals)
    take_out(capped, frequency, alive, planes, totals)
    take_out(taken, same, alive, planes, totals)
    sum_rows(weights, touched, rows, shared, first, alive, means)
    if factors.row_vectors.size:
        add_factors(factors, rows, shared, first, alive, means)
    if seen.size:
        light(weights, touched, columns, seen, seen_rows, alive, means)
    if scale > 0.0:
        perturb(means, doubts, scale, seed, shared, first, alive, sums)
    left = name_all(alive, index)
    bound_all(sums, columns, base, curve, log_score, per_click, index, left, bound)
    passing[:] = alive & paid
    if passing.any():
        sum_rows(conversion_weights, conversion_touched, rows, shared, first, passing, conversion.sums)
        if seen.size:
            light(conversion_weights, conversion_touched, columns, seen, seen_rows, passing, conversion.sums)
        bound_conversions(conversion, columns, index, left, bound)
    if floor > 0:
        passing[:] = alive
        left = drop_below_floor(
            sums, columns, base, curve, bid, quality, per_click, conversion, floor, index, left, bound,
            passing,
        )  # fmt: skip
        leave(alive, passing, planes[below], totals, below)
    return left


@njit(nogil=True, cache=True)
def narrow(  # type: ignore[no-untyped-def]
    ads, sums, columns, base, curve, bid, quality, per_click, log_score, floor, index, bound, conversion
):
    """Make candidates of some of the ads that were screened, for an auction of their own.

    Shape   as in `screen`, which has written sums; ads (words,) keeps those that reach the floor; index and
            bound are written, returns how many.
    """
    left = name_all(ads, index)
    bound_all(sums, columns, base, curve, log_score, per_click, index, left, bound)
    bound_conversions(conversion, columns, index, left, bound)
    if floor > 0:
        left = drop_below_floor(
            sums, columns, base, curve, bid, quality, per_click, conversion, floor, index, left, bound, ads
        )
    return left


@njit(nogil=True, cache=True)
def part_with(rivals, index, count, bound, alive, planes, totals, code):  # type: ignore[no-untyped-def]
    """Let the candidates of a set go, counted under a reason: their bound becomes -inf.

    Shape   rivals (words,) uint64; alive as `screen` left it: they leave it too.
    """
    for j in range(count):
        place = index[j]
        word, bit = place // 64, np.uint64(1) << np.uint64(place % 64)
        if rivals[word] & alive[word] & bit:
            bound[j] = -np.inf
    lost = 0
    for i in range(alive.size):
        word = alive[i] & rivals[i]
        if word:
            alive[i] &= ~word
            lost += lose(word, i, planes[code])
    totals[code] += lost


@njit(nogil=True, cache=True)
def drop(names, taken, index, count, bound, alive, planes, totals, code):  # type: ignore[no-untyped-def]
    """Take named ads out of the candidates that `screen` left, but for those that were taken.

    Shape   names and taken (k,) and (t,) int64 places. A dropped one's bound is -inf.
    """
    for name in names:
        word, bit = name // 64, np.uint64(1) << np.uint64(name % 64)
        if not alive[word] & bit or (taken == name).any():
            continue
        alive[word] &= ~bit
        totals[code] += lose(bit, word, planes[code])
        bound[np.searchsorted(index[:count], name)] = -np.inf


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
