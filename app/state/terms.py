"""What the catalogue says of campaigns that pacing needs: zones, flights, hours, budgets, placements.

An array of all campaigns each, worked out from the ad groups when the catalogue has changed.
"""

from __future__ import annotations

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from app.domain.catalogue import AdGroup
from app.state.accounts import NO_LIMIT
from app.state.catalogue import Catalogue


class Terms(Struct, frozen=True, kw_only=True):
    """What the catalogue says of every campaign, (count,) each; worked out when it has changed.

    `zone` indexes the moments, `shape` the sets of placements that all ad groups of a campaign keep to
    (`places`; the first is the whole node); hours and weekdays are bits of any of its live groups; budgets
    in micros, inf where there is none; charge and answer at the bid, see `worth_at_bid`.
    """

    changes: int
    zone: NDArray[np.int64]
    shape: NDArray[np.int64]
    places: list[tuple[str, ...]]
    hours: NDArray[np.int64]
    weekdays: NDArray[np.int64]
    starts_ms: NDArray[np.int64]
    ends_ms: NDArray[np.int64]
    daily: NDArray[np.float64]
    total: NDArray[np.float64]
    charge: NDArray[np.float64]
    answer: NDArray[np.float64]


def campaigns_of(catalogue: Catalogue, groups: NDArray[np.intp], count: int) -> NDArray[np.bool_]:
    """Mark the campaigns that have any of these ad groups."""
    return np.bincount(catalogue.group_campaign[groups], minlength=count)[:count] > 0


def _of_groups(catalogue: Catalogue, values: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Give each campaign the greatest of its groups' values."""
    answer, groups = np.zeros(count), catalogue.group_accounts.count
    np.maximum.at(answer, catalogue.group_campaign[:groups], values[:groups])
    return answer


def terms_of(catalogue: Catalogue, count: int) -> Terms:
    """Work out the terms of the first `count` campaigns. Cost: ~2 ms for 3,000 ad groups."""
    daily, total = _limits(catalogue, count)
    shape, places = _places(catalogue, count)
    n, groups = catalogue.group_accounts.count, catalogue.groups
    of = catalogue.group_campaign[:n]
    zone = np.zeros(count, dtype=np.int64)
    starts_ms, ends_ms = np.zeros(count, dtype=np.int64), np.full(count, 2**62, dtype=np.int64)
    zone[of], starts_ms[of] = groups.zone[:n], groups.starts_at_ms[:n]
    ends_ms[of] = np.minimum(groups.ends_at_ms[:n], 2**62)
    hours, weekdays = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    live = np.flatnonzero(groups.given[:n] == 0)
    np.bitwise_or.at(hours, of[live], groups.hours[:n][live].astype(np.int64))
    np.bitwise_or.at(weekdays, of[live], groups.weekdays[:n][live].astype(np.int64))
    return Terms(
        changes=catalogue.changes, zone=zone, shape=shape, places=places, hours=hours, weekdays=weekdays,
        starts_ms=starts_ms, ends_ms=ends_ms, daily=daily, total=total,
        charge=_of_groups(catalogue, catalogue.group_charge, count),
        answer=_of_groups(catalogue, catalogue.group_answer, count),
    )  # fmt: skip


def _places(catalogue: Catalogue, count: int) -> tuple[NDArray[np.int64], list[tuple[str, ...]]]:
    """Say which placements each campaign's live groups name, where every one of them names some."""
    named: dict[int, set[str] | None] = {}
    for key, group in catalogue.things["ad_group"].items():
        assert isinstance(group, AdGroup)
        at = catalogue.group_index[key]
        if catalogue.groups.given[at]:
            continue
        campaign = int(catalogue.group_campaign[at])
        mine, others = _named(catalogue, group), named.get(campaign, set())
        named[campaign] = None if mine is None or others is None else others | mine
    places: dict[tuple[str, ...], int] = {(): 0}
    shape = np.zeros(count, dtype=np.int64)
    for campaign, keys in sorted(named.items()):
        shape[campaign] = places.setdefault(tuple(sorted(keys or ())), len(places))
    return shape, list(places)


def _named(catalogue: Catalogue, group: AdGroup) -> set[str] | None:
    """List the placements that an ad group names, itself or by publisher; None where it takes any."""
    placement, publisher = group.targeting.placement, group.targeting.publisher
    if not placement.include and not publisher.include:
        return None
    found = {str(term) for term in placement.include}
    if publisher.include:
        of = {
            key
            for term in publisher.include
            for _, key in catalogue.children.get(("publisher", str(term)), ())
        }
        found = found & of if placement.include else of
    return found - {str(term) for term in placement.exclude}


def _limits(catalogue: Catalogue, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give each campaign's daily and total budget: its own, or what its groups may spend together."""
    n, of = catalogue.group_accounts.count, catalogue.group_campaign
    live = np.flatnonzero(catalogue.groups.given[:n] == 0)
    found = []
    for name in ("daily", "total"):
        own = getattr(catalogue.campaign_accounts, name)[:count]
        each = getattr(catalogue.group_accounts, name)[:n]
        each = np.where(each >= NO_LIMIT, np.inf, each.astype(np.float64))
        together = np.zeros(count)
        np.add.at(together, of[live], each[live])
        together[~campaigns_of(catalogue, live, count)] = np.inf
        found.append(np.minimum(np.where(own >= NO_LIMIT, np.inf, own.astype(np.float64)), together))
    return found[0], found[1]
