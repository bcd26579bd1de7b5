"""Delivery over HTTP: what is told of a campaign."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.web.admin.app import admin_app
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
    conversions = told["conversions"]
    within = conversions.pop("within")
    assert conversions == {"expected": 0, "stops_at": 10, "open_clicks": 0, "to_come": 0}
    assert [each["seconds"] for each in within][-1] == 7 * 86_400
    assert within[-1]["share"] == 1
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
