"""Delivery and forecast over HTTP: what is told of a campaign, and of the traffic to come."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from app.web.admin import admin_app
from app.web.admin.auth import key_hash
from tests.node import Server, ask_for, decide, send, serving, small_catalogue, tick
from tests.web.admin.conftest import HEADERS, KEY

START_MS = 1_767_225_600_000  # 2026-01-01T00:00:00Z, 09:00 in Seoul
BUDGET = 30_000
REQUESTS = 40


class Clock:
    """Moves a second a tick."""

    now_ms = START_MS

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    clock = Clock()
    with serving(
        tmp_path_factory.mktemp("node"),
        lambda node: admin_app(node, admin_key_hash=key_hash(KEY)),
        HEADERS,
        things=small_catalogue(budget_daily_micros=BUDGET * 1_000_000),
        clock_ms=clock,
    ) as server:

        async def play() -> None:
            await tick(server.node)  # the plan is laid
            for number in range(REQUESTS):
                for ad in decide(server.node, ask_for("plc-1")).ads:
                    await send(server.node, "impression", ad)
                    if not number:
                        await send(server.node, "click", ad)
                clock.now_ms += 1_000
                await tick(server.node)

        server.run(play())
        yield server


def forecast(server: Server, **query: Any) -> Any:
    answer = server.get("/v1/forecast?" + urlencode(query))
    assert answer.status == 200, answer.body
    return answer.json()


def test_delivery_tells_money_plan_and_reasons(server: Server) -> None:
    answer = server.get("/v1/campaigns/c-1/delivery")
    assert answer.status == 200
    told = answer.json()
    accounts = server.node.state.catalogue.campaign_accounts
    assert told["budget"] == {"daily": BUDGET, "total": None}
    assert round(told["spent"]["today"] * 1_000_000) == int(accounts.spent[0]) > 0
    assert told["spent"]["total"] == told["spent"]["today"]
    assert told["at"] == "2026-01-01T09:00:40.000+09:00"
    assert told["pacing"] == "even"
    assert 0 < told["throttle"] < 1
    assert told["plan"]["today"] == BUDGET
    assert 0 < told["plan"]["by_now"] < told["plan"]["hour"] < BUDGET / 10
    assert told["plan"]["error"] == pytest.approx(told["spent"]["today"] - told["plan"]["by_now"], abs=0.01)
    assert told["plan"]["day_end"] == pytest.approx(BUDGET, rel=0.01)
    assert [each["ad_group_id"] for each in told["ad_groups"]] == ["g-1", "g-2", "g-3"]
    assert all(each["stands_aside"] is None for each in told["ad_groups"])
    assert (told["unbilled"], told["refunded"], told["awaited"]) == (0, 0, 0)
    assert told["conversions"] == {"expected": 0, "stops_at": 10}
    assert told["ad_groups"][0]["pricing"] == {
        "kind": "cpc", "bid": 1_950, "target_cpa": None, "multiplier": None, "realised_cpa": None
    }  # fmt: skip
    reasons = {each["code"]: each["count"] for each in told["funnel"]["reasons"]}
    assert reasons["paced"] > 0
    assert reasons["outbid"] > 0
    assert told["funnel"]["since"] == "2026-01-01T00:00:00.000+09:00"


def test_there_is_no_delivery_of_what_is_not_there(server: Server) -> None:
    answer = server.get("/v1/campaigns/c-9/delivery")
    assert (answer.status, answer.json()["code"]) == (404, "not_found")


def test_a_forecast_of_all_traffic_for_a_day(server: Server) -> None:
    told = forecast(server)
    assert told["requests"]["expected"] == pytest.approx(86_400, rel=0.02)
    assert told["requests"]["low"] < 86_400 < told["requests"]["high"]
    assert told["eligible"]["expected"] == pytest.approx(86_400, rel=0.02)
    assert told["wins"] is None
    assert len(told["by_hour"]) in {24, 25}
    assert sum(each["requests"] for each in told["by_hour"]) == pytest.approx(86_400, rel=0.02)
    assert told["basis"]["sampled"] == REQUESTS


#   asked                                                    requests    eligible    why
TABLE = [
    ({"targeting": {"gender": ["F"]}},                       86_400,     0,          "nobody tells a gender"),
    ({"targeting": {"gender": {"exclude": ["F"]}}},          86_400,     86_400,     ""),
    ({"targeting": {"hour": [[9, 14]]}},                     6 * 3_600,  6 * 3_600,  "a quarter of the day"),
    ({"targeting": {"placement": ["plc-2"]}},                None,       None,       "no traffic seen there"),
    ({"targeting": {"placement": ["plc-1", "plc-2"]}},       86_400,     86_400,     ""),
    ({"format": "native"},                                   86_400,     0,          "banners only"),
    ({"format": "banner", "width": 320, "height": 50},       86_400,     86_400,     ""),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "requests", "eligible", "why"), TABLE)
def test_a_forecast_for_a_targeting(
    server: Server, asked: dict[str, Any], requests: float | None, eligible: float | None, why: str
) -> None:
    query = {key: json.dumps(value) if isinstance(value, dict) else value for key, value in asked.items()}
    told = forecast(server, **query)
    for name, wanted in (("requests", requests), ("eligible", eligible)):
        expected = told[name]["expected"]
        assert expected is None if wanted is None else expected == pytest.approx(wanted, rel=0.02), why
    posted = server.ask("POST", "/v1/forecast", asked)
    assert posted.status == 200
    assert posted.json()["eligible"] == told["eligible"]


def test_a_higher_bid_wins_more(server: Server) -> None:
    """The best of ad group g-2 bids 19,498 per 1,000, the others 2,000 a click at 1 %."""
    low, middle, high = (forecast(server, bid=bid, kind="cpm") for bid in (100, 19_700, 200_000))
    assert low["wins"]["expected"] < high["wins"]["expected"]
    assert low["wins"]["expected"] <= middle["wins"]["expected"] <= high["wins"]["expected"]
    assert high["wins"]["expected"] == pytest.approx(86_400, rel=0.02)
    assert 0 < high["spend"]["expected"] <= 86_400 * 200
    by_click = forecast(server, bid=20_000, kind="cpc", pctr=0.01)
    assert by_click["wins"] == high["wins"]


def test_a_forecast_for_an_ad_group_as_it_stands(server: Server) -> None:
    told = forecast(server, ad_group_id="g-1")
    assert told["eligible"]["expected"] == pytest.approx(86_400, rel=0.02)
    assert told["wins"] is not None
    answer = server.get("/v1/forecast?ad_group_id=g-9")
    assert (answer.status, answer.json()["code"]) == (404, "not_found")


#   query                          field           why
WRONG = [
    ("from=yesterday",             "from",         "no time"),
    ("to=2025-01-01T00:00:00Z",    "to",           "before now"),
    ("targeting=%7B",              "targeting",    "not JSON"),
    ("targeting=%7B%22x%22:1%7D",  "targeting.x",  "no such dimension"),
    ("bid=cheap",                  "bid",          "no number"),
    ("bid=-1",                     "bid",          "nothing to bid"),
    ("kind=cpx",                   "kind",         "no such kind"),
    ("surprise=1",                 "surprise",     "unknown"),
]  # fmt: skip


@pytest.mark.parametrize(("query", "field", "why"), WRONG)
def test_what_cannot_be_asked(server: Server, query: str, field: str, why: str) -> None:
    answer = server.get(f"/v1/forecast?{query}")
    assert answer.status == 422, why
    assert answer.json()["errors"][0]["field"] == field, why
