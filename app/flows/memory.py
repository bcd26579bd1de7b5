"""What the model's cells and the people known take: by kind of row, and all told."""

from __future__ import annotations

import asyncio

import numpy as np
from msgspec import Struct

from app.flows.node import Node
from app.rules import features
from app.state.model import Model

ROWS_AT_ONCE = 8  # less than a millisecond of the loop, at 16,384 columns
CELL_BYTES = 20  # z and n as float64, w as float32
COUNTER_BYTES = 29  # with the room to grow, as `loadtest caps` finds it


class Kind(Struct, frozen=True):
    """The rows of one kind: how many have learned, and their cells. Units: bytes of the cells in use."""

    kind: str
    rows: int = 0
    main_cells: int = 0
    cross_cells: int = 0
    bytes: int = 0


class Memory(Struct, frozen=True):
    """All kinds of rows of the clicks' matrix, and what is kept of people."""

    kinds: list[Kind]
    cells: int
    cell_bytes: int
    rows_pruned: int
    profiles: int
    user_counters: int
    user_counter_bytes: int


async def memory_of(node: Node) -> Memory:
    """Count, a few rows at a time. Cost: some 0.3 s at 4,000 rows of 16,384 columns."""
    state = node.state
    model, width = state.model, state.catalogue.width
    kinds = [await _kind(model, block.name, block.start, block.end, width) for block in _blocks()]
    cells = sum(each.main_cells + each.cross_cells for each in kinds)
    return Memory(
        kinds=[each for each in kinds if each.rows], cells=cells, cell_bytes=cells * CELL_BYTES,
        rows_pruned=state.usage.pruned, profiles=len(state.people.profiles),
        user_counters=state.user_counters.total, user_counter_bytes=state.user_counters.total * COUNTER_BYTES,
    )  # fmt: skip


def _blocks() -> list[features.Block]:
    return [*features.BLOCKS.values(), features.SLOT]


async def _kind(model: Model, name: str, start: int, end: int, width: int) -> Kind:
    rows = start + np.flatnonzero(model.touched[start:end])
    main = cross = 0
    for first in range(0, rows.size, ROWS_AT_ONCE):
        used = model.n[rows[first : first + ROWS_AT_ONCE], :width] != 0.0
        of_column_0 = int(used[:, 0].sum())
        whole = int(used.sum())
        main += whole if start == 0 else of_column_0
        cross += 0 if start == 0 else whole - of_column_0
        await asyncio.sleep(0)
    return Kind(name, int(rows.size), main, cross, (main + cross) * CELL_BYTES)
