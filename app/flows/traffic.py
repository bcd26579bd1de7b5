"""Judging whoever asks for ads, and taking back what was found invalid only later.

A few events are taken back at each tick, each by a line of its own. What is to be done is derived from the
state, and a refund's id from the click's: a restart repeats nothing and forgets nothing.
"""

from __future__ import annotations

import asyncio
from itertools import chain

import msgspec
import structlog

from app.domain.lines import Clicked, Converted, Line, Refunded
from app.domain.refusals import Busy
from app.domain.requests import AdRequest
from app.flows.node import Node
from app.flows.past import past_events
from app.state.state import State

LOG = structlog.get_logger()

EVENTS_A_TICK = 200  # some 100 us each, of reading and of the fold, over the tick


def judged(node: Node, request: AdRequest, ip: str | None, user_agent: str | None) -> AdRequest:
    """Note what the lists say against the device that a request names. It is answered like any other.

    The events of its ads are invalid, wherever they come from: the ads' tokens carry it.
    """
    if node.settings.fold.invalid_traffic == "off":
        return request
    flaw = node.clients.flaw(ip, user_agent)
    if flaw == "non_browser" and request.surroundings.bundle:
        flaw = ""  # an app names itself as it likes
    return msgspec.structs.replace(request, flaw=flaw) if flaw else request


async def take_back(node: Node, at_most: int = EVENTS_A_TICK) -> int:
    """Refund and un-learn events that wait for it, clicks first, oldest first; says how many.

    Those whose lines are trimmed are looked for in the archive, beside the ticks: that may take a while.
    Errors  Busy when the journal cannot take it now: they wait on.
    """
    lines: list[Line] = []
    past: list[int] = []
    for position in chain(node.state.traffic.pending, node.state.conversions.owed):
        if position > node.journal.trim_upto:
            entry = node.journal.entry_at(position)
            assert entry is not None
            lines += refund_of(node.state, position, entry.line, node.now_ms())
        elif position not in node.past_sought:
            past.append(position)
        if len(lines) + len(past) == at_most:
            break
    if past and (node.recalling is None or node.recalling.done()):
        node.recalling = asyncio.create_task(_take_back_past(node, past))
    await node.submit_many(lines)
    return len(lines)


def refund_of(state: State, position: int, line: Line, at_ms: int) -> list[Refunded]:
    """Write the refund of an event that waits for it: a click found invalid later, or a conversion whose
    click was taken back. None where it does not wait any more.
    """
    pending = state.traffic.pending.get(position)
    if pending is not None and isinstance(line, Clicked):
        return [
            Refunded(
                at_ms=at_ms, target_id=line.event_id, target_position=position, target=line,
                impression_position=pending.impression_position, code=pending.code,
            )
        ]  # fmt: skip
    if position in state.conversions.owed and isinstance(line, Converted):
        return [
            Refunded(
                at_ms=at_ms, target_id=line.event_id, target_position=position, target=line,
                code="invalid_click",
            )
        ]  # fmt: skip
    return []


async def _take_back_past(node: Node, positions: list[int]) -> None:
    """Refund events that only the archive has. Each is looked for once; one not found is dropped in time."""
    try:
        events = await past_events(node, positions)
        waiting = node.state.traffic.pending.keys() | node.state.conversions.owed.keys()
        node.past_sought.intersection_update(waiting)
        node.past_sought.update(positions)
        now_ms = node.now_ms()
        await node.submit_many(
            [
                refund
                for position, line in events.items()
                for refund in refund_of(node.state, position, line, now_ms)
            ]
        )
    except Busy as busy:  # the workers, or the journal
        node.past_sought.difference_update(positions)
        LOG.warning("past_events_wait", code=busy.code)
