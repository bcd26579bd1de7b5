"""Why there is no bid: one number for a request, one for each imp, and who gets to know.

Source of the lists: OpenRTB 3.0 no-bid reason codes; the community extension seat-non-bid.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from app.domain.decisions import REASONS
from app.domain.requests import MAX_PLACEMENTS
from app.web.openrtb.decode import decode
from app.web.openrtb.nonbids import _STATUS_OF, no_bid_reason, seat_non_bids, wants_reasons
from app.web.openrtb.read import NBR_NO_AD, NBR_NO_CURRENCY
from app.web.openrtb.write import no_bid_response
from tests.web.openrtb.bodies import read
from tests.web.openrtb.test_write import choice, placed

BANNER = {"w": 320, "h": 50}

#   ext                                                   told     why
EXTS = [
    (b"",                                                 False,   "absent"),
    (b'{"prebid":{"returnallbidstatus":true}}',           True,    "asked"),
    (b'{"prebid":{"returnallbidstatus":false}}',          False,   "not asked"),
    (b'{"prebid":{"returnallbidstatus":1}}',              False,   "no yes"),
    (b'{"returnallbidstatus":true}',                      False,   "elsewhere"),
    (b'{"prebid":"returnallbidstatus"}',                  False,   "a word"),
    (b'["returnallbidstatus"]',                           False,   "no object"),
    (b'{"prebid":{"debug":true}}',                        False,   "something else"),
]  # fmt: skip


@pytest.mark.parametrize(("ext", "told", "why"), EXTS)
def test_who_gets_to_know(ext: bytes, told: bool, why: str) -> None:
    assert wants_reasons(Raw(ext)) is told, why


def test_ext_is_found_in_bodies_that_had_to_be_mended() -> None:
    body = {"id": 5, "imp": [{"id": "1", "banner": {"w": "320", "h": 50}}],
            "ext": {"prebid": {"returnallbidstatus": True}}}  # fmt: skip
    assert wants_reasons(decode(json.dumps(body).encode()).ext)
    assert not wants_reasons(decode(json.dumps({**body, "ext": "odd"}).encode()).ext)


#   codes of placements                        nbr   why
REASON: list[tuple[tuple[str, ...], int, str]] = [
    (("below_floor",),                         500,  "no word of the trade's for a whole request"),
    (("unknown_placement",),                   7,    "blocked publisher or site"),
    (("placement_paused", "unknown_placement"), 7,   "both the same"),
    (("frequency",),                           9,    "the user's cap"),
    (("device",),                              6,    "an unsupported device"),
    (("frequency", "size"),                    500,  "not one reason"),
]  # fmt: skip


@pytest.mark.parametrize(("codes", "nbr", "why"), REASON)
def test_one_reason_for_a_request(codes: tuple[str, ...], nbr: int, why: str) -> None:
    nothing = choice(*(placed(str(at), (), at, code) for at, code in enumerate(codes)))
    assert no_bid_reason(read(test=1), nothing) == nbr, why


def test_the_ads_that_came_nearest_tell_the_reason() -> None:
    mixed = msgspec.structs.replace(
        placed("1", (), 0, "size"), reasons={"size": 60, "frequency": 2, "budget": 9}
    )
    assert no_bid_reason(read(test=1), choice(mixed)) == 9


def test_what_was_never_decided_has_the_reason_of_its_reading() -> None:
    assert no_bid_reason(read(cur=["GBP"]), None) == NBR_NO_CURRENCY
    assert no_bid_reason(read(), None) == NBR_NO_AD


def test_each_imp_without_a_bid_has_a_code() -> None:
    imps: list[dict[str, Any]] = [
        {"id": "sold", "banner": BANNER},
        {"id": "low", "banner": BANNER},
        {"id": "unsized", "banner": {}},
        {"id": "yen", "banner": BANNER, "bidfloor": 1, "bidfloorcur": "JPY"},
        {"id": "empty", "banner": BANNER},
        *({"id": f"more-{number}", "banner": BANNER} for number in range(MAX_PLACEMENTS)),
    ]
    request = decode(json.dumps({"id": "r", "imp": imps}).encode())
    reading = read(imps)
    names = [ask.name for ask in reading.request.asks]
    codes = {"sold": "", "low": "below_floor", "empty": ""}
    chosen = choice(*(placed(name, (), at, codes.get(name, "size")) for at, name in enumerate(names)))
    (seat,) = seat_non_bids(request, reading, chosen, {"sold"})
    found = {one["impid"]: one["statuscode"] for one in seat["nonbid"]}
    assert seat["seat"] == "adjudge"
    assert {name: found.get(name) for name in ("sold", "low", "unsized", "yen", "empty", "more-0")} == {
        "sold": None, "low": 301, "unsized": 202, "yen": 501, "empty": 350, "more-0": 351,
    }  # fmt: skip
    assert found[f"more-{MAX_PLACEMENTS - 1}"] == 200, "beyond what is looked at"
    assert seat_non_bids(request, reading, chosen, {imp["id"] for imp in imps}) == []


def test_a_reason_for_all_is_every_imp_s() -> None:
    request = decode(json.dumps({"id": "r-1", "imp": [{"id": "1", "banner": BANNER}]}).encode())
    said = msgspec.json.decode(no_bid_response(read(cur=["GBP"]), request))
    assert said == {
        "id": "r-1", "nbr": 501,
        "ext": {"seatnonbid": [{"seat": "adjudge", "nonbid": [{"impid": "1", "statuscode": 501}]}]},
    }  # fmt: skip


def test_codes_are_of_reasons_that_exist() -> None:
    assert set(_STATUS_OF) <= {*REASONS, "unknown_placement", "placement_paused"}
    known: Any = {*range(18), *range(100, 104), *range(200, 205), *range(300, 305), *range(350, 358)}
    assert set(_STATUS_OF.values()) <= known
