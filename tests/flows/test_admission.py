"""Rare words on a node. Goal: a word lights its row once it was told often enough, and a trace agrees."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import msgspec

from app.domain.requests import Person
from app.flows.serve import serve
from app.rules.features import hashed_row
from tests.node import FOLD, ask_for, running_node, small_catalogue, tick

ROW = hashed_row("interest", "boat")


def test_a_word_told_often_is_admitted_by_the_next_tick(tmp_path: Path) -> None:
    async def scenario() -> None:
        fold = msgspec.structs.replace(FOLD, admission=0.05)
        async with running_node(tmp_path, things=small_catalogue(), fold=fold) as node:
            request = ask_for("plc-1", person=Person(interests=("boat",)))
            for _ in range(400):
                assert ROW not in serve(node, request).placed[0].rows, "until the tick"
            serve(node, request, is_test=True)
            await tick(node)
            choice = serve(node, request)
            assert ROW in choice.placed[0].rows
            again = node.chooser.choose(request, choice.placed[0].decision_id[:14], choice.clock_ms)
            assert again.placed[0].rows == choice.placed[0].rows
            before = replace(node.gathered)
            assert before.admitted == set(), "what is admitted is not drawn again"

    asyncio.run(scenario())
