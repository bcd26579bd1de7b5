"""Why there is no bid, in the trade's numbers: `nbr` for a whole request, `seatnonbid` for each of its imps.

Told to whoever asks: a test, or `ext.prebid.returnallbidstatus`. All others get the cheapest answer, 204.

Source  OpenRTB 3.0 (List: No-Bid Reason Codes) and the community extension seat-non-bid; own codes from 500.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec
from msgspec import Raw

from app.domain.decisions import REASON_NUMBER, Choice, Placed
from app.domain.requests import MAX_PLACEMENTS
from app.web.openrtb.read import (
    NBR_NO_AD,
    NBR_NO_CURRENCY,
    NBR_NOTHING_OFFERED,
    OWN_SEAT,
    Reading,
)  # fmt: skip
from app.web.openrtb.wire import BidRequest

# What the lists say against a device. Its impressions would be billed to nobody, so nothing is bid for them.
NBR_OF_FLAW = {"bot": 3, "non_browser": 4, "data_centre": 5}
_UNREAD = 200  # more imps than we look at
_MEDIA_TYPE = 202
_INVALID_CREATIVE = 350
_NBR_OF = {
    "unknown_placement": 7, "placement_paused": 7, "device": 6, "os": 6, "browser": 6, "frequency": 9,
}  # fmt: skip
_STATUS_OF = {
    **_NBR_OF,
    "seat": 200, "deal": 200, "below_floor": 301, "same_creative": 302, "below_deal_floor": 304,
    **dict.fromkeys(
        ("mime", "protocol", "api", "attribute", "native_asset", "language", "duration", "creative_blocked"),
        _INVALID_CREATIVE,
    ),
    "size": 351, "secure": 352, "format": 353, "same_advertiser": 355, "same_category": 355,
    "advertiser_blocked": 356, "category_blocked": 357,
}  # fmt: skip
_ASKED = b'"returnallbidstatus"'
_decode = msgspec.json.decode


def wants_reasons(ext: Raw) -> bool:
    """Say whether a request's `ext` asks for the reasons of every imp without a bid.

    Cost    0.2 to 0.4 us where it does not.

    >>> [wants_reasons(Raw(text)) for text in (b"", b'{"prebid": {"returnallbidstatus": true}}', b'{"a": 1}')]
    [False, True, False]
    """
    body = bytes(ext)
    if _ASKED not in body:
        return False
    plain: Any = _decode(body)
    prebid = plain.get("prebid") if isinstance(plain, dict) else None
    return isinstance(prebid, dict) and prebid.get("returnallbidstatus") is True


def no_bid_reason(reading: Reading, choice: Choice | None) -> int:
    """Name why there is no bid at all: one reason of all placements, or "no ad" where they differ."""
    if reading.no_bid is not None or choice is None:
        return reading.no_bid if reading.no_bid is not None else NBR_NO_AD
    reasons = {_NBR_OF.get(_reason(placed), NBR_NO_AD) for placed in choice.placed}
    return reasons.pop() if len(reasons) == 1 else NBR_NO_AD


def seat_non_bids(
    request: BidRequest, reading: Reading, choice: Choice | None, with_bid: Collection[str] = ()
) -> list[dict[str, Any]]:
    """List the imps of a request that got no bid, each with its status code; nothing where all have one."""
    codes = {} if choice is None else {placed.name: _reason(placed) for placed in choice.placed}
    nonbid = [
        {"impid": imp.id, "statuscode": _status(imp.id, place, reading, codes)}
        for place, imp in enumerate(request.imp)
        if imp.id not in with_bid
    ]
    return [{"seat": OWN_SEAT, "nonbid": nonbid}] if nonbid else []


def _reason(placed: Placed) -> str:
    """Name what kept the ads away that came nearest: reasons stand in the order in which they are checked."""
    return max(placed.reasons, key=REASON_NUMBER.__getitem__, default=placed.code) if placed.code else ""


def _status(imp_id: str, place: int, reading: Reading, codes: dict[str, str]) -> int:
    if reading.no_bid not in (None, NBR_NOTHING_OFFERED):
        return reading.no_bid
    code = codes.get(imp_id)
    if code is not None:  # "": there was an ad, and nothing of it that could be shown
        return _STATUS_OF.get(code, NBR_NO_AD) if code else _INVALID_CREATIVE
    if place >= MAX_PLACEMENTS:
        return _UNREAD
    return NBR_NO_CURRENCY if imp_id in reading.without_currency else _MEDIA_TYPE
