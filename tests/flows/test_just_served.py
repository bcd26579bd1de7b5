"""What was just served closes the gap before its impression: in the memory itself, and on a whole node."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from app.domain.catalogue import FrequencyCap
from app.domain.lines import Catalogued, Shown, key_of
from app.domain.requests import Person
from app.flows.just_served import JustServed
from app.flows.recalling import recall_just_served
from app.flows.tracing import retrace
from app.journal.decisions import DecisionReader
from tests.node import COLUMNS, ask_for, decide, running_node, send, small_catalogue
from tests.state.world import NOW_MS, World, one_of_each

ME = Person(key=b"me".ljust(12))


def test_remembered_until_shown_or_over() -> None:
    world, memory = World(), JustServed(memory_ms=60_000)
    world.add(*one_of_each())
    ads = [replace(world.ad(), user=b"me") for _ in range(3)]
    for after_ms, ad in zip((0, 10_000, 59_000), ads, strict=True):
        memory.remember(ad.user, key_of(ad), 7, NOW_MS + after_ms)
    assert memory.of((b"me",), NOW_MS + 59_000) == (7, 7, 7)
    assert memory.of((b"other", b"me"), NOW_MS + 60_000) == (7, 7), "the first is over after a minute"
    memory.applied(Shown(at_ms=0, ad=ads[1]))
    assert memory.of((b"me",), NOW_MS + 60_000) == (7,)
    memory.remember(b"other", bytes(16), 8, NOW_MS + 61_000)
    assert memory.of((b"me",), NOW_MS + 61_000) == (7,), "a half was turned, nothing was lost"
    memory.remember(b"other", bytes(16), 8, NOW_MS + 500_000)
    assert memory.of((b"me",), NOW_MS) == (), "what is long over is let go"


def test_a_node_holds_caps_though_impressions_are_late(tmp_path: Path) -> None:
    """Two per day: two answers, then none, before and after the impressions come; and the record says why."""

    async def live() -> None:
        async with running_node(tmp_path, things=small_catalogue(groups=1, creatives=1)) as node:
            campaign: Any = node.state.catalogue.get("campaign", "c-1")
            capped = replace(campaign, frequency_cap=(FrequencyCap(count=2, per="day"),))
            await node.submit(Catalogued(at_ms=node.now_ms(), thing=capped))
            given = [decide(node, ask_for("plc-1", person=ME)) for _ in range(4)]
            assert [len(each.ads) for each in given] == [1, 1, 0, 0]
            assert given[2].choice.placed[0].code == "frequency"
            for each in given[:2]:
                await send(node, "impression", each.ads[0])
            late = decide(node, ask_for("plc-1", person=ME))
            assert late.choice.placed[0].code == "frequency"
            assert decide(node, ask_for("plc-1", person=Person(key=b"other".ljust(12)))).ads
            assert decide(node, ask_for("plc-1")).ads, "nobody in particular is served"
            await asyncio.to_thread(node.decisions.flush)
            reader = DecisionReader(tmp_path / "decisions.db")
            records = [reader.get(one.choice.placed[0].decision_id) for one in (*given, late)]
            kept = [record for record in records if record is not None]
            assert [len(record.request.just_served) for record in kept] == [0, 1, 2, 2, 0]
            assert all(again.agrees for again in retrace(tmp_path, COLUMNS, kept))

    asyncio.run(live())


def test_a_node_that_starts_again_recalls_what_was_not_reported(tmp_path: Path) -> None:
    things: list[Any] = small_catalogue(groups=1, creatives=1)
    cap = FrequencyCap(count=2, per="week")
    capped = [replace(each, frequency_cap=(cap,)) if each.id == "c-1" else each for each in things]

    async def live(expected: list[int], *, first: bool) -> None:
        async with running_node(tmp_path, things=capped if first else ()) as node:
            recalled = await recall_just_served(node)
            given = [decide(node, ask_for("plc-1", person=ME)) for _ in range(3)]
            assert [recalled, *(len(each.ads) for each in given)] == expected
            if first:
                await send(node, "impression", given[0].ads[0])

    asyncio.run(live([0, 1, 1, 0], first=True))
    asyncio.run(live([1, 0, 0, 0], first=False))


def test_decisions_are_read_latest_first(tmp_path: Path) -> None:
    async def live() -> None:
        async with running_node(tmp_path, things=small_catalogue()) as node:
            keys = [decide(node, ask_for("plc-1")).choice.placed[0].decision_id[:14] for _ in range(450)]
            await asyncio.to_thread(node.decisions.flush)
            read = [record.request_key[:14] for record in node.decisions.latest(0)]
            assert read == keys[::-1]
            assert not list(node.decisions.latest(node.now_ms() + 1_000))

    asyncio.run(live())
