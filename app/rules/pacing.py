"""Spreading a budget: how much of a campaign's traffic it takes part in, so that it spends by its plan.

What is left is spread over what is to come: at any time the rate aimed at is

    rest x weight now / weight still to come (of the day, and of the flight)

where weight is the forecast traffic in the campaign's hours. So a budget that is edited, a launch at noon or
an hour of outage needs no special case, and what was missed is never caught up in a burst. The throttle is
that rate over what full participation would bring, as learned from the campaign's own answers.

Chance comes from the decision id alone: it names one of 64 sets of ads, and a campaign's ads are in as many
of them as its throttle says. Which sets those are turns about once a minute, and the fraction of a set is
dealt out over ticks (one a second), so that a throttle is met exactly and any two campaigns meet over time.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import NamedTuple, assert_never
from zoneinfo import ZoneInfo

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.domain.catalogue import Pricing

SETS = 64
GUESSED_CTR, GUESSED_CVR = 0.01, 0.02
TURN_TICKS = 64
DAY_MS = 86_400_000.0
# A launch may put this much of its plan in flight with its first second, before anything was learned.
LAUNCH_S = 300.0
# What a budget still holds is spent over so long at least, also by who is not paced: what answers bring is
# known to the budgets at the next tick, and a second's answers may be more than what is left.
LAST_S = 3.0
# An hour's error is put right within this time, at a rate within these shares of the even one. Without it
# campaigns that compete for scarce traffic swing against each other for hours.
CORRECTION_S = 600.0
CORRECTION_BOUNDS = (0.05, 2.0)
# How long what full participation brings is remembered: so many wins, but within these times.
MEMORY_WINS = 60.0
MEMORY_S = (600.0, 86_400.0)
# How many charges at the bid count as "what is answered is what is billed" before there are any.
PRIOR_CHARGES = 10.0
RATIO_MEMORY_CHARGES = 400.0
RATIO_BOUNDS = (0.02, 5.0)
RATE_BOUNDS = (0.5, 2.0)  # how far traffic may be off its forecast before the forecast is believed instead
_GOLDEN, _SILVER = 0.6180339887498949, 0.7548776662466927
_RANK = np.array([int(f"{i:06b}"[::-1], 2) for i in range(SETS)], dtype=np.int64)


def worth_at_bid(pricing: Pricing) -> tuple[float, float]:
    """Guess what a charge and an answer of an ad group are worth at its bid, before anything is learned.

    Units   micros. One click in a hundred answers and one action in fifty clicks, where that matters.

    >>> worth_at_bid(Pricing(kind="cpc", bid_micros=2_000_000))
    (2000000.0, 20000.0)
    """
    bid = float(pricing.bid_micros)
    match pricing.kind:
        case "cpm":
            return bid / 1000, bid / 1000
        case "cpc":
            return bid, bid * GUESSED_CTR
        case "cpa":
            return bid, bid * GUESSED_CTR * GUESSED_CVR
        case "ocpm":
            return bid * GUESSED_CTR * GUESSED_CVR, bid * GUESSED_CTR * GUESSED_CVR
        case _:
            assert_never(pricing.kind)


class Segments(NamedTuple):
    """A local day, cut where an hour begins on the campaign's wall clock: 23 to 25 of them.

    Shape   (s,) each; times in ms since 1970, hours of week on the node's and on the campaign's clock.
    """

    start_ms: NDArray[np.int64]
    end_ms: NDArray[np.int64]
    node_hour: NDArray[np.int64]
    own_hour: NDArray[np.int64]


@lru_cache(maxsize=512)
def day_segments(zone: str, node_zone: str, day: int) -> Segments:
    """Cut a day (days since 1970 on the zone's calendar) into its hours; changed clocks make 23 or 25.

    >>> days = (20519, 20520, 20758)  # an ordinary day, 8 March and 1 November 2026
    >>> [len(day_segments("America/New_York", "Asia/Seoul", day).start_ms) for day in days]
    [24, 23, 25]
    """
    own = ZoneInfo(zone)
    dates = (date(1970, 1, 1) + timedelta(days=day), date(1970, 1, 1) + timedelta(days=day + 1))
    first_ms, last_ms = (round(datetime.combine(each, time(), own).timestamp() * 1000) for each in dates)
    edges = [first_ms]
    for at_ms in range(first_ms + 900_000, last_ms, 900_000):  # every zone is off by whole quarters
        before, now = (_hour_of_week(own, ms) for ms in (at_ms - 1, at_ms))
        if before != now or at_ms - edges[-1] >= 3_600_000:
            edges.append(at_ms)
    ends = [*edges[1:], last_ms]
    middles = [(low + high) // 2 for low, high in zip(edges, ends, strict=True)]
    node = ZoneInfo(node_zone)
    return Segments(
        np.array(edges, dtype=np.int64), np.array(ends, dtype=np.int64),
        np.array([_hour_of_week(node, ms) for ms in middles], dtype=np.int64),
        np.array([_hour_of_week(own, ms) for ms in middles], dtype=np.int64),
    )  # fmt: skip


def _hour_of_week(zone: ZoneInfo, at_ms: int) -> int:
    local = datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(zone)
    return local.weekday() * 24 + local.hour


def weekdays_to_come(days: NDArray[np.float64]) -> NDArray[np.float64]:
    """Say how often each of the next seven days comes within so many days from tomorrow's start.

    Shape   days (n,), fractions count; returns (n, 7), place 0 is tomorrow.

    >>> weekdays_to_come(np.array([8.5])).tolist()
    [[2.0, 1.5, 1.0, 1.0, 1.0, 1.0, 1.0]]
    """
    left = np.maximum(days[:, None] - np.arange(7), 0.0)
    return np.asarray(left // 7 + np.minimum(left % 7, 1.0))


def weights(
    segments: Segments, shape: NDArray[np.float64], at_ms: int, hours: NDArray[np.int64],
    weekdays: NDArray[np.int64], starts_ms: NDArray[np.int64], ends_ms: NDArray[np.int64],
) -> tuple[NDArray[np.float64], ...]:  # fmt: skip
    """Weigh what is to come of campaigns in one zone: today's rest, just now, the seconds left of this
    hour, the flight's days after today; and number the hour.
    """
    own = segments.own_hour
    wanted = (hours[:, None] >> (own % 24) & 1) * (weekdays[:, None] >> (own // 24) & 1)
    rate = wanted * shape[:, segments.node_hour]
    low = np.maximum(segments.start_ms, np.maximum(starts_ms, at_ms)[:, None])
    high = np.minimum(segments.end_ms, ends_ms[:, None])
    seconds = np.maximum(high - low, 0) / 1000.0
    weights = rate * seconds
    here = min(int(np.searchsorted(segments.end_ms, at_ms, side="right")), len(own) - 1)
    weight = weights.sum(axis=1)
    later = np.zeros(len(hours))
    flights = np.flatnonzero(ends_ms < 2**62)
    if flights.size:
        shift = segments.node_hour[here] - own[here]
        week = shape[flights][:, (np.arange(168) + shift) % 168].reshape(-1, 7, 24)
        # One of the sums over the week's hours for each weekday that a campaign wants.
        inside = (hours[flights, None] >> np.arange(24)) & 1
        by_day = (inside[:, None, :] * week).sum(axis=2) * 3600.0
        by_day *= (weekdays[flights, None] >> np.arange(7)) & 1
        first = (int(own[-1]) // 24 + 1 + np.arange(7)) % 7
        days = np.maximum(ends_ms[flights] - int(segments.end_ms[-1]), 0) / DAY_MS
        later[flights] = (by_day[:, first] * weekdays_to_come(days)).sum(axis=1)
    number = float(int(segments.start_ms[here]) // 60_000)
    return weight, rate[:, here].astype(np.float64), seconds[:, here], later, np.full(len(hours), number)


def throttles(
    aim: NDArray[np.float64], full: NDArray[np.float64], first: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Work out throttles: the spend aimed at over what full participation brings, within 0 and 1.

    Units   micros per second. `full` is nan where nothing was learned yet; `first` bounds those, at what a
            launch may put in flight per second of full participation (nan: no bound).

    >>> throttles(np.array([1.0, 3.0, 1.0]), np.array([4.0, 2.0, np.nan]), np.array([0, 0, np.nan])).tolist()
    [0.25, 1.0, 1.0]
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        learned = aim / full
        guessed = aim * LAUNCH_S / first
    answer = np.where(np.isnan(full), guessed, learned)
    return np.clip(np.where(np.isnan(answer), 1.0, answer), 0.0, 1.0)


def last_share(left: NDArray[np.float64], full: NDArray[np.float64]) -> NDArray[np.float64]:
    """Say at which throttle a budget is not overshot within a tick; 1 while it holds some seconds' answers.

    Units   micros that no answer holds yet (inf: no limit), and micros per second (nan: not known).

    >>> left, full = np.array([30.0, 3e3, np.inf, -1.0, 5.0]), np.array([100.0, 100, 100, 100, np.nan])
    >>> last_share(left, full).tolist()
    [0.1, 1.0, 1.0, 0.0, 1.0]
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        share = left / (LAST_S * full)
    return np.clip(np.where(np.isnan(share), 1.0, share), 0.0, 1.0)


def corrected(even: NDArray[np.float64], error: NDArray[np.float64]) -> NDArray[np.float64]:
    """Put this hour's error right within minutes: at no more than twice the even rate, or almost at rest.

    Units   micros per second; error in micros, above 0 for what is due and not spent.

    >>> corrected(np.array([1.0, 1.0, 1.0]), np.array([0.0, 9e9, -300.0])).tolist()
    [1.0, 2.0, 0.5]
    """
    return np.clip(even + error / CORRECTION_S, CORRECTION_BOUNDS[0] * even, CORRECTION_BOUNDS[1] * even)


def shares(throttle: NDArray[np.float64], tick: int) -> NDArray[np.uint8]:
    """Say in how many of the 64 sets each campaign is for a tick; over time it is its throttle exactly.

    >>> [int(shares(np.array([0.5, 1.0, 0.0]), s)[0]) for s in range(3)]
    [32, 32, 32]
    >>> tiny = [int(shares(np.array([0.001]), s)[0]) for s in range(10_000)]
    >>> round(sum(tiny) / 64 / 10_000, 5)
    0.001
    """
    place = np.arange(throttle.size) * _SILVER + tick * _GOLDEN
    return np.asarray(np.floor(throttle * SETS + place % 1.0), dtype=np.uint8).clip(0, SETS)


def turns(count: int, tick: int) -> NDArray[np.uint8]:
    """Say where each campaign's sets begin; a new place each 64 ticks, staggered, as if at random."""
    number = np.arange(count, dtype=np.uint64)
    epoch = (np.uint64(tick) + number) // np.uint64(TURN_TICKS)
    mixed = (number * np.uint64(0x9E3779B97F4A7C15)) ^ (epoch * np.uint64(0xD1B54A32D192ED03))
    mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    return np.asarray(mixed >> np.uint64(58), dtype=np.uint8)


@njit(nogil=True, cache=True)
def deal(rows, campaign, rank, share_before, turn_before, share, turn):  # type: ignore[no-untyped-def]
    """Put every ad into its campaign's sets, touching only what changed since the last time.

    Shape   rows (64, words) uint64 bits of ads; campaign (ads,) int32; the others by campaign, uint8.
    Cost    10,000 ads of which every one moves by a set: ~60 us.
    """
    for ad in range(campaign.size):
        c = campaign[ad]
        before, after = share_before[c], share[c]
        word, bit = ad // 64, np.uint64(1) << np.uint64(ad % 64)
        if turn_before[c] != turn[c]:
            for r in range(64):
                at = (rank[r] - turn[c]) & 63
                if r < after:
                    rows[at, word] |= bit
                else:
                    rows[at, word] &= ~bit
        elif after > before:
            for r in range(before, after):
                rows[(rank[r] - turn[c]) & 63, word] |= bit
        else:
            for r in range(after, before):
                rows[(rank[r] - turn[c]) & 63, word] &= ~bit


def takes_part(set_number: int, share: int, turn: int) -> bool:
    """The kernel's twin: say whether a campaign with this share and turn is in a set.

    >>> sum(takes_part(k, 5, 11) for k in range(64)), takes_part(9, 64, 3), takes_part(9, 0, 3)
    (5, True, False)
    """
    return int(_RANK[(set_number + turn) % SETS]) < share


RANK = _RANK


def off_plan(off: NDArray[np.float64], spent: NDArray[np.float64], throttle: NDArray[np.float64]) -> float:
    """Tell how far campaigns are off their plans, all together, as a share of what is due of them.

    Who takes part in all requests and is short all the same lacks traffic, not pacing: that is on plan.

    Units   micros; off is above 0 for what is due and not spent. Shape: (n,) each.

    >>> off_plan(np.array([900.0, 50.0]), np.array([100.0, 50.0]), np.array([1.0, 0.5]))
    0.25
    """
    off = np.where((off > 0) & (throttle >= 1.0), 0.0, off)
    due = float((spent + off).sum())
    return float(np.abs(off).sum()) / due if due > 0 else 0.0
