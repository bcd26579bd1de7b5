"""Tables of counters by person: open addressing, all counters of one person on one run of slots.

A person is a mark of 64 bits (of a keyed hash, so spread evenly). Knows slots and counters, no catalogue.

Shape   a table is (slots, 3) int64: mark (0: a free slot), what << 32 | stamp, payload. `what` has 30 bits:
        code, kind and entity, as `what_of` packs them. Slots are probed from the mark's home on, in order.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from app.rules import caps

SLOT_BYTES = 24
CREATIVE, GROUP, CAMPAIGN = range(3)
KINDS = 3
ENTITY_BITS = 24
PLACE_BITS = 16  # of a creative's entity: its place; above it the place's generation
ENTITY_MASK = (1 << ENTITY_BITS) - 1
_SPREAD = -7046029254386353131  # 2^64 / golden ratio, odd: spreads marks over homes


def what_of(code: int, kind: int, entity: int) -> int:
    """Name what a counter counts.

    >>> what_of(caps.DAY, GROUP, 7) >> 26, what_of(caps.DAY, GROUP, 7) & ENTITY_MASK
    (2, 7)
    """
    assert 0 <= entity <= ENTITY_MASK
    return code << (ENTITY_BITS + 2) | kind << ENTITY_BITS | entity


@njit(nogil=True, cache=True, inline="always")
def home(mark, slots):  # type: ignore[no-untyped-def]
    """Find the slot where a person's run begins."""
    spread = (mark * _SPREAD) >> 32 & caps.STAMP_MASK
    return (spread * slots) >> 32


@njit(nogil=True, cache=True)
def find(table, mark, what):  # type: ignore[no-untyped-def]
    """Find a counter's slot; where there is none, -1 - the free slot that it would take."""
    slots = table.shape[0]
    at = home(mark, slots)
    while table[at, 0] != 0:
        if table[at, 0] == mark and table[at, 1] >> 32 == what:
            return at
        at += 1
        if at == slots:
            at = 0
    return -1 - at


@njit(nogil=True, cache=True, inline="always")
def unit_now(code, at_ms, day):  # type: ignore[no-untyped-def]
    """Tell a time in a code's units."""
    return day if code == caps.DAY else at_ms // caps.UNIT_MS[code]


@njit(nogil=True, cache=True)
def count(table, mark, whats, at_ms, day, digest):  # type: ignore[no-untyped-def]
    """Count one impression under each of `whats`: (counters made, digest of all that was written).

    Shape   whats (k,) int64; at least k slots and one more are free.
    """
    made = 0
    for what in whats:
        code = what >> (ENTITY_BITS + 2)
        now = unit_now(code, at_ms, day)
        at = find(table, mark, what)
        if at < 0:
            at = -1 - at
            stamp, payload = now & caps.STAMP_MASK, caps.first(code)
            table[at, 0] = mark
            made += 1
        else:
            stamp, payload = caps.add(code, table[at, 1] & caps.STAMP_MASK, table[at, 2], now, 1)
        table[at, 1], table[at, 2] = what << 32 | stamp, payload
        digest = (digest ^ table[at, 1]) * _SPREAD + payload
    return made, digest


@njit(nogil=True, cache=True)
def uncount(table, mark, whats, at_ms, day, digest):  # type: ignore[no-untyped-def]
    """Take one impression back from each of `whats` that is there; returns the digest."""
    for what in whats:
        code = what >> (ENTITY_BITS + 2)
        at = find(table, mark, what)
        if at >= 0:
            stamp, payload = caps.take_back(
                code, table[at, 1] & caps.STAMP_MASK, table[at, 2],
                unit_now(code, at_ms, day) & caps.STAMP_MASK,
            )  # fmt: skip
            table[at, 1], table[at, 2] = what << 32 | stamp, payload
            digest = (digest ^ table[at, 1]) * _SPREAD + payload
    return digest


@njit(nogil=True, cache=True)
def gather(table, mark, out, at_out):  # type: ignore[no-untyped-def]
    """Copy a person's counters as (what << 32 | stamp, payload) behind what `out` holds; returns their end.

    Where `out` is too small, the end lies behind it, and nothing more was written.
    """
    slots = table.shape[0]
    at = home(mark, slots)
    while table[at, 0] != 0:
        if table[at, 0] == mark:
            if at_out < out.shape[0]:
                out[at_out, 0], out[at_out, 1] = table[at, 1], table[at, 2]
            at_out += 1
        at += 1
        if at == slots:
            at = 0
    return at_out


@njit(nogil=True, cache=True)
def take_in(table, mark, entries, count):  # type: ignore[no-untyped-def]
    """Give a person gathered counters, added to those that are there; returns how many were made."""
    made = 0
    for k in range(count):
        meta, payload = entries[k, 0], entries[k, 1]
        at = find(table, mark, meta >> 32)
        if at < 0:
            at = -1 - at
            table[at, 0], table[at, 1], table[at, 2] = mark, meta, payload
            made += 1
        else:
            code = meta >> (32 + ENTITY_BITS + 2)
            stamp, payload = caps.merge(
                code, table[at, 1] & caps.STAMP_MASK, table[at, 2], meta & caps.STAMP_MASK, payload
            )
            table[at, 1], table[at, 2] = (meta >> 32) << 32 | stamp, payload
    return made


@njit(nogil=True, cache=True)
def count_over(table, clock_ms, kept_hours):  # type: ignore[no-untyped-def]
    """Count the counters that are over, or of somebody who was not seen for so long."""
    gone = 0
    for at in range(table.shape[0]):
        if table[at, 0] != 0:
            meta = table[at, 1]
            gone += caps.over(meta >> (32 + ENTITY_BITS + 2), meta & caps.STAMP_MASK, clock_ms, kept_hours)
    return gone


@njit(nogil=True, cache=True)
def move(table, into, but_mark, but_views, clock_ms, kept_hours):  # type: ignore[no-untyped-def]
    """Copy a table into another, empty one, without what is over; returns how many were copied.

    Leaves out a person (`but_mark`, 0 for nobody) and, with `but_views`, all counts of views. A clock of -1
    holds nothing to be over.
    """
    slots = into.shape[0]
    copied = 0
    for k in range(table.shape[0]):
        mark, meta = table[k, 0], table[k, 1]
        if mark in (0, but_mark):
            continue
        code = meta >> (32 + ENTITY_BITS + 2)
        if but_views and code == caps.VIEWS:
            continue
        if clock_ms >= 0 and caps.over(code, meta & caps.STAMP_MASK, clock_ms, kept_hours):
            continue
        at = home(mark, slots)
        while into[at, 0] != 0:
            at += 1
            if at == slots:
                at = 0
        into[at, 0], into[at, 1], into[at, 2] = mark, meta, table[k, 2]
        copied += 1
    return copied


def empty(slots: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Make a table without counters."""
    return np.zeros((slots, 3), dtype=np.int64)
