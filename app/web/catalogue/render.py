"""From a thing of the catalogue to the document that people see; `parsing.parse` is its inverse."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from app.domain.catalogue import (
    AdGroup,
    Advertiser,
    Audience,
    Campaign,
    Creative,
    Experiment,
    FrequencyCap,
    Placement,
    Pricing,
    Publisher,
    Rule,
    Targeting,
    Term,
    Thing,
    Variant,
)
from app.domain.money import MICROS
from app.web.catalogue.fields import EPOCH

Document = dict[str, Any]
_DIMENSIONS = tuple(
    name for name in Targeting.__struct_fields__ if name not in ("keys", "exclude_after", "boost")
)


def to_document(thing: Thing) -> Document:
    """Write a thing as the JSON document that would make it again.

    Units   money as a number in the account currency, times in the campaign's own zone.
    Cost    some 5 us; a few more with long targeting.

    >>> to_document(Publisher(id="pub-1", name="News"))
    {'type': 'publisher', 'id': 'pub-1', 'name': 'News', 'domain': None, 'status': 'active'}
    """
    match thing:
        case Campaign():
            return _campaign(thing)
        case AdGroup():
            return _ad_group(thing)
        case Creative():
            return _creative(thing)
        case Placement():
            return _placement(thing)
        case Experiment():
            return _experiment(thing)
        case Advertiser() | Audience() | Publisher():
            return _plain(thing)


def amount(micros: int) -> int | float:
    """Write micros as a JSON number. Exact: at most 15 digits, which a float64 holds and prints.

    >>> amount(1_764_705_883), amount(2_000_000_000)
    (1764.705883, 2000)
    """
    whole, rest = divmod(micros, MICROS)
    return micros / MICROS if rest else whole


def instant(at_ms: int, zone: str) -> str:
    """Write an instant as RFC 3339 in a zone.

    >>> instant(1_777_593_600_000, "Asia/Seoul")
    '2026-05-01T09:00:00+09:00'
    """
    moment = EPOCH + timedelta(milliseconds=at_ms)
    local = moment.astimezone(ZoneInfo(zone))
    offset = local.utcoffset() or timedelta()
    if offset % timedelta(minutes=1):  # Monrovia until 1972: an offset that RFC 3339 cannot write
        local = moment
    return local.isoformat(timespec="milliseconds" if at_ms % 1000 else "seconds")


def _plain(thing: Thing) -> Document:
    document: Document = msgspec.to_builtins(thing)
    return document


def _optional_amount(micros: int | None) -> int | float | None:
    return None if micros is None else amount(micros)


def _caps(caps: tuple[FrequencyCap, ...]) -> list[Document]:
    return [{"count": cap.count, "per": cap.per} for cap in caps]


def _campaign(thing: Campaign) -> Document:
    def time(at_ms: int | None) -> str | None:
        return None if at_ms is None else instant(at_ms, thing.time_zone)

    return {
        "type": "campaign",
        "id": thing.id,
        "advertiser_id": thing.advertiser_id,
        "name": thing.name,
        "objective": thing.objective,
        "budget_daily": _optional_amount(thing.budget_daily_micros),
        "budget_total": _optional_amount(thing.budget_total_micros),
        "starts_at": time(thing.starts_at_ms),
        "ends_at": time(thing.ends_at_ms),
        "time_zone": thing.time_zone,
        "pacing": thing.pacing,
        "prior_cvr": thing.prior_cvr,
        "frequency_cap": _caps(thing.frequency_cap),
        "status": thing.status,
    }


def _ad_group(thing: AdGroup) -> Document:
    return {
        "type": "ad_group",
        "id": thing.id,
        "campaign_id": thing.campaign_id,
        "name": thing.name,
        "pricing": _pricing(thing.pricing),
        "budget_daily": _optional_amount(thing.budget_daily_micros),
        "budget_total": _optional_amount(thing.budget_total_micros),
        "frequency_cap": _caps(thing.frequency_cap),
        "targeting": targeting_document(thing.targeting),
        "status": thing.status,
    }


def _pricing(pricing: Pricing) -> Document:
    offered = "target_cpa" if pricing.kind == "ocpm" else "bid"
    return {"kind": pricing.kind, offered: amount(pricing.bid_micros)}


def targeting_document(targeting: Targeting) -> Document:
    """Write the dimensions that are in use; one without an exclude as a bare list."""
    document: Document = {}
    for name in _DIMENSIONS:
        rule: Rule = getattr(targeting, name)
        if rule.include or rule.exclude:
            document[name] = _rule(rule)
    if targeting.exclude_after or targeting.boost:
        include, exclude = targeting.audience.include, targeting.audience.exclude
        audience: Document = {"include": [*include], "exclude": [*exclude]}
        if targeting.exclude_after:
            audience["exclude_after"] = targeting.exclude_after
        if targeting.boost:
            audience["boost"] = dict(targeting.boost)
        document["audience"] = audience
    if targeting.keys:
        document["keys"] = {name: _rule(rule) for name, rule in targeting.keys.items()}
    return document


def _rule(rule: Rule) -> list[Any] | Document:
    include = [_term(term) for term in rule.include]
    return (
        {"include": include, "exclude": [_term(term) for term in rule.exclude]} if rule.exclude else include
    )


def _term(term: Term) -> Any:
    # A pair comes back from the journal as floats; whole numbers are shown, and taken, as such.
    if isinstance(term, tuple):
        return [_term(number) for number in term]
    return int(term) if isinstance(term, float) and term.is_integer() else term


def _creative(thing: Creative) -> Document:
    document = _plain(thing)
    for name in ("categories", "attributes", "mimes", "protocols", "api", "frequency_cap"):
        document[name] = list(document[name])
    return document


def _placement(thing: Placement) -> Document:
    return {
        "type": "placement",
        "id": thing.id,
        "publisher_id": thing.publisher_id,
        "name": thing.name,
        "sizes": [f"{width}x{height}" for width, height in thing.sizes],
        "formats": list(thing.formats),
        "categories": list(thing.categories),
        "floor_cpm": amount(thing.floor_micros),
        "prior_ctr": thing.prior_ctr,
        "separation": list(thing.separation),
        "blocked": {
            "categories": list(thing.blocked.categories),
            "advertisers": list(thing.blocked.advertisers),
            "creatives": list(thing.blocked.creatives),
        },
        "status": thing.status,
    }


def _experiment(thing: Experiment) -> Document:
    return {
        "type": "experiment",
        "id": thing.id,
        "name": thing.name,
        "variants": {variant.name: _variant(variant) for variant in thing.variants},
        "without_id": thing.without_id,
        "isolated": thing.isolated,
        "promoted": thing.promoted,
        "status": thing.status,
    }


def _variant(variant: Variant) -> Document:
    return {
        "share": variant.share,
        "shadow": variant.shadow,
        "learner": msgspec.to_builtins(variant.learner),
        "calibration": "own" if variant.own_calibration else "shared",
        "exploration_scale": variant.exploration_scale,
        "floor_factor": variant.floor_factor,
        "floor_cpm": _optional_amount(variant.floor_micros),
        "quality_strength": variant.quality_strength,
    }
