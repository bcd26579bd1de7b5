"""From a request to clauses over the sets of ads: what each placement takes, blocks and tells about.

The order of clauses is the order of `app.domain.decisions.REASONS`: a loser leaves with the first it fails.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from app.domain.catalogue import Blocked, Placement
from app.domain.decisions import REASON_NUMBER
from app.domain.requests import AdRequest, Ask, Creativity, Person
from app.rules.eligibility import EVERYONE, Clause, written
from app.state.ads import PERSON_TARGETED, Ads, parents_and_self
from app.state.catalogue import Catalogue, domains
from app.state.deals import Offer
from app.state.sets import (
    BLOCKED_ADVERTISERS,
    BLOCKED_CREATIVES,
    EMPTY,
    ENTERING_DEALS,
    LONG_AUDIO,
    LONG_VIDEO,
)

_TIMED = {"video": LONG_VIDEO, "audio": LONG_AUDIO}
_NOTHING_TOLD: tuple[tuple[object, ...], ...] = ((),) * len(PERSON_TARGETED)


Flat = tuple[int, ...]  # clauses as the kernel reads them


def program_of(
    catalogue: Catalogue, request: AdRequest, ask: Ask, placement: Placement | None, decision_hash: int,
    offers: Sequence[Offer] = (),
) -> NDArray[np.int32]:  # fmt: skip
    """Write the conditions that an ad must meet to stand on one placement of a request, for the kernel.

    What the place asks is remembered whole; what is one person's, or one request's own, is put together.
    `offers` are the deals of the ask with the ads that may enter each.
    """
    ads, place = catalogue.ads, request.surroundings
    publisher = placement.publisher_id if placement else ask.publisher_id
    site = (ask.placement_id, catalogue.revision("placement", ask.placement_id) if placement else 0)
    shape = (
        "shape", site, ask.formats, ask.sizes, ask.secure, tuple(ask.demands.items()), place.language,
        request.seats, request.blocked_seats, request.blocked.categories,
    )  # fmt: skip
    where = (
        "where",
        site,
        publisher,
        place.device,
        place.os,
        place.site_category,
        ask.deal_only,
        not ask.deals,
    )
    parts = [ads.sets.remembered(shape, lambda: _shape_part(ads, request, ask, placement))]
    parts += _own_parts(catalogue, request, ask, placement)
    parts.append(ads.sets.remembered(where, lambda: _where_part(ads, request, ask, placement, publisher)))
    if ask.deals:
        parts.append(written(_deal_clause(ads, ask, offers)))
    if ads.key_dimensions:
        for name, dimension in sorted(ads.key_dimensions.items()):
            parts.append(dimension.part(ads.sets, REASON_NUMBER["keys"], place.keys.get(name, ())))
    parts += _page_parts(ads, request)
    parts.append(_person_part(ads, request.person))
    parts.append(ads.participation.part(decision_hash))
    return np.frombuffer(b"".join(parts), dtype=np.int32)


def _person_part(ads: Ads, person: Person | None) -> bytes:
    """What ads ask of the person; remembered whole, since the same visitors come again."""
    values = _NOTHING_TOLD
    if person is not None:
        values = (  # in the order of PERSON_TARGETED
            (person.gender,) if person.gender else (),
            (person.age,) if person.age is not None else (),
            parents_and_self(person.region) if person.region else (),
            person.interests,
            person.segments,
            person.audiences,
        )

    def part() -> bytes:
        dimensions = zip(ads.person_targeted, values, strict=True)
        return b"".join(dimension.part(ads.sets, reason, told) for (dimension, reason), told in dimensions)

    return ads.sets.remembered(("person", *values), part)


def _page_parts(ads: Ads, request: AdRequest) -> Iterator[bytes]:
    """What ads ask of browser, page, app and words; each is remembered by itself: there are so many."""
    place, person = request.surroundings, request.person
    for dimension, reason in ads.page_targeted:
        if not dimension.used:
            continue
        match dimension.name:
            case "browser":
                told: tuple[str, ...] = (place.browser,) if place.browser else ()
            case "site":
                told = tuple(domains(place.site))
            case "app":
                told = (place.bundle,) if place.bundle else ()
            case _:
                told = (*place.keywords, *(person.keywords if person is not None else ()))
        yield dimension.part(ads.sets, reason, told)


def _shape_part(ads: Ads, request: AdRequest, ask: Ask, placement: Placement | None) -> bytes:
    """What the place takes and blocks, in the order of the reasons."""
    place = request.surroundings
    flat = [*_shape_clauses(ads, ask, placement)]
    if ask.secure:
        flat += _must(ads, "secure", (True,))
    for name, demand in ask.demands.items():
        flat += _demand_clauses(ads, name, demand)
    if place.language:
        flat += _language_clause(ads, place.language)
    if request.seats:
        flat += _must(ads, "seat", request.seats)
    if request.blocked_seats:
        flat += _must_not(ads, "seat", "seat", request.blocked_seats)
    flat += _category_clauses(ads, [request.blocked, placement.blocked] if placement else [request.blocked])
    return written(flat)


def _where_part(ads: Ads, request: AdRequest, ask: Ask, placement: Placement | None, publisher: str) -> bytes:
    """What ads ask of the place."""
    place = request.surroundings
    flat: list[int] = []
    categories = (*place.site_category, *(placement.categories if placement else ()))
    values: tuple[tuple[object, ...], ...] = (  # in the order of PLACE_TARGETED
        (place.device,) if place.device else (),
        (place.os,) if place.os else (),
        (ask.placement_id,) if ask.placement_id else (),
        (publisher,) if publisher else (),
        tuple(c for code in categories for c in parents_and_self(code)),
    )
    for (dimension, reason), told in zip(ads.place_targeted, values, strict=True):
        flat += dimension.clause(ads.sets, reason, told)
    return written(flat if ask.deals else (*flat, *_deal_clause(ads, ask, ())))


def _deal_clause(ads: Ads, ask: Ask, offers: Sequence[Offer]) -> Flat:
    """Who sells by deals needs one that is offered to it; who excludes a deal stays away from it."""
    restricted = EVERYONE if ask.deal_only else ads.sets.find(("deal", "restricted"))
    rows = (ads.sets.find(("deal", "exclude", deal.id)) for deal in ask.deals)
    excluded = tuple(row for row in rows if row is not None)
    entering = EMPTY
    if offers:
        entering = ENTERING_DEALS
        ads.sets.rows[ENTERING_DEALS] = 0
        for offer in offers:
            ads.sets.rows[ENTERING_DEALS, : offer.ads.size] |= offer.ads
    if restricted is None:
        return Clause(REASON_NUMBER["deal"], EVERYONE, (), excluded).flat() if excluded else ()
    return Clause(REASON_NUMBER["deal"], restricted, (entering,), excluded).flat()


def _own_parts(
    catalogue: Catalogue, request: AdRequest, ask: Ask, placement: Placement | None
) -> Iterator[bytes]:
    """What no stored set answers, or what hardly two requests share."""
    ads = catalogue.ads
    for name, demand in ask.demands.items():
        timed = name in _TIMED and (demand.duration_min_s or demand.duration_max_s is not None)
        bound = ads.sets.find(("format", name)) if timed else None
        if bound is not None:
            yield written(_duration_clause(ads, bound, demand, _TIMED[name]))
    blocks = [request.blocked, placement.blocked] if placement else [request.blocked]
    if any(block.advertisers for block in blocks):
        yield written(_advertiser_clauses(catalogue, blocks))
    if any(block.creatives for block in blocks):
        yield written(_creative_clauses(ads, blocks))


def _must(ads: Ads, family: str, values: Iterable[object]) -> Flat:
    return Clause(REASON_NUMBER[family], EVERYONE, ads.sets.known(family, values) or (EMPTY,)).flat()


def _must_not(ads: Ads, reason: str, family: str, values: Iterable[object]) -> Flat:
    rows = ads.sets.known(family, values)
    return Clause(REASON_NUMBER[reason], EVERYONE, (), rows).flat() if rows else ()


def _shape_clauses(ads: Ads, ask: Ask, placement: Placement | None) -> Flat:
    """Format and size: the request narrows what the placement takes. Sizes bind banners alone."""
    formats: tuple[str, ...] = placement.formats if placement else ()
    sizes = placement.sizes if placement else ()
    if ask.formats:
        formats = tuple(f for f in ask.formats if not formats or f in formats) or ("",)
    if ask.sizes:
        sizes = tuple(size for size in ask.sizes if not sizes or size in sizes) or ((0, 0),)
    flat = _must(ads, "format", formats) if formats else ()
    if sizes:
        fitting = ads.sets.known("shape", [("banner", width, height) for width, height in sizes])
        others = ads.sets.known("format", ("video", "audio", "native"))
        flat += Clause(REASON_NUMBER["size"], EVERYONE, (*fitting, *others) or (EMPTY,)).flat()
    return flat


def _demand_clauses(ads: Ads, name: str, demand: Creativity) -> Flat:
    """What an imp demands of creatives of one format; a creative that states nothing passes."""
    bound = ads.sets.find(("format", name))
    if bound is None:
        return ()
    flat: Flat = ()
    for reason, values in (("mime", demand.mimes), ("protocol", demand.protocols), ("api", demand.api)):
        if values:
            flat += Clause(REASON_NUMBER[reason], bound, ads.sets.known(reason, (*values, ""))).flat()
    if demand.blocked_attributes:
        blocked = [(name, value) for value in demand.blocked_attributes]
        flat += _must_not(ads, "attribute", "attribute", blocked)
    for part in demand.native_assets:
        flat += Clause(REASON_NUMBER["native_asset"], bound, ads.sets.known("asset", (part,))).flat()
    return flat


def _duration_clause(ads: Ads, bound: int, demand: Creativity, scratch: int) -> Flat:
    seconds = ads.duration_s[: ads.count]
    longest = demand.duration_max_s if demand.duration_max_s is not None else np.iinfo(np.int32).max
    ads.sets.write(
        scratch, (seconds < 0) | ((seconds <= longest) & (seconds >= (demand.duration_min_s or 0)))
    )
    return Clause(REASON_NUMBER["duration"], bound, (scratch,)).flat()


def _language_clause(ads: Ads, wanted: tuple[str, ...]) -> Flat:
    """The languages of creatives that an exchange wants (wlang); one that states none passes."""
    codes = (part for code in wanted for part in parents_and_self(code.lower()))
    return Clause(REASON_NUMBER["language"], EVERYONE, ads.sets.known("language", (*codes, ""))).flat()


def _category_clauses(ads: Ads, blocks: list[Blocked]) -> Flat:
    codes = dict.fromkeys(code for block in blocks for code in block.categories)
    return _must_not(ads, "category_blocked", "category", codes)


def _advertiser_clauses(catalogue: Catalogue, blocks: list[Blocked]) -> Flat:
    ads, named = catalogue.ads, catalogue.advertisers_named
    found = {
        at for block in blocks for name in block.advertisers
        for at in named.get(name, ()) or named.get(name.lower(), ())
    }  # fmt: skip
    if not found:
        return ()
    blocked = np.zeros(len(catalogue.advertiser_index), dtype=np.bool_)
    blocked[list(found)] = True
    ads.sets.write(BLOCKED_ADVERTISERS, blocked[ads.advertiser[: ads.count]])
    return Clause(REASON_NUMBER["advertiser_blocked"], EVERYONE, (), (BLOCKED_ADVERTISERS,)).flat()


def _creative_clauses(ads: Ads, blocks: list[Blocked]) -> Flat:
    known = (ads.places.by_key.get(creative) for block in blocks for creative in block.creatives)
    places = [place for place in known if place is not None]
    if not places:
        return ()
    blocked = np.zeros(ads.count, dtype=np.bool_)
    blocked[places] = True
    ads.sets.write(BLOCKED_CREATIVES, blocked)
    return Clause(REASON_NUMBER["creative_blocked"], EVERYONE, (), (BLOCKED_CREATIVES,)).flat()
