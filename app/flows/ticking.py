"""The node's heart: once a second a line that says so, with what was decided since the last one."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from time import perf_counter

from app.domain.ids import DAY_MS
from app.domain.lines import Ticked
from app.domain.refusals import Busy
from app.flows.node import Gathered, Node
from app.flows.traffic import take_back

TICK_S = 1.0


def tick_line(node: Node) -> Ticked:
    """Write the tick for everything gathered so far, and begin to gather anew."""
    gathered, node.gathered = node.gathered, Gathered()
    return Ticked(
        at_ms=node.now_ms(),
        requests=tuple((key, counts[0], counts[1]) for key, counts in sorted(gathered.requests.items())),
        in_flight=tuple((key, round(micros)) for key, micros in sorted(gathered.in_flight.items())),
        wins=tuple(sorted(gathered.wins.items())),
    )


async def tick_forever(node: Node) -> None:
    """Tick each second; measures how late the loop was."""
    due = perf_counter() + TICK_S
    lost = 0
    while True:
        await asyncio.sleep(max(0.0, due - perf_counter()))
        node.counters.loop_lag.set(max(0.0, perf_counter() - due))
        lost, before = node.decisions.lost, lost
        node.counters.lost.inc(lost - before)
        due = max(due + TICK_S, perf_counter())
        await node.submit(tick_line(node))
        await _take_back(node)
        node.journal.forget(node.state.clock_ms // DAY_MS)


async def _take_back(node: Node) -> None:
    with suppress(Busy):  # a full journal: at the next tick then
        await take_back(node)
