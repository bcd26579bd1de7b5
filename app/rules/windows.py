"""Counting how often somebody did something lately: hashed counters over sliding windows, compiled.

Knows numbers only: keys of 64 bits, times, limits. A counter stands for a key and a window. It holds the
count of the present window and that of the one before; what lies in a window that slides is the present count
and the share of the former one that the window still covers (as if that had come evenly).

Memory is bounded. Counters lie in sets of eight; a new one takes a place whose windows are over, else that of
the counter in its set that would be over first. So nobody is ever accused for another's deeds (two keys are
one with a probability of 2^-61), but where there are more keys than places the oldest are forgotten: a count
may come out too low, never too high, but for the evenness of the former window. `count_plainly` is the slow
twin.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

WAYS = 8
MOST = 65_535  # a count stops there
# A rule that asks for less than this long since the last time, in place of counting: its limit.
AGAIN = -1
_Function = TypeVar("_Function", bound=Callable[..., object])
U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
U16 = NDArray[np.uint16]
Table = tuple[U64, I64, U16, U16]  # tag, until_ms, now, before: what the kernel works on


def _kernel(function: _Function) -> _Function:
    return cast(_Function, njit(nogil=True, cache=True)(function))


@_kernel
def mixed(key: np.uint64, rule: np.uint64) -> np.uint64:
    """Spread a key and a rule's number over 64 bits. Source: splitmix64 (Steele et al. 2014)."""
    z = key + (rule + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return z if z != np.uint64(0) else np.uint64(1)


def table(places: int) -> Table:
    """Make empty counters. Units: 20 bytes a place; memory is taken as they are used."""
    assert places % WAYS == 0
    return (
        np.zeros(places, dtype=np.uint64), np.zeros(places, dtype=np.int64),
        np.zeros(places, dtype=np.uint16), np.zeros(places, dtype=np.uint16),
    )  # fmt: skip


@_kernel
def _find(tag: U64, until_ms: I64, name: np.uint64, at_ms: int) -> tuple[bool, int]:
    """Find a counter whose windows are not over, or the place that a new one takes."""
    sets = np.uint64(len(tag) // WAYS)
    first = int((name >> np.uint64(3)) % sets) * WAYS
    oldest = first
    for place in range(first, first + WAYS):
        if tag[place] == name and until_ms[place] > at_ms:
            return True, place
        if until_ms[place] < until_ms[oldest]:
            oldest = place
    return False, oldest


def drop(counters: Table, key: int, rule: int) -> None:
    """Forget one counter, by its key and its rule's number. Cost: some microseconds."""
    name = mixed(np.uint64(key), np.uint64(rule))
    tag = counters[0]
    first = (int(name) >> 3) % (len(tag) // WAYS) * WAYS
    for place in range(first, first + WAYS):
        if tag[place] == name:
            for array in counters:
                array[place] = 0


@_kernel
def count(
    tag: U64, until_ms: I64, now: U16, before: U16,
    whose: U64, rules: I64, windows_ms: I64, limits: I64, first_rule: int, at_ms: int,
) -> tuple[int, int]:  # fmt: skip
    """Count one event under every rule, and say by which rules there are now too many.

    `first_rule` is the number of the first: rules of other events have other numbers.

    Shape   tag, until_ms, now, before: one place each, WAYS to a set; rules, windows_ms, limits: one each
            rule; whose[rules[i]] is the key that rule i counts by, 0 for nobody's, who is passed over.
    Units   windows and times in milliseconds. A limit of AGAIN: too many is a second time within the window.
    Cost    about 2 us for seven rules, nearly all of it the call.
            Returns two sets of rules, as bits: over the limit, and over it with this very event.
    """
    over = 0
    crossed = 0
    for rule in range(len(rules)):
        key = whose[rules[rule]]
        if key == np.uint64(0):
            continue
        name = mixed(key, np.uint64(first_rule + rule))
        found, place = _find(tag, until_ms, name, at_ms)
        window = windows_ms[rule]
        tag[place] = name
        if limits[rule] == AGAIN:
            until_ms[place] = at_ms + window
            now[place] = 1
            before[place] = 0
            if found:
                over |= 1 << rule
                crossed |= 1 << rule
            continue
        if not found:
            until_ms[place] = at_ms // window * window + 2 * window
            now[place] = 0
            before[place] = 0
        elif at_ms >= until_ms[place] - window:
            until_ms[place] += window
            before[place] = now[place]
            now[place] = 0
        now[place] = min(MOST, now[place] + 1)
        left_ms = min(window, until_ms[place] - window - at_ms)
        total = now[place] + before[place] * left_ms / window
        if total > limits[rule]:
            over |= 1 << rule
            if total - 1 <= limits[rule]:
                crossed |= 1 << rule
    return over, crossed


def count_plainly(
    counters: dict[tuple[int, int], list[int]], whose: list[int], rules: list[int], windows_ms: list[int],
    limits: list[int], at_ms: int,
) -> tuple[int, int]:  # fmt: skip
    """Do what `count` does, with a dictionary and all the memory there is."""
    over = crossed = 0
    for rule, (which, window, limit) in enumerate(zip(rules, windows_ms, limits, strict=True)):
        if not whose[which]:
            continue
        known = counters.get((whose[which], rule))
        if known is not None and known[0] <= at_ms:
            known = None
        if limit == AGAIN:
            again = known is not None
            over, crossed = over | again << rule, crossed | again << rule
            counters[whose[which], rule] = [at_ms + window, 1, 0]
            continue
        if known is None:
            known = counters[whose[which], rule] = [at_ms // window * window + 2 * window, 0, 0]
        elif at_ms >= known[0] - window:
            known[:] = [known[0] + window, 0, known[1]]
        known[1] = min(MOST, known[1] + 1)
        total = known[1] + known[2] * min(window, known[0] - window - at_ms) / window
        over |= (total > limit) << rule
        crossed |= (limit < total <= limit + 1) << rule
    return over, crossed
