"""The last quarter of an hour, a row a second. Goal: what the counters say between two samples, added up.

Method: a node that answers and hears of events between samples, and plain stretches added up.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from app.flows.telemetry import KEPT_S, Stretch, Telemetry, added
from tests.node import ask_for, decide, running_node, send, small_catalogue


def test_a_sample_tells_what_came_since_the_last_one(tmp_path: Path) -> None:
    async def play() -> list[Stretch]:
        async with running_node(tmp_path, things=small_catalogue()) as node:
            telemetry, counters = Telemetry(), node.counters
            telemetry.sample(node.counters, node.now_ms())
            assert not telemetry.rows, "the first says where to begin"
            served = decide(node, ask_for("plc-1"))
            counters.requests.labels("/v1/ads", "filled").inc(3)
            counters.requests.labels("/v1/ads", "no_ad").inc()
            counters.requests.labels("/openrtb2/bid", "overloaded").inc()
            counters.requests.labels("/v1/events", "ok").inc(100)
            for seconds in (0.002, 0.002, 0.09):
                counters.request_seconds.labels("/v1/ads").observe(seconds)
            await send(node, "impression", served.ads[0])
            await send(node, "click", served.ads[0])
            await send(node, "click", served.ads[0])
            telemetry.sample(node.counters, node.now_ms(), 0.5)
            telemetry.sample(node.counters, node.now_ms())
            return list(telemetry.rows)

    busy, idle = asyncio.run(play())
    assert (busy.requests, busy.filled, busy.unfilled, busy.refused) == (5, 3, 1, 1)
    assert busy.fill == 0.75
    assert (busy.impressions, busy.events) == (1, 2), "a repeat is none"
    assert busy.spend_micros > 0
    assert busy.ecpm_micros == 1000 * busy.spend_micros
    assert 1 < (busy.answered_ms(0.5) or 0) < 2.5
    assert 80 < (busy.answered_ms(0.99) or 0) <= 100
    assert sum(busy.visible_in) >= 2
    assert sum(busy.committed_in) >= 2
    assert busy.loop_lag_s == 0.5
    assert (idle.requests, idle.fill, idle.ecpm_micros, idle.answered_ms(0.5)) == (0, None, None, None)


def test_steps_follow_the_clock_and_leave_out_the_one_that_lasts() -> None:
    telemetry = Telemetry()
    telemetry.rows += [Stretch(at_ms=at * 1000, took_s=1.0, requests=at) for at in range(3, 13)]
    steps = telemetry.steps(5)
    assert [(step.at_ms, step.requests, step.took_s) for step in steps] == [(4000, 7, 2.0), (9000, 35, 5.0)]
    assert telemetry.lately(2).requests == 23


def test_it_is_bounded() -> None:
    telemetry = Telemetry()
    telemetry.rows += [Stretch()] * (KEPT_S + 5)
    assert len(telemetry.rows) == KEPT_S
    assert added([]) == Stretch()
