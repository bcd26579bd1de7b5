"""A placement's figures agree with reports, and its prices with what the decisions cleared."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from app.domain.catalogue import Placement
from app.domain.keys import EVERYONE, Caller
from app.domain.refusals import Refused
from app.flows.campaigns import read_report
from app.flows.node import Node
from app.flows.paid import quantiles
from app.flows.placements import placement_day, placement_list
from app.flows.reporting import Asked, report
from tests.node import ask_for, decide, register, running_node, send, small_catalogue, tick

FLOOR = 1_000_000_000  # 1,000 per 1,000 impressions
TOO_HIGH = 90_000_000_000_000
BOUND = Caller(frozenset({"reports", "catalogue:read"}), frozenset({"adv-1"}))


async def play(node: Node, requests: int = 20) -> list[int]:
    """Show what plc-1 gets; tells what was cleared there."""
    cleared = []
    for number in range(requests):
        served = decide(node, ask_for("plc-1", "plc-2", "plc-3"))
        for ad in served.ads:
            await send(node, "impression", ad)
            if number % 4 == 0:
                await send(node, "click", ad)
        cleared += [win.cleared_ecpm_micros for win in served.choice.placed[0].wins]
    await tick(node)
    return cleared


def floors() -> list[Placement]:
    return [
        Placement(id="plc-1", publisher_id="pub-1", sizes=((320, 50),), floor_micros=FLOOR, name="Top"),
        Placement(id="plc-3", publisher_id="pub-1", sizes=((320, 50),), floor_micros=TOO_HIGH),
        Placement(id="plc-4", publisher_id="pub-1", sizes=((320, 50),)),
    ]


def test_a_placements_day(tmp_path: Path) -> None:
    async def work() -> None:
        async with running_node(tmp_path, things=[*small_catalogue(), *floors()]) as node:
            cleared = await play(node)
            day = await placement_day(node, EVERYONE, "plc-1")
            whole = read_report(await report(node, Asked(from_ms=0, to_ms=2**50, by=("placement",))))
            rows = {row.pop("placement"): row for row in whole["rows"]}
            assert day.total == rows["plc-1"]
            assert sum(row["impressions"] for row in day.creatives) == day.total["impressions"] == 20
            assert (day.prices.asked, day.prices.filled, day.prices.wins) == (20, 20, 20)
            assert sum(each.count for each in day.prices.paid) == 20
            low, high = min(cleared), max(cleared)
            assert all(low <= each.low <= each.median <= each.high <= high for each in day.prices.paid)
            assert {each.floor for each in day.prices.paid} == {FLOOR} == {day.floor_micros}
            assert day.publisher is not None
            refused = await placement_day(node, EVERYONE, "plc-3")
            assert (refused.prices.asked, refused.prices.filled) == (20, 0)
            assert refused.prices.none == {"below_floor": 20}
            silent = await placement_day(node, EVERYONE, "plc-4")
            assert (silent.prices.asked, silent.prices.paid, silent.hours) == (0, [], [])

    asyncio.run(work())


def test_a_list_of_placements(tmp_path: Path) -> None:
    async def work() -> None:
        async with running_node(tmp_path, things=[*small_catalogue(), *floors()]) as node:
            await play(node)
            await register(node, [Placement(id="plc-5", publisher_id="pub-1", status="archived")])
            rows = await placement_list(node, EVERYONE)
            assert [row.id for row in rows] == ["plc-1", "plc-2", "plc-3", "plc-4"]
            assert rows[2].measures is not None
            assert (rows[2].measures["requests"], rows[2].measures["impressions"]) == (20, 0)
            assert rows[3].measures is None
            assert [row.id for row in await placement_list(node, EVERYONE, text="top")] == ["plc-1"]
            own = await placement_list(node, BOUND)
            assert [row.id for row in own] == ["plc-1", "plc-2"], "where its ads were shown"
            assert [row.placement for row in own] == [None, None], "as the API: placements are nobody's"
            assert own[0].measures is not None
            assert own[0].measures["requests"] is None
            with pytest.raises(Refused, match="there is no placement"):
                await placement_day(node, BOUND, "plc-1")

    asyncio.run(work())


def test_quantiles_cover_every_price_once() -> None:
    paid = [(at_ms, at_ms % 7 * 10, 5) for at_ms in range(100, 200)]
    told = quantiles(paid, 10)
    assert [each.count for each in told] == [10] * 10
    assert [each.at_ms for each in told] == list(range(100, 200, 10))
    assert quantiles([]) == []
    assert [each.median for each in quantiles([(5, 8, 1)])] == [8]
