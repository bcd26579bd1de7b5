"""The body of `POST /v1/ads`, read: our own JSON into the words of a request.

No person's id leaves this room: it becomes a key here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from app.domain import ids
from app.domain.catalogue import Blocked
from app.domain.money import MAX_MICROS, MICROS, to_micros
from app.domain.refusals import FieldError, Refused
from app.domain.requests import (
    MAX_ADS_PER_PLACEMENT,
    MAX_DEALS,
    MAX_PLACEMENTS,
    AdRequest,
    Ask,
    Deal,
    Person,
    Surroundings,
    bare_url,
    site_of,
    words_of,
)  # fmt: skip
from app.flows.agents import Agent
from app.web.hints import HintsIn, agent_in
from app.web.privacy.consent_in import ConsentIn
from app.web.privacy.signals import impersonal, withheld_for

Text = Annotated[str, Meta(max_length=256)]
Texts = Annotated[list[Text], Meta(max_length=1000)]
EXACT = 2**53  # beyond it a JSON reader may change a whole number
_NOTHING_BLOCKED = Blocked()
_SIZE = re.compile(r"([1-9]\d{0,4})x([1-9]\d{0,4})")


class DealIn(Struct, kw_only=True):
    """A deal offered for a placement, at a floor of its own: `at` 3 says that the floor is the price.

    `seats` and `advertisers` (ids or domains) say with whom it was made; empty with anybody.
    """

    id: Annotated[str, Meta(min_length=1, max_length=256)]
    floor_cpm: Decimal | None = None
    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$")] | None = None
    at: Literal[1, 2, 3] = 2
    seats: Texts = []
    advertisers: Texts = []


class PlacementIn(Struct, kw_only=True):
    """One placement asked for; sizes and formats narrow its own, the floor only raises its floor.

    Deals are sold beside the open auction, or with `private_auction` alone.
    """

    name: Annotated[str, Meta(min_length=1, max_length=256)]
    placement_id: Annotated[str, Meta(pattern=f"^{ids.ID_PATTERN.pattern}$")]
    sizes: Texts = []
    formats: Annotated[list[Literal["banner", "video", "audio", "native"]], Meta(max_length=4)] = []
    count: Annotated[int, Meta(ge=1, le=MAX_ADS_PER_PLACEMENT)] = 1
    floor_cpm: Decimal | None = None
    deals: Annotated[list[DealIn], Meta(max_length=MAX_DEALS)] = []
    private_auction: bool = False


class UserIn(Struct, kw_only=True):
    """Who looks; what is absent is unknown."""

    id: Text | None = None
    gender: Text | None = None
    age: Annotated[int, Meta(ge=0, le=150)] | None = None
    region: Text | None = None
    interests: Texts = []
    segments: Texts = []
    keywords: Texts = []


class ContextIn(Struct, kw_only=True):
    """Where the ad will stand. A `device`, `os` or `browser` beats what hints and user agent tell.

    `site` is a domain, that of the `url` where absent; `app` a bundle. `ip` is looked up and not kept.
    """

    url: Annotated[str, Meta(max_length=4096)] | None = None
    site_category: Texts = []
    device: Text | None = None
    os: Text | None = None
    browser: Text | None = None
    site: Text | None = None
    app: Text | None = None
    keywords: Texts = []
    ip: Text | None = None
    sua: HintsIn | None = None
    user_agent: Annotated[str, Meta(max_length=4096)] | None = None
    keys: dict[str, str | int | float | list[str | int | float]] = {}


class BlockedIn(Struct, kw_only=True):
    """What may not be shown on this request."""

    categories: Texts = []
    advertisers: Texts = []
    creatives: Texts = []


class AdsIn(Struct, kw_only=True):
    """The body of POST /v1/ads. Unknown fields are tolerated."""

    placements: Annotated[list[PlacementIn], Meta(min_length=1, max_length=MAX_PLACEMENTS)]
    request_id: Text | None = None
    user: UserIn | None = None
    context: ContextIn | None = None
    blocked: BlockedIn | None = None
    consent: ConsentIn | None = None
    tmax_ms: Annotated[int, Meta(ge=0)] | None = None
    explain: bool | None = False
    at: str | None = None


class AdsAsked(Struct, frozen=True):
    """A request for ads, and how it wants to be answered. `at_ms` asks for a preview.

    `ip` and `user_agent` are the device's, as claimed; they go no further than the door.
    """

    request: AdRequest
    explain: bool
    at_ms: int | None
    ip: str | None = None
    user_agent: str | None = None
    tmax_ms: int | None = None


# From a person's id to the key that stands for it, and the one it had in the period before.
KeysOf = Callable[[str | None], tuple[bytes | None, bytes | None]]
RateOf = Callable[[str], int | None]
_decoder = msgspec.json.Decoder(AdsIn)


def read_ads(
    body: bytes, keys_of: KeysOf, *, admin: bool, rate_of: RateOf = lambda currency: None
) -> AdsAsked:
    """Read a body; `keys_of` turns the person's id into its keys, and no id leaves this room.

    Units   rates in micros of the account currency per unit, for the currencies of deals; None is unknown.
    Errors  Refused, in this order: `not_json`, `invalid` (what does not fit its type), `admin_door_only`,
            `duplicate_name`, `invalid` (what does not fit otherwise).
    """
    try:
        asked = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise unread(body, error) from error
    if not admin and (asked.explain or asked.at is not None):
        field = "explain" if asked.explain else "at"
        raise Refused("admin_door_only", f"`{field}` is answered on the admin port alone", field)
    names = [placement.name for placement in asked.placements]
    if len(set(names)) != len(names):
        at = next(i for i, name in enumerate(names) if name in names[:i])
        raise Refused("duplicate_name", "each placement needs a name of its own", f"placements[{at}].name")
    at_ms = _time_ms(asked.at, "at") if asked.at is not None else None
    context = asked.context or ContextIn()
    request = _request(asked, keys_of, rate_of)
    return AdsAsked(request, bool(asked.explain), at_ms, context.ip, context.user_agent, asked.tmax_ms)


def unread(body: bytes, error: Exception) -> Refused:
    """Say why a body could not be read: it is not JSON, or it is and does not fit.

    A wrong type may be met before what breaks the JSON, so the whole body is read once more.
    """
    if isinstance(error, msgspec.ValidationError):
        try:
            msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass
        else:
            return misfit(error)
    return Refused("not_json", "the body is not JSON")


def misfit(error: msgspec.ValidationError) -> Refused:
    """Turn msgspec's message into a refusal that names the field.

    >>> misfit(msgspec.ValidationError("Expected `int`, got `str` - at `$.placements[0].count`")).field
    'placements[0].count'
    """
    text, _, path = str(error).partition(" - at `$")
    field = path.rstrip("`").lstrip(".").replace("[...]", "")
    missing = re.match(r"Object missing required field `(.+)`", text)
    if missing:
        field = f"{field}.{missing[1]}" if field else missing[1]
    code = "required" if missing else "invalid"
    return Refused("invalid", text, field or None, (FieldError(field, code, text),) if field else ())


def _request(asked: AdsIn, keys_of: KeysOf, rate_of: RateOf) -> AdRequest:
    context = asked.context or ContextIn()
    told = Agent(context.device, context.os, (context.browser or "").lower() or None)
    agent = agent_in(told, context.sua, context.user_agent)
    blocked = asked.blocked
    withheld = withheld_for(asked.consent.signals()) if asked.consent is not None else None
    return AdRequest(
        request_id=asked.request_id or "",
        asks=tuple(
            _ask(placement, f"placements[{at}]", rate_of) for at, placement in enumerate(asked.placements)
        ),
        person=_person(asked.user, keys_of, withheld),
        withheld=withheld,
        surroundings=Surroundings(
            url=bare_url(context.url),
            site_category=tuple(context.site_category),
            device=agent.device,
            os=agent.os,
            browser=agent.browser,
            site=(context.site or "").lower() or site_of(context.url),
            bundle=(context.app or "").lower() or None,
            keywords=words_of(context.keywords),
            keys={key: _values(key, value) for key, value in context.keys.items()},
        ),
        blocked=Blocked(
            categories=tuple(blocked.categories),
            advertisers=tuple(blocked.advertisers),
            creatives=tuple(blocked.creatives),
        )
        if blocked
        else _NOTHING_BLOCKED,
    )


def _person(user: UserIn | None, keys_of: KeysOf, withheld: str | None) -> Person | None:
    if withheld is not None:
        return impersonal(user.region if user is not None else None)
    if user is None:
        return Person()
    key, former_key = keys_of(user.id)
    return Person(
        key=key,
        former_key=former_key,
        gender=user.gender,
        age=user.age,
        region=user.region,
        interests=tuple(user.interests),
        segments=tuple(user.segments),
        keywords=words_of(user.keywords),
    )


def _ask(placement: PlacementIn, field: str, rate_of: RateOf) -> Ask:
    return Ask(
        name=placement.name,
        placement_id=placement.placement_id,
        sizes=tuple(_size(text, f"{field}.sizes[{i}]") for i, text in enumerate(placement.sizes)),
        formats=tuple(placement.formats),
        count=placement.count,
        floor_micros=_floor(placement.floor_cpm, f"{field}.floor_cpm"),
        deal_only=placement.private_auction,
        deals=tuple(_deal(deal, f"{field}.deals[{i}]", rate_of) for i, deal in enumerate(placement.deals)),
    )


def _floor(amount: Decimal | None, field: str) -> int:
    try:
        return 0 if amount is None else to_micros(amount)
    except ValueError as error:
        raise _invalid(field, str(error)) from error


def _deal(deal: DealIn, field: str, rate_of: RateOf) -> Deal:
    floor_micros = _floor(deal.floor_cpm, f"{field}.floor_cpm")
    if deal.currency is not None and floor_micros:
        rate_micros = rate_of(deal.currency)
        if rate_micros is None:
            raise _invalid(f"{field}.currency", "there is no rate for this currency")
        floor_micros = min(-(-floor_micros * rate_micros // MICROS), MAX_MICROS)
    return Deal(
        id=deal.id, floor_micros=floor_micros, at=deal.at, seats=tuple(deal.seats),
        advertisers=tuple(deal.advertisers),
    )  # fmt: skip


def _size(text: str, field: str) -> tuple[int, int]:
    found = _SIZE.fullmatch(text)
    if found is None:
        raise _invalid(field, "a size is written as 320x50")
    return int(found[1]), int(found[2])


def _values(key: str, value: Any) -> tuple[Any, ...]:
    values = tuple(value) if isinstance(value, list) else (value,)
    if any(isinstance(one, int) and abs(one) > EXACT for one in values):
        raise _invalid(f"context.keys.{key}", "a whole number is at most 2^53, as in JSON everywhere")
    return values


def _time_ms(text: str, field: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise _invalid(field, "a time is RFC 3339 with an offset") from error
    if moment.tzinfo is None or not 1970 <= moment.year <= 2200:
        raise _invalid(field, "a time is RFC 3339 with an offset, from 1970 to 2200")
    return int(moment.timestamp() * 1000)


def _invalid(field: str, message: str) -> Refused:
    return Refused("invalid", message, field, (FieldError(field, "invalid", message),))
