"""A node's archive for tests: some hours of views and clicks that follow a plain truth, then archived."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

from app.domain.ids import HOUR_MS
from app.flows.archiving import archive_next
from app.flows.node import Node
from app.flows.reporting import verdicts_until
from tests.flows.test_reporting import START_MS, Clock
from tests.node import Served, ask_for, decide, running_node, send, small_catalogue, tick

RATES = {"cr-1-1": 0.4, "cr-1-2": 0.1, "cr-2-1": 0.3, "cr-2-2": 0.05, "cr-3-1": 0.2, "cr-3-2": 0.02}


async def live(node: Node, clock: Clock, hours: int = 4, requests: int = 40, seed: int = 3) -> list[Served]:
    """Show every ad that is asked for, click by its rate; an hour at a time."""
    chance, decisions = random.Random(seed), []
    for _ in range(hours):
        for _ in range(requests):
            clock.at_ms += HOUR_MS // (requests + 1)
            served = decide(node, ask_for("plc-1", "plc-2", count=chance.choice([1, 2, 3])))
            decisions.append(served)
            for ad in served.ads:
                await send(node, "impression", ad)
                if chance.random() < RATES[ad.creative_id]:
                    await send(node, "click", ad)
            await tick(node)
        clock.at_ms += HOUR_MS // (requests + 1)
        await tick(node)
    return decisions


async def archive_past(node: Node, clock: Clock) -> int:
    """Let everything settle, and archive it; says how many hours."""
    clock.at_ms += 4 * HOUR_MS
    await tick(node)
    await verdicts_until(node, node.state.position)
    await asyncio.to_thread(node.decisions.flush)
    done = 0
    while await archive_next(node) is not None:
        done += 1
    return done


def archived_node(data: Path, hours: int = 4, requests: int = 40) -> None:
    """Leave a closed node's data behind, its hours archived."""

    async def work() -> None:
        clock = Clock()
        async with running_node(data, clock_ms=clock, things=small_catalogue()) as node:
            await live(node, clock, hours, requests)
            assert await archive_past(node, clock) >= hours

    assert START_MS % HOUR_MS == 0
    asyncio.run(work())
