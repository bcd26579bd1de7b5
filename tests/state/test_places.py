"""Places: indexes lowest first, a rest before they are given again, and nothing left of the old owner."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.catalogue import Campaign
from app.domain.lines import FoldSettings
from app.domain.refusals import Refused
from app.rules.features import BLOCKS
from app.state.places import GroupedPlaces, Places
from tests.state.world import DAY_MS, World, ask_for, banner, group, one_of_each, placement

REST_MS = 31 * DAY_MS
KEYS = st.integers(0, 5)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("take"), KEYS),
            st.tuples(st.just("rest"), KEYS),
            st.tuples(st.just("free"), st.integers(0, 20)),
        ),
        max_size=40,
    )
)
def test_places_are_given_out_as_a_plain_list_would(todo: list[tuple[str, int]]) -> None:
    places, held, resting = Places(7, reserved=1), dict[int, int](), dict[int, int]()
    generation: dict[int, int] = {}
    for now, (what, number) in enumerate(todo):
        if what == "take":
            free = [index for index in range(1, 7) if index not in held.values()]
            if number not in held and not free:
                assert places.left == 0
                continue
            resting.pop(number, None)
            held.setdefault(number, min(free, default=0))
            assert places.take(number) == held[number]
        elif what == "rest":
            places.rest(number, now)
            if number in held:
                resting.setdefault(number, now)
        else:
            due = [key for key, since in resting.items() if since <= now - number]
            oldest = min(due, key=lambda key: resting[key], default=None)
            assert places.rested(now - number) == oldest
            if oldest is not None:
                index = held.pop(oldest)
                del resting[oldest]
                generation[index] = generation.get(index, 0) + 1
                assert places.release(oldest) == index
        assert places.by_key == held
        assert places.left == 6 - len(held)
        assert places.generation == generation


def column_of(world: World, creative_id: str = "cr-1") -> int:
    at = world.state.catalogue.ads.places.by_key[creative_id]
    return int(world.state.catalogue.ads.columns[-1, at])


def fresh() -> World:
    world = World(FoldSettings(silence_clicks=10**6))
    world.add(*one_of_each())
    return world


def teach(world: World, creative_id: str = "cr-1", count: int = 5) -> None:
    for _ in range(count):
        ad = world.ad(creative_id)
        world.show(ad)
        world.click(ad)


def ticks(world: World, elapsed_ms: int) -> None:
    """Let time pass, and some ticks more: one place of each kind is freed a tick."""
    world.tick(elapsed_ms)
    for _ in range(3):
        world.tick(0)


def test_an_ad_that_comes_back_within_its_rest_has_kept_what_was_learned() -> None:
    world = fresh()
    teach(world)
    column, learned = column_of(world), world.p(world.ad())
    world.change("creative", "cr-1", status="archived")
    ticks(world, REST_MS - 1)
    world.change("creative", "cr-1", status="active")
    assert (column_of(world), world.p(world.ad())) == (column, learned)
    ticks(world, 2 * REST_MS)
    assert column_of(world) == column, "it rests no longer"


def test_a_column_is_given_again_only_after_its_rest_and_is_zero_then() -> None:
    world = fresh()
    teach(world)
    column = column_of(world)
    world.change("creative", "cr-1", status="archived")
    ticks(world, REST_MS - 1)
    world.add(banner("cr-2"))
    assert column_of(world, "cr-2") != column
    assert world.state.model.n[:, column].any()
    ticks(world, 1)
    model = world.state.model
    assert not (model.n[:, column].any() or model.z[:, column].any() or model.w[:, column].any())
    world.add(banner("cr-3"))
    assert column_of(world, "cr-3") == column
    ads = world.state.catalogue.ads.places
    assert ads.generation[ads.by_key["cr-3"]] == 1
    one, two = world.ad("cr-2"), world.ad("cr-3")
    assert world.p(one) == world.p(two), "the new one starts where any new one does"


def test_a_place_in_the_auction_is_reused_with_a_new_generation() -> None:
    world = fresh()
    at = world.state.catalogue.ads.places.by_key["cr-1"]
    assert world.choose().placed[0].wins[0].generation == 0
    world.change("creative", "cr-1", status="archived")
    ticks(world, REST_MS)
    assert world.reasons() == {}
    world.add(banner("cr-2"))
    (win,) = world.choose().placed[0].wins
    assert (win.creative_id, win.creative_index, win.generation) == ("cr-2", at, 1)


def test_an_archived_campaign_frees_the_columns_of_all_its_creatives_and_its_own() -> None:
    world = fresh()
    world.add(banner("cr-2"))
    columns, ads = world.state.catalogue.columns, world.state.catalogue.ads.places
    before = columns.left, ads.left
    world.change("campaign", "c-1", status="archived")
    world.tick(REST_MS)
    for _ in range(10):
        world.tick(0)
    assert (columns.left, ads.left) == (before[0] + 1, before[1] + 2)
    world.change("campaign", "c-1", status="active")
    assert (columns.left, ads.left) == before
    assert world.winner() in ("cr-1", "cr-2")


def test_late_events_of_an_archived_ad_are_billed_and_learned() -> None:
    world = fresh()
    ad = world.ad()
    world.change("campaign", "c-1", status="archived")
    world.show(ad)
    receipt = world.click(ad)
    assert receipt.billed_micros > 0
    assert receipt.learned


def test_a_placement_has_a_row_of_its_own_that_rests_and_is_cleared() -> None:
    world = fresh()
    world.add(placement("plc-2"))
    rows = world.state.catalogue.rows.by_key
    assert (rows["plc-1"], rows["plc-2"]) == (BLOCKS["placement"].start, BLOCKS["placement"].start + 1)
    teach(world)
    assert world.choose(ask_for("plc-1")).placed[0].wins[0].pctr > 0.02
    world.change("placement", "plc-1", status="archived")
    ticks(world, REST_MS - 1)
    assert "plc-1" in rows
    ticks(world, 1)
    assert "plc-1" not in rows
    model = world.state.model
    assert not model.n[BLOCKS["placement"].start].any()
    assert not model.w[BLOCKS["placement"].start].any()
    world.add(placement("plc-3"))
    assert rows["plc-3"] == BLOCKS["placement"].start
    both = [world.choose(ask_for(place)).placed[0].wins[0].pctr for place in ("plc-2", "plc-3")]
    assert both[0] == both[1]
    world.change("placement", "plc-1", status="active")
    assert world.winner(ask_for("plc-1")) == "cr-1"


def test_a_placement_without_a_row_shares_a_hashed_one() -> None:
    world = fresh()
    block = BLOCKS["unregistered"]
    row = world.state.row_of("no such placement")
    assert block.start <= row < block.end


def test_a_full_catalogue_refuses_the_next_and_serves_the_others() -> None:
    world = World(columns=128)  # 64 that ads share, and a run of 64 for the ads
    world.add(*one_of_each(), *(banner(f"cr-{number}") for number in range(2, 65)))
    with pytest.raises(Refused) as refused:
        world.add(banner("cr-65"))
    assert refused.value.code == "catalogue_full"
    assert world.winner() is not None
    world.change("creative", "cr-2", status="archived")
    ticks(world, REST_MS)
    world.add(banner("cr-65"))
    assert np.count_nonzero(world.state.catalogue.ads.reason == 0) == 64


def test_shared_columns_run_out_too() -> None:
    world = World(columns=256)  # 51, so 0 whole runs of 64: half of them are shared
    world.add(*one_of_each())
    with pytest.raises(Refused) as refused:
        for number in range(2, 200):
            world.add(Campaign(id=f"c-{number}", advertiser_id="adv-1"))
            world.add(group(f"g-{number}", f"c-{number}"), banner(f"cr-{number}", f"g-{number}"))
    assert refused.value.code == "catalogue_full"
    assert world.state.catalogue.columns.left == 0
    assert world.winner() is not None


def test_ads_of_a_shape_stand_side_by_side_and_borrow_when_none_is_left() -> None:
    places = GroupedPlaces(200)
    assert places.capacity == 192
    assert [places.take_in(group, f"{group}{n}") for n in range(3) for group in "ab"] == [0, 64, 1, 65, 2, 66]
    for number in range(61):
        places.take_in("a", f"more{number}")
    assert places.take_in("a", "next") == 128, "a run of its own again"
    assert places.take_in("c", "other") == 67, "no run is left: the lowest of those that are free"
    assert places.left == 192 - 6 - 61 - 2
    places.rest("a1", 5)
    assert places.rested(5) == "a1"
    places.release("a1")
    assert places.take_in("b", "b3") == 68
    assert places.take_in("a", "a9") == 1, "back to the run's own shape"
