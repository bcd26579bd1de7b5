"""Does a request meet an ad group's targeting? Rule by rule over plain values: slow and plainly right.

The auction asks the same of sets of ads (`app.state.clauses`); this is for forecasts, one at a time.
Hours and weekdays are not a request's properties and are not asked here.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec

from app.domain.catalogue import Placement, Rule, Targeting
from app.domain.requests import AdRequest, Ask

Told = dict[str, tuple[Any, ...]]
# What is a person's own, or may be (a keyword, a device), in contrast to what is a place's or a time's.
_OF_PEOPLE = (
    "gender", "age", "region", "interest", "segment", "audience", "device", "os", "browser", "keyword",
)  # fmt: skip


@lru_cache(maxsize=65_536)
def parents_and_self(code: str) -> tuple[str, ...]:
    """Name a code and what it lies under.

    >>> parents_and_self("KR-11")
    ('KR-11', 'KR')
    """
    parts = code.split("-")
    return tuple("-".join(parts[:count]) for count in range(len(parts), 0, -1))


def hosts(domain: str) -> tuple[str, ...]:
    """Name a domain and those above it, but for the top level.

    >>> hosts("www.Shop.example")
    ('www.shop.example', 'shop.example')
    """
    labels = domain.lower().split(".")
    return tuple(".".join(labels[start:]) for start in range(len(labels) - 1))


def told_by(request: AdRequest, ask: Ask, placement: Placement | None) -> Told:
    """List what a request tells of itself, by targeting dimension, with what codes lie under."""
    person, place = request.person, request.surroundings
    categories = (*place.site_category, *(placement.categories if placement else ()))
    publisher = placement.publisher_id if placement else ask.publisher_id
    told: Told = {
        "device": (place.device,) if place.device else (),
        "os": (place.os,) if place.os else (),
        "placement": (ask.placement_id,) if ask.placement_id else (),
        "publisher": (publisher,) if publisher else (),
        "site_category": tuple(c for code in categories for c in parents_and_self(code)),
        "deal": tuple(deal.id for deal in ask.deals),
        "browser": (place.browser,) if place.browser else (),
        "site": hosts(place.site or ""),
        "app": (place.bundle,) if place.bundle else (),
        "keyword": (*place.keywords, *(person.keywords if person is not None else ())),
    }
    if person is not None:
        told |= {
            "gender": (person.gender,) if person.gender else (),
            "age": (person.age,) if person.age is not None else (),
            "region": parents_and_self(person.region) if person.region else (),
            "interest": person.interests,
            "segment": person.segments,
            "audience": person.audiences,
        }
    return told


def chooses_people(targeting: Targeting) -> bool:
    """Say whether a targeting tells people apart, and not just places and times.

    >>> chooses_people(Targeting(site=Rule(include=("news.example",))))
    False
    >>> chooses_people(Targeting(os=Rule(include=("ios",))))
    True
    """
    rules = [getattr(targeting, name) for name in _OF_PEOPLE] + list(targeting.keys.values())
    return bool(targeting.exclude_after) or any(rule.include or rule.exclude for rule in rules)


def of_places(targeting: Targeting) -> Targeting:
    """Take out of a targeting what tells people apart; places and times stay."""
    return msgspec.structs.replace(targeting, **dict.fromkeys(_OF_PEOPLE, Rule()), keys={}, exclude_after="")


def meets(targeting: Targeting, told: Told, keys: dict[str, tuple[Any, ...]]) -> bool:
    """Say whether a request that tells this passes every dimension but hour and weekday.

    >>> meets(Targeting(gender=Rule(include=("F",))), {"gender": ("M",)}, {})
    False
    """
    names = (
        "gender", "age", "region", "interest", "segment", "device", "os", "placement", "publisher",
        "site_category", "deal", "browser", "site", "app", "keyword", "audience",
    )  # fmt: skip
    plain = all(passes(getattr(targeting, name), told.get(name, ())) for name in names)
    return plain and all(passes(rule, keys.get(name, ())) for name, rule in targeting.keys.items())


def passes(rule: Rule, values: tuple[Any, ...]) -> bool:
    """Say whether values pass one dimension; none told fail an include and pass an exclude.

    >>> passes(Rule(include=((20, 29),)), (27,)), passes(Rule(exclude=("x",)), ())
    (True, True)
    """
    if rule.include and not any(_is(term, value) for term in rule.include for value in values):
        return False
    return not any(_is(term, value) for term in rule.exclude for value in values)


def _is(term: Any, value: Any) -> bool:
    if isinstance(term, tuple | list):
        return isinstance(value, int | float) and term[0] <= value <= term[1]
    return bool(term == value)


def takes_shape(
    shapes: tuple[tuple[str, int | None, int | None], ...], ask: Ask, placement: Placement | None
) -> bool:
    """Say whether a place takes any of some creatives' shapes (format, width, height). Sizes bind banners.

    No shapes given: any will do.
    """
    return not shapes or any(_fits(shape, ask, placement) for shape in shapes)


def _fits(shape: tuple[str, int | None, int | None], ask: Ask, placement: Placement | None) -> bool:
    form, width, height = shape
    for formats in (ask.formats, placement.formats if placement else ()):
        if formats and form not in formats:
            return False
    for sizes in (ask.sizes, placement.sizes if placement else ()):
        if form == "banner" and sizes and (width, height) not in {tuple(size) for size in sizes}:
            return False
    return True
