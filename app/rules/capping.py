"""Which ads a person may not see now: what was counted, and what was just served, held against every cap.

Shape, everywhere here: limits (KINDS, windows, n) int32, 0 for no cap; zone (KINDS, n) int32; tally (KINDS,
windows + 1, n) int32 is scratch, all 0 before and after, its last window the views; entity_of_ad (ads,)
int32; group and campaign (>= ads,) int32; chain_head (KINDS, n) and chain_next (KINDS, ads) int32 list the
ads under a thing, -1 ends; entries (>= count, 2) int64 as `counters.gather` writes them; pending (k,) int64
are ads served whose impressions are still to come.
"""

from __future__ import annotations

from numba import njit

from app.rules import caps
from app.rules.counters import CREATIVE, ENTITY_BITS, ENTITY_MASK, GROUP, KINDS, PLACE_BITS, unit_now

_PLACE_MASK = (1 << PLACE_BITS) - 1


@njit(nogil=True, cache=True, inline="always")
def index_of(what, entity_of_ad):  # type: ignore[no-untyped-def]
    """Find the index of what a counter is about; -1 where an ad's place has another owner by now."""
    entity = what & ENTITY_MASK
    if (what >> ENTITY_BITS) & 3 != CREATIVE:
        return entity
    place = entity & _PLACE_MASK
    return place if place < entity_of_ad.size and entity_of_ad[place] == entity else -1


@njit(nogil=True, cache=True, inline="always")
def index_above(ad, kind, group, campaign):  # type: ignore[no-untyped-def]
    """Find an ad's own index, its group's or its campaign's."""
    if kind == CREATIVE:
        return ad
    return group[ad] if kind == GROUP else campaign[ad]


@njit(nogil=True, cache=True)
def tally_up(entries, count, clock_ms, days, limits, zone, tally, entity_of_ad):  # type: ignore[no-untyped-def]
    """Add up what still counts under each cap, and the views of each ad."""
    views = limits.shape[1]
    for k in range(count):
        meta, payload = entries[k, 0], entries[k, 1]
        what = meta >> 32
        code, kind, index = what >> (ENTITY_BITS + 2), (what >> ENTITY_BITS) & 3, index_of(what, entity_of_ad)
        if index < 0:
            continue
        if code == caps.VIEWS:
            tally[kind, views, index] += payload
        elif limits[kind, caps.WINDOW_OF[code], index] > 0:
            now = unit_now(code, clock_ms, days[zone[kind, index]])
            tally[kind, caps.WINDOW_OF[code], index] += caps.inside(
                code, meta & caps.STAMP_MASK, payload, now
            )


@njit(nogil=True, cache=True)
def tally_pending(pending, limits, tally, group, campaign):  # type: ignore[no-untyped-def]
    """Count ads whose impressions are still to come under every cap that they have."""
    for ad in pending:
        for kind in range(KINDS):
            index = index_above(ad, kind, group, campaign)
            for window in range(limits.shape[1]):
                if limits[kind, window, index] > 0:
                    tally[kind, window, index] += 1


@njit(nogil=True, cache=True)
def settle(kind, index, limits, tally):  # type: ignore[no-untyped-def]
    """Say whether one of a thing's caps is reached, and how often it was viewed; clears its tally."""
    reached = False
    for window in range(limits.shape[1]):
        limit = limits[kind, window, index]
        reached |= limit > 0 and tally[kind, window, index] >= limit
        tally[kind, window, index] = 0
    views = tally[kind, limits.shape[1], index]
    tally[kind, limits.shape[1], index] = 0
    return reached, views


@njit(nogil=True, cache=True)
def judge(  # type: ignore[no-untyped-def]
    entries, count, clock_ms, days, limits, zone, tally, entity_of_ad, group, campaign, chain_head,
    chain_next, pending, places, seen, views,
):  # fmt: skip
    """Say which ads a person may not see now, and how often the person saw those it has seen.

    Shape   days (zones,) int64, the day number of each. Written: places (>= 3 ads,) int64, the ads capped
            (some perhaps twice), seen and views (>= ads,) int32. Returns how many of each.
    Cost    a few ns for each counter of the person, and for each ad under a cap that is reached.
    """
    tally_up(entries, count, clock_ms, days, limits, zone, tally, entity_of_ad)
    tally_pending(pending, limits, tally, group, campaign)
    capped, known = 0, 0
    for k in range(count + pending.size * KINDS):
        if k < count:
            what = entries[k, 0] >> 32
            kind, index = (what >> ENTITY_BITS) & 3, index_of(what, entity_of_ad)
        else:
            kind = (k - count) % KINDS
            index = index_above(pending[(k - count) // KINDS], kind, group, campaign)
        if index < 0:
            continue
        reached, viewed = settle(kind, index, limits, tally)  # a thing's second counter finds it cleared
        if viewed > 0:
            seen[known], views[known] = index, viewed
            known += 1
        ad = chain_head[kind, index] if reached else -1
        while ad >= 0:
            places[capped] = ad
            capped += 1
            ad = chain_next[kind, ad]
    return capped, known


@njit(nogil=True, cache=True)
def chain(ads, limits, group, campaign, chain_head, chain_next, capped):  # type: ignore[no-untyped-def]
    """Write which ads stand under each thing, and which have a cap on themselves or above: capped (ads,)."""
    chain_head[:] = -1
    for ad in range(ads):
        capped[ad] = False
        for kind in range(KINDS):
            index = index_above(ad, kind, group, campaign)
            chain_next[kind, ad] = chain_head[kind, index]
            chain_head[kind, index] = ad
            for window in range(limits.shape[1]):
                capped[ad] |= limits[kind, window, index] > 0
