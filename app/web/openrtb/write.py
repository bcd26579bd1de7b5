"""A choice as a bid response. Knows OpenRTB's fields; prices, ads and links come in ready.

Adjudge clears its own auction: a bid's price is the cleared eCPM in the answer's currency. It is worked
out from integer micros and rounded up to six decimals, so that it never falls below a floor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct

from app.domain.catalogue import Advertiser, Creative
from app.domain.decisions import Choice, Placed, Win
from app.domain.ids import to_text
from app.domain.money import MICROS
from app.web.links import AdLinks
from app.web.markup import render
from app.web.openrtb.macros import burl, lurl, nurl
from app.web.openrtb.native import native_adm
from app.web.openrtb.nonbids import no_bid_reason, seat_non_bids
from app.web.openrtb.read import OWN_SEAT, Reading
from app.web.openrtb.wire import BidRequest
from app.web.privacy.signals import personal_of

# How long a won bid may take to be shown, where the imp does not say; well within a token's life.
EXPIRES_S = 3_600

_MTYPES = {"banner": 1, "video": 2, "audio": 3, "native": 4}


class Bid(Struct, kw_only=True, omit_defaults=True):
    """One bid. The price is per 1,000 impressions."""

    id: str
    impid: str
    price: float
    adid: str
    nurl: str
    burl: str
    lurl: str
    adm: str
    adomain: tuple[str, ...] = ()
    cid: str
    crid: str
    cat: tuple[str, ...] = ()
    attr: tuple[int, ...] = ()
    apis: tuple[int, ...] = ()
    protocol: int = 0
    language: str | None = None
    dealid: str | None = None
    w: int = 0
    h: int = 0
    dur: int = 0
    mtype: int
    exp: int


class SeatBid(Struct):
    """The bids of one buyer."""

    bid: list[Bid]
    seat: str


class BidResponse(Struct, kw_only=True, omit_defaults=True):
    """The answer; without bids it may say why (`nbr`)."""

    id: str
    seatbid: list[SeatBid] = []
    bidid: str | None = None
    cur: str | None = None
    nbr: int | None = None
    ext: dict[str, Any] = {}


_encode = msgspec.json.Encoder().encode


def bid_response(
    reading: Reading,
    choice: Choice,
    *,
    creative_of: Callable[[str], Creative],
    advertiser_of: Callable[[str], Advertiser],
    links_of: Callable[[Placed], list[AdLinks]],
    told: BidRequest | None = None,
) -> bytes | None:
    """Write the answer to a bid request, or None when there is no bid in it.

    `told` is the request where it asks why imps got no bid; `links_of` makes those of a placement's wins.
    Cost    about 10 us for one banner, beside sealing and the four tokens that its URLs need.
    """
    seats: dict[str, list[Bid]] = {}
    first = None
    for placed in choice.placed:
        if not placed.wins:
            continue
        decision = to_text(placed.decision_id)
        for win, links in zip(placed.wins, links_of(placed), strict=True):
            creative = creative_of(win.creative_id)
            advertiser = advertiser_of(win.advertiser_id)
            bid_id = f"{decision}-{win.ad_index}"
            bid = _bid(reading, placed.name, bid_id, win, creative, advertiser, links)
            if bid is not None:
                first = first or decision
                seats.setdefault(advertiser.seat or OWN_SEAT, []).append(bid)
    if not seats:
        return None
    seatbid = [SeatBid(bids, seat) for seat, bids in seats.items()]
    ext: dict[str, Any] = {"personal": personal_of(reading.request)}
    if told is not None:
        with_bid = {bid.impid for one in seatbid for bid in one.bid}
        ext["seatnonbid"] = seat_non_bids(told, reading, choice, with_bid)
    return _encode(
        BidResponse(
            id=reading.request.request_id,
            seatbid=seatbid,
            bidid=first,
            cur=reading.currency,
            ext=ext,
        )
    )


def no_bid_response(reading: Reading, request: BidRequest, choice: Choice | None = None) -> bytes:
    """Write an answer without bids that says why, for whoever asks."""
    return _encode(
        BidResponse(
            id=reading.request.request_id,
            cur=reading.currency,
            nbr=no_bid_reason(reading, choice),
            ext={"seatnonbid": seat_non_bids(request, reading, choice)},
        )
    )


def price_of(cleared_ecpm_micros: int, rate_micros: int) -> float:
    """Turn account micros into the answer's currency, rounded up to six decimals.

    Units   rate in account micros per unit of the answer's currency.

    >>> price_of(40_500_000, 1_350_000_000), price_of(34_000_000_000, 1_350_000_000)
    (0.03, 25.185186)
    """
    return -(-cleared_ecpm_micros * MICROS // rate_micros) / MICROS


def _bid(
    reading: Reading,
    imp_id: str,
    bid_id: str,
    win: Win,
    creative: Creative,
    advertiser: Advertiser,
    links: AdLinks,
) -> Bid | None:
    adm = _adm(reading, imp_id, creative, links)
    if not adm:
        return None
    return Bid(
        id=bid_id,
        impid=imp_id,
        price=price_of(win.cleared_ecpm_micros, reading.rate_micros),
        adid=creative.id,
        nurl=nurl(links),
        burl=burl(links),
        lurl=lurl(links),
        adm=adm,
        adomain=(advertiser.domain,) if advertiser.domain else (),
        cid=win.campaign_id,
        crid=creative.id,
        cat=creative.categories or ((advertiser.category,) if advertiser.category else ()),
        attr=creative.attributes,
        apis=creative.api,
        protocol=_protocol(reading, imp_id, creative),
        language=creative.language,
        dealid=win.deal_id or None,
        w=creative.width or 0,
        h=creative.height or 0,
        dur=creative.duration_s or 0,
        mtype=_MTYPES[creative.format],
        exp=min(reading.expiries_s.get(imp_id, EXPIRES_S), EXPIRES_S),
    )


def _adm(reading: Reading, imp_id: str, creative: Creative, links: AdLinks) -> str | None:
    if creative.format != "native":
        return render(creative, links, pixel=False)
    form = reading.native.get(imp_id)
    return native_adm(form, creative, links.click_url) if form is not None else None


def _protocol(reading: Reading, imp_id: str, creative: Creative) -> int:
    """Pick the first of the creative's protocols that the imp takes."""
    if not creative.protocols:
        return 0
    demands = next((ask.demands for ask in reading.request.asks if ask.name == imp_id), {})
    wanted = demands[creative.format].protocols if creative.format in demands else ()
    return next((one for one in creative.protocols if not wanted or one in wanted), creative.protocols[0])
