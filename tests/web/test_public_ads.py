"""POST /v1/ads over a real socket: the answer's shape, what narrows it, and every refusal by its field."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.domain import ids
from app.domain.catalogue import AdGroup, Creative, Native, Pricing, Rule, Targeting, Thing
from app.flows.geo import Geo
from app.web.catalogue.targeting_in import TargetingIn
from tests.mmdb import write_mmdb
from tests.web.public_port import PUBLIC_URL, TOP, PublicPort, banner, placement, public_port


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PublicPort]:
    with public_port(tmp_path_factory.mktemp("ads")) as port:
        yield port


def test_an_answer_is_shaped_as_documented(port: PublicPort) -> None:
    body = {
        "request_id": "r-1",
        "placements": [
            {
                "name": "top", "placement_id": "plc-1", "sizes": ["320x50"], "formats": ["banner"],
                "count": 1, "floor_cpm": 500,
            },
            {"name": "side", "placement_id": "plc-1", "sizes": ["300x250"]},
        ],
        "user": {
            "id": "u-1", "gender": "F", "age": 27, "region": "KR-11", "interests": ["travel"],
            "segments": ["s-9"],
        },
        "context": {
            "url": "https://news.example/1", "site_category": ["IAB12"], "device": "mobile", "os": "ios",
            "ip": "192.0.2.1", "user_agent": "Mozilla/5.0", "keys": {"team": "red", "rank": 3, "x": ["a", 1]},
        },
        "blocked": {"categories": [], "advertisers": [], "creatives": []},
        "consent": {"gdpr": False, "personal": True},
        "tmax_ms": 60_000, "explain": False, "at": None,
    }  # fmt: skip
    answer = port.post("/v1/ads", body)
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    said = answer.json()
    assert list(said) == ["request_id", "decisions", "no_ad", "personal"]
    used = ["id", "gender", "age", "region", "interests", "segments"]
    assert said["personal"] == {"used": used, "withheld": None}
    assert said["request_id"] == "r-1"
    assert said["no_ad"] == {"side": {"code": "size", "reasons": {"size": 6}}}
    (decision,) = said["decisions"]["top"]
    assert set(decision) == {
        "decision_id", "ad_index", "advertiser_id", "campaign_id", "ad_group_id", "creative_id", "ad",
        "pricing", "pctr", "impression_url", "click_url", "dismiss_url", "tokens",
    }  # fmt: skip
    # g-1 bids 1,950 a click at the prior CTR of 1 %, g-2 19,498 per 1,000 shown: 19,498 / (1,000 x 0.01).
    assert decision["pricing"] == {
        "kind": "cpc", "bid": 1950, "price": 1949.8, "ecpm": 19500, "currency": "KRW"
    }  # fmt: skip
    assert (decision["ad_group_id"], decision["campaign_id"], decision["advertiser_id"]) == (
        "g-1", "c-1", "adv-1",
    )  # fmt: skip
    assert decision["ad_index"] == 0
    assert decision["pctr"] == pytest.approx(0.01, abs=1e-9)
    assert {key: decision["ad"][key] for key in ("format", "width", "height")} == {
        "format": "banner", "width": 320, "height": 50,
    }  # fmt: skip
    assert decision["impression_url"] in decision["ad"]["markup"]


def test_urls_start_with_the_public_url_and_end_in_the_tokens(port: PublicPort) -> None:
    answer = port.post("/v1/ads", {"placements": [TOP]}, {"host": "evil.example"})
    (decision,) = answer.json()["decisions"]["top"]
    tokens = decision["tokens"]
    assert set(tokens) == {"impression", "click", "conversion", "dismissal"}
    assert decision["impression_url"] == f"{PUBLIC_URL}/i/{tokens['impression']}"
    assert decision["click_url"] == f"{PUBLIC_URL}/c/{tokens['click']}"
    assert decision["dismiss_url"] == f"{PUBLIC_URL}/x/{tokens['dismissal']}"
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+", token) for token in tokens.values())
    assert b"evil.example" not in answer.body


def test_each_placement_has_one_decision_id_and_each_ad_a_place(port: PublicPort) -> None:
    answer = port.ads({**TOP, "count": 3}, {"name": "below", "placement_id": "plc-2", "count": 20}).json()
    top, below = answer["decisions"]["top"], answer["decisions"]["below"]
    assert [ad["ad_index"] for ad in top] == [0, 1, 2]
    assert len({ad["decision_id"] for ad in top}) == 1
    assert {ad["decision_id"] for ad in top}.isdisjoint(ad["decision_id"] for ad in below)
    shown = [ad["creative_id"] for ad in top + below]
    assert sorted(shown) == [f"cr-{group}-{place}" for group in (1, 2, 3) for place in (1, 2)]


#    placements (over TOP)                       code, reasons                        why
NO_AD: list[tuple[dict[str, Any], str, dict[str, int], str]] = [
    ({"placement_id": "plc-none"}, "unknown_placement", {}, "nothing of that name"),
    ({"sizes": ["300x250", "320x51"]}, "size", {"size": 6}, "none of these sizes"),
    ({"formats": ["video"]}, "format", {"format": 6}, "the placement takes banners alone"),
    ({"floor_cpm": 19_500.000001}, "below_floor", {"below_floor": 6}, "a micro above the best"),
]


@pytest.mark.parametrize(("changed", "code", "reasons", "why"), NO_AD)
def test_no_ad_says_what_took_them(
    port: PublicPort, changed: dict[str, Any], code: str, reasons: dict[str, int], why: str
) -> None:
    answer = port.ads({**TOP, **changed})
    assert answer.status == 200, why
    assert answer.json()["decisions"] == {}
    assert answer.json()["no_ad"] == {"top": {"code": code, "reasons": reasons}}, why


#    what narrows                                      winner's group, or None   why
NARROWED: list[tuple[dict[str, Any], str | None, str]] = [
    ({"blocked": {"categories": ["IAB20"]}}, None, "the advertiser's category"),
    ({"blocked": {"categories": ["IAB2"]}}, "g-1", "IAB2 is no parent of IAB20"),
    ({"blocked": {"advertisers": ["adv-1"]}}, None, "by id"),
    ({"blocked": {"advertisers": ["shop.example"]}}, None, "by domain"),
    ({"blocked": {"creatives": ["cr-1-1", "cr-1-2"]}}, "g-2", "the second group's turn"),
    ({"blocked": {"categories": [], "advertisers": [], "creatives": []}}, "g-1", "nothing blocked"),
    ({"blocked": None, "user": None, "context": None, "consent": None}, "g-1", "null is absent"),
]


@pytest.mark.parametrize(("more", "group", "why"), NARROWED)
def test_blocks(port: PublicPort, more: dict[str, Any], group: str | None, why: str) -> None:
    said = port.ads(**more).json()
    winners = [ad["ad_group_id"] for ad in said["decisions"].get("top", [])]
    assert winners == ([group] if group else []), (why, said)


def test_the_floor_itself_is_enough_and_sets_the_price(port: PublicPort) -> None:
    (decision,) = port.ads({**TOP, "floor_cpm": 19_499.5}).json()["decisions"]["top"]
    assert decision["pricing"]["price"] == 1949.95  # the floor over the rival: 19,499.5 / 10


@pytest.mark.parametrize("floor", [0, 0.000001, "500.25", 500.0, 1e3, None])
def test_floors_are_decimals(port: PublicPort, floor: Any) -> None:
    assert port.ads({**TOP, "floor_cpm": floor}).json()["decisions"]["top"]


def test_unknown_fields_are_tolerated_everywhere(port: PublicPort) -> None:
    odd = {"odd": {"deep": [1, None]}}
    answer = port.ads({**TOP, **odd}, user=odd, context=odd, blocked=odd, consent=odd, **odd)
    assert answer.status == 200
    assert answer.json()["decisions"]["top"]


def test_only_name_and_placement_are_required(port: PublicPort) -> None:
    answer = port.post("/v1/ads", {"placements": [TOP]})
    assert answer.status == 200
    assert isinstance(answer.json()["request_id"], str)


def test_a_body_needs_no_content_type(port: PublicPort) -> None:
    assert port.post("/v1/ads", {"placements": [TOP]}, {}).status == 200


def many(count: int) -> list[dict[str, str]]:
    return [{"name": f"n-{number}", "placement_id": "plc-1"} for number in range(count)]


#    body, status, code, field, why
REFUSED: list[tuple[Any, int, str, str | None, str]] = [
    (b"", 400, "not_json", None, "nothing"),
    (b"{", 400, "not_json", None, "cut short"),
    (b'{"placements":[]} x', 400, "not_json", None, "more behind it"),
    (b'{"request_id":"\xff","placements":[]}', 400, "not_json", None, "not UTF-8"),
    (b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400, "not_json", None, "nested beyond reason"),
    (b"null", 422, "invalid", None, "JSON, but no object"),
    (b"[]", 422, "invalid", None, "JSON, but no object"),
    ({}, 422, "invalid", "placements", "required"),
    ({"placements": []}, 422, "invalid", "placements", "at least one"),
    ({"placements": many(21)}, 422, "invalid", "placements", "at most twenty"),
    ({"placements": {}}, 422, "invalid", "placements", "a list"),
    ({"placements": [{"placement_id": "plc-1"}]}, 422, "invalid", "placements[0].name", "required"),
    ({"placements": [TOP, {"name": "a"}]}, 422, "invalid", "placements[1].placement_id", "required"),
    ({"placements": [{**TOP, "name": ""}]}, 422, "invalid", "placements[0].name", "empty"),
    ({"placements": [{**TOP, "placement_id": "a b"}]}, 422, "invalid", "placements[0].placement_id", "no id"),
    ({"placements": [{**TOP, "count": 0}]}, 422, "invalid", "placements[0].count", "1-20"),
    ({"placements": [{**TOP, "count": 21}]}, 422, "invalid", "placements[0].count", "1-20"),
    ({"placements": [{**TOP, "count": "3"}]}, 422, "invalid", "placements[0].count", "a number"),
    ({"placements": [{**TOP, "count": 1.5}]}, 422, "invalid", "placements[0].count", "whole"),
    ({"placements": [{**TOP, "sizes": ["320x50", "320*50"]}]}, 422, "invalid", "placements[0].sizes[1]", "x"),
    ({"placements": [{**TOP, "sizes": ["0x50"]}]}, 422, "invalid", "placements[0].sizes[0]", "no width"),
    ({"placements": [TOP, {**TOP, "name": "b", "sizes": ["x"]}]}, 422, "invalid", "placements[1].sizes[0]",
     "the second placement's first size"),
    ({"placements": [{**TOP, "formats": ["x"]}]}, 422, "invalid", "placements[0].formats[0]", "unknown"),
    ({"placements": [{**TOP, "floor_cpm": -1}]}, 422, "invalid", "placements[0].floor_cpm", "negative"),
    ({"placements": [{**TOP, "floor_cpm": 0.0000001}]}, 422, "invalid", "placements[0].floor_cpm", "digits"),
    ({"placements": [{**TOP, "floor_cpm": "NaN"}]}, 422, "invalid", "placements[0].floor_cpm", "no number"),
    ({"placements": [{**TOP, "floor_cpm": "1e999999"}]}, 422, "invalid", "placements[0].floor_cpm", "large"),
    ({"placements": [{**TOP, "floor_cpm": "1e-999999"}]}, 422, "invalid", "placements[0].floor_cpm", "small"),
    ({"placements": [{**TOP, "floor_cpm": 1e12}]}, 422, "invalid", "placements[0].floor_cpm", "too large"),
    ({"placements": [TOP, TOP]}, 422, "duplicate_name", "placements[1].name", "names are unique"),
    ({"placements": [TOP], "request_id": "r" * 257}, 422, "invalid", "request_id", "too long"),
    ({"placements": [TOP], "user": {"age": -1}}, 422, "invalid", "user.age", "no age"),
    ({"placements": [TOP], "user": {"age": "27"}}, 422, "invalid", "user.age", "a number"),
    ({"placements": [TOP], "user": {"interests": "travel"}}, 422, "invalid", "user.interests", "a list"),
    ({"placements": [TOP], "user": {"segments": [1]}}, 422, "invalid", "user.segments[0]", "texts"),
    ({"placements": [TOP], "tmax_ms": -1}, 422, "invalid", "tmax_ms", "negative"),
    ({"placements": [TOP], "explain": True}, 403, "admin_door_only", "explain", "the other port's"),
    ({"placements": [TOP], "at": "2026-01-01T00:00:00Z"}, 403, "admin_door_only", "at", "the other port's"),
    ({"placements": [TOP, TOP], "explain": True}, 403, "admin_door_only", "explain", "before the names"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "status", "code", "field", "why"), REFUSED)
def test_refusals_name_the_field(
    port: PublicPort, body: Any, status: int, code: str, field: str | None, why: str
) -> None:
    answer = port.post("/v1/ads", body)
    assert answer.status == status, (why, answer.body[:200])
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert set(problem) == {"type", "title", "status", "detail", "code", "field", "errors"}
    assert (problem["status"], problem["code"], problem["field"]) == (status, code, field), why
    if status == 422 and code == "invalid" and field is not None:
        assert [error["field"] for error in problem["errors"]] == [field]
        assert all(set(error) == {"field", "code", "message"} for error in problem["errors"])


def test_twenty_placements_and_twenty_ads_each_are_fine(port: PublicPort) -> None:
    said = port.ads(*({**one, "count": 20} for one in many(20))).json()
    assert set(said["decisions"]) | set(said["no_ad"]) == {f"n-{number}" for number in range(20)}
    assert not set(said["decisions"]) & set(said["no_ad"])
    assert said["no_ad"]["n-19"] == {"code": "same_creative", "reasons": {"same_creative": 6}}


def test_a_huge_key_value_spoils_nothing(port: PublicPort) -> None:
    """Once it ended the thread that keeps decisions: then nothing could be traced any more."""
    answer = port.ads(context={"keys": {"huge": 10**30, "odd": [-(10**30), 1.5]}})
    assert answer.status in {200, 422}
    after = port.ad()
    port.node.decisions.flush()
    assert port.node.decisions.get(ids.from_text(after["decision_id"])) is not None


def test_pctr_keeps_its_digits(tmp_path: Path) -> None:
    """On a port of its own: what it learns would decide auctions of tests that other workers run after it."""
    with public_port(tmp_path) as port:
        ad = port.ad()
        assert port.report({"token": ad["tokens"]["impression"], "kind": "impression"})[0]["learned"]
        text = port.ads().body.decode()
    (digits,) = re.findall(r'"pctr":0\.0*([0-9]+)', text)
    assert len(digits) >= 9, text


def test_personal_features_need_consent(tmp_path: Path) -> None:
    """An ad group that wants women is offered only where gender may be used."""
    women = Targeting(gender=Rule(include=("F",)))
    bid = Pricing(kind="cpm", bid_micros=90_000_000_000)
    #    consent                                  her ad wins   why
    cases: list[tuple[Any, bool, str]] = [
        (None, True, "without consent they are allowed"),
        ({}, True, "GDPR does not apply, nothing refused"),
        ({"gdpr": False, "personal": None}, True, "nothing refused"),
        ({"gdpr": False, "personal": True}, True, "allowed"),
        ({"gdpr": True, "personal": True}, True, "asked and allowed"),
        ({"gdpr": False, "personal": False}, False, "refused"),
        ({"gdpr": True, "personal": False}, False, "refused"),
        ({"gdpr": True}, False, "where GDPR applies silence is no consent"),
        ({"gdpr": True, "personal": None}, False, "where GDPR applies silence is no consent"),
    ]
    with public_port(tmp_path) as port:
        port.register(
            AdGroup(id="g-w", campaign_id="c-1", pricing=bid, targeting=women), banner("cr-w", "g-w")
        )
        for consent, wins, why in cases:
            said = port.ads(user={"gender": "F"}, consent=consent).json()
            assert (said["decisions"]["top"][0]["creative_id"] == "cr-w") == wins, why


def test_what_the_ad_holds_by_format(tmp_path: Path) -> None:
    """A native ad gives its parts, a video its VAST document and length."""
    native = Native(title="Title", body="Body", image_url="https://cdn.example/m", image_width=1200)
    things: list[Thing] = [
        placement("plc-native", sizes=(), formats=("native",)),
        placement("plc-video", sizes=(), formats=("video",)),
        Creative(
            id="cr-n", ad_group_id="g-1", format="native", landing_url="https://shop.example/", native=native
        ),
        Creative(
            id="cr-v", ad_group_id="g-1", format="video", landing_url="https://shop.example/", duration_s=15,
            markup="<VAST><Impression>{impression_url}</Impression></VAST>",
        ),
    ]  # fmt: skip
    with public_port(tmp_path) as port:
        port.register(*things)
        assert port.ad("plc-native")["ad"] == {
            "format": "native",
            "native": {
                "title": "Title", "body": "Body", "image_url": "https://cdn.example/m", "image_width": 1200,
            },
        }  # fmt: skip
        video = port.ad("plc-video")
        assert video["ad"] == {
            "format": "video", "duration_s": 15,
            "markup": f"<VAST><Impression>{video['impression_url']}</Impression></VAST>",
        }  # fmt: skip


# Deals.


def deal_things() -> list[Thing]:
    """An ad of deal d-1 at 12,000 won beside the small catalogue's."""
    pricing = Pricing(kind="cpm", bid_micros=12_000 * 10**6)
    targeting = Targeting(deal=Rule(include=("d-1",)))
    return [
        AdGroup(id="g-deal", campaign_id="c-1", pricing=pricing, targeting=targeting),
        banner("cr-deal", "g-deal"),
    ]


def test_deals_in_our_own_words(tmp_path: Path) -> None:
    with public_port(tmp_path, rates={"USD": 1_350_000_000}) as port:
        port.register(*deal_things())

        def sold(**asked: Any) -> Any:
            answer = port.ads({**TOP, **asked}).json()
            ads = answer["decisions"].get("top", [])
            return [(ad["ad_group_id"], ad.get("deal_id"), ad["pricing"]["price"]) for ad in ads]

        assert [group for group, _, _ in sold()] == ["g-1"]
        open_, dealt = sold(deals=[{"id": "d-1"}])
        assert (open_[0], open_[1], dealt) == ("g-1", None, ("g-deal", "d-1", 0))
        assert sold(deals=[{"id": "d-1"}], private_auction=True) == [("g-deal", "d-1", 0)]
        # A thousand impressions at 5 dollars or 7,000 won: one is a thousandth.
        assert sold(deals=[{"id": "d-1", "floor_cpm": 5, "currency": "USD", "at": 3}])[1][2] == 6.75
        assert sold(deals=[{"id": "d-1", "floor_cpm": 7000, "currency": "KRW"}])[1][2] == 7
        assert len(sold(deals=[{"id": "d-1", "floor_cpm": 12_000.01}])) == 1
        assert len(sold(deals=[{"id": "d-1", "seats": ["s-1"]}])) == 1
        assert len(sold(deals=[{"id": "d-1", "advertisers": ["shop.example"]}])) == 2
        answer = port.ads(
            {**TOP, "deals": [{"id": "d-1", "floor_cpm": 12_001}], "private_auction": True}
        ).json()
        assert answer["no_ad"]["top"] == {"code": "deal", "reasons": {"deal": 6, "below_deal_floor": 1}}


@pytest.mark.parametrize(
    ("deal", "field"),
    [
        ({}, "id"),
        ({"id": ""}, "id"),
        ({"id": "d", "floor_cpm": -1}, "floor_cpm"),
        ({"id": "d", "floor_cpm": 1, "currency": "JPY"}, "currency"),
        ({"id": "d", "currency": "won"}, "currency"),
        ({"id": "d", "at": 4}, "at"),
    ],
)
def test_a_deal_that_does_not_fit_is_refused_by_its_field(
    port: PublicPort, deal: dict[str, Any], field: str
) -> None:
    answer = port.ads({**TOP, "deals": [deal]})
    assert answer.status == 422
    said = answer.json()["field"]
    assert said.split(".")[-1] == field


def test_context_is_matched_by_browser_site_app_and_keyword(tmp_path: Path) -> None:
    """Told, from hints, from the user agent or from the URL: each as an ad group may target it."""
    edge = (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
        "Chrome/126.0 Safari/537.36 Edg/126.0"
    )
    whale = {"browsers": [{"brand": "Chromium"}, {"brand": "Whale"}]}
    # targeting context user fits
    cases: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any], bool]] = [
        ({"browser": ["edge"]}, {"user_agent": edge}, {}, True),
        ({"browser": ["edge"]}, {"user_agent": edge, "sua": whale}, {}, False),
        ({"browser": ["Whale"]}, {"user_agent": edge, "sua": whale}, {}, True),
        ({"browser": ["ie"]}, {"browser": "IE", "sua": whale}, {}, True),
        ({"site": ["news.example"]}, {"url": "https://m.News.example:8080/a?b=c"}, {}, True),
        ({"site": ["news.example"]}, {"url": "https://news.example/", "site": "o.example"}, {}, False),
        ({"app": ["Com.Baduk"]}, {"app": "com.baduk"}, {}, True),
        ({"app": {"exclude": ["com.baduk"]}}, {"app": "com.baduk"}, {}, False),
        ({"keyword": ["Baduk"]}, {"keywords": [" baduk "]}, {}, True),
        ({"keyword": ["baduk"]}, {}, {"keywords": ["BADUK"]}, True),
        ({"keyword": ["baduk"]}, {}, {"interests": ["baduk"]}, False),
    ]  # fmt: skip
    with public_port(tmp_path) as port:
        group = port.node.state.catalogue.things["ad_group"]["g-1"]
        for targeting, context, user, fits in cases:
            wanted = TargetingIn.model_validate(targeting).to_domain()
            port.register(msgspec.structs.replace(group, targeting=wanted))
            place = {"name": "top", "placement_id": "plc-1", "count": 6}
            answer = port.ads(place, context=context, user=user).json()
            taken = [ad["ad_group_id"] for ad in answer["decisions"].get("top", [])]
            assert ("g-1" in taken) is fits, (targeting, context, user)


def test_an_address_is_looked_up_where_no_region_is_told(tmp_path: Path) -> None:
    file = write_mmdb(
        tmp_path / "geo.mmdb",
        {"203.0.113.0/24": {"country": {"iso_code": "KR"}, "subdivisions": [{"iso_code": "11"}]}},
    )
    #   context                       user                     consent               fits
    cases: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any] | None, bool]] = [
        ({"ip": "203.0.113.9"},        {},                      None,                 True),
        ({"ip": "203.0.113.9"},        {"region": "KR-26"},     None,                 False),
        ({"ip": "192.0.2.9"},          {},                      None,                 False),
        ({"ip": "203.0.113.9"},        {},                      {"personal": False},  False),
    ]  # fmt: skip
    with public_port(tmp_path) as port:
        port.node.geo = Geo(file)
        group = port.node.state.catalogue.things["ad_group"]["g-1"]
        port.register(msgspec.structs.replace(group, targeting=Targeting(region=Rule(include=("KR-11",)))))
        for context, user, consent, fits in cases:
            more = {"consent": consent} if consent is not None else {}
            place = {"name": "top", "placement_id": "plc-1", "count": 6}
            answer = port.ads(place, context=context, user=user, **more).json()
            taken = [ad["ad_group_id"] for ad in answer["decisions"].get("top", [])]
            assert ("g-1" in taken) is fits, (context, user, consent)
