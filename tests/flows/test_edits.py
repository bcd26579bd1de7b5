"""A campaign's edits are the journal's lines about it and what stands under it, each with what was before."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.domain.catalogue import Advertiser, Campaign, Kind, Thing
from app.domain.refusals import Refused
from app.flows import edits
from app.flows.catalogue import patch
from app.flows.edits import edits_of
from app.flows.node import Node
from tests.node import register, running_node, small_catalogue, tick


async def change(node: Node, kind: Kind, identity: str, **fields: Any) -> None:
    await patch(node, kind, identity, "*", lambda thing: msgspec.structs.replace(thing, **fields))


def test_edits_are_told_with_what_was_before(tmp_path: Path) -> None:
    async def work() -> None:
        async with running_node(tmp_path, things=small_catalogue(groups=1)) as node:
            others: list[Thing] = [Advertiser(id="adv-2"), Campaign(id="c-2", advertiser_id="adv-2")]
            await register(node, others)
            await change(node, "campaign", "c-1", name="First")
            await tick(node)
            await change(node, "creative", "cr-1-1", status="paused")
            await change(node, "campaign", "c-2", name="Not this one")
            await change(node, "campaign", "c-1", budget_daily_micros=5_000_000)
            found = await edits_of(node, "c-1")
            assert found.since_ms is None, "the journal has all"
            told = [(each.after.id, each.revision, each.created) for each in found.edits]
            assert told[:3] == [("c-1", 3, False), ("cr-1-1", 2, False), ("c-1", 2, False)]
            assert {each.after.id for each in found.edits[3:]} == {"c-1", "g-1", "cr-1-1", "cr-1-2"}
            assert all(each.created and each.before is None for each in found.edits[3:])
            latest = found.edits[0]
            assert isinstance(latest.before, Campaign)
            assert isinstance(latest.after, Campaign)
            assert (latest.before.budget_daily_micros, latest.after.budget_daily_micros) == (None, 5_000_000)
            assert latest.before == found.edits[2].after
            positions = [each.position for each in found.edits]
            assert positions == sorted(positions, reverse=True)

    asyncio.run(work())


def test_it_stops_where_there_is_enough_or_it_takes_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> None:
        async with running_node(tmp_path, things=small_catalogue(groups=1)) as node:
            for number in range(12):
                await change(node, "campaign", "c-1", name=f"Name {number}")
            monkeypatch.setattr(edits, "PLACES_AT_ONCE", 5)
            monkeypatch.setattr(edits, "MOST_EDITS", 4)
            found = await edits_of(node, "c-1")
            names = [each.after.name for each in found.edits if isinstance(each.after, Campaign)]
            assert names == [f"Name {number}" for number in (11, 10, 9, 8)]
            assert all(each.before is not None for each in found.edits)
            assert found.since_ms is not None
            monkeypatch.setattr(edits, "LONGEST_S", 0.0)
            monkeypatch.setattr(edits, "MOST_EDITS", 100)
            assert len((await edits_of(node, "c-1")).edits) == 5, "one look, and no time for another"
            with pytest.raises(Refused, match="there is no campaign c-9"):
                await edits_of(node, "c-9")

    asyncio.run(work())
