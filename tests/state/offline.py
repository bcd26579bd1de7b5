"""Who may enter an auction, worked out one ad at a time from the text of API.md: slow and plainly right.

It knows things and requests only, nothing of sets, masks or arrays. Reasons are checked in the order in which
`app.domain.decisions.REASONS` lists them.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from app.domain.catalogue import AdGroup, Advertiser, Campaign, Creative, Placement, Rule
from app.domain.requests import AdRequest, Ask


def under(code: str | None, parent: str) -> bool:
    """Say whether a code is another or lies under it: IAB25-3 under IAB25, KR-11 under KR."""
    return code is not None and (code == parent or code.startswith(parent + "-"))


def matches(value: Any, term: Any, *, wraps: bool = False, tree: bool = False) -> bool:
    """Say whether a term means a value: equal, inside an inclusive pair, or (codes) above it."""
    if isinstance(term, tuple):
        low, high = term
        if not isinstance(value, int | float):
            return False
        return bool(low <= value <= high if low <= high or not wraps else value >= low or value <= high)
    return under(value, term) if tree else bool(value == term)


def allows(rule: Rule, values: Iterable[Any], **how: bool) -> bool:
    """An absent list allows everything; what is not told fails an include and passes an exclude."""
    told = list(values)
    included = any(matches(value, term, **how) for value in told for term in rule.include)
    excluded = any(matches(value, term, **how) for value in told for term in rule.exclude)
    return (included or not rule.include) and not excluded


def site_allows(rule: Rule, host: str | None) -> bool:
    """A domain means itself and what lies under it: shop.example holds www.shop.example."""

    def holds(names: Iterable[Any]) -> bool:
        return host is not None and any(f".{host}".endswith(f".{name}") for name in names)

    return (holds(rule.include) or not rule.include) and not holds(rule.exclude)


def deal_passes(group: AdGroup, advertiser: Advertiser, ask: Ask) -> bool:
    """Say whether an ad enters the open auction, or that of any deal offered."""
    want, names = group.targeting.deal, {advertiser.id, advertiser.domain}
    if any(deal.id in want.exclude for deal in ask.deals):
        return False
    if not want.include:
        return not ask.deal_only
    return any(
        deal.id in want.include
        and (not deal.seats or (advertiser.seat or "") in deal.seats)
        and (not deal.advertisers or bool(names & set(deal.advertisers)))
        for deal in ask.deals
    )


def targeting_reason(
    group: AdGroup, advertiser: Advertiser, request: AdRequest, ask: Ask, placement: Placement | None
) -> str | None:
    """Name the first dimension that keeps an ad group out of a request, but for hours and weekdays."""
    want, person, place = group.targeting, request.person, request.surroundings

    def told(*values: Any) -> list[Any]:
        return [value for value in values if value is not None and value != ""]

    categories = [*place.site_category, *(placement.categories if placement else ())]
    publisher = placement.publisher_id if placement else ask.publisher_id
    checks: list[tuple[str, bool]] = [
        ("device", allows(want.device, told(place.device))),
        ("os", allows(want.os, told(place.os))),
        ("placement", allows(want.placement, told(ask.placement_id))),
        ("publisher", allows(want.publisher, told(publisher))),
        ("site_category", allows(want.site_category, categories, tree=True)),
        ("deal", deal_passes(group, advertiser, ask)),
    ]
    checks += [("keys", allows(rule, place.keys.get(name, ()))) for name, rule in want.keys.items()]
    own_words = person.keywords if person else ()
    checks += [
        ("browser", allows(want.browser, told(place.browser))),
        ("site", site_allows(want.site, place.site)),
        ("app", allows(want.app, told(place.bundle))),
        ("keyword", allows(want.keyword, [*place.keywords, *own_words])),
        ("gender", allows(want.gender, told(person.gender) if person else [])),
        ("age", allows(want.age, told(person.age) if person else [])),
        ("region", allows(want.region, told(person.region) if person else [], tree=True)),
        ("interest", allows(want.interest, person.interests if person else [])),
        ("segment", allows(want.segment, person.segments if person else [])),
    ]
    audiences = person.audiences if person else ()
    acted = f"{want.exclude_after}@{group.campaign_id}"
    checks.append(("audience", allows(want.audience, audiences) and acted not in audiences))
    return next((name for name, passes in checks if not passes), None)


def moment_reason(group: AdGroup, campaign: Campaign, at_ms: int) -> str | None:
    """Name what keeps an ad group out at this moment: flight, hour or weekday, in the campaign's zone."""
    local = datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(ZoneInfo(campaign.time_zone))
    checks = [
        ("not_started", campaign.starts_at_ms is None or campaign.starts_at_ms <= at_ms),
        ("ended", campaign.ends_at_ms is None or at_ms < campaign.ends_at_ms),
        ("hour", allows(group.targeting.hour, [local.hour], wraps=True)),
        ("weekday", allows(group.targeting.weekday, [local.weekday()])),
    ]
    return next((name for name, passes in checks if not passes), None)


def blocked_reason(
    creative: Creative, advertiser: Advertiser, request: AdRequest, placement: Placement | None
) -> str | None:
    """Name what blocks an ad: its categories (children of a blocked one, too), its advertiser, itself."""
    blocks = [request.blocked] + ([placement.blocked] if placement else [])
    codes = [*creative.categories, *([advertiser.category] if advertiser.category else [])]
    names = {advertiser.id, advertiser.domain}
    for block in blocks:
        if any(under(code, parent) for code in codes for parent in block.categories):
            return "category_blocked"
    for block in blocks:
        if names & set(block.advertisers):
            return "advertiser_blocked"
    for block in blocks:
        if creative.id in block.creatives:
            return "creative_blocked"
    return None


def shape_reason(creative: Creative, ask: Ask, placement: Placement | None) -> str | None:
    """Name what does not fit on the page. The request narrows what the placement takes."""
    formats = [set(taken) for taken in (ask.formats, placement.formats if placement else ()) if taken]
    if not all(creative.format in taken for taken in formats):
        return "format"
    sizes = [set(taken) for taken in (ask.sizes, placement.sizes if placement else ()) if taken]
    if creative.format == "banner" and not all((creative.width, creative.height) in s for s in sizes):
        return "size"
    return "secure" if ask.secure and not creative.secure else None


def seat_reason(advertiser: Advertiser, request: AdRequest) -> str | None:
    """Name a seat that is not allowed: an allow list wants one of its seats."""
    wanted = not request.seats or advertiser.seat in request.seats
    return None if wanted and advertiser.seat not in request.blocked_seats else "seat"


def reason_of(
    things: tuple[Creative, AdGroup, Campaign, Advertiser], request: AdRequest, ask: Ask,
    placement: Placement | None, at_ms: int,
) -> str | None:  # fmt: skip
    """Name why an ad may not enter the auction on one placement, or None where it may."""
    creative, group, campaign, advertiser = things
    statuses = {thing.status for thing in things}
    if "archived" in statuses:
        return "archived"
    if "paused" in statuses:
        return "paused"
    return (
        moment_reason(group, campaign, at_ms)
        or shape_reason(creative, ask, placement)
        or seat_reason(advertiser, request)
        or blocked_reason(creative, advertiser, request, placement)
        or targeting_reason(group, advertiser, request, ask, placement)
    )
