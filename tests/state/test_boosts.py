"""Boosted bids. Goal: an ad bids so many times as much for the people of an audience, and as ever for others.

Method: rivals whose bids differ by less than the boost; then random boosts against slow sums.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.catalogue import Audience, Rule, Targeting, Thing
from app.domain.requests import AdRequest, Ask, Person
from tests.state.world import WON, World, banner, group, one_of_each, placement

ASK = (Ask(name="a", placement_id="plc-1"),)


def things() -> list[Thing]:
    return [*one_of_each(), *(Audience(id=name, advertiser_id="adv-1") for name in "abc")]


def request(*audiences: str) -> AdRequest:
    return AdRequest(request_id="r", asks=ASK, person=Person(key=bytes(12), audiences=audiences))


def world_of(**boosts: float) -> World:
    """g-1 bids 2,000 a click; g-2 1,500, with these boosts."""
    world = World()
    world.add(*things())
    targeting = Targeting(boost=tuple(sorted(boosts.items())))
    world.add(group("g-2", bid=1_500, targeting=targeting), banner("cr-2", "g-2"))
    return world


#   boosts                     audiences        winner   its bid  why
TABLE = [
    ({"a": 1.5},               (),              "cr-1",  2_000,  "nobody told: nothing is boosted"),
    ({"a": 1.5},               ("b",),          "cr-1",  2_000,  "another audience"),
    ({"a": 1.5},               ("a",),          "cr-2",  2_250,  "boosted past the rival"),
    ({"a": 1.2},               ("a",),          "cr-1",  2_000,  "not far enough"),
    ({"a": 1.2, "b": 1.2},     ("a", "b"),      "cr-2",  2_160,  "several multiply"),
    ({"a": 10.0, "b": 10.0},   ("a", "b"),      "cr-2", 15_000,  "ten times at most"),
    ({"a": 1.5, "b": 0.5},     ("a", "b"),      "cr-1",  2_000,  "one may bring down what another raised"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("boosts", "audiences", "winner", "bid", "why"), TABLE, ids=[row[-1] for row in TABLE]
)
def test_who_wins(
    boosts: dict[str, float], audiences: tuple[str, ...], winner: str, bid: int, why: str
) -> None:
    (placed,) = world_of(**boosts).choose(request(*audiences)).placed
    assert (placed.wins[0].creative_id, placed.wins[0].bid_micros) == (winner, bid * WON), why
    assert placed.wins[0].price_micros <= placed.wins[0].bid_micros


def test_a_boost_reaches_floors_and_pays_no_more_than_it_takes() -> None:
    world = World()
    world.add(*things(), placement("plc-2", floor_micros=25_000 * WON))
    world.change("ad_group", "g-1", targeting=Targeting(boost=(("a", 2.0),)))
    ask = (Ask(name="a", placement_id="plc-2"),)
    plain = AdRequest(request_id="r", asks=ask, person=Person(key=bytes(12)))
    boosted = AdRequest(request_id="r", asks=ask, person=Person(key=bytes(12), audiences=("a",)))
    assert world.choose(plain).placed[0].code == "below_floor"
    (win,) = world.choose(boosted).placed[0].wins
    assert win.price_micros == 2_500 * WON, "25,000 per 1,000 impressions at a CTR of 1 %"


def test_a_boost_lets_nobody_in() -> None:
    world = world_of(a=3.0)
    world.change("ad_group", "g-2", targeting=Targeting(boost=(("a", 3.0),), audience=Rule(include=("b",))))
    assert world.choose(request("a")).placed[0].wins[0].creative_id == "cr-1"
    assert world.choose(request("a", "b")).placed[0].wins[0].creative_id == "cr-2"


def test_a_boost_goes_when_it_is_taken_back_or_its_ad_archived() -> None:
    world = world_of(a=3.0)
    assert world.winner(request("a")) == "cr-2"
    world.change("ad_group", "g-2", targeting=Targeting())
    assert world.winner(request("a")) == "cr-1"
    world.change("ad_group", "g-2", targeting=Targeting(boost=(("a", 3.0),)))
    world.change("creative", "cr-2", status="archived")
    assert world.winner(request("a")) == "cr-1"
    assert world.copy().winner(request("a")) == "cr-1"


some_boosts = st.dictionaries(st.sampled_from("abc"), st.floats(0.1, 10.0), max_size=3)


@settings(max_examples=30, deadline=None)
@given(st.lists(some_boosts, min_size=1, max_size=4), st.sets(st.sampled_from("abcd")))
def test_every_ad_bids_what_its_group_would(boosts: list[dict[str, float]], audiences: set[str]) -> None:
    world = World()
    world.add(*things())
    for number, boost in enumerate(boosts):
        targeting = Targeting(boost=tuple(sorted(boost.items())))
        world.add(group(f"b-{number}", bid=1_000 + number, targeting=targeting))
        world.add(banner(f"cr-b-{number}", f"b-{number}"))
    ads = world.state.catalogue.ads
    view = ads.boosts.applied(ads.view(), sorted(audiences))
    for number, boost in enumerate(boosts):
        at = ads.places.by_key[f"cr-b-{number}"]
        times = min(max(float(np.prod([boost[name] for name in boost if name in audiences])), 0.1), 10.0)
        assert abs(view.bid[at] - max(1.0, (1_000 + number) * WON * times)) <= 1.0
        assert abs(view.log_score[at] - np.log(view.bid[at] * 1_000)) < 1e-5
        assert ads.view().bid[at] == (1_000 + number) * WON, "the others' bids stay"
