"""A stored decision's workings: the auction that was held, and the money of its moment, not of today."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from app.domain.catalogue import AdGroup
from app.domain.refusals import Refused
from app.flows.replaying import find_record
from app.flows.workings import workings_of
from tests.node import ask_for, decide, register, running_node, send, small_catalogue, tick

WON = 1_000_000


def test_workings_are_those_of_then(tmp_path: Path) -> None:
    async def work() -> None:
        things = small_catalogue(budget_daily_micros=500_000_000 * WON)
        async with running_node(tmp_path, things=things) as node:
            (seen,) = decide(node, ask_for("plc-1")).ads
            await send(node, "impression", seen)
            await send(node, "click", seen)
            await tick(node)
            spent = int(node.state.catalogue.campaign_accounts.spent.sum())
            served = decide(node, ask_for("plc-1", "nowhere", count=2))
            for ad in served.ads:
                await send(node, "impression", ad)
                await send(node, "click", ad)
            group = node.state.catalogue.get("ad_group", "g-1")
            assert isinstance(group, AdGroup)
            await register(node, [msgspec.structs.replace(group, status="paused")])
            record = await find_record(node, served.choice.placed[0].decision_id)
            found = await workings_of(node, record)
            assert found.agrees
            first, unknown = found.explained
            assert (unknown.best, unknown.slots) == ([], [])
            wins = record.choice.placed[0].wins
            assert [slot.price_micros for slot in first.slots] == [win.price_micros for win in wins]
            assert first.best[0].creative_id == wins[0].creative_id
            assert "g-1" in {each.ad_group_id for each in first.best}, "it is paused only now"
            (campaign,) = found.campaigns
            assert (campaign.campaign_id, campaign.aside) == ("c-1", {})
            assert campaign.spent_micros == campaign.plan.spent_today == spent > 0
            assert campaign.budget_daily_micros == 500_000_000 * WON

    asyncio.run(work())


def test_what_nothing_reaches_back_to_is_refused(tmp_path: Path) -> None:
    async def work() -> None:
        async with running_node(tmp_path, things=small_catalogue()) as node:
            served = decide(node, ask_for("plc-1"))
            record = await find_record(node, served.choice.placed[0].decision_id)
            choice = msgspec.structs.replace(record.choice, position=10_000)
            with pytest.raises(Refused) as refused:
                await workings_of(node, msgspec.structs.replace(record, choice=choice))
            assert refused.value.code == "too_old"

    asyncio.run(work())
