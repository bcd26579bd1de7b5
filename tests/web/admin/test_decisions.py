"""Traces over HTTP: what was decided and why, what came of it, and the same decision made again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from msgspec.structs import replace as changed

from app.domain import ids
from app.domain.decisions import Record
from app.domain.ids import HOUR_MS, to_text
from app.domain.refusals import Refused
from app.domain.requests import Person
from app.flows.replaying import replay, replay_packed
from app.flows.replaying import what_if as ask_what_if
from app.flows.reporting import Asked, report, verdicts_until
from app.journal.sqlite import SqliteJournal
from app.web.admin.app import admin_app
from app.web.admin.auth import key_hash
from tests.node import Served, Server, ask_for, close_node, decide, make_node, send, serving, small_catalogue
from tests.web.admin.conftest import HEADERS, KEY


def decided(server: Server, *placements: str, **options: Any) -> Served:
    """Have the served node decide, on its own loop."""

    async def work() -> Served:
        return decide(server.node, ask_for(*placements, **options))

    return server.run(work())


def reported(server: Server, kind: str, ad: Any, **noted: Any) -> Any:
    return server.run(send(server.node, kind, ad, **noted))


def test_a_decision_in_words(server: Server) -> None:
    person = Person(region="KR-11", age=27, gender="F", interests=("travel",))
    served = decided(server, "plc-1", "plc-2", "nowhere", count=2, request_id="words-1", person=person)
    identity = to_text(served.choice.placed[1].decision_id)
    document = server.get(f"/v1/decisions/{identity}").json()
    assert document["decision_id"] == identity
    assert document["request"]["request_id"] == "words-1"
    assert document["position"] == served.choice.position
    first, second, third = document["placements"]
    assert [first["name"], second["name"], third["name"]] == ["slot-plc-1", "slot-plc-2", "slot-nowhere"]
    assert (third["no_ad"], third["ads"], third["reasons"]) == ("unknown_placement", [], [])
    win, told = served.choice.placed[0].wins[0], first["ads"][0]
    assert told["creative_id"] == win.creative_id
    assert told["pctr"] == win.pctr
    assert told["pricing"]["price"] == win.price_micros / 1e6
    assert told["pricing"]["bid"] == win.bid_micros / 1e6
    rival = server.node.state.catalogue.ads.creatives[win.rival_index]
    assert rival is not None
    assert told["pricing"]["rival_creative_id"] == rival.id
    assert {"any", "placement:plc-1", "publisher:pub-1", "region:KR-11", "age_band:25-29", "gender:F",
            "gender_age:F,25-29", "interest:travel"} <= set(first["rows"])  # fmt: skip
    assert {each["code"]: each["count"] for each in first["reasons"]} == served.choice.placed[0].reasons
    assert all(each["why"] for each in first["reasons"])
    assert "placement:plc-2" in second["rows"]


def test_the_outcome_stands_with_each_ad(server: Server) -> None:
    served = decided(server, "plc-1", count=2)
    identity = to_text(served.choice.placed[0].decision_id)
    shown = reported(server, "impression", served.ads[0])
    clicked = reported(server, "click", served.ads[0])
    reported(server, "loss", served.ads[1], reason="102")

    def told() -> Any:
        return server.get(f"/v1/decisions/{identity}").json()["placements"][0]["ads"]

    server.run(verdicts_until(server.node, server.node.state.position))
    first, second = told()
    assert [event["kind"] for event in first["events"]] == ["impression", "click"]
    assert [event["event_id"] for event in first["events"]] == [
        to_text(shown.event_id), to_text(clicked.event_id),
    ]  # fmt: skip
    assert [event["position"] for event in first["events"]] == [shown.position, clicked.position]
    assert first["events"][1]["verdict"] == "learned"
    assert first["events"][1]["billed"] == clicked.billed_micros / 1e6 > 0
    assert first["events"][1]["at"].endswith("+09:00")
    assert [event["kind"] for event in second["events"]] == ["loss"]


def test_the_decisions_of_a_request_id(server: Server) -> None:
    made = [decided(server, "plc-1", request_id="again") for _ in range(3)]
    ids_made = [to_text(served.choice.placed[0].decision_id) for served in made]
    items = server.get("/v1/decisions?request_id=again").json()["items"]
    assert [item["placements"][0]["decision_id"] for item in items] == ids_made[::-1]
    items = server.get("/v1/decisions?request_id=again&limit=2").json()["items"]
    assert [item["placements"][0]["decision_id"] for item in items] == ids_made[:0:-1]
    assert server.get("/v1/decisions?request_id=never").json() == {"items": []}
    for query, field in (
        ("", "request_id"),
        ("request_id=r&limit=0", "limit"),
        ("request_id=r&limit=x", "limit"),
    ):
        refused = server.get(f"/v1/decisions?{query}")
        assert (refused.status, refused.json()["field"]) == (422, field)


def test_replay_agrees(server: Server) -> None:
    served = decided(server, "plc-1", "plc-2", count=2)
    for ad in served.ads:
        reported(server, "impression", ad)  # the state moves on
    identity = to_text(served.choice.placed[0].decision_id)
    answer = server.ask("POST", f"/v1/decisions/{identity}/replay").json()
    assert answer["agrees"] is True
    assert answer["then"] == answer["now"]
    assert answer["then"]["position"] == served.choice.position
    assert len(answer["then"]["placements"]) == 2


def what_if(server: Server, identity: str, **asked: Any) -> Any:
    query = "&".join(f"{name}={quote(str(value))}" for name, value in asked.items())
    return server.get(f"/v1/decisions/{identity}/what-if?{query}")


def test_what_if_it_had_bid_more(server: Server) -> None:
    """g-1 pays per click and wins; g-2 pays per thousand shown, and wins at what g-1 is worth."""
    served = decided(server, "plc-1")
    winner = served.choice.placed[0].wins[0]
    worth = winner.ecpm_micros / 1e6
    identity = to_text(served.choice.placed[0].decision_id)
    told = [what_if(server, identity, creative_id=f"cr-2-{n}").json() for n in (1, 2)]
    for one in told:
        assert {name: one[name] for name in ("won", "would_win", "eligible", "reason", "loss_code")} == {
            "won": False, "would_win": False, "eligible": True, "reason": "outbid", "loss_code": 102,
        }  # fmt: skip
        assert one["pricing"]["bid_then"] == 19_498
    # The two are worth the same: the order of ties is with one of them at any bid.
    able, unable = sorted(told, key=lambda one: one["pricing"]["least_bid"] is None)
    assert able["pricing"]["least_bid"] == pytest.approx(worth, rel=1e-6)
    assert (unable["pricing"]["least_bid"], unable["sibling_creative_id"]) == (None, able["creative_id"])
    again = what_if(server, identity, creative_id=able["creative_id"], bid=f"{worth + 100:.2f}").json()
    assert (again["won"], again["would_win"], again["ad_group_id"]) == (False, True, "g-2")
    assert again["pricing"]["bid"] == round(worth + 100, 2)
    assert again["pricing"]["price"] == pytest.approx(worth, rel=1e-6)
    told = what_if(server, identity, creative_id=winner.creative_id).json()
    assert (told["won"], told["would_win"], told["reason"]) == (True, True, None)
    assert told["pricing"]["price"] == winner.price_micros / 1e6
    assert told["position"] == served.choice.position


#   query                                     status  code                 field
WHAT_IFS = [
    ({"creative_id": "nobody"},                  404, "unknown_creative",  "creative_id"),
    ({},                                         422, "invalid",           "creative_id"),
    ({"creative_id": "cr-1-1", "bid": "much"},   422, "invalid",           "bid"),
    ({"creative_id": "cr-1-1", "bid": "-1"},     422, "invalid",           "bid"),
    ({"creative_id": "cr-1-1", "bid": "0"},      422, "invalid",           "bid"),
    ({"creative_id": "cr-1-1", "bid": "0.0000001"}, 422, "invalid",        "bid"),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "status", "code", "field"), WHAT_IFS)
def test_a_what_if_that_cannot_be_answered(
    server: Server, asked: dict[str, str], status: int, code: str, field: str
) -> None:
    served = decided(server, "plc-1")
    answer = what_if(server, to_text(served.choice.placed[0].decision_id), **asked)
    assert (answer.status, answer.json()["code"], answer.json()["field"]) == (status, code, field)


def test_replay_shows_a_difference(server: Server) -> None:
    served = decided(server, "plc-1")
    choice = served.choice
    placed = choice.placed[0]
    forged = changed(choice, placed=(changed(placed, candidates=placed.candidates + 1),))
    record = Record(request_key=placed.decision_id[:14], request=ask_for("plc-1"), choice=forged)
    replayed = server.run(replay(server.node, record))
    assert (replayed.agrees, replayed.then) == (False, forged)
    assert replayed.now == choice


#   id                                                        status  code                why
UNKNOWN = [
    (lambda now_ms: "nonsense",                               404, "unknown_decision", "no id"),
    (lambda now_ms: "!" * 30,                                 404, "unknown_decision", "no id"),
    (lambda now_ms: "ä" * 30,                                 404, "unknown_decision", "no id"),
    (lambda now_ms: made_up(now_ms, 0),                       404, "unknown_decision", "never made"),
    (lambda now_ms: made_up(now_ms, -23),                     404, "unknown_decision", "would be kept still"),
    (lambda now_ms: made_up(now_ms, -26),                     410, "too_old", "older than traces are kept"),
    (lambda now_ms: made_up(now_ms, +9),                      404, "unknown_decision", "of the future"),
]  # fmt: skip


def made_up(now_ms: int, hours: int) -> str:
    return to_text(ids.decision_id(ids.request_key(now_ms + hours * HOUR_MS, bytes(10)), 0))


@pytest.mark.parametrize(("make", "status", "code", "why"), UNKNOWN)
@pytest.mark.parametrize(
    "form", ["/v1/decisions/{}", "/v1/decisions/{}/replay", "/v1/decisions/{}/what-if?creative_id=x"]
)
def test_what_is_not_kept(server: Server, form: str, make: Any, status: int, code: str, why: str) -> None:
    path = form.format(quote(make(server.node.now_ms())))
    answer = server.ask("POST" if path.endswith("replay") else "GET", path)
    assert (answer.status, answer.json()["code"]) == (status, code), why


def test_a_placement_that_the_request_did_not_have(server: Server) -> None:
    served = decided(server, "plc-1")
    other = served.choice.placed[0].decision_id[:14] + b"\x01"
    answer = server.get(f"/v1/decisions/{to_text(other)}")
    assert (answer.status, answer.json()["code"]) == (404, "unknown_decision")


@pytest.fixture
def pool() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        yield pool


def test_replays_and_reports_cross_over_to_a_process(tmp_path: Path, pool: ProcessPoolExecutor) -> None:
    """Everything that goes there and back can be pickled, refusals too."""

    async def work() -> None:
        node = await make_node(tmp_path, things=small_catalogue(), workers=pool)
        served = decide(node, ask_for("plc-1", "plc-2"))
        receipts = [await send(node, "impression", ad) for ad in served.ads]
        record = await asyncio.to_thread(kept, node, served)
        replayed = await replay(node, record)
        assert replayed.agrees
        assert replayed.now == served.choice
        found = await ask_what_if(node, record, 1, "cr-3-1", None)
        assert (found.won, found.reason) == (False, "outbid")
        with pytest.raises(Refused):
            await ask_what_if(node, record, 1, "nobody", None)
        asked = Asked(from_ms=0, to_ms=node.now_ms() + 1, by=("campaign",))
        body = await report(node, asked)
        assert f'"impressions":{len(receipts)}'.encode() in body
        await close_node(node)

    asyncio.run(work())


def kept(node: Any, served: Served) -> Any:
    node.decisions.flush()
    return node.decisions.get(served.choice.placed[0].decision_id)


def test_a_replay_that_the_journal_no_longer_reaches_is_a_refusal_as_a_value(
    tmp_path: Path, server: Server
) -> None:
    served = decided(server, "plc-1")
    record = kept(server.node, served)
    SqliteJournal(tmp_path / "journal.db").close()  # an empty one
    answer = msgspec.msgpack.decode(replay_packed(tmp_path, 512, msgspec.msgpack.encode(record)))
    assert (answer["type"], answer["code"]) == ("refused", "too_old")


def test_a_node_that_keeps_traces_for_less(tmp_path: Path) -> None:
    """The bound is the node's setting, not a constant."""
    with serving(
        tmp_path,
        lambda node: admin_app(node, admin_key_hash=key_hash(KEY)),
        HEADERS,
        things=small_catalogue(),
    ) as server:
        server.node.settings = replace(server.node.settings, trace_hours=1)
        answer = server.get(f"/v1/decisions/{made_up(server.node.now_ms(), -3)}")
        assert (answer.status, answer.json()["code"]) == (410, "too_old")
