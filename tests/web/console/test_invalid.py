"""The page of invalid traffic: the report's numbers, the events behind them, and refunds as at the API."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape

import msgspec
import pytest

from app.domain import ids
from app.domain.catalogue import Advertiser
from app.domain.lines import Sender
from app.web.admin.app import admin_app
from app.web.admin.auth import key_hash
from tests.node import FOLD, Server, ask_for, decide, register, send, serving, small_catalogue, tick
from tests.web.console.browser import KEY, Browser, key_for, log_in, plain, rows_of

PATH = "/console/invalid-traffic"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    headers = {"Authorization": f"Bearer {KEY}"}
    fold = msgspec.structs.replace(FOLD, invalid_traffic="mark", click_soonest_ms=0)
    folder = tmp_path_factory.mktemp("node")
    with serving(
        folder, lambda node: admin_app(node, admin_key_hash=key_hash(KEY)), headers,
        things=small_catalogue(), fold=fold,
    ) as server:  # fmt: skip

        async def play() -> None:
            await register(server.node, [Advertiser(id="adv-2")])
            for number in range(12):
                ad = decide(server.node, ask_for("plc-1" if number < 8 else "plc-2")).ads[0]
                sender = Sender(flaw="bot" if number % 4 == 0 else "")
                await send(server.node, "impression", ad, sender=sender)
                await send(server.node, "click", ad, sender=sender)
            await tick(server.node)

        server.run(play())
        yield server


@pytest.fixture(scope="module")
def admin(server: Server) -> Browser:
    """Whoever holds the admin key, logged in."""
    return log_in(server, KEY)


def found(browser: Browser, query: str) -> list[str]:
    """Search, and read the ids of what is found."""
    return re.findall(r'name="event" value="([0-9a-f]{30})"', browser.text(f"{PATH}?find=1&{query}"))


def test_gross_net_and_sources_are_the_reports(server: Server, admin: Browser) -> None:
    page = admin.text(PATH)
    totals = server.get("/v1/reports").json()["totals"]
    counts = {row[0]: row for row in admin.csv(f"{PATH}?csv=counts")[1:]}
    for kind in ("impressions", "clicks", "conversions"):
        assert int(counts[kind][1]) == totals[f"gross_{kind}"]
        assert int(counts[kind][3]) == totals[f"net_{kind}"]
    reasons = {row[0]: int(row[2]) for row in admin.csv(f"{PATH}?csv=reasons")[1:]}
    assert reasons == totals["invalid"] != {}
    assert [row[0] for row in rows_of(page, "by_placement")[1:]] == ["plc-1", "plc-2"]
    assert "billed and learned as valid ones" in page, "they are marked only"
    assert "<html" not in admin.text(f"{PATH}?live=1&part=told")


def test_a_reason_leads_to_its_events(admin: Browser) -> None:
    page = admin.text(PATH)
    link = re.search(r'href="([^"]*reason=bot[^"]*)"', page)
    assert link is not None
    events = re.findall(r'name="event" value="([0-9a-f]{30})"', admin.text(unescape(link[1]).split("#")[0]))
    assert len(events) == len(found(admin, "reason=bot")) > 0
    assert len(found(admin, "kind=click")) == 12
    assert len(found(admin, "by=placement&id=plc-2&kind=impression")) == 4
    assert found(admin, "by=placement&id=nowhere") == []
    assert "No such event" in admin.text(f"{PATH}?find=1&by=creative&id=%3Cscript%3E")
    rows = admin.csv(f"{PATH}?find=1&kind=click&csv=events")
    assert len(rows) == 13
    assert rows[0][0] == "event"


def test_refunds_are_the_apis(server: Server, admin: Browser) -> None:
    first, second = found(admin, "kind=click&billed=1&reason=-")[:2]
    before = server.get("/v1/reports").json()["totals"]
    answer = admin.post(
        f"{PATH}/refund?find=1&kind=click",
        {"csrf": admin.csrf, "event": first, "event_ids": f"{second}\nnonsense {ids.to_text(bytes(15))}",
         "reason": "seen by eye"},
    )  # fmt: skip
    assert answer.status == 200
    rows = {row[0]: row for row in rows_of(answer.body.decode(), "results")[1:]}
    assert [rows[event][1] for event in (first, second)] == ["refunded", "refunded"]
    assert "unknown_event" in rows["nonsense"][1]
    assert "unknown_event" in rows[ids.to_text(bytes(15))][1]
    after = server.get("/v1/reports").json()["totals"]
    assert after["clicks"] == before["clicks"] - 2
    assert after["spend"] < before["spend"]
    again = admin.post(f"{PATH}/refund", {"csrf": admin.csrf, "event_ids": first})
    assert "was refunded before" in plain(again.body.decode())
    assert len(found(admin, "reason=refunded")) == 2
    empty = admin.send(f"{PATH}/refund", event_ids=" ")
    assert empty.status == 422
    assert "name at least one event" in empty.body.decode()


def test_who_may_see_and_refund(server: Server, admin: Browser) -> None:
    assert Browser(server).get(PATH).status == 303
    assert log_in(server, key_for(server, "catalogue:read")).get(PATH).status == 403
    reader = log_in(server, key_for(server, "reports"))
    page = reader.text(f"{PATH}?find=1&kind=impression")
    assert "Refund" not in plain(page)
    event = found(admin, "kind=impression")[0]
    assert reader.send(f"{PATH}/refund", event_ids=event).status == 403
    stranger = log_in(server, key_for(server, "reports", "admin", advertisers=["adv-2"]))
    assert found(stranger, "kind=impression") == []
    refused = stranger.send(f"{PATH}/refund", event_ids=event)
    assert "unknown_event" in refused.body.decode()
    assert [row[1] for row in rows_of(stranger.text(PATH), "counts")[1:]] == ["0", "0", "0"]
