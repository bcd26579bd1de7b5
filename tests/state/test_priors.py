"""Priors: what is predicted without data, and that a changed prior leaves predictions where they were."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.lines import FoldSettings
from tests.state.world import World, ask_for, banner, group, one_of_each, placement

UNKNOWN = {"unregistered": True, "publisher_id": "pub-1"}
TOLERANCE = 1e-5  # weights are float32


def fresh(**priors: float) -> World:
    world = World()
    world.add(*one_of_each(), group("g-2"), banner("cr-2", "g-2"))
    world.add(placement("plc-2"), placement("plc-3", prior_ctr=0.05))
    return world


def pctr(world: World, placement_id: str, **asked: Any) -> float:
    (placed,) = world.choose(ask_for(placement_id, **asked)).placed
    return placed.wins[0].pctr


def everywhere(world: World) -> list[float]:
    """Predict on three registered placements and an unregistered one."""
    return [*(pctr(world, f"plc-{n}") for n in (1, 2, 3)), pctr(world, "elsewhere", **UNKNOWN)]


def teach(world: World, *placement_ids: str, clicks: int = 1) -> None:
    for placement_id in placement_ids:
        for number in range(6):
            ad = world.ad(("cr-1", "cr-2")[number % 2], rows=(0, world.state.row_of(placement_id), 2_310))
            world.show(ad)
            if number < clicks:
                world.click(ad)


def test_without_data_every_pctr_is_the_prior() -> None:
    assert everywhere(fresh()) == pytest.approx([0.01, 0.01, 0.05, 0.01], rel=TOLERANCE)


def test_a_new_node_wide_prior_counts_where_nothing_was_learned() -> None:
    world = fresh()
    world.configure(prior_ctr=0.03)
    assert everywhere(world) == pytest.approx([0.03, 0.03, 0.05, 0.03], rel=TOLERANCE)


@settings(max_examples=30)
@given(
    st.lists(st.sampled_from(["plc-1", "plc-2", "plc-3", "elsewhere"]), min_size=1, max_size=4),
    st.lists(st.sampled_from([0.0001, 0.01, 0.02, 0.5]), min_size=1, max_size=3),
    st.sampled_from([0.0, 0.1]),
)
def test_a_changed_node_wide_prior_leaves_every_prediction(
    taught: list[str], priors: list[float], l1: float
) -> None:
    world = World(FoldSettings(l1=l1))
    world.add(*one_of_each(), group("g-2"), banner("cr-2", "g-2"))
    world.add(placement("plc-2"), placement("plc-3", prior_ctr=0.05))
    teach(world, *taught)
    before = everywhere(world)
    for prior in priors:
        world.configure(prior_ctr=prior)
        assert everywhere(world) == pytest.approx(before, rel=TOLERANCE)
    teach(world, *taught)  # and learning goes on from there
    assert everywhere(world) != before


@given(st.sampled_from([0.0001, 0.02, 0.5, None]), st.booleans())
def test_a_placement_s_changed_prior_leaves_its_predictions(prior: float | None, had_one: bool) -> None:
    world = fresh()
    place = "plc-3" if had_one else "plc-1"
    teach(world, "plc-1", "plc-2", "plc-3", clicks=2)
    before = everywhere(world)
    world.change("placement", place, prior_ctr=prior)
    assert everywhere(world) == pytest.approx(before, rel=TOLERANCE)
    world.change("placement", place, prior_ctr=0.01)
    assert everywhere(world) == pytest.approx(before, rel=TOLERANCE)


def test_a_placement_s_own_prior_counts_until_it_has_data() -> None:
    world = fresh()
    world.change("placement", "plc-1", prior_ctr=0.2)
    assert pctr(world, "plc-1") == pytest.approx(0.2, rel=TOLERANCE)
    world.change("placement", "plc-1", prior_ctr=None)
    assert pctr(world, "plc-1") == pytest.approx(0.01, rel=TOLERANCE)
    assert pctr(world, "plc-2") == pytest.approx(0.01, rel=TOLERANCE)


def test_a_changed_rate_changes_what_comes_and_every_weight_stays_what_its_sums_give() -> None:
    world = fresh()
    teach(world, "plc-1")
    world.configure(alpha=0.5, cross_alpha=0.1, l1=0.01, l2=2.0, beta=0.5)  # check() compares each weight
    teach(world, "plc-1")
    slow = fresh()
    teach(slow, "plc-1")
    teach(slow, "plc-1")
    assert pctr(world, "plc-1") != pctr(slow, "plc-1")


def test_a_prior_survives_a_restart() -> None:
    world = fresh()
    teach(world, "plc-1", "plc-3")
    world.configure(prior_ctr=0.2)
    world.change("placement", "plc-2", prior_ctr=0.3)
    assert everywhere(world.copy()) == everywhere(world)
