"""Judging whoever asks for ads, and taking back what was found invalid only later.

A few clicks are taken back at each tick, each by a line of its own. What is to be done is derived from the
state, and a refund's id from the click's: a restart repeats nothing and forgets nothing.
"""

from __future__ import annotations

import asyncio

import msgspec
import structlog

from app.domain.lines import Clicked, Line, Refunded
from app.domain.refusals import Busy
from app.domain.requests import AdRequest
from app.flows.node import Node
from app.flows.past import past_events

LOG = structlog.get_logger()

CLICKS_A_TICK = 200  # some 100 us each, of reading and of the fold, over the tick


def judged(node: Node, request: AdRequest, ip: str | None, user_agent: str | None) -> AdRequest:
    """Note what the lists say against the device that a request names. It is answered like any other.

    The events of its ads are invalid, wherever they come from: the ads' tokens carry it.
    """
    if node.settings.fold.invalid_traffic == "off":
        return request
    flaw = node.clients.flaw(ip, user_agent)
    return msgspec.structs.replace(request, flaw=flaw) if flaw else request


async def take_back(node: Node, at_most: int = CLICKS_A_TICK) -> int:
    """Refund and un-learn clicks that wait for it, oldest first; says how many.

    Those whose lines are trimmed are looked for in the archive, beside the ticks: that may take a while.
    Errors  Busy when the journal cannot take it now: they wait on.
    """
    lines: list[Line] = []
    past: list[int] = []
    for position in node.state.traffic.pending:
        if position > node.journal.trim_upto:
            entry = node.journal.entry_at(position)
            assert entry is not None
            assert isinstance(entry.line, Clicked)
            lines.append(_refund_of(node, position, entry.line))
        elif position not in node.past_clicks:
            past.append(position)
        if len(lines) + len(past) == at_most:
            break
    if past and (node.recalling is None or node.recalling.done()):
        node.recalling = asyncio.create_task(_take_back_past(node, past))
    await node.submit_many(lines)
    return len(lines)


def _refund_of(node: Node, position: int, click: Clicked) -> Refunded:
    pending = node.state.traffic.pending[position]
    return Refunded(
        at_ms=node.now_ms(), target_id=click.event_id, target_position=position, target=click,
        impression_position=pending.impression_position, code=pending.code,
    )  # fmt: skip


async def _take_back_past(node: Node, positions: list[int]) -> None:
    """Refund clicks that only the archive has. Each is looked for once; one not found is dropped in time."""
    try:
        events = await past_events(node, positions)
        node.past_clicks.intersection_update(node.state.traffic.pending)
        node.past_clicks.update(positions)
        await node.submit_many(
            [
                _refund_of(node, position, line)
                for position, line in events.items()
                if isinstance(line, Clicked) and position in node.state.traffic.pending
            ]
        )
    except Busy as busy:  # the workers, or the journal
        node.past_clicks.difference_update(positions)
        LOG.warning("past_clicks_wait", code=busy.code)
