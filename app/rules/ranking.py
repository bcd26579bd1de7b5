"""Which ads are worth most: lit rows summed once, a score per ad, the exact best and its rival.

Every ad is scored in float32 with an upper bound of the logarithm of its worth, so that the exponential is
taken only where an ad can still win. What is compared in the end is exact: float64
sums of the float32 weights in a fixed order. Units: bids and worths in micros per 1,000 impressions.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.rules.calibration import FIRST, KNOTS, PER_STEP, calibrated, calibrated_plain

# Bounds are float32 sums of a few terms under 100: their error is under 1e-4. Twenty times that.
MARGIN = 2e-3
# ln sigmoid(x) = x - softplus(x), and softplus is convex: the highest of its tangents (here at -4.5, -3,
# -1.5, 0 and 2, with both asymptotes) lies under it, by 0.0899 at most.
TANGENT_GAP = 0.09
_PER_STEP, _FIRST, _KNOTS = np.float32(PER_STEP), np.float32(FIRST), np.float32(KNOTS)
COLUMNS_PER_AD = 6  # any, shape, category, advertiser, campaign, creative


class Pick(NamedTuple):
    """The best ad for a slot, and the best of the others that may set its price.

    `best` and `rival` are places in the ad arrays, -1 for nobody, `at` the best one's among the candidates;
    scores are worth x quality. pcvr is 0 where the best is not paid by conversions.
    """

    at: int
    best: int
    score: float
    rival: int
    rival_score: float
    pctr: float
    pcvr: float = 0.0


class Conversion(NamedTuple):
    """What only ads paid by conversions need, and the most that any ad's worth counts.

    Shape   sums as of the clicks' matrix, of the conversions'; prior_logit (ads,) float64; paid (ads,) uint8
            says which ads depend on the pCVR. Units: most in micros per 1,000 impressions, inf for no limit.
    """

    sums: NDArray[np.float32]
    prior_logit: NDArray[np.float64]
    paid: NDArray[np.uint8]
    most: float


def no_conversions(places: int) -> Conversion:
    """Nobody is paid by conversions, and worth has no limit."""
    return Conversion(np.zeros(1, np.float32), np.zeros(places), np.zeros(places, np.uint8), math.inf)


@njit(nogil=True, cache=True)
def stretches(shared, first, alive, starts, ends):  # type: ignore[no-untyped-def]
    """List the stretches of columns that an auction may look at: the shared ones, and runs of ads still in.

    Shape   as in sum_rows; starts and ends (words + 1,) int64 are written; returns how many stretches.
    """
    starts[0], ends[0], count = 0, shared, 1
    for i in range(alive.size):
        if alive[i]:
            start = first + 64 * i
            if count > 1 and ends[count - 1] == start:
                ends[count - 1] = start + 64
            else:
                starts[count], ends[count] = start, start + 64
                count += 1
    return count


@njit(nogil=True, cache=True)
def add_four(sums, one, two, three, four):  # type: ignore[no-untyped-def]
    """Add four stretches of equal length: counted from 0, so that the compiler makes wide additions of it."""
    for c in range(sums.size):
        sums[c] += (one[c] + two[c]) + (three[c] + four[c])


@njit(nogil=True, cache=True)
def add_one(sums, row):  # type: ignore[no-untyped-def]
    """Add one stretch."""
    for c in range(sums.size):
        sums[c] += row[c]


@njit(nogil=True, cache=True)
def sum_rows(weights, touched, rows, shared, first, alive, sums):  # type: ignore[no-untyped-def]
    """Sum rows of the matrix where an ad that is still in may look: shared columns, and those ads' own.

    Rows that were never learned hold only zeros and are passed over.
    Shape   weights (rows, stride) float32; touched (rows,) bool; rows (k,) int; the columns below `shared`
            are shared, ad a has column first + a; alive (words,) uint64 as in eligibility; sums (stride,)
            float32 is written there, and keeps what it held elsewhere.
    Cost    16 rows of 12,000 columns: ~25 us, the speed of memory; less where fewer ads are in.
    """
    starts = np.empty(alive.size + 1, dtype=np.int64)
    ends = np.empty(alive.size + 1, dtype=np.int64)
    count = stretches(shared, first, alive, starts, ends)
    for k in range(count):
        sums[starts[k] : ends[k]] = 0.0
    known = rows[touched[rows]]
    at = 0
    while at + 4 <= known.size:
        one, two = weights[known[at]], weights[known[at + 1]]
        three, four = weights[known[at + 2]], weights[known[at + 3]]
        for k in range(count):
            low, high = starts[k], ends[k]
            add_four(sums[low:high], one[low:high], two[low:high], three[low:high], four[low:high])
        at += 4
    while at < known.size:
        row = weights[known[at]]
        for k in range(count):
            add_one(sums[starts[k] : ends[k]], row[starts[k] : ends[k]])
        at += 1


@njit(nogil=True, cache=True, inline="always")
def softplus_below(x):  # type: ignore[no-untyped-def]
    """Bound softplus(x) = ln(1 + exp(x)) from below, without an exponential; float32."""
    f = np.float32
    low = max(f(0.06048898) + f(0.01098694) * x, f(0.19086497) + f(0.04742587) * x)
    mid = max(f(0.47505155) + f(0.18242552) * x, f(0.69314718) + f(0.5) * x)
    high = max(f(0.36533384) + f(0.88079706) * x, x)
    return max(f(0.0), low, mid, high)


@njit(nogil=True, cache=True)
def bound_all(  # type: ignore[no-untyped-def]
    sums, columns, base, curve, log_score, per_click, index, count, bound
):
    """Bound the logarithm of every candidate's score from above.

    Shape   sums (width,) float32; columns (6, ads) uint16, row 0 the any-column; base is the prior logit;
            curve the auction's calibration; log_score (ads,) float32 = ln(bid x quality), x 1000 where v
            depends on the pCTR; per_click (ads,) uint8 says where it does; index (>= count,) int32 the
            candidates' places; bound (>= count,) float32 is written, one for each candidate.
    """
    start = np.float32(base) + sums[0]
    lifts, slopes = curve[0].astype(np.float32), curve[1].astype(np.float32)
    shape, category, advertiser = columns[1], columns[2], columns[3]
    campaign, creative = columns[4], columns[5]
    for j in range(count):
        i = index[j]
        x = (start + sums[shape[i]]) + (sums[category[i]] + sums[advertiser[i]])
        x += sums[campaign[i]] + sums[creative[i]]
        if lifts.size:
            piece = int(min(max(x * _PER_STEP + _FIRST, np.float32(0.0)), _KNOTS))
            x = lifts[piece] + slopes[piece] * x
        bound[j] = log_score[i] + (x - softplus_below(x)) * np.float32(per_click[i])


@njit(nogil=True, cache=True)
def bound_conversions(conversion, columns, index, count, bound):  # type: ignore[no-untyped-def]
    """Lower the bounds of candidates paid by conversions by what their pCVR is at most."""
    sums, paid = conversion.sums, conversion.paid
    for j in range(count):
        i = index[j]
        if paid[i] != 0:
            x = np.float32(conversion.prior_logit[i])
            for k in range(columns.shape[0]):
                x += sums[columns[k, i]]
            bound[j] += x - softplus_below(x)


@njit(nogil=True, cache=True)
def logit_at(sums, columns, base, ad):  # type: ignore[no-untyped-def]
    """Add up one ad's exact score: float64, in the order of its columns."""
    x = base
    for k in range(columns.shape[0]):
        x += np.float64(sums[columns[k, ad]])
    return x


@njit(nogil=True, cache=True)
def worth_at(sums, columns, base, curve, bid, per_click, conversion, ad):  # type: ignore[no-untyped-def]
    """Price one ad's impression thousandfold: (bid x v but at most the limit, pCTR, pCVR).

    The pCTR, calibrated, is computed for every kind, the pCVR where the ad is paid by conversions (else 0).
    """
    logit, pcvr = calibrated(logit_at(sums, columns, base, ad), curve), 0.0
    pctr = 1.0 / (1.0 + math.exp(-logit))
    worth = bid[ad]
    if conversion.paid[ad] != 0:
        pcvr = 1.0 / (1.0 + math.exp(-logit_at(conversion.sums, columns, conversion.prior_logit[ad], ad)))
        worth = bid[ad] * (1000.0 * pctr * pcvr)
    elif per_click[ad] != 0:
        worth = bid[ad] * (1000.0 * pctr)
    return min(worth, conversion.most), pctr, pcvr


@njit(nogil=True, cache=True)
def drop_below_floor(  # type: ignore[no-untyped-def]
    sums, columns, base, curve, bid, quality, per_click, conversion, floor, index, count, bound, alive
):
    """Take out the candidates whose worth (bid x v) is under the floor, exactly; returns how many are left.

    Index and bound close up, and their bits in alive (words,) are cleared. Units: floor in micros per 1,000
    impressions, > 0 and not above the most that a worth counts.
    """
    log_floor = math.log(floor)
    left = 0
    for j in range(count):
        i = index[j]
        over = np.float64(bound[j]) - log_floor
        if quality[i] != 1.0:
            over -= math.log(quality[i])
        gap = 2.0 * TANGENT_GAP if conversion.paid[i] != 0 else TANGENT_GAP
        within = over > gap + MARGIN  # only this close to the floor it must be exact
        if not within and over >= -MARGIN:
            within = worth_at(sums, columns, base, curve, bid, per_click, conversion, i)[0] >= floor
        if within:
            index[left], bound[left] = i, bound[j]
            left += 1
        else:
            alive[i // 64] &= ~(np.uint64(1) << np.uint64(i % 64))
    return left


@njit(nogil=True, cache=True)
def pick_best(  # type: ignore[no-untyped-def]
    sums, columns, base, curve, bid, per_click, conversion, quality, party, index, count, bound, start
):
    """Find the exact best candidate and the best one of another party, in one pass.

    Shape   party (ads,) int32 says whose bid it is (the ad group): a party never sets its own price. A
            bound of -inf marks a candidate that is taken. Returns the fields of Pick.
    Ties    the candidates' order begins at number `start` and wraps; the first of equals wins, and is the
            rival.
    Cost    one comparison per candidate, an exponential only for those that may still matter.
    """
    at, best, rival = -1, -1, -1
    best_score, rival_score, best_pctr, best_pcvr = -np.inf, -np.inf, 0.0, 0.0
    least_rival, least_best = np.float32(-np.inf), np.float32(-np.inf)
    turn = min(start, count)
    for part in range(2):
        low = turn if part == 0 else 0
        high = count if part == 0 else turn
        for j in range(low, high):
            if not bound[j] > least_rival:
                continue
            i = index[j]
            if best >= 0 and party[i] == party[best] and not bound[j] > least_best:
                continue
            worth, pctr, pcvr = worth_at(sums, columns, base, curve, bid, per_click, conversion, i)
            score = worth * quality[i]
            if score > best_score:
                if best >= 0 and party[i] != party[best]:
                    rival, rival_score = best, best_score
                at, best, best_score, best_pctr, best_pcvr = j, i, score, pctr, pcvr
                least_best = np.float32(math.log(best_score) - MARGIN)
            elif score > rival_score and party[i] != party[best]:
                rival, rival_score = i, score
            if rival >= 0:
                least_rival = np.float32(math.log(rival_score) - MARGIN)
    return at, best, best_score, rival, rival_score, best_pctr, best_pcvr


def pick_best_plain(
    sums: NDArray[np.float32], columns: NDArray[np.uint16], base: float, curve: NDArray[np.float64],
    bid: NDArray[np.float64], per_click: NDArray[np.uint8], conversion: Conversion,
    quality: NDArray[np.float64], party: NDArray[np.int32], eligible: NDArray[np.bool_], start: int,
) -> Pick:  # fmt: skip
    """The kernels' twin: every exponential taken, every ad compared, in plain Python."""
    candidates = np.flatnonzero(eligible).tolist()
    order = candidates[start:] + candidates[:start]

    def logit(of: NDArray[np.float32], prior: float, i: int) -> float:
        return prior + sum(float(of[c]) for c in columns[:, i])

    def rate(x: float) -> float:
        return 1.0 / (1.0 + math.exp(-x))

    pctr = {i: rate(calibrated_plain(logit(sums, base, i), curve)) for i in order}
    pcvr = {
        i: rate(logit(conversion.sums, conversion.prior_logit[i], i)) if conversion.paid[i] else 0.0
        for i in order
    }

    def worth(i: int) -> float:
        if conversion.paid[i]:
            return float(bid[i] * (1000.0 * pctr[i] * pcvr[i]))
        return float(bid[i] * (1000.0 * pctr[i]) if per_click[i] else bid[i])

    score = {i: float(min(worth(i), conversion.most) * quality[i]) for i in order}
    if not order:
        return Pick(-1, -1, -math.inf, -1, -math.inf, 0.0)
    best = max(order, key=lambda i: score[i])
    others = [i for i in order if party[i] != party[best]]
    rival = max(others, key=lambda i: score[i], default=-1)
    at, rival_score = int(eligible[:best].sum()), score[rival] if others else -math.inf
    return Pick(at, best, score[best], rival, rival_score, pctr[best], pcvr[best])


def tie_start(decision_hash: int, count: int) -> int:
    """Say at which candidate the order of ties begins: the lowest (number + hash) mod count comes first.

    Counted among the candidates, so that places standing empty favour nobody.

    >>> tie_start(3, 10), [(i + 3) % 10 for i in (7, 8, 9, 0)]
    (7, [0, 1, 2, 3])
    """
    return (-decision_hash) % count if count else 0
