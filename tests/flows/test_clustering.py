"""Clusters from what a node was asked. Goal: alike visitors light one row, and nobody is told of alone.

Method: a node is asked by two kinds of people, then made to fit; the worker is a thread here.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from random import Random

from app.domain.requests import AdRequest, Ask, Person
from app.flows.clustering import cluster
from app.flows.node import Node
from app.flows.people import enrich
from app.flows.serve import serve
from app.flows.snapshotting import load
from app.rules.features import BLOCKS
from tests.node import COLUMNS, running_node, small_catalogue, tick

KINDS = tuple(tuple(f"{kind}-{number}" for number in range(20)) for kind in ("home", "away"))


def visit(node: Node, kind: int, number: int, placement_id: str = "plc-1") -> tuple[int, ...]:
    """Ask as the number-th person of a kind; gives the rows lit."""
    words = tuple(Random(f"{kind}:{number}").sample(KINDS[kind], 12))
    key, _ = node.user_keys.of(f"{kind}:{number}", node.now_ms())
    person = Person(key=key, interests=words[:6], segments=words[6:])
    ask = Ask(name="a", placement_id=placement_id, unregistered=placement_id.startswith("site"))
    request = enrich(node, AdRequest(request_id="r-1", asks=(ask,), person=person))
    return serve(node, request).placed[0].rows


def of_clusters(rows: tuple[int, ...], block: str = "cluster") -> set[int]:
    return {row for row in rows if BLOCKS[block].start <= row < BLOCKS[block].end}


def few(node: Node, clusters: int = 2) -> None:
    node.settings = replace(node.settings, clusters=clusters, placement_clusters=2)


def test_alike_visitors_light_one_row(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_node(tmp_path, things=small_catalogue()) as node:
            few(node)
            for number in range(150):
                rows = [visit(node, kind, number, ("plc-1", "plc-2")[kind]) for kind in (0, 1)]
            assert not any(map(of_clusters, rows)), "nothing is known yet"
            line = await cluster(node)
            assert line is not None and line.sampled == 300 and sum(line.people) == 300
            lit = [
                {row for number in range(1_000, 1_040) for row in of_clusters(visit(node, kind, number))}
                for kind in (0, 1)
            ]
            assert [len(each) for each in lit] == [1, 1] and lit[0] != lit[1], "also for people never met"
            counters = node.counters.registry
            await tick(node)
            assert counters.get_sample_value("adjudge_clusters") == 2
        state, _ = load(tmp_path / "snapshots", COLUMNS)
        assert state.clusters.people == (), "no snapshot was made: the journal alone tells"
        async with running_node(tmp_path) as node:
            assert node.state.clusters.lit == 2
            assert of_clusters(visit(node, 0, 5_000)) == lit[0], "after a restart, too"

    asyncio.run(scenario())


def test_too_few_people_have_no_clusters(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_node(tmp_path, things=small_catalogue()) as node:
            few(node)
            for _ in range(10):
                for number in range(90):
                    visit(node, number % 2, number)
            assert await cluster(node) is None, "ninety people, however often they come"
            assert node.state.clusters.people == ()

    asyncio.run(scenario())


def test_people_who_change_do_not_change_what_a_row_means_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_node(tmp_path, things=small_catalogue()) as node:
            few(node)
            for number in range(150):
                visit(node, number % 2, number)
                visit(node, number % 2, 1_000 + number)
            await cluster(node)
            before = of_clusters(visit(node, 0, 7))
            for number in range(600):
                visit(node, 1, 2_000 + number)
            line = await cluster(node)
            assert line is None or line.changed <= node.settings.clusters_most_changed
            assert of_clusters(visit(node, 0, 7)) == before

    asyncio.run(scenario())


def test_placements_are_grouped_by_who_comes_there(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_node(tmp_path, things=small_catalogue()) as node:
            few(node)
            for number in range(60):
                for place in range(8):
                    visit(node, place % 2, number, f"site-{place}")
            line = await cluster(node)
            assert line is not None
            told = dict(line.placements)
            assert len({told[f"site-{place}"] for place in (0, 2, 4, 6)}) == 1
            assert len({told[f"site-{place}"] for place in (1, 3, 5, 7)}) == 1
            assert told["site-0"] != told["site-1"]
            assert of_clusters(visit(node, 0, 1, "site-0"), "placement_cluster")
            assert (await cluster(node)) is None, "nothing changed since"

    asyncio.run(scenario())


def test_switched_off_they_go(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_node(tmp_path, things=small_catalogue()) as node:
            few(node)
            for number in range(300):
                visit(node, number % 2, number)
            await cluster(node)
            few(node, clusters=0)
            await cluster(node)
            assert node.state.clusters.packed() == b"" and node.state.clusters.placements == {}
            assert not of_clusters(visit(node, 0, 1)) and await cluster(node) is None

    asyncio.run(scenario())
