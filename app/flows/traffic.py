"""Judging whoever asks for ads, and taking back what was found invalid only later.

A few clicks are taken back at each tick, each by a line of its own. What is to be done is derived from the
state, and a refund's id from the click's: a restart repeats nothing and forgets nothing.
"""

from __future__ import annotations

import msgspec

from app.domain.lines import Clicked, Line, Refunded
from app.domain.requests import AdRequest
from app.flows.node import Node

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

    Errors  Busy when the journal cannot take it now: they wait on.
    """
    lines: list[Line] = []
    for position, pending in node.state.traffic.pending.items():
        entry = node.journal.entry_at(position)
        if entry is not None and isinstance(entry.line, Clicked):
            refund = Refunded(
                at_ms=node.now_ms(), target_id=entry.line.event_id, target_position=position,
                target=entry.line, impression_position=pending.impression_position, code=pending.code,
            )  # fmt: skip
            lines.append(refund)
        if len(lines) == at_most:
            break
    await node.submit_many(lines)
    return len(lines)
