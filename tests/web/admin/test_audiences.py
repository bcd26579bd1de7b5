"""Audiences over HTTP: members are uploaded, never told, and decide who is shown what."""

from __future__ import annotations

from typing import Any

import pytest

from app.domain.requests import AdRequest, Person
from app.flows.people import enrich
from tests.node import Server, ask_for, decide, send

LARGE = "\n".join(f"member-{number}" for number in range(60)).encode()


def put(server: Server, path: str, document: dict[str, Any]) -> None:
    answer = server.ask("PUT", path, document, {**server.headers, "If-Match": "*"})
    if answer.status == 412:  # not there yet
        answer = server.ask("PUT", path, document)
    assert answer.status in (200, 201), answer


def audience(server: Server, identity: str, body: bytes = LARGE) -> Any:
    put(server, f"/v1/audiences/{identity}", {"advertiser_id": "adv-1"})
    return server.ask("PUT", f"/v1/audiences/{identity}/members", body).json()


def target(server: Server, group: str, **targeting: Any) -> None:
    put(
        server, f"/v1/ad-groups/{group}",
        {"campaign_id": "c-1", "pricing": {"kind": "cpc", "bid": 9_000}, "targeting": targeting},
    )  # fmt: skip


def winner(server: Server, identity: str) -> str:
    """Name the ad group that wins somebody's request, asked twice: the record decides alike."""

    async def on_the_loop() -> str:
        key, former = server.node.user_keys.of(identity, server.node.now_ms())
        asked = ask_for("plc-1", person=Person(key=key, former_key=former))
        request: AdRequest = enrich(server.node, asked)
        return decide(server.node, request).choice.placed[0].wins[0].ad_group_id

    return server.run(on_the_loop())


def test_members_are_counted_and_never_told(server: Server) -> None:
    told = audience(server, "counted")
    assert (told["count"], told["targetable"]) == (60, True)
    assert server.get("/v1/audiences/counted/members").json() == told
    assert set(told) == {"audience_id", "count", "targetable", "uploaded_at"}
    assert server.ask("DELETE", "/v1/audiences/counted/members").status == 204
    empty = {"audience_id": "counted", "count": None, "targetable": False, "uploaded_at": None}
    assert server.get("/v1/audiences/counted/members").json() == empty
    assert server.get("/v1/audiences/none/members").status == 404


def test_a_large_list_is_taken(server: Server) -> None:
    ids = "\n".join(f"one-of-a-great-many-people-{number}" for number in range(50_000)).encode()
    assert len(ids) > 1 << 20
    assert audience(server, "large", ids)["count"] == 50_000


def test_a_small_audience_is_neither_counted_nor_targetable(server: Server) -> None:
    told = audience(server, "small", b"member-1\nmember-2")
    assert (told["count"], told["targetable"]) == (None, False)


def test_targeting_by_audience(server: Server) -> None:
    audience(server, "members")
    target(server, "g-3", audience=["members"])
    assert (winner(server, "member-1"), winner(server, "stranger") != "g-3") == ("g-3", True)
    target(server, "g-3", audience={"exclude": ["members"]})
    assert (winner(server, "member-1") != "g-3", winner(server, "stranger")) == (True, "g-3")
    shown = server.get("/v1/ad-groups/g-3").json()["targeting"]
    assert shown == {"audience": {"include": [], "exclude": ["members"]}}


def test_those_who_clicked_are_left_out_where_the_ad_group_says_so(server: Server) -> None:
    target(server, "g-3", audience={"include": [], "exclude": [], "exclude_after": "click"})
    shown = server.get("/v1/ad-groups/g-3").json()["targeting"]["audience"]
    assert shown == {"include": [], "exclude": [], "exclude_after": "click"}
    assert winner(server, "clicker") == "g-3"

    async def click() -> None:
        node = server.node
        key, _ = node.user_keys.of("clicker", node.now_ms())
        (ad,) = decide(node, ask_for("plc-1", person=Person(key=key))).ads
        await send(node, "impression", ad)
        await send(node, "click", ad)

    server.run(click())
    assert winner(server, "clicker") != "g-3" and winner(server, "stranger") == "g-3"
    target(server, "g-3", audience={"exclude_after": "conversion"})
    assert winner(server, "clicker") == "g-3", "a click is no conversion"


@pytest.mark.parametrize(
    ("targeting", "code", "field"),
    [
        ({"audience": ["nobody-made-it"]}, "unknown_audience", "targeting.audience"),
        ({"audience": {"exclude": ["others"]}}, "unknown_audience", "targeting.audience"),
        ({"audience": {"exclude_after": "view"}}, "invalid", "targeting.audience.exclude_after"),
        ({"audience": "all"}, "invalid", "targeting.audience"),
    ],
)
def test_what_cannot_be_targeted(server: Server, targeting: Any, code: str, field: str) -> None:
    put(server, "/v1/advertisers/adv-9", {})
    put(server, "/v1/audiences/others", {"advertiser_id": "adv-9"})
    body = {"campaign_id": "c-1", "pricing": {"kind": "cpc", "bid": 1}, "targeting": targeting}
    answer = server.ask("POST", "/v1/ad-groups", body)
    assert (answer.status, answer.json()["code"], answer.json()["field"]) == (422, code, field)


def test_a_body_that_is_no_text_is_refused(server: Server) -> None:
    put(server, "/v1/audiences/binary", {"advertiser_id": "adv-1"})
    answer = server.ask("PUT", "/v1/audiences/binary/members", b"\xff\xfe")
    assert (answer.status, answer.json()["code"]) == (422, "invalid")
