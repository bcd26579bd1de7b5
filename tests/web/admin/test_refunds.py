"""Refunds over HTTP: money back once, whatever is sent."""

from __future__ import annotations

from typing import Any

import pytest

from app.domain.ids import to_text
from app.state.apply import Receipt
from tests.node import Server, ask_for, decide, send

NOBODYS = to_text(bytes(15))  # a well-formed id of no event


async def one_of_each(server: Server) -> tuple[Receipt, Receipt, Receipt, Receipt]:
    """A clicked cpc ad and a dismissed one: their impression, click, dismissal, and another impression."""
    cpc = decide(server.node, ask_for("plc-1")).ads[0]
    other = decide(server.node, ask_for("plc-1")).ads[0]
    return (
        await send(server.node, "impression", cpc),
        await send(server.node, "click", cpc),
        await send(server.node, "dismissal", cpc),
        await send(server.node, "impression", other),
    )


def refund(server: Server, *event_ids: str) -> Any:
    answer = server.ask("POST", "/v1/refunds", {"event_ids": list(event_ids), "reason": "test"})
    assert answer.status == 200
    return answer.json()["results"]


def test_money_comes_back_once(server: Server) -> None:
    _, click, dismissal, shown = server.run(one_of_each(server))
    assert click.billed_micros > 0
    ids = [to_text(receipt.event_id) for receipt in (click, dismissal, shown)]
    before = server.node.state.catalogue.campaign_accounts.spent.sum()
    results = refund(server, ids[0], ids[1], "nonsense", NOBODYS, ids[2])
    assert [result["event_id"] for result in results] == [ids[0], ids[1], "nonsense", NOBODYS, ids[2]]
    assert [(result["status"], result["code"]) for result in results] == [
        ("refunded", None),
        ("refused", "not_refundable"),
        ("refused", "unknown_event"),
        ("refused", "unknown_event"),
        ("refunded", None),
    ]
    assert results[0]["refunded"] == click.billed_micros / 1e6
    assert results[4] == {
        "event_id": ids[2], "status": "refunded", "refunded": 0, "unlearned": True, "code": None,
    }  # fmt: skip
    after = server.node.state.catalogue.campaign_accounts.spent.sum()
    assert before - after == click.billed_micros
    again = refund(server, ids[0])[0]
    assert (again["status"], again["refunded"], again["unlearned"]) == ("repeat", 0, False)
    assert server.node.state.catalogue.campaign_accounts.spent.sum() == after


def test_the_same_event_twice_in_one_call(server: Server) -> None:
    _, click, _, _ = server.run(one_of_each(server))
    identity = to_text(click.event_id)
    assert [result["status"] for result in refund(server, identity, identity)] == ["refunded", "repeat"]


def test_a_long_list_is_answered_in_its_order(server: Server) -> None:
    """Longer than what is done at a time."""

    async def shown() -> list[Receipt]:
        ads = [ad for _ in range(35) for ad in decide(server.node, ask_for("plc-1", count=2)).ads]
        return [await send(server.node, "impression", ad) for ad in ads]

    texts = [to_text(receipt.event_id) for receipt in server.run(shown())]
    assert len(texts) == 70
    results = refund(server, *texts, *texts[:5])
    assert [result["event_id"] for result in results] == texts + texts[:5]
    assert [result["status"] for result in results] == ["refunded"] * 70 + ["repeat"] * 5


def test_none_is_fine(server: Server) -> None:
    assert refund(server) == []


#   body                                             status  code        field
BODIES = [
    (b"{",                                           400, "not_json",  None),
    (b"",                                            400, "not_json",  None),
    (b"\xff",                                        400, "not_json",  None),
    (b"[]",                                          422, "invalid",   ""),
    (b"{}",                                          422, "invalid",   "event_ids"),
    ({"event_ids": "a"},                             422, "invalid",   "event_ids"),
    ({"event_ids": ["a", 5]},                        422, "invalid",   "event_ids[1]"),
    ({"event_ids": [], "reason": 5},                 422, "invalid",   "reason"),
    ({"event_ids": [], "reason": "r" * 1001},        422, "invalid",   "reason"),
    ({"event_ids": ["a"] * 1001},                    413, "too_many",  "event_ids"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "status", "code", "field"), BODIES)
def test_bodies_that_do_not_fit(server: Server, body: Any, status: int, code: str, field: str | None) -> None:
    answer = server.ask("POST", "/v1/refunds", body)
    assert (answer.status, answer.json()["code"], answer.json()["field"]) == (status, code, field)
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_thousand_is_allowed(server: Server) -> None:
    assert {result["status"] for result in refund(server, *[NOBODYS] * 1000)} == {"refused"}
