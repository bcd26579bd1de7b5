"""Says in the log which click streams have fallen silent, and which are back: once each, by name."""

from __future__ import annotations

import structlog

from app.flows.node import Node
from app.rules.features import hashed_row, name_row
from app.state.silence import WHOLE

LOG = structlog.get_logger()


def tell_of_silence(node: Node, known: frozenset[int]) -> frozenset[int]:
    """Tell what changed since `known` fell silent; returns what is silent now."""
    silence = node.state.silence
    now = frozenset(silence.silent())
    for stream in sorted(now - known):
        LOG.warning("clicks_silent", stream=_name(node, stream), predicted=silence.limit, learning=False)
    for stream in sorted(known - now):
        LOG.info("clicks_back", stream=_name(node, stream))
    return now


def _name(node: Node, stream: int) -> str:
    """Name a stream for people. Cost: a look through the publishers or placements; silence is rare."""
    if stream == WHOLE:
        return "all"
    catalogue = node.state.catalogue
    for placement, row in catalogue.rows.by_key.items():
        if row == stream:
            return f"placement:{placement}"
    named = [key for key in catalogue.things["publisher"] if hashed_row("publisher", key) == stream]
    return f"publisher:{'|'.join(named)}" if named else name_row(stream)
