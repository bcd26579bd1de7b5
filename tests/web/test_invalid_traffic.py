"""Invalid traffic over a real socket: who is found at the door, what it costs, and that nobody can tell.

Everything is sent from loopback; whose address and agent it is stands in the headers, as behind an exchange.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.domain.catalogue import Creative, Thing
from app.domain.lines import Clicked, FoldSettings, Shown
from app.flows.clients import Clients
from app.flows.keys import make_key
from tests.flows.test_clients import CHROME, SAFARI
from tests.node import FOLD, small_catalogue
from tests.web.public_port import PublicPort, public_port

GO = "Go-http-client/2"


def lists() -> Clients:
    return Clients(data_centres=["203.0.113.0/24"], proxies=["127.0.0.0/8"])


def paid_by_click() -> list[Thing]:
    """Two ad groups that pay per click: what one pays, the other sets."""
    return [
        thing
        for thing in small_catalogue()
        if thing.id != "g-2" and not (isinstance(thing, Creative) and thing.ad_group_id == "g-2")
    ]


def watching(how: str) -> FoldSettings:
    return msgspec.structs.replace(FOLD, invalid_traffic=how)


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PublicPort]:
    folder = tmp_path_factory.mktemp("traffic")
    with public_port(folder, paid_by_click(), fold=watching("on"), clients=lists()) as port:
        yield port


def event(ad: dict[str, Any], kind: str, **more: Any) -> dict[str, Any]:
    return {"token": ad["tokens"][kind], "kind": kind, **more}


def last(port: PublicPort) -> Shown | Clicked:
    """The newest event in the journal."""
    found = port.node.journal.entry_at(port.node.journal.last_position)
    assert found is not None and isinstance(found.line, Shown | Clicked)
    return found.line


#   headers                                                                       flaw  why
CALLS: list[tuple[dict[str, str], str, str]] = [
    ({"user-agent": SAFARI}, "", "a person"),
    ({"user-agent": "curl/8.5.0"}, "bot", "a robot"),
    ({}, "non_browser", "no agent at all"),
    ({"user-agent": SAFARI, "x-forwarded-for": "203.0.113.7"}, "data_centre", "through a trusted proxy"),
    ({"user-agent": GO, "x-device-user-agent": CHROME, "x-device-ip": "8.8.8.8"}, "", "a server"),
    ({"user-agent": CHROME, "x-device-user-agent": "Googlebot/2.1"}, "bot", "the device that is named"),
    ({"user-agent": CHROME, "x-device-ip": "203.0.113.7"}, "data_centre", "named by its address alone"),
]  # fmt: skip


@pytest.mark.parametrize(("headers", "flaw", "why"), CALLS)
def test_the_door_judges_whoever_calls(
    port: PublicPort, headers: dict[str, str], flaw: str, why: str
) -> None:
    ad = port.ad()
    assert port.get(ad["impression_url"], headers).status == 200
    line = last(port)
    assert line.sender is not None and line.sender.flaw == flaw, why
    assert ("8.8.8.8" in headers.values()) == bool(line.sender.source) or flaw == "data_centre"
    known = port.node.journal.find(line.event_id)
    assert known is not None


#   headers                                                                       flaw   why
CLICKS: list[tuple[dict[str, str], str, str]] = [
    ({"user-agent": "curl/8.5.0", "x-device-user-agent": CHROME, "x-device-ip": "8.8.8.8"}, "bot", "a robot"),
    ({"user-agent": "curl/8.5.0", "x-device-ip": "8.8.8.8"}, "bot", "it names an address alone"),
    ({"user-agent": CHROME, "x-device-user-agent": "Googlebot/2.1"}, "", "a person, whatever it names"),
]


@pytest.mark.parametrize(("headers", "flaw", "why"), CLICKS)
def test_who_clicks_cannot_pass_for_another_device(
    port: PublicPort, headers: dict[str, str], flaw: str, why: str
) -> None:
    ad = port.ad()
    port.get(ad["impression_url"], {"user-agent": CHROME})
    assert port.get(ad["click_url"], headers).status == 302
    line = last(port)
    assert isinstance(line, Clicked) and line.sender is not None, why
    assert (line.sender.flaw, line.sender.direct) == (flaw, True), why


NAMED = {"user-agent": "curl/8.5.0", "x-device-user-agent": CHROME, "x-device-ip": "8.8.8.8"}
EXCHANGE = "198.51.100.7"
#   who calls, beside NAMED                       scopes of its key    /i/   /b/    why
NAMERS: list[tuple[dict[str, str], tuple[str, ...] | None, str, bool, str]] = [
    ({},                                          None,                "bot", False, "anybody"),
    ({"x-forwarded-for": EXCHANGE},               None,                "",    True,  "by the balancer"),
    ({"x-forwarded-for": "9.9.9.9"},              None,                "bot", False, "a stranger, by it"),
    ({"x-forwarded-for": f"{EXCHANGE}, 9.9.9.9"}, None,                "bot", False, "who lies about it"),
    ({"x-forwarded-for": f"9.9.9.9, {EXCHANGE}"}, None,                "bot", False, "for a stranger"),
    ({},                                          ("events",),         "",    True,  "a partner"),
    ({"x-forwarded-for": "9.9.9.9"},              ("events",),         "",    True,  "wherever it stands"),
    ({},                                          ("ads", "pricing"),  "bot", False, "may not report"),
    ({"x-api-key": "adj_nobody_x"},               None,                "bot", False, "a forged key"),
]  # fmt: skip


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PublicPort]:
    """One whose load balancer is on its machine; an exchange stands in a network that is trusted."""
    trusting = Clients(proxies=["127.0.0.0/8", "198.51.100.0/24"])
    folder = tmp_path_factory.mktemp("behind")
    with public_port(folder, paid_by_click(), fold=watching("on"), clients=trusting) as port:
        yield port


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PublicPort]:
    folder = tmp_path_factory.mktemp("alone")
    with public_port(folder, paid_by_click(), fold=watching("on"), clients=Clients()) as port:
        yield port


@pytest.mark.parametrize(("headers", "scopes", "flaw", "told", "why"), NAMERS, ids=[row[4] for row in NAMERS])
def test_who_may_name_a_device(
    behind: PublicPort,
    alone: PublicPort,
    headers: dict[str, str],
    scopes: tuple[str, ...] | None,
    flaw: str,
    told: bool,
    why: str,
) -> None:
    port = behind if "x-forwarded-for" in headers else alone
    headers = {**NAMED, **headers}
    if scopes is not None:
        headers["x-api-key"] = port.server.run(make_key(port.node, "partner", scopes))[1]
    url = port.ad()["impression_url"]
    assert port.get(url, headers).status == 200
    sender = last(port).sender
    assert sender is not None, why
    assert (sender.flaw, sender.direct) == (flaw, flaw == "bot"), why
    assert port.get(port.ad()["impression_url"].replace("/i/", "/b/"), headers).status == 200
    sender = last(port).sender
    assert (sender is not None) == told, why
    assert sender is None or (sender.flaw, sender.direct) == ("", False), why


def test_a_billing_notice_comes_from_a_server(port: PublicPort) -> None:
    port.get(port.ad()["impression_url"].replace("/i/", "/b/"), {"user-agent": "Java/17"})
    assert last(port).sender is None, "which says nothing of the person"
    headers = {"user-agent": "Java/17", "x-device-user-agent": "Googlebot/2.1"}
    port.get(port.ad()["impression_url"].replace("/i/", "/b/"), headers)
    sender = last(port).sender
    assert sender is not None and sender.flaw == "bot"


def test_a_robot_is_answered_like_anybody_and_costs_nothing(port: PublicPort) -> None:
    spent = int(port.node.state.catalogue.campaign_accounts.spent[0])
    honest, robot = port.ad(), port.ad()
    agent = {"user_agent": "Googlebot/2.1", "ip": "8.8.8.8"}
    valid = port.report(event(honest, "impression", user_agent=SAFARI), event(honest, "click"))
    weights = port.node.state.model.w.copy()
    found = port.report(event(robot, "impression", **agent), event(robot, "click", **agent))
    told = ("status", "billed", "learned", "code")
    assert [[one[key] for key in told] for one in found] == [[one[key] for key in told] for one in valid]
    assert valid[1]["billed"] == honest["pricing"]["price"] > 0
    assert (port.node.state.model.w == weights).all(), "nothing is learned"
    cost = int(port.node.state.catalogue.campaign_accounts.spent[0]) - spent
    assert cost == round(honest["pricing"]["price"] * 1_000_000), "the honest click alone"
    reasons = [port.node.journal.find(bytes.fromhex(one["event_id"])) for one in found]
    assert len(reasons) == 2 and None not in reasons


#   context                                            flaw           why
ASKED = [
    ({"user_agent": SAFARI, "ip": "8.8.8.8"}, "", "a person"),
    ({"user_agent": "Googlebot/2.1"}, "bot", "a robot asks"),
    ({"user_agent": SAFARI, "ip": "203.0.113.7"}, "data_centre", "from a rented machine"),
    ({}, "", "nobody said"),
]


@pytest.mark.parametrize(("context", "flaw", "why"), ASKED)
def test_whoever_asks_is_judged_too(port: PublicPort, context: dict[str, str], flaw: str, why: str) -> None:
    """The answer is like any other; the ad's events are invalid, whoever reports them."""
    answer = port.ads(context=context).json()
    ad = answer["decisions"]["top"][0]
    spent = int(port.node.state.catalogue.campaign_accounts.spent[0])
    results = port.report(event(ad, "impression"), event(ad, "click", user_agent=CHROME))
    assert [one["learned"] for one in results] == [True, True], why
    assert results[1]["billed"] == ad["pricing"]["price"]
    cost = int(port.node.state.catalogue.campaign_accounts.spent[0]) - spent
    assert (cost == 0) is bool(flaw), why
    assert last(port).ad.flaw == flaw
    port.server.run(flushed(port))
    record = port.node.decisions.get(bytes.fromhex(ad["decision_id"]))
    assert record is not None and record.request.flaw == flaw, "the decision's record says so"


@pytest.mark.parametrize(("context", "flaw", "why"), ASKED)
def test_bid_requests_are_judged_too(
    port: PublicPort, marking: PublicPort, context: dict[str, str], flaw: str, why: str
) -> None:
    """Nothing is bid for a robot: the exchange would be paid. Where it is only marked, the bid says so."""
    device = {"ua": context.get("user_agent"), "ip": context.get("ip")}
    imp = {"id": "1", "tagid": "plc-1", "banner": {"w": 320, "h": 50}}
    body = {"id": "b-1", "imp": [imp], "device": {k: v for k, v in device.items() if v}, "cur": ["KRW"]}
    assert port.post("/openrtb2/bid", body).status == (204 if flaw else 200), why
    answer = marking.post("/openrtb2/bid", body)
    assert answer.status == 200, answer.body
    bid = answer.json()["seatbid"][0]["bid"][0]
    marking.get(bid["burl"].replace("${AUCTION_PRICE}", "1"))
    assert last(marking).ad.flaw == flaw, why


@pytest.fixture(scope="module")
def marking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PublicPort]:
    folder = tmp_path_factory.mktemp("marking")
    with public_port(folder, paid_by_click(), fold=watching("mark"), clients=lists()) as port:
        yield port


async def flushed(port: PublicPort) -> None:
    await asyncio.to_thread(port.node.decisions.flush)


def test_marked_it_is_told_of_and_counts_all_the_same(tmp_path: Path) -> None:
    with public_port(tmp_path, paid_by_click(), fold=watching("mark"), clients=lists()) as port:
        ad = port.ad()
        results = port.report(
            event(ad, "impression", user_agent="Googlebot/2.1"),
            event(ad, "click", user_agent="Googlebot/2.1"),
        )
        assert [one["learned"] for one in results] == [True, True]
        assert [one["code"] for one in results] == [None, None]
        spent = int(port.node.state.catalogue.campaign_accounts.spent[0])
        assert results[1]["billed"] == ad["pricing"]["price"] and spent == round(
            results[1]["billed"] * 1_000_000
        )
        assert port.node.counters.registry.get_sample_value("adjudge_invalid_total", {"reason": "bot"}) == 2


def test_switched_off_nothing_is_noted(tmp_path: Path) -> None:
    with public_port(tmp_path) as port:
        port.get(port.ad()["impression_url"], {"user-agent": "curl/8"})
        assert last(port).sender is None
        port.report(event(port.ad(), "impression", user_agent="curl/8", ip="8.8.8.8"))
        assert last(port).sender is None


@pytest.mark.parametrize("word", ["prefetch", "prefetch;prerender", "preview", "prerender"])
def test_what_is_fetched_ahead_is_not_an_event(port: PublicPort, word: str) -> None:
    registry = port.node.counters.registry
    labels = {"reason": "prefetch"}
    before, counted = port.position, registry.get_sample_value("adjudge_invalid_total", labels) or 0
    port.get(port.ad()["impression_url"], {"user-agent": SAFARI, "sec-purpose": word})
    assert port.position == before
    assert registry.get_sample_value("adjudge_invalid_total", labels) == counted + 1
