"""What exploration costs, as the state has it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from app.flows.exploring import exploring_of
from tests.node import FOLD, running_node, small_catalogue

EXPLORING = msgspec.structs.replace(FOLD, exploration="thompson", exploration_campaign_ceiling=0.5)


def test_costs_are_told_for_the_node_and_its_costliest_campaigns(tmp_path: Path) -> None:
    async def work() -> None:
        async with running_node(tmp_path, things=small_catalogue(), fold=EXPLORING) as node:
            before = exploring_of(node)
            assert (before.mode, before.measured, before.campaigns) == ("thompson", False, [])
            assert before.node.cost == 0.0
            state = node.state
            state.exploration.tick(1_000_000, 970_000, 1_000, state.settings.exploration_ceiling)
            costs = (("c-1", 30_000),)
            state.campaign_exploration.tick(costs, 1_000, state.greedy_micros, 0.5)
            told = exploring_of(node)
            assert told.measured
            assert (round(told.node.cost, 6), told.node.ceiling) == (0.03, 0.05)
            ((campaign),) = told.campaigns
            assert (campaign.name, round(campaign.cost, 6), campaign.ceiling) == ("c-1", 0.03, 0.5)

    asyncio.run(work())


def test_a_node_that_does_not_explore_says_so(tmp_path: Path) -> None:
    async def work() -> None:
        async with running_node(tmp_path, things=small_catalogue()) as node:
            told = exploring_of(node)
            assert (told.mode, told.measured, told.arms, told.campaigns) == ("off", False, [], [])

    asyncio.run(work())
