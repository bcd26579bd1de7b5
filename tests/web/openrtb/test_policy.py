"""Inventory that an operator does not want: supply chains and names, as OpenRTB 2.6, 2.5 and life tell.

Method: whole bodies through the decoder, one table row for each case; then once over the door.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.web.openrtb.decode import Malformed, decode
from app.web.openrtb.policy import Policy, objection
from tests.web.public_port import public_port

SITE: dict[str, Any] = {"domain": "news.example"}
IMP = {"id": "1", "tagid": "plc-1", "banner": {"w": 320, "h": 50}}
CHAIN = {"complete": 1, "ver": "1.0", "nodes": [{"asi": "ssp.example", "sid": "1", "hp": 1}]}
OFF = Policy()
WHOLE = Policy(schain="require_complete")
BLOCKING = Policy(schain_blocked=frozenset({"ssp.example"}))
NAMED = Policy(inventory="one_named")


def body(**more: Any) -> bytes:
    return json.dumps({"id": "a", "imp": [IMP], "cur": ["KRW"], **more}).encode()


#   policy    what the request says                                        no bid   why
TABLE: list[tuple[Policy, dict[str, Any], int | None, str]] = [
    (OFF,      {},                                                          None, "all off"),
    (OFF,      {"site": SITE, "source": {"schain": {"complete": 0}}},       None, "all off"),
    (WHOLE,    {"source": {"schain": CHAIN}},                               None, "complete, 2.6"),
    (WHOLE,    {"source": {"ext": {"schain": CHAIN}}},                      None, "complete, 2.5"),
    (WHOLE,    {"source": {"schain": {**CHAIN, "complete": "1"}}},          None, "a number as text"),
    (WHOLE,    {"source": {"schain": {**CHAIN, "complete": 0}}},            16,   "it says that it is not"),
    (WHOLE,    {"source": {"schain": {"complete": 1, "nodes": []}}},        16,   "nobody in it"),
    (WHOLE,    {"source": {"fd": 1}},                                       16,   "no chain"),
    (WHOLE,    {},                                                          16,   "no source"),
    (WHOLE,    {"source": "direct"},                                        16,   "a string, as some send"),
    (WHOLE,    {"source": None},                                            16,   "null"),
    (BLOCKING, {"source": {"schain": CHAIN}},                               17,   "blocked"),
    (BLOCKING, {"source": {"schain": {"nodes": [{"asi": "SSP.example"}]}}}, 17,   "domains have no case"),
    (BLOCKING, {"source": {"schain": {"nodes": [{"asi": "xssp.example"}]}}}, None, "another domain"),
    (BLOCKING, {},                                                          None, "no chain, nobody blocked"),
    (NAMED,    {"site": SITE},                                              None, "a site"),
    (NAMED,    {"site": {"page": "https://news.example/1"}},                None, "a page names it too"),
    (NAMED,    {"app": {"bundle": "com.example"}},                          None, "an app"),
    (NAMED,    {"dooh": {"id": "screen-1"}},                                None, "a screen"),
    (NAMED,    {"site": SITE, "app": {"bundle": "com.example"}},            503,  "which of them?"),
    (NAMED,    {"site": {"id": "7"}},                                       504,  "an id says nothing to us"),
    (NAMED,    {"app": {"domain": "x.example"}},                            504,  "an app by its bundle"),
    (NAMED,    {"dooh": {}},                                                504,  "no name"),
    (NAMED,    {},                                                          504,  "nothing"),
    (Policy("require_complete", frozenset(), "one_named"), {},              504,  "inventory comes first"),
]  # fmt: skip


@pytest.mark.parametrize(("policy", "told", "no_bid", "why"), TABLE)
def test_what_is_not_bid_for(policy: Policy, told: dict[str, Any], no_bid: int | None, why: str) -> None:
    request = decode(body(**told), many_channels=policy.judges_inventory)
    assert objection(request, policy) == no_bid, why


def test_site_and_app_are_malformed_while_nobody_asks() -> None:
    with pytest.raises(Malformed):
        decode(body(site=SITE, app={"bundle": "com.example"}))


def test_the_door_answers_by_the_policy(tmp_path: Path) -> None:
    with public_port(tmp_path, schain="require_complete") as port:
        assert port.post("/openrtb2/bid", body(site=SITE)).status == 204
        told = port.post("/openrtb2/bid", body(site=SITE, test=1))
        assert (told.status, told.json()["nbr"]) == (200, 16)
        assert port.post("/openrtb2/bid", body(site=SITE, source={"schain": CHAIN})).status == 200
