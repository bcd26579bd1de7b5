"""Bid responses: every field, prices in the answer's currency, native by asset ids, macros left whole."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.catalogue import Advertiser, Creative, Format, Native
from app.domain.decisions import Choice, Placed, Win
from app.domain.ids import to_text
from app.web.links import AdLinks, Links
from app.web.openrtb.macros import notice_values
from app.web.openrtb.native import native_adm, native_form
from app.web.openrtb.read import Reading
from app.web.openrtb.write import bid_response, price_of
from app.web.tokens import KINDS, Tokens
from tests.web.openrtb.bodies import BANNER, read
from tests.web.test_tokens import AD, ISSUED_MS

TOKENS = Tokens((b"m" * 32,), dict.fromkeys(KINDS, 86_400), b"process1")
LINKS: AdLinks = Links("https://ads.example", TOKENS).of(TOKENS.seal(AD))
NATIVE = Native(
    title="A title of our own",
    body="The body",
    sponsored="Sponsor",
    cta="Buy",
    icon_url="https://cdn.example/i.png",
    image_url="https://cdn.example/m.png",
    image_width=1200,
    image_height=627,
)


def creative(kind: Format = "banner", **fields: Any) -> Creative:
    base: dict[str, Any] = {
        "id": "cr-1",
        "ad_group_id": "g-1",
        "format": kind,
        "landing_url": "https://shop.example",
    }
    if kind == "banner":
        base |= {"width": 320, "height": 50, "markup": "<a href='{click_url}'>x</a>"}
    elif kind == "native":
        base |= {"native": NATIVE}
    else:
        base |= {"markup": "<VAST>{impression_url}</VAST>", "duration_s": 15, "protocols": (3, 2)}
    return Creative(**(base | fields))


def win(creative_id: str = "cr-1", advertiser_id: str = "adv-1", ad_index: int = 0) -> Win:
    return Win(
        ad_index=ad_index,
        creative_index=1,
        creative_id=creative_id,
        ad_group_id="g-1",
        campaign_id="c-1",
        advertiser_id=advertiser_id,
        kind="cpc",
        bid_micros=2_000_000_000,
        price_micros=1_764_705_883,
        ecpm_micros=34_000_000_000,
        cleared_ecpm_micros=30_000_000_000,
        pctr=0.017,
        columns=(1, 2),
        generation=0,
    )


def placed(name: str, wins: tuple[Win, ...], ordinal: int = 0, code: str = "") -> Placed:
    return Placed(
        name=name,
        placement_id="plc-1",
        publisher_id="pub-1",
        decision_id=bytes(14) + bytes([ordinal]),
        wins=wins,
        code=code,
        reasons={},
        rows=(0,),
        candidates=1,
    )


def choice(*places: Placed) -> Choice:
    return Choice(position=1, clock_ms=ISSUED_MS, variant=0, placed=places)


def answer(
    reading: Reading,
    chosen: Choice,
    creatives: tuple[Creative, ...],
    advertisers: tuple[Advertiser, ...] = (Advertiser(id="adv-1", domain="shop.example", category="IAB20"),),
) -> Any:
    body = bid_response(
        reading,
        chosen,
        creative_of={one.id: one for one in creatives}.__getitem__,
        advertiser_of={one.id: one for one in advertisers}.__getitem__,
        links_of=lambda placed: [LINKS] * len(placed.wins),
    )
    return None if body is None else msgspec.json.decode(body)


def test_a_banner_bid_whole() -> None:
    shown = creative(attributes=(3,), api=(5,), language="ko")
    got = answer(read(), choice(placed("1", (win(),))), (shown,))
    decision = to_text(bytes(15))
    assert got == {
        "id": "r-1",
        "seatbid": [
            {
                "bid": [
                    {
                        "id": f"{decision}-0",
                        "impid": "1",
                        "price": 22.222223,
                        "adid": "cr-1",
                        "nurl": LINKS.win_url + "?price=${AUCTION_PRICE}",
                        "burl": LINKS.billing_url + "?price=${AUCTION_PRICE}",
                        "lurl": LINKS.loss_url + "?reason=${AUCTION_LOSS}&price=${AUCTION_PRICE}",
                        "adm": f"<a href='{LINKS.click_url}'>x</a>",
                        "adomain": ["shop.example"],
                        "cid": "c-1",
                        "crid": "cr-1",
                        "cat": ["IAB20"],
                        "attr": [3],
                        "apis": [5],
                        "language": "ko",
                        "w": 320,
                        "h": 50,
                        "mtype": 1,
                        "exp": 3600,
                    }
                ],
                "seat": "adjudge",
            }
        ],
        "bidid": decision,
        "cur": "USD",
        "ext": {"personal": {"used": [], "withheld": None}},
    }


@pytest.mark.parametrize(("kind", "mtype"), [("video", 2), ("audio", 3)])
def test_vast(kind: Format, mtype: int) -> None:
    reading = read({"id": "1", kind: {"mimes": ["a/b"], "protocols": [2, 5]}, "exp": 60})
    bid = answer(reading, choice(placed("1", (win(),))), (creative(kind),))["seatbid"][0]["bid"][0]
    assert bid["adm"] == f"<VAST>{LINKS.impression_url}</VAST>"
    assert (bid["mtype"], bid["dur"], bid["protocol"], bid["exp"]) == (mtype, 15, 2, 60)
    assert "w" not in bid and "h" not in bid


def test_bids_are_grouped_by_seat() -> None:
    imps = [{"id": name, "banner": BANNER} for name in "abc"]
    chosen = choice(
        placed("a", (), 0, "outbid"),
        placed("b", (win("cr-1", "adv-1"), win("cr-2", "adv-2", 1)), 1),
        placed("c", (win("cr-3", "adv-1"),), 2),
    )
    creatives = tuple(creative(id=f"cr-{number}") for number in (1, 2, 3))
    advertisers = (Advertiser(id="adv-1", seat="s-1"), Advertiser(id="adv-2"))
    got = answer(read(imps), chosen, creatives, advertisers)
    seats = {one["seat"]: [(bid["impid"], bid["crid"]) for bid in one["bid"]] for one in got["seatbid"]}
    assert seats == {"s-1": [("b", "cr-1"), ("c", "cr-3")], "adjudge": [("b", "cr-2")]}
    ids = [bid["id"] for one in got["seatbid"] for bid in one["bid"]]
    assert len(set(ids)) == 3
    assert got["bidid"] == to_text(bytes(14) + b"\x01")


def test_no_bid() -> None:
    reading = read(test=1)
    nothing = choice(placed("1", (), code="below_floor"))
    assert answer(reading, nothing, ()) is None
    assert answer(reading, choice(), ()) is None


def test_a_win_without_anything_to_show_is_no_bid() -> None:
    reading = read({"id": "1", "video": {}})
    assert answer(reading, choice(placed("1", (win(),))), (creative("video", markup=None),)) is None


@given(cleared=st.integers(0, 10**15), rate=st.integers(1, 10**13))
def test_a_price_is_rounded_up_to_six_decimals(cleared: int, rate: int) -> None:
    exact = Fraction(cleared, rate)
    price = price_of(cleared, rate)
    if price < 10**9:  # beyond it a float has fewer decimals than six
        assert (Fraction(repr(price)) * 10**6).denominator == 1
        assert exact <= Fraction(repr(price)) < exact + Fraction(1, 10**6)


REQUEST: dict[str, Any] = {
    "ver": "1.2",
    "assets": [
        {"id": 1, "required": 1, "title": {"len": 9}},
        {"id": 2, "img": {"type": 1, "w": 50, "h": 50}},
        {"id": 3, "required": 1, "img": {"type": 3, "wmin": 300}},
        {"id": 4, "data": {"type": 1}},
        {"id": 5, "data": {"type": 2, "len": 90}},
        {"id": 6, "data": {"type": 12}},
        {"id": 7, "data": {"type": 3}},
        {"id": 8, "video": {"mimes": ["video/mp4"]}},
    ],
}
ASSETS = [
    {"id": 1, "title": {"text": "A title …"}},
    {"id": 2, "img": {"url": "https://cdn.example/i.png"}},
    {"id": 3, "img": {"url": "https://cdn.example/m.png", "w": 1200, "h": 627}},
    {"id": 4, "data": {"value": "Sponsor"}},
    {"id": 5, "data": {"value": "The body"}},
    {"id": 6, "data": {"value": "Buy"}},
]


def native_imp(request: Any) -> dict[str, Any]:
    return {"id": "1", "native": {"request": request}}


def text(value: Any) -> str:
    return msgspec.json.encode(value).decode()


ODD = [one | {"id": str(one["id"]), "required": float("required" in one)} for one in REQUEST["assets"]]
#   request                            root    why
REQUESTS = [
    (text(REQUEST),                    False,  "1.1 and later: no root"),
    (REQUEST,                          False,  "an object instead of a string"),
    (text({"native": REQUEST}),        True,   "1.0: a root object, in the answer too"),
    ({"native": REQUEST},              True,   "both"),
    (text(REQUEST | {"assets": ODD}),  False,  "odd types"),
]  # fmt: skip


@pytest.mark.parametrize(("request_", "rooted", "why"), REQUESTS)
def test_native(request_: Any, rooted: bool, why: str) -> None:
    reading = read(native_imp(request_))
    assert reading.request.asks[0].demands["native"].native_assets == ("title", "image_url")
    bid = answer(reading, choice(placed("1", (win(),))), (creative("native"),))["seatbid"][0]["bid"][0]
    adm = msgspec.json.decode(bid["adm"])
    inner = {"ver": "1.2", "assets": ASSETS, "link": {"url": LINKS.click_url}}
    assert adm == ({"native": inner} if rooted else inner), why
    assert (bid["mtype"], "w" in bid) == (4, False)


#   assets                                           offered  why
OFFERS: list[tuple[Any, bool, str]] = [
    ([{"id": 1, "title": {}}],                       True,    "a title"),
    ([{"id": 1, "required": 1, "data": {"type": 3}}], False,  "a rating is required: nobody has one"),
    ([{"id": 1, "required": 1, "video": {}}],        False,   "nor a video"),
    ([{"id": 1, "data": {"type": 3}}],               False,   "nothing that we have"),
    ([],                                             False,   "nothing at all"),
    (None,                                           False,   "nor here"),
]  # fmt: skip


@pytest.mark.parametrize(("assets", "offered", "why"), OFFERS)
def test_native_is_offered_when_it_can_be_filled(assets: Any, offered: bool, why: str) -> None:
    reading = read(native_imp({"assets": assets}))
    assert bool(reading.request.asks) is offered, why


def test_native_without_a_required_part_is_no_ad() -> None:
    form = native_form(msgspec.Raw(msgspec.json.encode(REQUEST)))
    assert form is not None
    poor = creative("native", native=Native(title="t"))
    assert native_adm(form, poor, "u") is None
    assert native_adm(form, creative("native", native=None), "u") is None
    rich = creative("native", native=Native(title="t", image_url="i"))
    assert msgspec.json.decode(native_adm(form, rich, "u") or "")["assets"] == [
        {"id": 1, "title": {"text": "t"}},
        {"id": 3, "img": {"url": "i"}},
    ]


#   query                                         price, reason         why
NOTICES: list[tuple[dict[str, str], tuple[int | None, str | None], str]] = [
    ({"price": "1.25"},                           (1_250_000, None),    "filled in"),
    ({"price": "22.2222229"},                     (22_222_223, None),   "to the nearest micro"),
    ({"price": "${AUCTION_PRICE}"},               (None, None),         "left as it was"),
    ({"price": ""},                               (None, None),         "emptied"),
    ({},                                          (None, None),         "not there"),
    ({"price": "AUDIT"},                          (None, None),         "a test render"),
    ({"price": "-1"},                             (None, None),         "nobody pays less than nothing"),
    ({"price": "NaN"},                            (None, None),         "no number"),
    ({"price": "1e999999999"},                    (None, None),         "too large to hold"),
    ({"price": "9" * 1_000},                      (None, None),         "likewise"),
    ({"price": "٣"},                              (None, None),         "digits of another script"),
    ({"price": "0", "reason": "102"},             (0, "102"),           "a loss"),
    ({"reason": "${AUCTION_LOSS}"},               (None, None),         "left as it was"),
    ({"reason": "%24%7BAUCTION_LOSS%7D"},         (None, None),         "and encoded twice"),
    ({"reason": "x" * 100},                       (None, "x" * 64),     "bounded"),
]  # fmt: skip


@pytest.mark.parametrize(("query", "values", "why"), NOTICES)
def test_notice_values(query: dict[str, str], values: tuple[int | None, str | None], why: str) -> None:
    assert notice_values(query) == values, why
