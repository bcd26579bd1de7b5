"""What a node served just before it ended, taken back from its decisions: impressions still to come."""

from __future__ import annotations

import asyncio

import numpy as np
from numpy.typing import NDArray

from app.domain import ids
from app.flows.node import Node

Given = tuple[bytes, bytes, int, int]  # to whom, the ad's key and place, when


async def recall_just_served(node: Node) -> int:
    """Remember again what was served within the memory's time and is not reported yet; returns how many.

    Decisions that a crash swallowed (those of the last fifth of a second) stay forgotten.
    Cost    some 20 us for each decision of the memory's time, on a thread.
    """
    since_ms = node.now_ms() - node.just_served.memory_ms
    capped = node.state.catalogue.caps.bound().capped
    given = await asyncio.to_thread(_unreported, node, since_ms, capped)
    for user, ad_key, place, at_ms in given:
        node.just_served.remember(user, ad_key, place, at_ms)
    return len(given)


def _unreported(node: Node, since_ms: int, capped: NDArray[np.bool_]) -> list[Given]:
    given: list[Given] = []
    for record in node.decisions.latest(since_ms):
        person = record.request.person
        if person is None or person.key is None:
            continue
        for placed in record.choice.placed:
            for win in placed.wins:
                if not (win.creative_index < capped.size and capped[win.creative_index]):
                    continue
                ad_key = ids.ad_key(placed.decision_id, win.ad_index)
                if node.journal.find(ids.event_id(ad_key, "impression")) is None:
                    given.append((person.key, ad_key, win.creative_index, record.choice.clock_ms))
    return given
