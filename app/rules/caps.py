"""How often a person saw something: the arithmetic of one counter, in 12 bytes beside its owner's mark.

A counter has a code (its window and how it is kept), a stamp and a payload. `minute`, `hour` and `week` roll:
a small cap keeps the times of the last five impressions and is exact to its unit; a larger one keeps counts
in buckets and never undercounts: it may withhold longer than its window, by a seventh (caps up to 255) or a
third (above). `day` is a day number of the campaign's calendar; `lifetime` and views are plain counts.
Knows no tables, no users and no catalogue.

Shape   stamp is 32 bits in units of the code, modulo 2^32 (a sweep removes what is long over); payload is 64
        bits: a count, four ages of 16 bits before the stamp (NO_AGE for none), or lanes of counts, newest
        first. Everything is int64, so that no kernel meets a float.
"""

from __future__ import annotations

from numba import njit

VIEWS, LIFETIME, DAY, MINUTE, HOUR, WEEK = 0, 1, 2, 3, 6, 9  # rolling codes: + 0 ring, + 1 or + 2 buckets
CODES = 12
WINDOWS = ("minute", "hour", "day", "week", "lifetime")
ROLLING = {"minute": MINUTE, "hour": HOUR, "week": WEEK}
RING_COUNT = 5
MAX_ROLLING_COUNT = 65_535

_HOUR_MS, DAY_MS = 3_600_000, 86_400_000
_SPANS_MS = {MINUTE: 60_000, HOUR: _HOUR_MS, WEEK: 168 * _HOUR_MS}
_RING_UNITS_MS = {MINUTE: 1, HOUR: 100, WEEK: 10_000}


def _unit(code: int) -> int:
    """Say how many ms a code's stamp counts in; 0 for the calendar day, which only its zone knows."""
    if code in (VIEWS, LIFETIME):
        return _HOUR_MS
    if code == DAY:
        return 0
    base = code - code % 3
    lanes = (0, 8, 4)[code % 3]
    return -(-_SPANS_MS[base] // (lanes - 1)) if lanes else _RING_UNITS_MS[base]


# Tuples, so that kernels take them as constants.
UNIT_MS = tuple(_unit(code) for code in range(CODES))
LANES = tuple(0 if code < MINUTE else (0, 8, 4)[code % 3] for code in range(CODES))
# How many units an impression counts for after its own; 0 means "on its day", -1 "for ever".
SPAN = tuple(
    -1 if code < DAY else 0 if code == DAY else LANES[code] - 1 if LANES[code]
    else _SPANS_MS[code - code % 3] // UNIT_MS[code]
    for code in range(CODES)
)  # fmt: skip
WINDOW_OF = (-1, 4, 2, 0, 0, 0, 1, 1, 1, 3, 3, 3)  # the place of a code's window in WINDOWS

STAMP_MASK = (1 << 32) - 1
AHEAD = STAMP_MASK - (1 << 20)  # an age from here on is a stamp slightly ahead of its reader: no age at all
NO_AGE = 0xFFFF
EMPTY_RING = -1  # four ages of NO_AGE
DAYS_APART = 2  # a day of whatever zone is over this many days after its number


def code_for(per: str, count: int) -> int:
    """Choose how a cap's counter is kept.

    >>> code_for("day", 3), code_for("hour", 3), code_for("hour", 100), code_for("hour", 1_000)
    (2, 6, 7, 8)
    """
    if per in ROLLING:
        return ROLLING[per] + (0 if count <= RING_COUNT else 1 if count <= 255 else 2)
    return DAY if per == "day" else LIFETIME


@njit(nogil=True, cache=True, inline="always")
def age_of(stamp, now):  # type: ignore[no-untyped-def]
    """Say how many units a stamp lies back; one slightly ahead is 0 old."""
    age = (now - stamp) & STAMP_MASK
    return 0 if age > AHEAD else age


@njit(nogil=True, cache=True)
def inside(code, stamp, payload, now):  # type: ignore[no-untyped-def]
    """Count the impressions that still count at `now` (in units of the code)."""
    span, lanes = SPAN[code], LANES[code]
    if span < 0:
        return payload
    age = age_of(stamp, now)
    if age > span:
        return 0
    if code == DAY:
        return payload
    count = 0
    if lanes == 0:
        count = 1
        for k in range(4):
            back = (payload >> (16 * k)) & NO_AGE
            if back != NO_AGE and age + back <= span:
                count += 1
        return count
    bits = 64 // lanes
    full = (1 << bits) - 1
    for k in range(lanes):
        if age + k <= span:
            count += (payload >> (bits * k)) & full
    return count


@njit(nogil=True, cache=True)
def first(code):  # type: ignore[no-untyped-def]
    """Give the payload of a counter's first impression."""
    return EMPTY_RING if SPAN[code] > 0 and LANES[code] == 0 else 1


@njit(nogil=True, cache=True)
def shift_ring(payload, by, span, insert):  # type: ignore[no-untyped-def]
    """Age a ring by some units; with `insert` the former stamp becomes the first age. The oldest may go."""
    answer = 0
    at = 0
    if insert:
        answer = by if by <= span else NO_AGE
        at = 1 if by <= span else 0
    for k in range(4):
        back = (payload >> (16 * k)) & NO_AGE
        if at < 4 and back != NO_AGE and back + by <= span:
            answer = (answer & ~(NO_AGE << (16 * at))) | ((back + by) << (16 * at))
            at += 1
    for k in range(at, 4):
        answer |= NO_AGE << (16 * k)
    return answer


@njit(nogil=True, cache=True)
def add(code, stamp, payload, now, count):  # type: ignore[no-untyped-def]
    """Count impressions at `now`: (stamp, payload) after. A ring takes one; an earlier one is the stamp's."""
    span, lanes = SPAN[code], LANES[code]
    age = age_of(stamp, now)
    newest = stamp if age == 0 else now & STAMP_MASK
    if span < 0:
        return newest, payload + count
    if code == DAY:
        return newest, (payload + count if age == 0 else count)
    if lanes == 0:
        return newest, shift_ring(payload, age, span, True)
    bits = 64 // lanes
    full = (1 << bits) - 1
    if age >= lanes:
        payload = 0
    elif age > 0:
        payload = payload << (bits * age)
    lane = min((payload & full) + count, full)
    return newest, (payload & ~full) | lane


@njit(nogil=True, cache=True)
def take_from_ring(stamp, payload, age, span):  # type: ignore[no-untyped-def]
    """Take the impression of an age (before the stamp) out of a ring: (stamp, payload) after."""
    later = 0
    if age == 0:  # the newest goes: the one before it is the stamp now
        later = payload & NO_AGE
        if later == NO_AGE:
            return (stamp - span - 1) & STAMP_MASK, payload  # nothing is left: long over
        age = later
    kept, at, gone = 0, 0, False
    for k in range(4):
        back = (payload >> (16 * k)) & NO_AGE
        if back == age and not gone:
            gone = True
        elif back != NO_AGE:
            kept |= (back - later) << (16 * at)
            at += 1
    for k in range(at, 4):
        kept |= NO_AGE << (16 * k)
    return (stamp - later) & STAMP_MASK, kept


@njit(nogil=True, cache=True)
def take_back(code, stamp, payload, at):  # type: ignore[no-untyped-def]
    """Uncount one impression of time `at`: (stamp, payload) after. One that is not there changes nothing."""
    span, lanes = SPAN[code], LANES[code]
    age = (stamp - at) & STAMP_MASK  # how long before the newest it was
    if span < 0:
        return stamp, max(payload - 1, 0)
    if code == DAY:
        return stamp, (max(payload - 1, 0) if age == 0 else payload)
    if lanes == 0:
        return take_from_ring(stamp, payload, age, span)
    bits = 64 // lanes
    if age < lanes and (payload >> (bits * age)) & ((1 << bits) - 1) > 0:
        payload -= 1 << (bits * age)
    return stamp, payload


@njit(nogil=True, cache=True)
def merge(code, stamp, payload, other_stamp, other):  # type: ignore[no-untyped-def]
    """Add up two counters of the same thing (a person's former and present name): (stamp, payload)."""
    if (other_stamp - stamp) & STAMP_MASK <= STAMP_MASK >> 1:  # the other is the newer one
        stamp, payload, other_stamp, other = other_stamp, other, stamp, payload
    span, lanes = SPAN[code], LANES[code]
    age = (stamp - other_stamp) & STAMP_MASK
    if span < 0:
        return stamp, payload + other
    if code == DAY:
        return stamp, (payload + other if age == 0 else payload)
    if age > span:
        return stamp, payload
    if lanes == 0:
        both = shift_ring(other, age, span, True)  # ages of the other, seen from the newer stamp
        answer, i, j = 0, 0, 0
        for k in range(4):
            one = (payload >> (16 * i)) & NO_AGE if i < 4 else NO_AGE
            two = (both >> (16 * j)) & NO_AGE if j < 4 else NO_AGE
            if one <= two:
                i += 1
            else:
                j += 1
            answer |= min(one, two) << (16 * k)
        return stamp, answer
    bits = 64 // lanes
    full = (1 << bits) - 1
    answer = 0
    for k in range(lanes):
        lane = (payload >> (bits * k)) & full
        if k >= age:
            lane += (other >> (bits * (k - age))) & full
        answer |= min(lane, full) << (bits * k)
    return stamp, answer


@njit(nogil=True, cache=True)
def over(code, stamp, clock_ms, kept_hours):  # type: ignore[no-untyped-def]
    """Say whether a counter can never matter again: its window is over, or nothing came for `kept_hours`."""
    if code == DAY:
        days = age_of(stamp, clock_ms // DAY_MS)
        return days > DAYS_APART or days * DAY_MS > kept_hours * _HOUR_MS
    age = age_of(stamp, clock_ms // UNIT_MS[code])
    return age * UNIT_MS[code] > kept_hours * _HOUR_MS or (SPAN[code] > 0 and age > SPAN[code])
