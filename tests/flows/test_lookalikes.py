"""Look-alike audiences. Goal: people like those of a list are in it, few people are like nobody.

Method: visitors of two kinds; a list of some of one kind; then people of both kinds who are in no list.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from app.domain.catalogue import Audience, Lookalike
from app.domain.people import Profile
from app.domain.requests import AdRequest, Person
from app.flows.audiences import upload, withdraw
from app.flows.clustering import cluster
from app.flows.lookalikes import in_use, liken
from app.flows.node import Node
from app.flows.people import enrich, store_profiles
from app.flows.serve import serve
from tests.node import ask_for, running_node, small_catalogue

KINDS = tuple(tuple(f"{kind}-{number}" for number in range(20)) for kind in ("home", "away"))
BUYERS = Audience(id="buyers", advertiser_id="adv-1")
THINGS = [
    *small_catalogue(),
    BUYERS,
    Audience(id="like-model", advertiser_id="adv-1", lookalike=Lookalike(of="buyers", reach=0.3)),
    Audience(
        id="like-cluster",
        advertiser_id="adv-1",
        lookalike=Lookalike(of="buyers", by="cluster", reach=0.5),
    ),
]


def words(kind: int, number: int) -> tuple[str, ...]:
    return tuple(Random(f"{kind}:{number}").sample(KINDS[kind], 12))


def visit(node: Node, kind: int, number: int, interests: tuple[str, ...] | None = None) -> AdRequest:
    key, _ = node.user_keys.of(f"{kind}:{number}", node.now_ms())
    told = words(kind, number) if interests is None else interests
    request = enrich(node, ask_for("plc-1", person=Person(key=key, interests=told)))
    serve(node, request)
    return request


def audiences_of(request: AdRequest) -> set[str]:
    assert request.person is not None
    return set(request.person.audiences)


def buyers(count: int) -> bytes:
    """Those of the first kind, by their ids."""
    return "\n".join(f"0:{number}" for number in range(count)).encode()


def scenario(tmp_path: Path, play: Callable[[Node], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        async with running_node(tmp_path, things=THINGS) as node:
            node.settings = replace(node.settings, clusters=2, placement_clusters=2)
            await play(node)

    asyncio.run(run())


@pytest.mark.parametrize("way", ["like-model", "like-cluster"])
def test_strangers_of_the_same_kind_are_alike(tmp_path: Path, way: str) -> None:
    async def play(node: Node) -> None:
        for number in range(150):
            visit(node, number % 2, number)
            visit(node, number % 2, 1_000 + number)
        await upload(node, BUYERS, buyers(150))
        await cluster(node)
        await liken(node)
        assert in_use(node, way)
        met = [[way in audiences_of(visit(node, kind, 5_000 + n)) for n in range(60)] for kind in (0, 1)]
        assert sum(met[0]) >= 20 and sum(met[1]) <= 2, "of 60 each; a reach of 0.3 is at most 36"
        line = node.state.likenesses.lines[way]
        assert line.members >= 50 and line.people >= 50 and line.sampled == 300
        await withdraw(node, BUYERS)
        assert audiences_of(visit(node, 0, 7_000)) == set(), "nobody is like a list that is gone"
        await liken(node)
        assert node.state.likenesses.lines == {}

    scenario(tmp_path, play)


def test_members_who_did_not_come_are_known_by_their_profiles(tmp_path: Path) -> None:
    async def play(node: Node) -> None:
        for number in range(200):
            visit(node, number % 2, 10_000 + number)
        told = [(f"0:{number}", Profile(interests=words(0, number))) for number in range(80)]
        await store_profiles(node, told)
        await upload(node, BUYERS, buyers(80))
        await liken(node)
        assert node.state.likenesses.lines["like-model"].members == 80
        assert sum("like-model" in audiences_of(visit(node, 0, 5_000 + n)) for n in range(40)) >= 20
        unknown = enrich(node, ask_for("plc-1", person=Person(interests=words(0, 10_002))))
        assert audiences_of(unknown) <= {"like-model"}, "somebody without an id is alike by the words told"

    scenario(tmp_path, play)


def test_few_people_are_like_nobody(tmp_path: Path) -> None:
    async def play(node: Node) -> None:
        for number in range(300):
            visit(node, number % 2, number)
        await upload(node, BUYERS, buyers(90))  # of whom 45 came, and were told of
        await liken(node)
        assert node.state.likenesses.lines == {} and not in_use(node, "like-model")

    scenario(tmp_path, play)


def test_who_tells_nothing_is_like_nobody(tmp_path: Path) -> None:
    async def play(node: Node) -> None:
        for number in range(300):
            visit(node, number % 2, number)
        await upload(node, BUYERS, buyers(150))
        await liken(node)
        assert in_use(node, "like-model")
        assert audiences_of(visit(node, 0, 9_000, ())) == set()
        assert enrich(node, ask_for("plc-1")).person is None, "as after a dropped consent"

    scenario(tmp_path, play)
