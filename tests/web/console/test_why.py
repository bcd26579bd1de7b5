"""Why this ad: looked up, tried, weighed, replayed and asked what-if; as everybody and as one advertiser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.domain.catalogue import Advertiser
from app.domain.decisions import REASONS
from app.domain.ids import to_text
from app.domain.requests import Person
from app.flows.node import Node
from app.web.admin.app import admin_app
from app.web.admin.auth import key_hash
from app.web.ads import AdsDoor
from app.web.console.auction import funnel_of, price_sentence
from app.web.links import Links
from app.web.tokens import KINDS, Tokens
from tests.node import Answer, Served, Server, ask_for, decide, send, serving, small_catalogue, tick
from tests.web.console.browser import KEY, Browser, key_for, log_in

OTHER = Advertiser(id="adv-2", name="Other", domain="other.example")
HOSTILE = Person(region="<b>KR", interests=("<script>alert(1)</script>",))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    def app(node: Node) -> Any:
        tokens = Tokens([bytes(32)], dict.fromkeys(KINDS, 86_400), bytes(8))
        door = AdsDoor(node, Links("http://127.0.0.1:1", tokens), tokens, admin=True)
        return admin_app(node, admin_key_hash=key_hash(KEY), ads_door=door)

    folder: Path = tmp_path_factory.mktemp("node")
    headers = {"Authorization": f"Bearer {KEY}"}
    with serving(folder, app, headers, things=[*small_catalogue(), OTHER]) as server:
        yield server


def decided(server: Server, *placements: str, **options: Any) -> Served:
    async def work() -> Served:
        served = decide(server.node, ask_for(*placements, **options))
        for ad in served.ads[:1]:
            await send(server.node, "impression", ad)
            await send(server.node, "click", ad)
        await tick(server.node)
        return served

    return server.run(work())


def path_of(served: Served, at: int = 0) -> str:
    return "/console/why/" + to_text(served.choice.placed[at].decision_id)


def try_out(browser: Browser, fields: dict[str, str]) -> Answer:
    return browser.post("/console/why/try", {"csrf": browser.csrf, **fields})


def plain_text(text: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", text)).split())


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        ({"kind": "cpa", "ecpm": 10, "price": 400, "pctr": 0.01, "pcvr": 0.002, "rival_score": 8.0},
         "won with eCPM 10; the rival's 8 sets the price: 8 / (0.01 × 0.002 × 1,000) = 400 KRW a conversion"),
        ({"kind": "cpc", "ecpm": 34, "price": 1.25, "pctr": 0.016, "pcvr": None, "rival_score": 30.0,
          "quality": 1.5},
         "won with eCPM 34; the rival's score of 30 over this ad's quality of 1.5 sets the price: "
         "30 / (0.016 × 1,000 × 1.5) = 1.25 KRW a click"),
        ({"kind": "cpc", "ecpm": 34, "price": 0.000001, "pctr": 0.016, "pcvr": None},
         "won with eCPM 34; there is neither a rival nor a floor, so it pays the least there is: "
         "0.000001 KRW a click"),
        ({"kind": "cpm", "ecpm": 34, "price": 34, "pctr": 0.016, "pcvr": None, "rival_score": 34.0,
          "bid": 34.0},
         "won with eCPM 34; the rival's 34 sets the price: 34 KRW per 1,000 impressions, all that it bid"),
        ({"kind": "cpm", "ecpm": 34, "price": 20, "pctr": 0.016, "pcvr": None, "floor": 20.0, "deal": "d-1"},
         "won by deal d-1 with eCPM 34; no rival comes near, the floor of 20 sets the price: "
         "20 KRW per 1,000 impressions"),
    ],
)  # fmt: skip
def test_a_price_is_a_sentence(told: dict[str, Any], sentence: str) -> None:
    assert price_sentence(**told, currency="KRW") == sentence


def test_a_funnel_is_in_the_order_of_the_checks() -> None:
    steps = funnel_of(dict.fromkeys(reversed([*REASONS][1:]), 1), 2)
    assert [step.code for step in steps] == [*REASONS][1:]
    assert (steps[0].of, steps[-1].left) == (len(steps) + 2, 2)


def test_a_decision_is_looked_up_by_its_id_and_its_request(server: Server) -> None:
    admin = log_in(server, KEY)
    served = decided(server, "plc-1", request_id="only-one")
    identity = path_of(served).rpartition("/")[2]
    for sought in (identity, f"{identity}-0", "only-one"):
        answer = admin.get(f"/console/why?q={sought}")
        assert (answer.status, answer.headers["location"]) == (303, path_of(served))
    decided(server, "plc-2", request_id="only-one")
    assert admin.text("/console/why?q=only-one").count("/console/why/00") == 2
    missing = admin.get("/console/why?q=%3Cscript%3E")
    assert missing.status == 404
    assert b"unknown_decision" in missing.body
    assert b"<script>" not in missing.body.partition(b"<main")[2]
    assert admin.get("/console/why/nonsense").status == 404


def test_a_decision_says_who_won_and_at_what_price(server: Server) -> None:
    admin = log_in(server, KEY)
    served = decided(server, "plc-1", "nowhere", request_id="<i>why", person=HOSTILE)
    win = served.choice.placed[0].wins[0]
    page = admin.text(path_of(served))
    text = plain_text(page)
    assert f"{win.creative_id} won with eCPM" in text
    assert "the rival's" in text
    assert f"= {win.price_micros / 1e6:,.2f} KRW a click" in text or "per 1,000 impressions" in text
    assert "<i>why" not in page
    assert "<script>alert" not in page
    events = admin.csv(path_of(served) + "?csv=events")
    assert [row[1] for row in events[1:]] == ["impression", "click"]
    assert "unknown_placement" in plain_text(admin.text(path_of(served, 1)))


def test_its_auction_is_weighed_again(server: Server) -> None:
    admin = log_in(server, KEY)
    served = decided(server, "plc-1", request_id="weighed", person=Person(age=27))
    api = server.get("/v1/decisions/" + path_of(served).rpartition("/")[2]).json()
    page = admin.text(path_of(served) + "?workings=1")
    assert "came out the same, bit for bit" in plain_text(page)
    fragment = admin.text(path_of(served) + "?workings=1&live=1")
    assert "<html" not in fragment
    assert "The best candidates" in fragment
    candidates = admin.csv(path_of(served) + "?workings=1&csv=candidates-0")
    best = candidates[1]
    assert best[0] == api["placements"][0]["ads"][0]["creative_id"]
    assert best[3] == "won place 1"
    parts = admin.csv(path_of(served) + "?workings=1&csv=parts-0-0")
    assert parts[1][0] == "prior of the placement"
    total = sum(float(row[2]) for row in parts[1:] if row[0] not in {"sum", "sum, calibrated"})
    assert total == pytest.approx(next(float(row[2]) for row in parts if row[0] == "sum"), abs=1e-5)
    assert admin.csv(path_of(served) + "?workings=1&csv=budgets")[1][0] == "c-1"


def test_it_is_replayed_and_asked_what_if(server: Server) -> None:
    admin = log_in(server, KEY)
    served = decided(server, "plc-1", request_id="again")
    replayed = admin.send(path_of(served) + "/replay")
    assert replayed.status == 200
    assert "Agrees" in plain_text(replayed.body.decode())
    creative = served.choice.placed[0].wins[0].creative_id
    low = plain_text(admin.text(f"{path_of(served)}?creative_id={creative}&bid=1"))
    assert "At a bid of 1 it would not have won" in low
    assert "The least that wins is" in low
    wrong = plain_text(admin.text(f"{path_of(served)}?creative_id={creative}&bid=much"))
    assert "(invalid)" in wrong
    nobody = plain_text(admin.text(f"{path_of(served)}?creative_id=nobody"))
    assert "unknown_creative" in nobody


def test_a_request_is_tried_without_leaving_a_trace(server: Server) -> None:
    admin = log_in(server, KEY)
    admin.text("/console/why")
    before = server.node.decisions.count()
    wanted = {"placements[0].placement_id": "plc-1", "user.age": "27", "user.interests": "travel, food"}
    answer = try_out(admin, wanted)
    assert answer.status == 200, answer.body
    text = plain_text(answer.body.decode())
    assert "won with eCPM" in text
    assert "What each pCTR is made of" in text
    assert "interest:travel" in text
    nowhere = try_out(admin, {"placements[0].placement_id": "nowhere"})
    assert "unknown_placement" in plain_text(nowhere.body.decode())
    refused = try_out(admin, wanted | {"user.age": "old"})
    assert refused.status == 422
    assert 'aria-describedby="e-user.age' in refused.body.decode()
    assert 'value="old"' in refused.body.decode()
    assert try_out(admin, wanted | {"at": "soon"}).status == 422
    assert server.node.decisions.count() == before


def test_a_key_sees_what_the_api_tells_it(server: Server) -> None:
    served = decided(server, "plc-1", request_id="mine")
    blind = log_in(server, key_for(server, "ads"))
    assert blind.get("/console/why").status == 403
    teller = log_in(server, key_for(server, "reports"))
    assert "Or try a request" not in teller.text("/console/why")
    assert try_out(teller, {"placements[0].placement_id": "plc-1"}).status == 403
    own = log_in(server, key_for(server, "reports", "ads", advertisers=["adv-1"]))
    page = plain_text(own.text(path_of(served) + "?workings=1"))
    assert "won with eCPM" in page
    assert "What kept ads from winning" not in page
    assert "best candidates" not in page
    assert "Lit rows" not in page
    other = log_in(server, key_for(server, "reports", advertisers=["adv-2"]))
    assert other.get(path_of(served)).status == 404
    assert Browser(server).get(path_of(served)).status == 303


def test_an_old_decision_says_what_is_missing(server: Server) -> None:
    admin = log_in(server, KEY)
    served = decided(server, "plc-1", request_id="lost")

    async def lose() -> str:
        record = server.node.decisions.get(served.choice.placed[0].decision_id)
        if record is None:
            server.node.decisions.flush()
            record = server.node.decisions.get(served.choice.placed[0].decision_id)
        assert record is not None
        key = bytes(13) + b"\x07"
        placed = tuple(
            msgspec.structs.replace(each, decision_id=key + bytes([at]))
            for at, each in enumerate(record.choice.placed)
        )
        choice = msgspec.structs.replace(record.choice, placed=placed, position=10**6)
        server.node.decisions.put(msgspec.structs.replace(record, request_key=key, choice=choice))
        return "/console/why/" + to_text(placed[0].decision_id)

    path = server.run(lose())
    page = plain_text(admin.text(path + "?workings=1"))
    assert "too_old" in page
    assert "won with eCPM" in page, "what was kept is told all the same"


def test_a_request_is_tried_while_a_shadow_looks_on(server: Server) -> None:
    admin = log_in(server, KEY)
    wanted = {"id": "e-1", "variants": {"watch": {"share": 1.0, "shadow": True}}}
    assert server.ask("POST", "/v1/experiments", wanted).status == 201
    server.run(tick(server.node))
    served = decided(server, "plc-1", request_id="watched")
    assert served.choice.shadows
    answer = try_out(admin, {"placements[0].placement_id": "plc-1"})
    assert "won with eCPM" in plain_text(answer.body.decode())
    assert "the same, bit for bit" in plain_text(admin.text(path_of(served) + "?workings=1"))
    siblings = admin.csv(path_of(served) + "?workings=1&csv=candidates-0")
    assert {"the winner's own ad group", "sets the price", "won place 1"} <= {row[3] for row in siblings}
