"""The node's heart: once a second a line that says so, with what was decided since the last one."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from time import perf_counter

import numpy as np

from app.domain.decisions import REASON_CODES
from app.domain.ids import DAY_MS
from app.domain.lines import Lost, Ticked
from app.domain.refusals import Busy
from app.flows.node import Gathered, Node
from app.flows.room import look_at_room
from app.flows.silence import tell_of_silence
from app.flows.traffic import take_back

TICK_S = 1.0
LOST_EVERY_TICKS = 60
CAMPAIGNS_PER_LINE = 400  # so that one line is applied within a millisecond


def tick_line(node: Node) -> Ticked:
    """Write the tick for everything gathered so far, and begin to gather anew."""
    gathered, node.gathered = node.gathered, Gathered()
    return Ticked(
        at_ms=node.now_ms(),
        requests=tuple((key, counts[0], counts[1]) for key, counts in sorted(gathered.requests.items())),
        in_flight=tuple((key, round(micros)) for key, micros in sorted(gathered.in_flight.items())),
        wins=tuple(sorted(gathered.wins.items())),
        explored=(gathered.explored[0], gathered.explored[1]),
        explored_by_variant=tuple(
            (seat, greedy, chosen) for seat, (greedy, chosen) in sorted(gathered.explored_by_variant.items())
        ),
        explored_by_campaign=tuple(sorted(gathered.explored_by_campaign.items())),
        exposed=tuple((number, *counts) for number, counts in sorted(gathered.exposed.items())),  # type: ignore[misc]
        shadowed=tuple((number, *sums) for number, sums in sorted(gathered.shadowed.items())),  # type: ignore[misc]
        admitted=b"".join(value.to_bytes(8, "little") for value in sorted(gathered.admitted)),
    )


def lost_lines(node: Node) -> list[Lost]:
    """Write what kept ads from winning since the last call, and begin to count anew."""
    counts = node.chooser.losers.take()
    reasons = np.flatnonzero(counts.any(axis=1))
    campaigns = np.flatnonzero(counts.any(axis=0))
    names = {at: campaign for campaign, at in node.state.catalogue.campaign_index.items()}
    lines = []
    for start in range(0, campaigns.size, CAMPAIGNS_PER_LINE):
        some = campaigns[start : start + CAMPAIGNS_PER_LINE]
        lines.append(
            Lost(
                at_ms=node.now_ms(),
                reasons=tuple(REASON_CODES[code] for code in reasons.tolist()),
                campaigns=tuple(names[at] for at in some.tolist()),
                counts=counts[np.ix_(reasons, some)].astype("<u4").tobytes(),
            )
        )
    return lines


async def tick_forever(node: Node) -> None:
    """Tick each second; measures how late the loop was."""
    due = perf_counter() + TICK_S
    lost = ticks = 0
    silent: frozenset[int] = frozenset()
    while True:
        await asyncio.sleep(max(0.0, due - perf_counter()))
        lag_s = max(0.0, perf_counter() - due)
        node.counters.loop_lag.set(lag_s)
        node.telemetry.sample(node.counters, node.now_ms(), lag_s)
        lost, before = node.decisions.lost, lost
        node.counters.lost.inc(lost - before)
        due = max(due + TICK_S, perf_counter())
        await node.submit(tick_line(node))
        silent = tell_of_silence(node, silent)
        look_at_room(node)
        await _take_back(node)
        ticks += 1
        if ticks % LOST_EVERY_TICKS == 0:
            await node.submit_many(lost_lines(node))
        node.journal.forget(node.state.clock_ms // DAY_MS)


async def _take_back(node: Node) -> None:
    with suppress(Busy):  # a full journal: at the next tick then
        await take_back(node)
