"""Uploaded lists. Goal: exactly its people are in a list, no id is written down, small lists match nobody.

Method: the sorted arrays against plain sets; then a real node over a directory that the test looks through.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.catalogue import Advertiser, Audience
from app.domain.ids import DAY_MS
from app.domain.requests import Person
from app.flows.audiences import is_targetable, refresh, upload, withdraw
from app.flows.lists import Lists
from app.flows.node import Node
from app.flows.people import enrich, erase
from tests.node import ask_for, now_ms, register, running_node, small_catalogue, tick

# Few first bytes and few last ones, so that keys share heads, tails, or neither.
keys = st.builds(
    lambda head, tail: bytes([head]) * 8 + bytes([tail]) * 4, st.integers(0, 2), st.integers(0, 2)
)
AUDIENCE = Audience(id="aud-1", advertiser_id="adv-1")
SMALL = Audience(id="aud-2", advertiser_id="adv-1")
IDS = [f"person-{number}" for number in range(50)]


@given(st.dictionaries(st.sampled_from("abcd"), st.sets(keys), max_size=4), keys)
def test_lists_are_sets(members: dict[str, set[bytes]], asked: bytes) -> None:
    lists = Lists({name: b"".join(each) for name, each in members.items()})
    assert lists.of(asked) == tuple(sorted(name for name, each in members.items() if asked in each))
    assert lists.of(None) == () and len(lists) == sum(map(len, members.values()))


def body_of(ids: list[str]) -> bytes:
    return "\r\n".join([*ids, "", ids[0]]).encode()


def audiences_of(node: Node, identity: str) -> tuple[str, ...]:
    key, former_key = node.user_keys.of(identity, node.now_ms())
    person = enrich(node, ask_for("plc-1", person=Person(key=key, former_key=former_key))).person
    assert person is not None
    return person.audiences


THINGS = [*small_catalogue(), AUDIENCE, SMALL]


def test_a_list_is_live_when_it_is_uploaded(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_node(tmp_path, things=THINGS) as node:
            line = await upload(node, AUDIENCE, body_of(IDS))
            assert line.count == 50, "an id twice is one person"
            assert audiences_of(node, "person-7") == ("aud-1",) and audiences_of(node, "stranger") == ()
            await upload(node, AUDIENCE, body_of([f"other-{number}" for number in range(60)]))
            assert audiences_of(node, "person-7") == () and audiences_of(node, "other-7") == ("aud-1",)
            assert len(list((tmp_path / "audiences").iterdir())) == 1, "the list before is gone"
            await withdraw(node, AUDIENCE)
            assert audiences_of(node, "other-7") == () and not list((tmp_path / "audiences").iterdir())

    asyncio.run(scenario())


def test_a_small_list_matches_nobody(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_node(tmp_path, things=THINGS) as node:
            await upload(node, AUDIENCE, body_of(IDS[:49]))
            assert audiences_of(node, "person-7") == () and not is_targetable(node, "aud-1")
            node.settings = replace(node.settings, k_anonymity=49)
            assert audiences_of(node, "person-7") == ("aud-1",) and is_targetable(node, "aud-1")
            await register(node, [msgspec.structs.replace(AUDIENCE, status="paused")])
            assert audiences_of(node, "person-7") == () and not is_targetable(node, "aud-1")

    asyncio.run(scenario())


def test_an_erased_person_is_struck_off_every_list(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_node(tmp_path, things=THINGS) as node:
            await upload(node, AUDIENCE, body_of(IDS))
            await upload(node, SMALL, body_of([*IDS, "one-more"]))
            since = {listed.at_ms for listed in node.state.audiences.lists.values()}
            await erase(node, "person-7")
            assert {listed.at_ms for listed in node.state.audiences.lists.values()} == since, "not younger"
            counts = {key: listed.count for key, listed in node.state.audiences.lists.items()}
            assert counts == {"aud-1": 49, "aud-2": 50}
            assert audiences_of(node, "person-7") == ()
            assert audiences_of(node, "person-8") == ("aud-2",), "one list fell below the floor"

    asyncio.run(scenario())


def test_a_list_fades_with_the_retention(tmp_path: Path) -> None:
    ahead_ms = 0

    def clock_ms() -> int:
        return now_ms() + ahead_ms

    async def scenario() -> None:
        nonlocal ahead_ms
        async with running_node(tmp_path, things=THINGS, clock_ms=clock_ms) as node:
            await upload(node, AUDIENCE, body_of(IDS))
            ahead_ms = 30 * DAY_MS
            await tick(node)
            await refresh(node)
            assert audiences_of(node, "person-7") == () and not list((tmp_path / "audiences").iterdir())

    asyncio.run(scenario())


def test_no_id_is_written_down_and_a_restart_finds_the_list(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_node(tmp_path, things=THINGS) as node:
            await upload(node, AUDIENCE, body_of(IDS))
            secrets = node.user_keys
        async with running_node(tmp_path) as node:
            node.user_keys = secrets
            await refresh(node)
            assert audiences_of(node, "person-7") == ("aud-1",)

    asyncio.run(scenario())
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in written if b"person-7" in path.read_bytes()] == []


def test_a_damaged_list_matches_nobody_and_stops_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_node(tmp_path, things=THINGS) as node:
            await upload(node, AUDIENCE, body_of(IDS))
            (path,) = (tmp_path / "audiences").iterdir()
            path.write_bytes(path.read_bytes()[:-1] + b"x")
            node.lists = Lists()
            await refresh(node)
            assert audiences_of(node, "person-7") == ()

    asyncio.run(scenario())


@pytest.mark.parametrize("body", [b"", b"\n\n"])
def test_an_empty_list(tmp_path: Path, body: bytes) -> None:
    async def scenario() -> None:
        async with running_node(tmp_path, things=[Advertiser(id="adv-1"), AUDIENCE]) as node:
            assert (await upload(node, AUDIENCE, body)).count == 0

    asyncio.run(scenario())
