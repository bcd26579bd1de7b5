"""The strongest cells of a served node's matrix have names, and are those that sorting all cells finds."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np

from app.domain.requests import Person
from app.flows.strongest import strong_cells
from app.rules.features import hashed_row
from tests.node import ask_for, decide, running_node, send, small_catalogue, tick

TRAVELLER = Person(region="KR-11", interests=("travel",), age=27, gender="F")


def test_strong_cells_are_the_matrix_sorted_with_names(tmp_path: Path) -> None:
    async def work() -> None:
        async with running_node(tmp_path, things=small_catalogue()) as node:
            nothing = await strong_cells(node)
            assert (nothing.rows, nothing.columns, nothing.crosses) == ([], [], [])
            for turn in range(12):
                person = TRAVELLER if turn % 2 else Person(region="KR-26")
                for ad in decide(node, ask_for("plc-1", "plc-2", person=person)).ads:
                    await send(node, "impression", ad)
                    if turn % 2:
                        await send(node, "click", ad)
                await tick(node)
            found = await strong_cells(node, 5)
            weights = np.abs(node.state.model.w)
            assert [abs(cell.weight) for cell in found.rows] == sorted(weights[1:, 0], reverse=True)[:5]
            assert [abs(cell.weight) for cell in found.columns] == sorted(weights[0, 1:], reverse=True)[:5]
            crosses = np.sort(weights[1:, 1:].reshape(-1))[::-1][:5]
            assert [abs(cell.weight) for cell in found.crosses] == crosses.tolist()
            assert all(cell.low < cell.weight < cell.high and cell.n > 0 for cell in found.crosses)
            assert {cell.column for cell in found.rows} == {"any"} == {cell.row for cell in found.columns}
            named = {cell.row for cell in (await strong_cells(node, 50)).rows}
            assert {"interest:travel", "region:KR-11", "region:KR-26", "placement:plc-1", "gender:F"} <= named
            columns = {cell.column for cell in (await strong_cells(node, 50)).columns}
            assert {"advertiser:adv-1", "campaign:c-1"} <= columns
            assert any(name.startswith("creative:cr-") for name in columns)
            own = await strong_cells(node, 50, row_field="interest", column_kind="creative")
            assert own.crosses
            assert {cell.row for cell in own.crosses} == {"interest:travel"}
            assert all(cell.column.startswith("creative:") for cell in own.crosses)
            row = hashed_row("interest", "travel")
            first = node.state.catalogue.first_ad_column
            assert abs(own.crosses[0].weight) == weights[row, first:].max()

    asyncio.run(work())


def test_what_may_as_well_be_nothing_is_thin(tmp_path: Path) -> None:
    async def work() -> None:
        async with running_node(tmp_path, things=small_catalogue()) as node:
            (ad,) = decide(node, ask_for("plc-1")).ads
            await send(node, "impression", ad)
            cells = await strong_cells(node)
            assert cells.rows
            assert all(cell.thin for cell in (*cells.rows, *cells.columns, *cells.crosses))

    asyncio.run(work())
