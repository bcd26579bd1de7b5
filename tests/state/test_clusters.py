"""Clusters in the fold. Goal: a person's words, and nothing else of them, light the row of a cluster.

Method: centroids made of known profiles, then requests of people who are alike to one of them, or to nobody.
"""

from __future__ import annotations

import numpy as np
import pytest

from app.domain.lines import Clustered
from app.domain.requests import AdRequest, Ask, Person
from app.rules.features import BLOCKS
from app.rules.projection_plain import PROJECTION, hashes_of, project_plain
from app.state.clusters import Clusters
from tests.state.world import World, contents, fold, one_of_each

SPORT, TRAVEL = ("run", "swim", "ski"), ("beach", "train", "hotel")
CENTROIDS = project_plain([hashes_of(SPORT, ()), hashes_of((), TRAVEL)]).astype("<f4").tobytes()
CLUSTER, PLACE = BLOCKS["cluster"].start, BLOCKS["placement_cluster"].start


def world_of(*people: int) -> World:
    world = World()
    world.add(*one_of_each())
    world.put(
        Clustered(
            at_ms=world.now_ms,
            centroids=CENTROIDS,
            people=people,
            placements=(("plc-1", 7),),
            projection=PROJECTION,
        )
    )
    return world


def rows_of(world: World, person: Person | None, placement_id: str = "plc-1") -> set[int]:
    ask = Ask(name="a", placement_id=placement_id, unregistered=placement_id != "plc-1")
    (placed,) = world.choose(AdRequest(request_id="r", asks=(ask,), person=person)).placed
    return set(placed.rows)


#   what the person tells                                    row              why
TABLE = [
    (Person(interests=SPORT), CLUSTER, "alike to the first"),
    (Person(interests=(*SPORT[:2], "read")), CLUSTER, "two words of three are near enough"),
    (Person(segments=TRAVEL), CLUSTER + 1, "segments are words too"),
    (Person(interests=TRAVEL), None, "an interest is not the segment of that name: neither is near"),
    (Person(gender="F", age=30), None, "nothing told that could be alike"),
    (None, None, "no person, as after a dropped consent"),
]  # fmt: skip


@pytest.mark.parametrize(("person", "row", "why"), TABLE, ids=[why for _, _, why in TABLE])
def test_a_persons_words_light_a_row(person: Person | None, row: int | None, why: str) -> None:
    lit = {each for each in rows_of(world_of(60, 60), person) if 0 <= each - CLUSTER < 256}
    if row is not None:
        assert lit == {row}, why
    elif person is None or not person.interests:
        assert lit == set(), why
    else:
        assert len(lit) == 1, "the nearest there is"


def test_a_cluster_of_too_few_lights_no_row() -> None:
    world = world_of(0, 60)
    assert CLUSTER not in rows_of(world, Person(interests=SPORT))
    assert CLUSTER + 1 in rows_of(world, Person(segments=TRAVEL))
    assert world.state.clusters.lit == 1


def test_a_placements_cluster_lights_a_row_registered_or_not() -> None:
    world = world_of(60, 60)
    assert PLACE + 7 in rows_of(world, None)
    assert not rows_of(world, None, "elsewhere") & set(range(PLACE, PLACE + 64))
    moved = Clustered(at_ms=world.now_ms, centroids=CENTROIDS, people=(60, 60), projection=PROJECTION,
                      placements=(("plc-1", -1), ("elsewhere", 3)))  # fmt: skip
    world.put(moved)
    assert not rows_of(world, None) & set(range(PLACE, PLACE + 64))
    assert PLACE + 3 in rows_of(world, None, "elsewhere")


def test_new_clusters_are_in_force_for_profiles_met_before() -> None:
    world = world_of(60, 60)
    assert CLUSTER in rows_of(world, Person(interests=SPORT))
    turned = np.frombuffer(CENTROIDS, "<f4").reshape(2, -1)[::-1].tobytes()
    world.put(Clustered(at_ms=world.now_ms, centroids=turned, people=(60, 60), projection=PROJECTION))
    assert CLUSTER + 1 in rows_of(world, Person(interests=SPORT))


def test_centroids_of_another_projection_are_nobody_s() -> None:
    """A line, or a snapshot, of an earlier build: people have no cluster until they are told anew."""
    world = world_of(60, 60)
    parts, rest = world.state.clusters.parts()
    earlier = {name: each for name, each in rest.items() if name != "projection"}
    restored = Clusters()
    restored.restore(parts, earlier)
    assert (restored.lit, restored.placements) == (0, {"plc-1": 7})
    restored.restore(parts, rest)
    assert restored.lit == world.state.clusters.lit > 0
    world.put(Clustered(at_ms=world.now_ms, centroids=CENTROIDS, people=(60, 60)))
    assert not rows_of(world, Person(interests=SPORT)) & set(range(CLUSTER, CLUSTER + 64))
    assert PLACE + 7 in rows_of(world, None)


def test_what_is_lit_is_learned_and_a_snapshot_goes_on_alike() -> None:
    world = world_of(60, 60)
    request = AdRequest(
        request_id="r", asks=(Ask(name="a", placement_id="plc-1"),), person=Person(interests=SPORT)
    )
    ad = world.serve(request)
    world.show(ad)
    world.click(ad)
    assert world.state.model.n[CLUSTER, 0] > 0 and world.state.model.n[PLACE + 7, 0] > 0
    other = world.copy()
    assert contents(other.state) == contents(world.state)
    assert other.choose(request, key=bytes(14)) == world.choose(request, key=bytes(14))
    again = fold(world.entries, bytes_too=True)
    assert again.hash == world.state.hash and contents(again) == contents(world.state)
