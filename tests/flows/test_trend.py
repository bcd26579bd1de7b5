"""What a node earned over time. Goal: a report's numbers, by the span asked for, with what changed meanwhile.

Method: a node with a few events; its journal read through the report, as a page would have it.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from app.domain.catalogue import Campaign
from app.flows.points import By
from app.flows.trend import Trend, trend_of
from tests.node import ask_for, decide, register, running_node, send, small_catalogue

SPANS: tuple[By, ...] = ("minute", "hour", "day", "month")


def test_every_span_tells_the_same_money_and_what_changed(tmp_path: Path) -> None:
    async def play() -> tuple[list[Trend], int]:
        async with running_node(tmp_path, things=small_catalogue()) as node:
            billed = 0
            for _ in range(3):
                served = decide(node, ask_for("plc-1"))
                billed += (await send(node, "impression", served.ads[0])).billed_micros
                billed += (await send(node, "click", served.ads[0])).billed_micros
            campaign = node.state.catalogue.things["campaign"]["c-1"]
            assert isinstance(campaign, Campaign)
            await register(node, [msgspec.structs.replace(campaign, status="paused")])
            return [await trend_of(node, by) for by in SPANS], billed

    trends, billed = asyncio.run(play())
    assert billed > 0
    for trend in trends:
        assert sum(point.spend_micros for point in trend.points) == billed, trend.by
        assert sum(point.impressions for point in trend.points) == 3
        assert [one.label for one in trend.changes][-1] == "c-1 paused"
        last = trend.points[-1]
        assert last.ecpm_micros == 1000 * last.spend_micros / last.impressions


def test_many_who_look_cost_one_report(tmp_path: Path) -> None:
    async def play() -> tuple[Trend, Trend, Trend]:
        now_ms = [1_790_000_000_000]
        async with running_node(tmp_path, clock_ms=lambda: now_ms[0], things=small_catalogue()) as node:
            one = await trend_of(node, "hour")
            await send(node, "impression", decide(node, ask_for("plc-1")).ads[0])
            same = await trend_of(node, "hour")
            now_ms[0] += 61_000
            return one, same, await trend_of(node, "hour")

    one, same, later = asyncio.run(play())
    assert same.points is one.points
    assert sum(point.impressions for point in later.points) == 1
