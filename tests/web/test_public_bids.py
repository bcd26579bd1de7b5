"""POST /openrtb2/bid over a real socket: collected bodies, money, notices, markup and no-bids.

The collected bodies are of public repositories and stay outside this one; tests of them are skipped where
their folder is absent.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from app.domain.catalogue import (
    AdGroup,
    Advertiser,
    Campaign,
    Creative,
    Native,
    Pricing,
    Rule,
    Targeting,
    Thing,
)  # fmt: skip
from app.flows.clients import Clients
from app.flows.place_names import PlaceNames
from app.flows.ticking import tick_line
from tests.flows.test_clients import CHROME
from tests.node import FOLD, Answer
from tests.web.openrtb.bodies import RATES, collected, matching_things
from tests.web.public_port import JSON, PUBLIC_URL, TOP, PublicPort, local, packed, public_port

PATH = "/openrtb2/bid"
BANNER = {"w": 320, "h": 50}
needs_bodies = pytest.mark.skipif(not collected(malformed=False), reason="the collected bodies are not here")


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PublicPort]:
    things = matching_things()
    with public_port(tmp_path_factory.mktemp("bids"), things, rates=RATES) as port:
        yield port


def imp(**more: Any) -> dict[str, Any]:
    return {"id": "1", "banner": BANNER, **more}


def ask(port: PublicPort, *imps: dict[str, Any], **top: Any) -> Answer:
    return port.post(PATH, {"id": "r-1", "imp": list(imps or [imp()]), **top})


def bids_of(answer: Answer) -> list[dict[str, Any]]:
    assert answer.status == 200, answer
    return [bid for seat in answer.json()["seatbid"] for bid in seat["bid"]]


def is_bare(answer: Answer, status: int) -> bool:
    return (
        answer.status == status
        and answer.body == b""
        and "content-type" not in answer.headers
        and answer.headers["x-openrtb-version"] == "2.6"
    )


@needs_bodies
@pytest.mark.parametrize("path", collected(malformed=True), ids=lambda path: path.stem)
def test_collected_malformed_bodies_get_a_bare_400(port: PublicPort, path: Path) -> None:
    assert is_bare(port.post(PATH, path.read_bytes()), 400)


@needs_bodies
def test_other_collected_bodies_get_a_bid_or_none(port: PublicPort) -> None:
    paths = collected(malformed=False)
    answers = {path.stem: port.post(PATH, path.read_bytes()) for path in paths}
    for name, answer in answers.items():
        assert answer.headers["x-openrtb-version"] == "2.6", name
        assert answer.status == 200 or is_bare(answer, 204), (name, answer)
    with_bids = [name for name, answer in answers.items() if answer.status == 200 and b'"bid"' in answer.body]
    assert len(with_bids) >= 20, sorted(set(answers) - set(with_bids))


@needs_bodies
def test_bids_on_collected_bodies_fit_what_was_asked(port: PublicPort) -> None:
    """Every bid names an imp of its request, reaches its floor, and has markup of the right kind."""
    for path in collected(malformed=False):
        answer = port.post(PATH, path.read_bytes())
        if answer.status != 200 or b'"bid"' not in answer.body:
            continue
        asked = json.loads(path.read_bytes())
        imps = {str(one["id"]): one for one in asked["imp"]}
        said = answer.json()
        assert said["id"] == asked["id"]
        assert said["bidid"]
        for bid in bids_of(answer):
            one = imps[bid["impid"]]
            assert {1: "banner", 2: "video", 3: "audio", 4: "native"}[bid["mtype"]] in one, path.stem
            floor = float(one.get("bidfloor") or 0) * RATES.get(one.get("bidfloorcur") or "USD", 0)
            assert bid["price"] * RATES[said["cur"]] >= floor, path.stem
            assert bid["adm"]
            assert PUBLIC_URL + "/i/" not in bid["adm"], "the billing notice is the impression"


def test_a_banner_bid(port: PublicPort) -> None:
    answer = ask(port, imp(bidfloor=0.5), cur=["USD"])
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-openrtb-version"] == "2.6"
    said = answer.json()
    assert (said["id"], said["cur"]) == ("r-1", "USD")
    (bid,) = bids_of(answer)
    assert bid["id"].startswith(said["bidid"])
    assert (bid["impid"], bid["mtype"], bid["w"], bid["h"]) == ("1", 1, 320, 50)
    assert bid["crid"] == bid["adid"]
    assert bid["adomain"][0].startswith("shop")
    assert bid["cat"] == ["IAB20"]
    # Four equal bids of 20,000 won per 1,000 at 1,350 won a dollar, rounded up to the micro.
    assert bid["price"] == 14.814815
    assert PUBLIC_URL + "/c/" in bid["adm"]
    assert "<img" not in bid["adm"]
    for field, route in (("nurl", "/w/"), ("burl", "/b/"), ("lurl", "/l/")):
        assert bid[field].startswith(PUBLIC_URL + route)
        assert "${AUCTION_PRICE}" in bid[field]
    assert "${AUCTION_LOSS}" in bid["lurl"]


#   floor (per 1,000), currency     answer's cur   price or None   why
FLOORS: list[tuple[dict[str, Any], list[str], float | None, str]] = [
    ({}, ["KRW"], 0.000001, "no rival and no floor: the least that a price can be"),
    ({}, ["USD"], 0.000001, "in whatever currency"),
    ({"bidfloor": 0, "bidfloorcur": "JPY"}, ["KRW"], 0.000001, "a floor of 0 needs no currency"),
    ({"bidfloor": 500, "bidfloorcur": "KRW"}, ["KRW"], 500, "the floor itself"),
    ({"bidfloor": 1}, ["KRW"], 1350, "dollars, where nothing is said"),
    ({"bidfloor": 1, "bidfloorcur": "EUR"}, ["USD"], 1.096297, "1,480 / 1,350 rounded up"),
    ({"bidfloor": 1.5, "bidfloorcur": "EUR"}, ["EUR", "USD"], 1.5, "the first currency that is known"),
    ({"bidfloor": 1.5, "bidfloorcur": "EUR"}, ["XXX", "EUR"], 1.5, "the first currency that is known"),
    ({"bidfloor": 20_000, "bidfloorcur": "KRW"}, ["KRW"], 20_000, "the whole bid"),
    ({"bidfloor": 20_000.000001, "bidfloorcur": "KRW"}, ["KRW"], None, "a micro above the bid"),
    ({"bidfloor": 1, "bidfloorcur": "JPY"}, ["KRW"], None, "an unknown currency"),
    ({}, ["JPY"], None, "no currency that we know to answer in"),
]  # fmt: skip


@pytest.mark.parametrize(("floor", "currencies", "price", "why"), FLOORS)
def test_floors_and_currencies(
    tmp_path: Path, floor: dict[str, Any], currencies: list[str], price: float | None, why: str
) -> None:
    alone: list[Thing] = [
        Advertiser(id="a"),
        Campaign(id="c", advertiser_id="a"),
        AdGroup(id="g", campaign_id="c", pricing=Pricing(kind="cpm", bid_micros=20_000_000_000)),
        Creative(
            id="cr", ad_group_id="g", format="banner", width=320, height=50,
            landing_url="https://shop.example/", markup="<b>ad</b>",
        ),
    ]  # fmt: skip
    with public_port(tmp_path, alone, rates=RATES) as port:
        answer = ask(port, imp(**floor), cur=currencies)
        if price is None:
            assert is_bare(answer, 204), why
        else:
            assert [bid["price"] for bid in bids_of(answer)] == [price], why


#   request                                                          nbr, the imp's code   why
NO_BIDS: list[tuple[dict[str, Any], int, int, str]] = [
    ({"cur": ["JPY"]},                                               501, 501, "no currency that we know"),
    ({"imp": [imp(banner={"w": 7, "h": 7})]},                        500, 351, "no ad of this size"),
    ({"imp": [imp(bidfloor=1, bidfloorcur="JPY")]},                  502, 501, "in no known currency"),
    ({"imp": [imp(banner={})]},                                      502, 202, "no size at all"),
    ({"imp": [imp(bidfloor=10_000)]},                                500, 301, "a floor above every bid"),
    ({"badv": [f"shop{at}.example" for at in range(9)]},             500, 356, "every advertiser blocked"),
    ({"imp": [imp(pmp={"private_auction": 1, "deals": [{"id": "d"}]})]}, 500, 200, "nobody sells by that"),
]  # fmt: skip


@pytest.mark.parametrize(("request_", "nbr", "status", "why"), NO_BIDS)
def test_no_bid_is_a_bare_204_and_says_why_to_tests(
    port: PublicPort, request_: dict[str, Any], nbr: int, status: int, why: str
) -> None:
    body = {"id": "r-1", "imp": [imp()], **request_}
    assert is_bare(port.post(PATH, body), 204), why
    told = port.post(PATH, {**body, "test": 1})
    assert told.status == 200
    assert (told.json()["id"], told.json()["nbr"]) == ("r-1", nbr), why
    assert "seatbid" not in told.json()
    asked = port.post(PATH, {**body, "ext": {"prebid": {"returnallbidstatus": True}}})
    assert (asked.status, asked.json()) == (200, told.json()), "or to whoever asks for it"
    (seat,) = told.json()["ext"]["seatnonbid"]
    assert [(one["impid"], one["statuscode"]) for one in seat["nonbid"]] == [("1", status)], why


def test_some_bids_and_why_there_are_no_more(port: PublicPort) -> None:
    imps = [imp(), imp(banner={"w": 7, "h": 7}) | {"id": "odd"}]
    plain = ask(port, *imps)
    assert "seatnonbid" not in plain.json()["ext"]
    told = ask(port, *imps, ext={"prebid": {"returnallbidstatus": True}})
    assert [bid["impid"] for bid in bids_of(told)] == ["1"]
    assert told.json()["ext"]["seatnonbid"] == [
        {"seat": "adjudge", "nonbid": [{"impid": "odd", "statuscode": 351}]}
    ]
    assert "nbr" not in told.json()


#   device                                         nbr   why
DEVICES = [
    ({"ua": "Googlebot/2.1 (+http://www.google.com/bot.html)"}, 3, "a known crawler"),
    ({"ua": "MyTracker 1.0"},                         4,    "no browser: suspected"),
    ({"ua": CHROME, "ip": "203.0.113.7"},          5,    "from a data centre"),
    ({"ua": CHROME, "ip": "8.8.8.8"},              None, "a person"),
    ({},                                           None, "nobody said"),
]  # fmt: skip


@pytest.fixture(scope="module", params=["on", "mark"])
def watched(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PublicPort]:
    fold = msgspec.structs.replace(FOLD, invalid_traffic=request.param)
    clients = Clients(data_centres=["203.0.113.0/24"])
    folder = tmp_path_factory.mktemp("watched")
    with public_port(folder, matching_things(), rates=RATES, clients=clients, fold=fold) as port:
        yield port


@pytest.mark.parametrize(("device", "nbr", "why"), DEVICES)
def test_nothing_is_bid_for_robots(
    watched: PublicPort, device: dict[str, Any], nbr: int | None, why: str
) -> None:
    """Only marked, they get their bids: what the list says is to be tried first."""
    plain, told = ask(watched, device=device), ask(watched, device=device, test=1)
    if nbr is None or watched.node.settings.fold.invalid_traffic == "mark":
        assert len(bids_of(plain)) == len(bids_of(told)) == 1, why
        return
    assert is_bare(plain, 204), why
    assert told.json()["nbr"] == nbr, why
    assert told.json()["ext"]["seatnonbid"][0]["nonbid"] == [{"impid": "1", "statuscode": nbr}]


def test_a_test_request_that_has_a_bid_is_answered_with_it(port: PublicPort) -> None:
    assert len(bids_of(ask(port, test=1))) == 1


def test_a_test_request_costs_nobody_anything(port: PublicPort) -> None:
    gathered = port.node.gathered
    before = (port.position, sum(gathered.wins.values()), sum(gathered.in_flight.values()))
    (bid,) = bids_of(ask(port, test=1))
    assert port.get(bid["burl"]).status == 200
    assert port.get(bid["nurl"]).status == 204
    token = urlsplit(bid["burl"]).path.rsplit("/", 1)[1]
    (told,) = port.report({"token": token, "kind": "impression"})
    assert (told["status"], told["code"]) == ("refused", "expired")
    click_url = re.search(r"https://ads.example/adjudge/c/[\w-]+", bid["adm"])
    assert click_url is not None
    assert port.get(click_url[0]).status == 302  # a test may look at the landing page
    after = (port.position, sum(gathered.wins.values()), sum(gathered.in_flight.values()))
    assert after == before


def test_gzip_both_ways(port: PublicPort) -> None:
    imps = [imp() | {"id": str(number)} for number in range(8)]
    body = gzip.compress(json.dumps({"id": "r-1", "imp": imps}).encode())
    packed = port.post(PATH, body, {**JSON, "content-encoding": "gzip", "accept-encoding": "gzip, deflate"})
    assert (packed.status, packed.headers["content-encoding"]) == (200, "gzip")
    said = json.loads(gzip.decompress(packed.body))
    assert {bid["impid"] for seat in said["seatbid"] for bid in seat["bid"]} >= {"0", "1", "2", "3"}
    plain = port.post(PATH, body, {**JSON, "content-encoding": "gzip"})
    assert "content-encoding" not in plain.headers
    assert plain.json()["id"] == "r-1"


#   body, headers, status, why
UNREADABLE: list[tuple[bytes, dict[str, str], int, str]] = [
    (b"{", {}, 400, "cut short"),
    (b"not gzip", {"content-encoding": "gzip"}, 400, "no gzip"),
    (packed(b"{}")[:-4], {"content-encoding": "gzip"}, 400, "gzip cut short"),
    (packed(b" " * (1 << 20) + b"{}"), {"content-encoding": "gzip"}, 413, "over 1 MiB unpacked"),
    (b"{}" + b" " * (1 << 20), {}, 413, "over 1 MiB"),
    (b"{}", {"content-encoding": "br"}, 400, "an encoding that we do not read"),
    (b'{"id":"a","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", {}, 400, "no imp, and nested beyond reason"),
]


@pytest.mark.parametrize(("body", "headers", "status", "why"), UNREADABLE)
def test_what_cannot_be_read_is_refused_without_content(
    port: PublicPort, body: bytes, headers: dict[str, str], status: int, why: str
) -> None:
    answer = port.post(PATH, body, headers)
    assert answer.status == status, why
    assert is_bare(answer, status), why


def test_the_billing_notice_counts_the_impression(port: PublicPort) -> None:
    (bid,) = bids_of(ask(port))
    before = port.position
    pixel = port.get(bid["burl"].replace("${AUCTION_PRICE}", "3.25"))
    assert (pixel.status, pixel.headers["content-type"]) == (200, "image/gif")
    assert port.position == before + 1
    token = local(bid["burl"]).rpartition("/")[2].partition("?")[0]
    (result,) = port.report({"token": token, "kind": "impression"})
    assert (result["status"], result["position"]) == ("repeat", before + 1)
    assert port.get(bid["nurl"]).status == 204
    assert port.get(bid["lurl"]).status == 204


def test_a_native_bid_follows_the_requests_asset_ids(tmp_path: Path) -> None:
    native = Native(
        title="Title", body="Body", sponsored="Us", cta="Go", image_url="https://cdn.example/m.png",
        image_width=1200, image_height=627, icon_url="https://cdn.example/i.png",
    )  # fmt: skip
    things: list[Thing] = [
        Advertiser(id="a"),
        Campaign(id="c", advertiser_id="a"),
        AdGroup(id="g", campaign_id="c", pricing=Pricing(kind="cpm", bid_micros=20_000_000_000)),
        Creative(
            id="cr", ad_group_id="g", format="native", landing_url="https://shop.example/", native=native
        ),
    ]
    form = {
        "ver": "1.2",
        "assets": [
            {"id": 11, "required": 1, "title": {"len": 90}},
            {"id": 12, "required": 1, "img": {"type": 3, "w": 1200, "h": 627}},
            {"id": 13, "img": {"type": 1}},
            {"id": 14, "data": {"type": 2, "len": 90}},
            {"id": 15, "data": {"type": 1}},
            {"id": 16, "data": {"type": 12}},
        ],
    }
    with public_port(tmp_path, things, rates=RATES) as port:
        for request in (json.dumps(form), form, json.dumps({"native": form})):
            (bid,) = bids_of(ask(port, {"id": "1", "native": {"request": request}}))
            assert bid["mtype"] == 4
            adm = json.loads(bid["adm"])
            said = adm.get("native", adm)
            assets = {asset["id"]: asset for asset in said["assets"]}
            assert set(assets) == {11, 12, 13, 14, 15, 16}
            assert assets[11]["title"]["text"] == "Title"
            assert assets[12]["img"]["url"] == "https://cdn.example/m.png"
            assert assets[13]["img"]["url"] == "https://cdn.example/i.png"
            assert [assets[number]["data"]["value"] for number in (14, 15, 16)] == ["Body", "Us", "Go"]
            assert said["link"]["url"].startswith(PUBLIC_URL + "/c/")
            assert "imptrackers" not in said, "the billing notice is the impression"


def test_video_and_audio_adm_is_the_vast_document(port: PublicPort) -> None:
    video = {"id": "1", "video": {"mimes": ["video/mp4"], "protocols": [2, 3]}}
    audio = {"id": "2", "audio": {"mimes": ["audio/mp4"]}}
    bids = {bid["impid"]: bid for bid in bids_of(ask(port, video, audio))}
    assert (bids["1"]["mtype"], bids["1"]["adm"], bids["1"]["dur"]) == (2, "<VAST/>", 15)
    assert (bids["2"]["mtype"], bids["2"]["adm"]) == (3, "<VAST/>")


def test_several_imps_never_share_a_creative(port: PublicPort) -> None:
    bids = bids_of(ask(port, *(imp() | {"id": str(number)} for number in range(4))))
    assert sorted(bid["impid"] for bid in bids) == ["0", "1", "2", "3"]
    assert len({bid["crid"] for bid in bids}) == 4


FORMATS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"banner": BANNER}, {"format": "banner", "width": 320, "height": 50, "markup": "<b>ad</b>"}),
    ({"video": {"mimes": ["video/mp4"]}}, {"format": "video", "markup": "<VAST/>", "mimes": ("video/mp4",)}),
    ({"audio": {"mimes": ["audio/mp4"]}}, {"format": "audio", "markup": "<VAST/>", "mimes": ("audio/mp4",)}),
    ({"native": {"request": {"assets": [{"id": 1, "required": 1, "title": {"len": 20}}]}}},
     {"format": "native", "native": Native(title="Go")}),
]  # fmt: skip


@pytest.mark.parametrize("kind", ["cpm", "cpc", "cpa", "ocpm"])
def test_no_bid_is_free(tmp_path: Path, kind: str) -> None:
    """One ad of each format alone, no floor, no deal floor: a price is above 0, in any currency."""
    things: list[Thing] = [Advertiser(id="a"), Campaign(id="c", advertiser_id="a")]
    for place, (_, fields) in enumerate(FORMATS):
        pricing = Pricing(kind=kind, bid_micros=1_000 * 1_000_000)  # type: ignore[arg-type] # one of four
        things.append(AdGroup(id=f"g-{place}", campaign_id="c", pricing=pricing))
        things.append(
            Creative(
                id=f"cr-{place}", ad_group_id=f"g-{place}", landing_url="https://shop.example/", **fields
            )
        )
    with public_port(tmp_path, things, rates=RATES) as port:
        for currency in ("KRW", "USD"):
            imps = [{"id": str(place), **asked} for place, (asked, _) in enumerate(FORMATS)]
            bids = bids_of(ask(port, *imps, cur=[currency]))
            assert sorted(bid["impid"] for bid in bids) == ["0", "1", "2", "3"]
            assert all(0 < bid["price"] < 0.001 for bid in bids), bids


def test_made_up_places_do_not_fill_the_journal(tmp_path: Path) -> None:
    with public_port(tmp_path, rates=RATES) as port:
        port.node.place_names = PlaceNames(most=3)
        for number in range(10):
            assert ask(port, imp(tagid=f"made-up-{number}")).status == 200
        port.ads(TOP)  # a registered one has its name whoever came before
        line = tick_line(port.node)
        told = {name: requests for name, requests, _ in line.requests}
        assert told == {"made-up-0": 1, "made-up-1": 1, "made-up-2": 1, "~others": 7, "plc-1": 1}


# Deals.

SIXTY = {"bidfloor": 10, "bidfloorcur": "EUR"}  # 14,800 won


@pytest.fixture(scope="module")
def marketplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PublicPort]:
    """An open ad at 30,000 won, and two of deal d-1 at 20,000 and 16,000, of the seats s-1 and s-2."""
    things: list[Thing] = []
    for name, bid, seat, deals in (
        ("open", 30, "s-1", ()),
        ("one", 20, "s-1", ("d-1",)),
        ("two", 16, "s-2", ("d-1",)),
    ):
        things += [
            Advertiser(id=f"a-{name}", domain=f"{name}.example", seat=seat),
            Campaign(id=f"c-{name}", advertiser_id=f"a-{name}"),
            AdGroup(
                id=f"g-{name}", campaign_id=f"c-{name}",
                pricing=Pricing(kind="cpm", bid_micros=bid * 10**9),
                targeting=Targeting(deal=Rule(include=deals)),
            ),
            Creative(
                id=name, ad_group_id=f"g-{name}", format="banner", width=320, height=50,
                landing_url="https://shop.example/", markup="<b>ad</b>",
            ),
        ]  # fmt: skip
    with public_port(tmp_path_factory.mktemp("deals"), things, rates=RATES) as port:
        yield port


#   pmp, beside an imp floor of 1 USD             bids: creative, deal, price in won           why
DEALS: list[tuple[dict[str, Any], list[tuple[str, str | None, float]], str]] = [
    ({"deals": [{"id": "d-1"}]}, [("open", None, 1_350), ("one", "d-1", 16_000)], "both"),
    ({"private_auction": 1, "deals": [{"id": "d-1"}]}, [("one", "d-1", 16_000)], "deals alone"),
    ({"private_auction": 1, "deals": [{"id": "d-1", "bidfloor": 12}]}, [("one", "d-1", 16_200)], "dollars"),
    ({"private_auction": 1, "deals": [{"id": "d-1", "bidfloor": 12}, {"id": "d-1"}, {"id": "d-1", "at": 1}]},
     [("one", "d-1", 16_200)], "one auction, and one bid, for each deal id"),
    ({"private_auction": 1, "deals": [{"id": "d-1", "at": 3, **SIXTY}]}, [("one", "d-1", 14_800)], "agreed"),
    ({"private_auction": 1, "deals": [{"id": "d-1", "wseat": ["s-2"]}]}, [("two", "d-1", 1e-6)], "its seat"),
    ({"private_auction": 1, "deals": [{"id": "d-1", "wadomain": ["https://www.two.example/x"]}]},
     [("two", "d-1", 0.000001)], "its advertiser"),
    ({"deals": [{"id": "d-1", "bidfloor": 1, "bidfloorcur": "JPY"}]}, [("open", None, 1_350)], "no rate"),
    ({"deals": [{"id": "d-1", "bidfloor": "2", "at": 2.0}]},
     [("open", None, 1_350), ("one", "d-1", 16_000)], "odd types"),
]  # fmt: skip


@pytest.mark.parametrize(("pmp", "expected", "why"), DEALS)
def test_deals_are_sold_beside_the_open_auction(
    marketplace: PublicPort, pmp: dict[str, Any], expected: Any, why: str
) -> None:
    answer = ask(marketplace, imp(bidfloor=1, pmp=pmp), cur=["KRW"])
    assert [(bid["crid"], bid.get("dealid"), bid["price"]) for bid in bids_of(answer)] == expected, why
    assert len({bid["id"] for bid in bids_of(answer)}) == len(expected)


def test_a_deal_needs_no_floor_of_the_imp_s_own(marketplace: PublicPort) -> None:
    """Where the imp's floor cannot be told, its deals are all that can be sold."""
    pmp = {"deals": [{"id": "d-1"}]}
    (bid,) = bids_of(ask(marketplace, imp(bidfloor=1, bidfloorcur="JPY", pmp=pmp), cur=["KRW"]))
    assert (bid["dealid"], bid["price"]) == ("d-1", 16_000)


def test_a_dealt_ad_is_billed_at_its_deal_s_price(marketplace: PublicPort) -> None:
    pmp = {"private_auction": 1, "deals": [{"id": "d-1", "at": 3, "bidfloor": 10}]}
    (bid,) = bids_of(ask(marketplace, imp(pmp=pmp), cur=["USD"]))
    assert bid["price"] == 10
    (result,) = marketplace.report(
        {"token": bid["burl"].rsplit("/", 1)[1].split("?")[0], "kind": "impression"}
    )
    assert (result["status"], result["billed"]) == ("counted", 13.5)
