"""A key bound to one advertiser: it neither reads nor touches another's things, by any route.

Method: two advertisers with a campaign each on one node; the first one's key asks for everything. What is
another's must read like what never was.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.domain import ids
from app.domain.catalogue import AdGroup, Advertiser, Audience, Campaign, Creative, Pricing
from app.domain.keys import SCOPES
from app.domain.lines import key_of
from app.flows.keys import make_key
from app.web.admin.app import admin_app
from app.web.admin.auth import key_hash
from app.web.ads import AdsDoor
from app.web.links import Links
from app.web.tokens import KINDS, Tokens
from tests.node import Answer, Server, ask_for, decide, send, serving, small_catalogue, tick
from tests.web.admin.conftest import HEADERS, KEY

WON = 1_000_000
OTHERS = [
    Audience(id="aud-1", advertiser_id="adv-1"),
    Advertiser(id="adv-2", name="Rival", domain="rival.example"),
    Audience(id="aud-2", advertiser_id="adv-2"),
    Campaign(id="c-2", advertiser_id="adv-2"),
    AdGroup(id="h-1", campaign_id="c-2", pricing=Pricing(kind="cpc", bid_micros=1_500 * WON)),
    Creative(
        id="hr-1", ad_group_id="h-1", format="banner", width=320, height=50,
        landing_url="https://rival.example/", markup="<b>rival</b>",
    ),
]  # fmt: skip
KINDS_OF = {"advertisers": ("adv-1", "adv-2"), "campaigns": ("c-1", "c-2"), "ad-groups": ("g-1", "h-1"),
            "creatives": ("cr-1-1", "hr-1"), "audiences": ("aud-1", "aud-2")}  # fmt: skip


class Bound:
    """A served node, asked by the holder of a key that is bound to adv-1."""

    def __init__(self, server: Server, key: str) -> None:
        self.server = server
        self.headers = {"Authorization": f"Bearer {key}"}

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        return self.server.ask(method, path, body, {**self.headers, **headers})

    def get(self, path: str) -> Answer:
        return self.ask("GET", path)


@pytest.fixture(scope="module")
def bound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bound]:
    def make(node: Any) -> Any:
        tokens = Tokens([bytes(32)], dict.fromkeys(KINDS, 86_400), bytes(8))
        ads = AdsDoor(node, Links("http://127.0.0.1:1", tokens), tokens, admin=True)
        return admin_app(node, admin_key_hash=key_hash(KEY), ads_door=ads)

    folder: Path = tmp_path_factory.mktemp("node")
    with serving(folder, make, HEADERS, things=[*small_catalogue(), *OTHERS]) as server:
        _, text = server.run(make_key(server.node, "adv-1", SCOPES, ("adv-1",)))
        yield Bound(server, text)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_the_members_of_anothers_audience_are_not_there(bound: Bound, method: str) -> None:
    own, others = (bound.ask(method, f"/v1/audiences/{each}/members", b"u-1") for each in ("aud-1", "aud-2"))
    assert (own.status in (200, 204), others.status) == (True, 404)


@pytest.mark.parametrize("kind", KINDS_OF)
def test_another_s_thing_reads_like_none(bound: Bound, kind: str) -> None:
    own, other = KINDS_OF[kind]
    assert bound.get(f"/v1/{kind}/{own}").status == 200
    hidden, absent = bound.get(f"/v1/{kind}/{other}"), bound.get(f"/v1/{kind}/absent")
    assert hidden.status == absent.status == 404
    assert hidden.body.replace(other.encode(), b"absent") == absent.body
    listed = [item["id"] for item in bound.get(f"/v1/{kind}?limit=1000").json()["items"]]
    assert own in listed
    assert other not in listed


@pytest.mark.parametrize("kind", KINDS_OF)
@pytest.mark.parametrize("match", [None, "*", '"1"', '"99"'])
def test_another_s_thing_cannot_be_touched(bound: Bound, kind: str, match: str | None) -> None:
    _, other = KINDS_OF[kind]
    headers = {"If-Match": match} if match else {}
    document = bound.server.get(f"/v1/{kind}/{other}").json()
    for method, body in (
        ("PUT", {**document, "name": "taken"}),
        ("PATCH", {"name": "taken"}),
        ("DELETE", None),
    ):
        answer = bound.ask(method, f"/v1/{kind}/{other}", body, **headers)
        assert (answer.status, answer.json()["code"]) == (404, "not_found"), (method, match)
    assert bound.server.get(f"/v1/{kind}/{other}").json() == document


def test_pages_of_a_bound_key_hold_own_things_alone(bound: Bound) -> None:
    found, cursor = [], ""
    while cursor is not None:
        page = bound.get(f"/v1/creatives?limit=2&cursor={cursor}").json()
        found += [item["id"] for item in page["items"]]
        cursor = page["next"]
    assert found == [f"cr-{group}-{place}" for group in (1, 2, 3) for place in (1, 2)]


#   path                 body                                                          status, code
NEW: list[tuple[str, dict[str, Any], int, str]] = [
    ("/v1/campaigns",  {"advertiser_id": "adv-2"},                                     422, "unknown_parent"),
    ("/v1/ad-groups",  {"campaign_id": "c-2", "pricing": {"kind": "cpc", "bid": 1}},   422, "unknown_parent"),
    ("/v1/creatives",  {"ad_group_id": "h-1", "format": "banner", "width": 1, "height": 1,
                        "landing_url": "https://a.example/"},                          422, "unknown_parent"),
    ("/v1/campaigns",  {"advertiser_id": "absent"},                                    422, "unknown_parent"),
    ("/v1/advertisers", {"id": "adv-3"},                                               404, "not_found"),
    ("/v1/publishers", {"id": "pub-3"},                                                403, "out_of_scope"),
    ("/v1/placements", {"id": "plc-3", "publisher_id": "pub-1"},                       403, "out_of_scope"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body", "status", "code"), NEW)
def test_nothing_new_under_another(
    bound: Bound, path: str, body: dict[str, Any], status: int, code: str
) -> None:
    position = bound.server.node.state.position
    answer = bound.ask("POST", path, body)
    assert (answer.status, answer.json()["code"]) == (status, code)
    assert bound.server.node.state.position == position


def test_own_things_can_be_made_and_changed(bound: Bound) -> None:
    made = bound.ask("POST", "/v1/campaigns", {"id": "c-own", "advertiser_id": "adv-1"})
    assert made.status == 201
    changed = bound.ask(
        "PATCH", "/v1/campaigns/c-own", {"name": "mine"}, **{"If-Match": made.headers["etag"]}
    )
    assert (changed.status, changed.json()["name"]) == (200, "mine")
    assert bound.ask("DELETE", "/v1/campaigns/c-own", None, **{"If-Match": "*"}).status == 204


def test_what_belongs_to_no_advertiser_is_not_there(bound: Bound) -> None:
    for kind, identity in (("publishers", "pub-1"), ("placements", "plc-1")):
        assert bound.get(f"/v1/{kind}").json() == {"items": [], "next": None}
        assert bound.get(f"/v1/{kind}/{identity}").status == 404
        answer = bound.ask(
            "PUT", f"/v1/{kind}/{identity}", {"publisher_id": "pub-1"} if kind == "placements" else {}
        )
        assert answer.status == 404


def test_an_import_takes_own_lines_alone(bound: Bound) -> None:
    lines: list[tuple[dict[str, Any], str, str | None]] = [
        ({"type": "advertiser", "id": "adv-1", "name": "Shop", "domain": "shop.example", "category": "IAB20"},
         "unchanged", None),
        ({"type": "advertiser", "id": "adv-2", "name": "taken"}, "refused", "not_found"),
        ({"type": "campaign", "id": "c-imported", "advertiser_id": "adv-1"}, "created", None),
        ({"type": "campaign", "id": "c-2", "advertiser_id": "adv-2", "name": "x"}, "refused", "not_found"),
        ({"type": "campaign", "id": "c-2", "advertiser_id": "adv-1", "name": "x"}, "refused", "not_found"),
        ({"type": "campaign", "id": "c-new", "advertiser_id": "adv-2"}, "refused", "unknown_parent"),
        ({"type": "publisher", "id": "pub-1", "name": "taken"}, "refused", "out_of_scope"),
    ]  # fmt: skip
    body = "\n".join(json.dumps(line) for line, _, _ in lines).encode()
    answer = bound.ask("POST", "/v1/import", body).json()
    told = [(line["status"], line["code"]) for line in answer["lines"]]
    assert told == [(status, code) for _, status, code in lines]
    assert bound.server.get("/v1/campaigns/c-2").json()["name"] == ""


def test_an_export_holds_own_things_alone(bound: Bound) -> None:
    lines = [json.loads(line) for line in bound.get("/v1/export").body.splitlines()]
    assert {line["type"] for line in lines} == {"advertiser", "audience", "campaign", "ad_group", "creative"}
    text = json.dumps(lines)
    assert "cr-1-1" in text
    for other in ("adv-2", "c-2", "h-1", "hr-1", "rival", "plc-1"):
        assert f'"{other}"' not in text


async def _events(server: Server) -> tuple[str, str]:
    """Have an own ad and the rival's shown and clicked; tells the event ids of both impressions."""
    served = decide(server.node, ask_for("plc-1", count=20, request_id="both"))
    own = next(ad for ad in served.ads if ad.creative_id.startswith("cr-1"))
    other = next(ad for ad in served.ads if ad.creative_id == "hr-1")
    for ad in (own, other):
        await send(server.node, "impression", ad)
        await send(server.node, "click", ad)
    await tick(server.node)
    return tuple(ids.to_text(ids.event_id(key_of(ad), "impression")) for ad in (own, other))  # type: ignore[return-value] # two


def test_reports_add_up_own_ads_alone(bound: Bound) -> None:
    bound.server.run(_events(bound.server))
    for by in ("advertiser", "campaign", "creative", "placement", "hour", ""):
        everything = bound.server.get(f"/v1/reports?by={by}").json()
        own = bound.get(f"/v1/reports?by={by}").json()
        assert own["totals"]["clicks"] < everything["totals"]["clicks"], by
        assert own["totals"]["clicks"] > 0
        assert own["totals"]["requests"] is None, "a request is nobody's"
    rows = bound.get("/v1/reports?by=advertiser").json()["rows"]
    assert [row["advertiser"] for row in rows] == ["adv-1"]
    assert b"adv-2" not in bound.get("/v1/reports?by=advertiser,creative&format=csv").body


def test_a_decision_tells_a_bound_key_of_its_own_ads_alone(bound: Bound) -> None:
    both = decide(bound.server.node, ask_for("plc-1", count=20, request_id="seen"))
    text = ids.to_text(both.choice.placed[0].decision_id)
    whole = bound.server.get(f"/v1/decisions/{text}").json()
    assert "hr-1" in [ad["creative_id"] for ad in whole["placements"][0]["ads"]]
    answer = bound.get(f"/v1/decisions/{text}")
    assert answer.status == 200
    told = answer.json()
    assert {ad["advertiser_id"] for ad in told["placements"][0]["ads"]} == {"adv-1"}
    assert (told["placements"][0]["reasons"], told["placements"][0]["rows"]) == ([], [])
    assert all(ad["pricing"]["rival_creative_id"] is None for ad in told["placements"][0]["ads"])
    assert told["request"] == {"request_id": "seen"}
    for other in (b"adv-2", b"c-2", b"h-1", b"hr-1"):
        assert other not in answer.body
    listed = bound.get("/v1/decisions?request_id=seen").json()["items"]
    assert [item["placements"] for item in listed] == [told["placements"]]


def test_a_limit_counts_own_decisions_alone(bound: Bound) -> None:
    """Ten decisions without an own ad are the latest of that id; two with one lie before them."""
    node = bound.server.node
    own = [decide(node, ask_for("plc-1", count=20, request_id="often")) for _ in range(2)]
    for _ in range(10):
        decide(node, ask_for("unknown", request_id="often"))
    listed = bound.get("/v1/decisions?request_id=often&limit=2").json()["items"]
    told = [item["placements"][0]["decision_id"] for item in listed]
    assert told == [ids.to_text(each.choice.placed[0].decision_id) for each in reversed(own)]
    everything = bound.server.get("/v1/decisions?request_id=often&limit=2").json()["items"]
    assert [item["placements"][0]["no_ad"] for item in everything] == ["unknown_placement"] * 2


def test_a_decision_without_own_ads_is_not_there(bound: Bound) -> None:
    other = decide(bound.server.node, ask_for("unknown", request_id="empty"))
    text = ids.to_text(other.choice.placed[0].decision_id)
    assert bound.server.get(f"/v1/decisions/{text}").status == 200
    hidden = bound.get(f"/v1/decisions/{text}")
    assert (hidden.status, hidden.json()["code"]) == (404, "unknown_decision")
    assert bound.ask("POST", f"/v1/decisions/{text}/replay").status == 404
    assert bound.get("/v1/decisions?request_id=empty").json() == {"items": []}


def test_refunds_take_back_own_events_alone(bound: Bound) -> None:
    own, other = bound.server.run(_events(bound.server))
    results = bound.ask("POST", "/v1/refunds", {"event_ids": [other, own]}).json()["results"]
    assert [(each["status"], each["code"]) for each in results] == [
        ("refused", "unknown_event"), ("refunded", None),
    ]  # fmt: skip
    again = bound.server.ask("POST", "/v1/refunds", {"event_ids": [other]}).json()["results"]
    assert again[0]["status"] == "refunded", "it was not touched"


def test_prices_of_others_are_not_told(bound: Bound) -> None:
    asked = {"placements": [{"name": "top", "placement_id": "plc-1", "count": 20}]}
    ads = bound.ask("POST", "/v1/ads", asked).json()["decisions"]["top"]
    assert {ad["advertiser_id"] for ad in ads} == {"adv-1", "adv-2"}
    for ad in ads:
        assert ("bid" in ad["pricing"]) == (ad["advertiser_id"] == "adv-1")
    explained = bound.ask("POST", "/v1/ads", {**asked, "explain": True})
    assert (explained.status, explained.json()["code"]) == (403, "out_of_scope")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/keys"), ("POST", "/v1/keys"), ("PUT", "/v1/users/u-1"),
     ("GET", "/v1/experiments"), ("GET", "/v1/none")],
)  # fmt: skip
def test_what_has_no_view_for_one_advertiser_is_closed(bound: Bound, method: str, path: str) -> None:
    answer = bound.ask(method, path, {"name": "x", "scopes": ["admin"]} if method != "GET" else None)
    assert (answer.status, answer.json()["code"]) == (403, "out_of_scope")


@pytest.mark.parametrize("path", ["/v1/campaigns/c-2/delivery", "/v1/creatives/hr-1/quality"])
def test_what_another_s_thing_did_is_not_there(bound: Bound, path: str) -> None:
    answer = bound.get(path)
    assert (answer.status, answer.json()["code"]) == (404, "not_found")


def test_a_what_if_asks_about_own_ads_in_own_decisions(bound: Bound) -> None:
    both = decide(bound.server.node, ask_for("plc-1", count=20, request_id="if"))
    text = ids.to_text(both.choice.placed[0].decision_id)
    assert bound.get(f"/v1/decisions/{text}/what-if?creative_id=cr-1-1").status == 200
    hidden, absent = (
        bound.get(f"/v1/decisions/{text}/what-if?creative_id={one}") for one in ("hr-1", "none")
    )
    assert hidden.status == absent.status
    assert hidden.json()["code"] == absent.json()["code"]
