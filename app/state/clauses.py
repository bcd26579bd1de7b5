"""From a request to clauses over the sets of ads: what each placement takes, blocks and tells about.

The order of clauses is the order of `app.domain.decisions.REASONS`: a loser leaves with the first it fails.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from app.domain.catalogue import Placement
from app.domain.decisions import REASON_NUMBER
from app.domain.requests import AdRequest, Ask, Creativity
from app.rules.eligibility import EVERYONE, Clause
from app.state.ads import TARGETED, Ads, parents_and_self
from app.state.catalogue import Catalogue

# Scratch rows of the sets, one use each. EMPTY stays empty.
EMPTY, LONG, ADVERTISERS = 0, 1, 2
_TIMED = ("video", "audio")


def clauses_of(
    catalogue: Catalogue, request: AdRequest, ask: Ask, placement: Placement | None
) -> list[Clause]:
    """List the conditions that an ad must meet to stand on one placement of a request."""
    ads = catalogue.ads
    clauses = _shape_clauses(ads, ask, placement)
    if ask.secure:
        clauses.append(_must(ads, "secure", (True,)))
    for name, demand in ask.demands.items():
        clauses += _demand_clauses(ads, name, demand)
    if request.seats:
        clauses.append(_must(ads, "seat", request.seats))
    if request.blocked_seats:
        clauses += _must_not(ads, "seat", "seat", request.blocked_seats)
    clauses += _blocking_clauses(catalogue, request, placement)
    clauses += _targeting_clauses(ads, request, ask, placement)
    return clauses


def _must(ads: Ads, family: str, values: Iterable[object], reason: str | None = None) -> Clause:
    return Clause(REASON_NUMBER[reason or family], EVERYONE, ads.sets.known(family, values) or (EMPTY,))


def _must_not(ads: Ads, reason: str, family: str, values: Iterable[object]) -> list[Clause]:
    rows = ads.sets.known(family, values)
    return [Clause(REASON_NUMBER[reason], EVERYONE, (), rows)] if rows else []


def _shape_clauses(ads: Ads, ask: Ask, placement: Placement | None) -> list[Clause]:
    """Format and size: the request narrows what the placement takes. Sizes bind banners alone."""
    formats: tuple[str, ...] = placement.formats if placement else ()
    sizes = placement.sizes if placement else ()
    question = ("shape", formats, sizes, ask.formats, ask.sizes)
    return list(ads.sets.remembered(question, lambda: _shapes(ads, ask, formats, sizes)))


def _shapes(ads: Ads, ask: Ask, formats: tuple[str, ...], sizes: tuple[tuple[int, int], ...]) -> list[Clause]:
    if ask.formats:
        formats = tuple(f for f in ask.formats if not formats or f in formats) or ("",)
    if ask.sizes:
        sizes = tuple(size for size in ask.sizes if not sizes or size in sizes) or ((0, 0),)
    clauses = [_must(ads, "format", formats)] if formats else []
    if sizes:
        fitting = ads.sets.known("shape", [("banner", width, height) for width, height in sizes])
        others = ads.sets.known("format", ("video", "audio", "native"))
        clauses.append(Clause(REASON_NUMBER["size"], EVERYONE, (*fitting, *others) or (EMPTY,)))
    return clauses


def _demand_clauses(ads: Ads, name: str, demand: Creativity) -> list[Clause]:
    """What an imp demands of creatives of one format; a creative that states nothing passes."""
    bound = ads.sets.find(("format", name))
    if bound is None:
        return []
    clauses = []
    for reason, values in (("mime", demand.mimes), ("protocol", demand.protocols), ("api", demand.api)):
        if values:
            rows = ads.sets.known(reason, (*values, ""))
            clauses.append(Clause(REASON_NUMBER[reason], bound, rows))
    if demand.blocked_attributes:
        blocked = [(name, value) for value in demand.blocked_attributes]
        clauses += _must_not(ads, "attribute", "attribute", blocked)
    if name in _TIMED and (demand.duration_min_s or demand.duration_max_s is not None):
        clauses.append(_duration_clause(ads, bound, demand))
    clauses += [
        Clause(REASON_NUMBER["native_asset"], bound, ads.sets.known("asset", (part,)))
        for part in demand.native_assets
    ]
    return clauses


def _duration_clause(ads: Ads, bound: int, demand: Creativity) -> Clause:
    seconds = ads.duration_s[: ads.count]
    longest = demand.duration_max_s if demand.duration_max_s is not None else np.iinfo(np.int32).max
    wrong = (seconds >= 0) & ((seconds > longest) | (seconds < (demand.duration_min_s or 0)))
    row = ads.sets.rows[LONG]
    # Video and audio imps may stand in one request with limits of their own: gather both in the row.
    row[: ads.count] = np.where(ads.sets.rows[bound, : ads.count], wrong, row[: ads.count])
    return Clause(REASON_NUMBER["duration"], EVERYONE, (), (LONG,))


def _blocking_clauses(catalogue: Catalogue, request: AdRequest, placement: Placement | None) -> list[Clause]:
    ads = catalogue.ads
    blocks = [request.blocked] + ([placement.blocked] if placement else [])
    codes = tuple(block.categories for block in blocks if block.categories)
    clauses = list(ads.sets.remembered(("blocked", codes), lambda: _category_clauses(ads, codes)))
    named = catalogue.advertisers_named
    found = {
        at for block in blocks for name in block.advertisers
        for at in named.get(name, ()) or named.get(name.lower(), ())
    }  # fmt: skip
    if found:
        table = np.zeros(len(catalogue.advertiser_index), dtype=np.uint8)
        table[list(found)] = 1
        ads.sets.rows[ADVERTISERS, : ads.count] = table[ads.advertiser[: ads.count]]
        clauses.append(Clause(REASON_NUMBER["advertiser_blocked"], EVERYONE, (), (ADVERTISERS,)))
    return clauses


def _category_clauses(ads: Ads, codes: tuple[tuple[str, ...], ...]) -> list[Clause]:
    distinct = dict.fromkeys(code for block in codes for code in block)
    return _must_not(ads, "category_blocked", "category", distinct)


def _targeting_clauses(ads: Ads, request: AdRequest, ask: Ask, placement: Placement | None) -> list[Clause]:
    person, place = request.person, request.surroundings
    publisher = placement.publisher_id if placement else ask.publisher_id
    categories = (*place.site_category, *(placement.categories if placement else ()))
    values: dict[str, tuple[object, ...]] = {
        "gender": (person.gender,) if person and person.gender else (),
        "age": (person.age,) if person and person.age is not None else (),
        "region": parents_and_self(person.region) if person and person.region else (),
        "interest": person.interests if person else (),
        "segment": person.segments if person else (),
        "device": (place.device,) if place.device else (),
        "os": (place.os,) if place.os else (),
        "placement": (ask.placement_id,) if ask.placement_id else (),
        "publisher": (publisher,) if publisher else (),
        "site_category": tuple(c for code in categories for c in parents_and_self(code)),
    }
    clauses = [ads.dimensions[name].clause(ads.sets, REASON_NUMBER[name], values[name]) for name in TARGETED]
    clauses += [
        dimension.clause(ads.sets, REASON_NUMBER["keys"], place.keys.get(name, ()))
        for name, dimension in sorted(ads.key_dimensions.items())
    ]
    deal = ads.sets.find(("deal", "restricted"))
    if deal is not None:
        clauses.append(Clause(REASON_NUMBER["deal"], deal))
    return [clause for clause in clauses if clause is not None]
