"""What a change of the catalogue means: limits, standing and ads compiled anew, as far down as it reaches.

An ad is compiled from a creative and all above it. What only its worth hangs on (a bid, a prior) is written
for each ad at once; the sets that it stands in are worked out anew only where they may differ, for a budget
edited or an ad group paused must not hold the loop for as long as it has creatives.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from app.domain.catalogue import AdGroup, Advertiser, Campaign, Creative, Placement, Thing, kind_of
from app.rules import standing
from app.rules.counters import CAMPAIGN, CREATIVE, GROUP
from app.rules.pacing import worth_at_bid
from app.state.ads import ARCHIVED, PAUSED
from app.state.catalogue import Catalogue
from app.state.columns import OWN_COLUMN_FIELD, column_keys

STATUS_CODE = {"active": 0, "paused": PAUSED, "archived": ARCHIVED}
Chain = tuple[Creative, AdGroup, Campaign, Advertiser]


def settle(catalogue: Catalogue, thing: Thing, at_ms: int, before: Thing | None = None) -> None:
    """Recompile everything that a thing decides: itself and all that stands under it.

    `before` is what it was when its ads were compiled last; absent, they are compiled in full.
    Cost    some 50 us for each ad whose sets may differ, 5 us for each other, 20 us for an ad group.
    """
    whole = before is None or _sets_of(before) != _sets_of(thing)
    _settle_down(catalogue, thing, at_ms, whole=whole)


def _settle_down(catalogue: Catalogue, thing: Thing, at_ms: int, *, whole: bool) -> None:
    if isinstance(thing, Creative) and not whole:
        _reprice(catalogue, thing)
    else:
        settle_alone(catalogue, thing, at_ms)
    for child in catalogue.children_of(kind_of(thing), thing.id):
        if isinstance(child, AdGroup | Campaign | Creative):
            _settle_down(catalogue, child, at_ms, whole=whole)


def settle_alone(catalogue: Catalogue, thing: Thing, at_ms: int) -> None:
    """Recompile one thing, and nothing under it."""
    match thing:
        case Creative():
            _settle_creative(catalogue, thing, at_ms)
        case AdGroup():
            _settle_group(catalogue, thing)
        case Campaign():
            _limit(catalogue, thing)
        case Placement() if thing.status == "archived":
            catalogue.rows.rest(thing.id, at_ms)
        case Placement():
            catalogue.rows.take(thing.id)
        case _:
            pass


def _sets_of(thing: Thing) -> tuple[Any, ...]:
    """Tell what of a thing decides places, columns, sets and caps of the ads under it."""
    archived = thing.status == "archived"
    match thing:
        case Advertiser():
            return archived, thing.category, thing.seat
        case Campaign():
            return archived, thing.time_zone
        case AdGroup():
            return archived, thing.targeting
        case _:
            return (thing,)


def _limit(catalogue: Catalogue, campaign: Campaign) -> None:
    """Write what a campaign may spend, whether evenly, and how often to one person."""
    at = catalogue.campaign_index[campaign.id]
    catalogue.campaign_accounts.limit(at, campaign.budget_daily_micros, campaign.budget_total_micros)
    while at >= len(catalogue.campaign_even):
        catalogue.campaign_even = np.resize(catalogue.campaign_even, 2 * len(catalogue.campaign_even))
    catalogue.campaign_even[at] = campaign.pacing == "even"
    catalogue.caps.put(CAMPAIGN, at, campaign.frequency_cap, catalogue.zone_index(campaign.time_zone))


def _settle_group(catalogue: Catalogue, group: AdGroup) -> None:
    campaign, advertiser = catalogue.above(group)
    at, groups = catalogue.group_index[group.id], catalogue.groups
    catalogue.group_accounts.limit(at, group.budget_daily_micros, group.budget_total_micros)
    catalogue.group_charge[at], catalogue.group_answer[at] = worth_at_bid(group.pricing)
    codes = [STATUS_CODE[thing.status] for thing in (advertiser, campaign, group)]
    groups.given[at] = ARCHIVED if ARCHIVED in codes else max(codes)
    groups.starts_at_ms[at] = campaign.starts_at_ms or 0
    groups.ends_at_ms[at] = standing.FOREVER if campaign.ends_at_ms is None else campaign.ends_at_ms
    groups.hours[at] = _bits(group.targeting.hour, standing.ALL_HOURS)
    groups.weekdays[at] = _bits(group.targeting.weekday, standing.ALL_WEEKDAYS)
    groups.zone[at] = catalogue.zone_index(campaign.time_zone)
    catalogue.caps.put(GROUP, at, group.frequency_cap, int(groups.zone[at]))


def _settle_creative(catalogue: Catalogue, creative: Creative, at_ms: int) -> None:
    chain = catalogue.chain(creative)
    if any(thing.status == "archived" for thing in chain):
        _retire(catalogue, chain, at_ms)
        return
    _, group, campaign, advertiser = chain
    ads = catalogue.ads
    ad = ads.open(creative)
    ads.group[ad] = catalogue.group_index[group.id]
    ads.campaign[ad] = catalogue.campaign_index[campaign.id]
    ads.advertiser[ad] = catalogue.advertiser_index[advertiser.id]
    ads.own[ad] = STATUS_CODE[creative.status]
    shared = [catalogue.columns.take(key) for key in column_keys(*chain)]
    catalogue.column_fields[shared] = range(1, OWN_COLUMN_FIELD)
    ads.columns[:, ad] = [0, *shared, catalogue.first_ad_column + ad]
    ads.compile(ad, *chain)
    catalogue.caps.put(CREATIVE, ad, creative.frequency_cap, catalogue.zone_index(campaign.time_zone))


def _reprice(catalogue: Catalogue, creative: Creative) -> None:
    """Write anew what a creative's ad is worth; one that is archived has no ad."""
    chain = catalogue.chain(creative)
    if all(thing.status != "archived" for thing in chain):
        catalogue.ads.price(catalogue.ads.places.by_key[creative.id], *chain[:3])


def _retire(catalogue: Catalogue, chain: Chain, at_ms: int) -> None:
    creative = chain[0]
    ad = catalogue.ads.places.by_key.get(creative.id)
    if ad is not None:
        catalogue.ads.close(ad)
        catalogue.ads.places.rest(creative.id, at_ms)
        catalogue.caps.put(CREATIVE, ad, (), 0)  # shown late, it counts as a view alone
    for thing in chain[2:]:
        if thing.status == "archived":
            catalogue.columns.rest((kind_of(thing), thing.id), at_ms)


def _bits(rule: Any, everything: int) -> int:
    included = standing.hour_bits(rule.include) if rule.include else everything
    return included & ~standing.hour_bits(rule.exclude)


def resettle(catalogue: Catalogue) -> None:
    """Compile everything of a catalogue that was restored; what rests does so as long as it did."""
    places = (catalogue.columns, catalogue.rows, catalogue.ads.places)
    resting = [dict(place.resting) for place in places]
    catalogue.ads.open_all()
    for kind in ("campaign", "ad_group", "creative"):
        for key in catalogue.ids(kind):
            settle_alone(catalogue, catalogue.things[kind][key], 0)
    for place, rests in zip(places, resting, strict=True):
        place.resting = rests
