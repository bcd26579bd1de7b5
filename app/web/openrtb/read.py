"""A bid request in our own words: an AdRequest, and what writing the answer needs beside it.

Knows OpenRTB's fields and the domain's; it must not know what stands in the catalogue. Floors become
micros of the account currency here, and money leaves it again in `write`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from decimal import ROUND_CEILING, Decimal
from functools import lru_cache
from hashlib import blake2b
from time import gmtime

from msgspec import Struct

from app.domain.catalogue import Blocked
from app.domain.money import MAX_MICROS, MICROS
from app.domain.requests import (
    MAX_DEALS,
    MAX_PLACEMENTS,
    AdRequest,
    Ask,
    Creativity,
    Deal,
    Person,
    Surroundings,
    bare_url,
    site_of,
    words_of,
)  # fmt: skip
from app.web.openrtb import wire
from app.web.openrtb.agent import NO_AGENT, UaParse, agent_told
from app.web.openrtb.native import NativeForm, native_form
from app.web.openrtb.places import region_of
from app.web.openrtb.privacy import withheld
from app.web.openrtb.wire import BidRequest, Channel, Device, Imp, User
from app.web.privacy.signals import impersonal

# Own no-bid reasons stand at 500 and above.
NBR_TOO_LATE = 15
NBR_NO_AD = 500
NBR_NO_CURRENCY = 501
NBR_NOTHING_OFFERED = 502

OWN_SEAT = "adjudge"
LEAST_FLOOR_MICROS = 1  # a bid's price must be above 0: where nobody asks for more, this is the floor
UNNAMED_PLACEMENT = "imp"
_NAME_BYTES = 64  # the longest id of a catalogue; a longer name can only be an unregistered one
_MAX_WORDS = 64
_MAX_SIDE = 65_535
_MAX_SECONDS = 86_400
# OpenRTB: an API framework that is not listed is assumed not to be there. 0 names none of them.
_NO_API = (0,)

# From a person's id to the key that stands for it, and the one it had in the period before.
KeysOf = Callable[[str | None], tuple[bytes | None, bytes | None]]


class Reading(Struct, frozen=True, kw_only=True):
    """A bid request as read.

    Units   `rate_micros` of the account currency per unit of `currency`, the answer's; 0 when none is
            known. `expiries_s` and `native` are by imp id. `no_bid` is the reason when there is nothing
            to decide. `ip` and `user_agent` are the device's, as claimed. `without_currency` names the imps
            whose floor is in a currency that is not known.
    """

    request: AdRequest
    currency: str | None
    rate_micros: int
    no_bid: int | None
    test: bool
    tmax_ms: int | None
    native: dict[str, NativeForm]
    expiries_s: dict[str, int]
    ip: str | None
    user_agent: str | None
    without_currency: tuple[str, ...] = ()


def to_ad_request(
    bid_request: BidRequest,
    *,
    rates: Mapping[str, int],
    currency: str,
    now_ms: int,
    ua_parse: UaParse | None = None,
    registered: Callable[[str], bool] | None = None,
    keys_of: KeysOf = lambda identity: (None, None),
) -> Reading:
    """Read a bid request as an ad request, enriched but for what only the catalogue knows.

    Each imp with something that we can serve becomes an ask, named by the imp's id. Its placement is the
    `tagid` where that is `registered` (without that function: wherever there is one), else an
    unregistered one of that name. `ua_parse` names device and os of a user agent. `keys_of` turns a
    person's id into its keys; the id itself goes no further.

    Units   rates in micros of the account currency per unit; `currency` is the account's own, at 1.
    Cost    about 6 us for one imp with a user.
    """
    known, rate_micros = _answer_currency(bid_request.cur, rates, currency)
    channel = bid_request.site or bid_request.app or bid_request.dooh
    publisher_id = _publisher_of(channel) if channel is not None else ""
    offered = _offered(bid_request.imp[:MAX_PLACEMENTS], rates, currency, publisher_id, registered)
    device, not_used = bid_request.device, withheld(bid_request)
    no_bid = NBR_NO_CURRENCY if known is None else None if offered.asks else NBR_NOTHING_OFFERED
    return Reading(
        request=AdRequest(
            request_id=bid_request.id,
            asks=tuple(offered.asks),
            person=_person(bid_request, now_ms, keys_of) if not_used is None else _nobody(bid_request),
            surroundings=_surroundings(bid_request, channel, ua_parse),
            blocked=_blocked(bid_request),
            seats=_seats(bid_request.wseat),
            blocked_seats=_seats(bid_request.bseat),
            withheld=not_used,
        ),
        currency=known,
        rate_micros=rate_micros,
        no_bid=no_bid,
        test=bid_request.test == 1,
        tmax_ms=bid_request.tmax,
        native=offered.native,
        expiries_s=offered.expiries_s,
        ip=(device.ip or device.ipv6 or None) if device is not None else None,
        user_agent=(device.ua or None) if device is not None else None,
        without_currency=offered.without_currency,
    )


class _Offered(Struct):
    """What the imps of a request offer, and what of them the answer needs, by imp id."""

    asks: list[Ask]
    native: dict[str, NativeForm]
    expiries_s: dict[str, int]
    without_currency: tuple[str, ...] = ()


def _offered(
    imps: Sequence[Imp], rates: Mapping[str, int], currency: str, publisher_id: str,
    registered: Callable[[str], bool] | None,
) -> _Offered:  # fmt: skip
    offered = _Offered([], {}, {})
    for imp in imps:
        floor_micros = _floor_micros(imp.bidfloor, imp.bidfloorcur, rates, currency)
        deals = _deals(imp, rates, currency) if imp.pmp is not None else ()
        if floor_micros is None and not deals:
            offered.without_currency += (imp.id,)
            continue
        sizes = _sizes(imp.banner) if imp.banner is not None else ()
        demands = _demands(imp, sizes, offered.native)
        if demands:
            known_place = bool(imp.tagid) and (registered is None or registered(imp.tagid))
            offered.asks.append(_ask(imp, sizes, demands, floor_micros, deals, publisher_id, known_place))
            if imp.exp > 0:
                offered.expiries_s[imp.id] = imp.exp
    return offered


def _rate(name: str, rates: Mapping[str, int], own: str) -> int:
    return MICROS if name == own else rates.get(name, 0)


def _answer_currency(wanted: list[str], rates: Mapping[str, int], own: str) -> tuple[str | None, int]:
    """Pick the first currency that we know; without a wish it is US dollars."""
    for name in wanted or ("USD",):
        rate = _rate(name.upper(), rates, own)
        if rate:
            return name.upper(), rate
    return None, 0


def _floor_micros(floor: float, named: str, rates: Mapping[str, int], own: str) -> int | None:
    """Turn a floor into account micros, rounded up, a micro at least; None when its currency is unknown."""
    if floor <= 0 or math.isnan(floor):
        return LEAST_FLOOR_MICROS
    rate = _rate(named.upper() or "USD", rates, own)
    if not rate:
        return None
    if floor >= MAX_MICROS / rate:
        return MAX_MICROS
    # repr is the decimal that was sent; the product of floats would come out a micro off.
    return int((Decimal(repr(floor)) * rate).to_integral_value(ROUND_CEILING))


def _deals(imp: Imp, rates: Mapping[str, int], own: str) -> tuple[Deal, ...]:
    """Read the deals offered; one with a floor in a currency that we do not know is none."""
    assert imp.pmp is not None
    read = (
        (deal, _floor_micros(deal.bidfloor, deal.bidfloorcur, rates, own))
        for deal in imp.pmp.deals[:MAX_DEALS]
    )
    return tuple(
        Deal(
            id=deal.id, floor_micros=floor_micros, at=deal.at, seats=_seats(deal.wseat),
            advertisers=tuple(map(bare_domain, deal.wadomain)),
        )
        for deal, floor_micros in read
        if floor_micros is not None
    )  # fmt: skip


def _ask(
    imp: Imp,
    sizes: tuple[tuple[int, int], ...],
    demands: dict[str, Creativity],
    floor_micros: int | None,
    deals: tuple[Deal, ...],
    publisher_id: str,
    known_place: bool,
) -> Ask:
    return Ask(
        name=imp.id,
        placement_id=_short(imp.tagid) if imp.tagid else UNNAMED_PLACEMENT,
        unregistered=not known_place,
        publisher_id=publisher_id,
        sizes=sizes,
        formats=tuple(demands),
        floor_micros=floor_micros or 0,
        secure=imp.secure == 1,
        # An imp whose own floor cannot be told is sold by its deals alone.
        deal_only=floor_micros is None or (imp.pmp is not None and imp.pmp.private_auction == 1),
        demands=demands,
        deals=deals,
    )


def _demands(
    imp: Imp, sizes: tuple[tuple[int, int], ...], native: dict[str, NativeForm]
) -> dict[str, Creativity]:
    """List what each offered format demands; a format that nothing of ours can fill is not offered.

    The sizes are not among them: they are the ask's, and bind banners alone.
    """
    demands: dict[str, Creativity] = {}
    banner = imp.banner
    if banner is not None and sizes:
        demands["banner"] = Creativity(
            mimes=tuple(banner.mimes),
            api=tuple(banner.api) or _NO_API,
            blocked_attributes=tuple(banner.battr),
        )
    if imp.video is not None:
        demands["video"] = _stream(imp.video)
    if imp.audio is not None:
        demands["audio"] = _stream(imp.audio)
    if imp.native is not None:
        form = native_form(imp.native.request)
        if form is not None:
            native[imp.id] = form
            demands["native"] = Creativity(
                native_assets=form.required,
                api=tuple(imp.native.api) or _NO_API,
                blocked_attributes=tuple(imp.native.battr),
            )
    return demands


def _sizes(banner: wire.Banner) -> tuple[tuple[int, int], ...]:
    sizes = [(size.w, size.h) for size in banner.format] if banner.format else [(banner.w, banner.h)]
    return tuple([size for size in sizes if 0 < size[0] <= _MAX_SIDE and 0 < size[1] <= _MAX_SIDE])


def _stream(video: wire.Video) -> Creativity:
    """Read what a video or audio demands. Its size is the player's, which a VAST creative adapts to."""
    exact = video.rqddurs
    return Creativity(
        mimes=tuple(video.mimes or ()),
        protocols=tuple(video.protocols or ([video.protocol] if video.protocol else ())),
        api=tuple(video.api) or _NO_API,
        blocked_attributes=tuple(video.battr),
        duration_min_s=_duration(min(exact) if exact else video.minduration),
        duration_max_s=_duration(max(exact) if exact else video.maxduration),
    )


def _duration(seconds: int) -> int | None:
    return min(seconds, _MAX_SECONDS) if seconds > 0 else None


def _publisher_of(channel: Channel) -> str:
    """Name the publisher; one that the exchange does not name, by its domain, bundle or channel id."""
    publisher = channel.publisher
    named = (publisher.id or publisher.domain) if publisher is not None else ""
    return _short(named or channel.domain or channel.bundle or channel.id)


def _short(name: str) -> str:
    """Keep a name that tokens and lines carry within an id's length; a long one keeps its beginning."""
    if len(name) <= _NAME_BYTES and (name.isascii() or len(name.encode()) <= _NAME_BYTES):
        return name
    digest = blake2b(name.encode(), digest_size=8).hexdigest()
    return name.encode()[: _NAME_BYTES - 17].decode(errors="ignore") + "~" + digest


def _surroundings(request: BidRequest, channel: Channel | None, ua_parse: UaParse | None) -> Surroundings:
    kind, system, browser = NO_AGENT
    if request.device is not None:
        kind, system, browser = agent_told(request.device, ua_parse)
    if request.dooh is not None:
        kind = "dooh"
    wanted = request.wlang or request.wlangb
    language = tuple([tag.replace("_", "-").split("-")[0].lower() for tag in wanted]) if wanted else ()
    if channel is None:
        return Surroundings(device=kind, os=system, language=language, browser=browser)
    categories = channel.cat + channel.sectioncat + channel.pagecat
    return Surroundings(
        url=bare_url(channel.page),
        site_category=tuple(dict.fromkeys(categories[:_MAX_WORDS])),
        device=kind,
        os=system,
        bundle=(channel.bundle.lower() or None) if request.app is not None else None,
        language=language,
        browser=browser,
        site=(bare_domain(channel.domain) or site_of(channel.page)) if request.site is not None else None,
        keywords=_keywords(channel) if channel.keywords or channel.kwarray else (),
    )


def _person(request: BidRequest, now_ms: int, keys_of: KeysOf) -> Person:
    user, device, region = request.user, request.device, _region(request)
    key, former_key = keys_of(id_of(user, device))
    if user is None:
        return Person(key=key, former_key=former_key, region=region)
    gender = user.gender.upper()
    words = _keywords(user) if user.keywords or user.kwarray else ()
    return Person(
        key=key,
        former_key=former_key,
        gender=gender if gender in ("F", "M", "O") else None,
        age=_age(user.yob, now_ms) if user.yob else None,
        region=region,
        interests=words,
        keywords=words,
        segments=_segments(user) if user.data else (),
    )


def _nobody(request: BidRequest) -> Person | None:
    return impersonal(_region(request))


def _region(request: BidRequest) -> str | None:
    user, device = request.user, request.device
    geo = (device.geo if device is not None else None) or (user.geo if user is not None else None)
    return region_of(geo.country, geo.region) if geo is not None else None


def id_of(user: User | None, device: Device | None) -> str | None:
    """Name a person: our own id for them, the exchange's, the device's, or another's, whichever is there."""
    named = (user.buyeruid or user.id) if user is not None else ""
    named = named or (device.ifa if device is not None else "")
    return named or (_first_eid(user) if user is not None else None) or None


def _first_eid(user: User) -> str | None:
    eids = user.eids or (user.ext.eids if user.ext is not None else [])
    return next((uid.id for eid in eids for uid in eid.uids if uid.id), None)


def _age(born: int, now_ms: int) -> int | None:
    age = gmtime(now_ms // 1000).tm_year - born
    return age if 0 < age < 120 else None


def _keywords(told: User | Channel) -> tuple[str, ...]:
    return words_of([*told.keywords.split(","), *told.kwarray], _MAX_WORDS)


def _segments(user: User) -> tuple[str, ...]:
    names = [segment.id or segment.name for provider in user.data for segment in provider.segment]
    return tuple(dict.fromkeys([name for name in names if name]))[:_MAX_WORDS]


def _seats(names: list[str]) -> tuple[str, ...]:
    """Name buyer seats; our own is that of every advertiser without one."""
    return tuple(["" if name == OWN_SEAT else name for name in names])


def _blocked(request: BidRequest) -> Blocked:
    """Gather what is blocked; app bundles (bapp) stand among the advertisers, whose ids they may be."""
    if not request.bcat and not request.badv and not request.bapp:
        return Blocked()
    return Blocked(
        categories=tuple(request.bcat),
        advertisers=(*map(bare_domain, request.badv), *request.bapp),
    )


_SCHEME = re.compile(r"^[a-z][a-z0-9+.-]*://")
_PATH = re.compile(r"[/?#]")
_URL_LETTERS = 512  # of a URL that stands for a domain; what is kept of it must stay small


def bare_domain(text: str) -> str:
    """Cut a URL or a host down to its domain.

    >>> bare_domain("https://www.Example.com:8080/a?b"), bare_domain("example.com")
    ('example.com', 'example.com')
    """
    return _bare_domain(text[:_URL_LETTERS])


@lru_cache(maxsize=65_536)
def _bare_domain(text: str) -> str:
    host = _PATH.split(_SCHEME.sub("", text.strip().lower()), maxsplit=1)[0]
    host = host.rsplit("@", 1)[-1].split(":", 1)[0].rstrip(".")
    return host.removeprefix("www.")
