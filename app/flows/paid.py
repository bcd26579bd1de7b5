"""What winners paid on a placement, and how often there was one: read off the latest kept decisions.

A decision knows what was cleared, whoever reports the impression later. Runs in a worker, which needs the
words of this file and not a node's kernels.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from msgspec import Struct

from app.flows.reporting import in_worker
from app.journal.decisions import DecisionReader

if TYPE_CHECKING:
    from app.flows.node import Node

LOOKED_AT = 20_000  # decisions, the latest: half a second of a worker
BUCKETS = 30  # of the time that they span


class Paid(Struct, frozen=True, array_like=True):
    """What winners paid in a stretch of time: quantiles of the cleared eCPM. Units: micros."""

    at_ms: int
    count: int
    low: int
    median: int
    high: int
    floor: int


class Prices(Struct, frozen=True, kw_only=True):
    """What the latest decisions on a placement say. `asked` slots' auctions, `filled` of them with an ad.

    `at_floor` winners paid the floor, no rival being near. `none` counts why there was no ad. Units: micros.
    """

    asked: int = 0
    filled: int = 0
    wins: int = 0
    at_floor: int = 0
    since_ms: int | None = None
    paid: list[Paid] = []
    none: dict[str, int] = {}


async def prices_at(node: Node, placement_id: str, since_ms: int, floor_micros: int) -> Prices:
    """Read what the latest decisions on a placement cleared.

    Errors  Busy when no worker is left.
    """
    await asyncio.to_thread(node.decisions.flush)
    packed = await in_worker(node, run_prices, node.settings.data, placement_id, since_ms, floor_micros)
    return msgspec.msgpack.decode(packed, type=Prices)


# In the worker.


def run_prices(data: Path, placement_id: str, since_ms: int, floor_micros: int) -> bytes:
    """Go through the latest decisions, at most `LOOKED_AT`. Cost: some 20 us for each."""
    paid: list[tuple[int, int, int]] = []
    asked = filled = at_floor = 0
    none: Counter[str] = Counter()
    oldest_ms: int | None = None
    reader = DecisionReader(data / "decisions.db")
    try:
        for number, record in enumerate(reader.latest(since_ms)):
            if number == LOOKED_AT:
                break
            oldest_ms = record.choice.clock_ms
            for ask, placed in zip(record.request.asks, record.choice.placed, strict=True):
                if placed.placement_id != placement_id:
                    continue
                asked += 1
                filled += bool(placed.wins)
                if not placed.wins:
                    none[placed.code] += 1
                for win in placed.wins:
                    at_floor += win.rival_index < 0
                    paid.append((oldest_ms, win.cleared_ecpm_micros, max(ask.floor_micros, floor_micros)))
    finally:
        reader.close()
    return msgspec.msgpack.encode(
        Prices(
            asked=asked, filled=filled, wins=len(paid), at_floor=at_floor, since_ms=oldest_ms,
            paid=quantiles(paid), none=dict(none.most_common()),
        )
    )  # fmt: skip


def quantiles(paid: list[tuple[int, int, int]], buckets: int = BUCKETS) -> list[Paid]:
    """Cut the time of some prices evenly and tell each stretch's tenth, median and ninetieth percentile.

    Shape   (ms, cleared eCPM, floor of the request), in micros; stretches without any are left out.

    >>> [(each.low, each.median, each.high) for each in quantiles([(0, 10, 1), (0, 30, 2), (9, 50, 3)], 2)]
    [(12, 20, 28), (50, 50, 50)]
    """
    if not paid:
        return []
    table: Any = np.array(paid, dtype=np.int64)
    first, last = int(table[:, 0].min()), int(table[:, 0].max())
    width = max(1, (last - first) // buckets + 1)
    told = []
    for bucket in np.unique((table[:, 0] - first) // width):
        mine = table[(table[:, 0] - first) // width == bucket]
        low, median, high = (round(float(each)) for each in np.quantile(mine[:, 1], (0.1, 0.5, 0.9)))
        at_ms = first + int(bucket) * width
        told.append(Paid(at_ms, len(mine), low, median, high, round(float(np.median(mine[:, 2])))))
    return told
