"""What a placement keeps apart, and what a slot costs where the winner keeps others off the page."""

from __future__ import annotations

import pytest

from app.domain.catalogue import Advertiser, Campaign
from app.domain.requests import AdRequest, Ask
from tests.state.world import WON, World, ask_for, banner, group, one_of_each, placement

#   creative  advertiser  category    bid
ADS = [
    ("a-1",   "a",        ("IAB2-1",), 900),
    ("a-2",   "a",        ("IAB9",),   800),
    ("b-1",   "b",        ("IAB2-3",), 700),
    ("c-1",   "c",        ("IAB3",),   600),
    ("d-1",   "d",        (),          500),
    ("e-1",   "e",        (),          400),
]  # fmt: skip


def world_apart(*separation: str) -> World:
    """Each ad in a group of its own; advertiser e's own category is cars, too."""
    world = World()
    world.add(*one_of_each()[:1], placement("plc-1", separation=separation))
    for name in "abcde":
        category = "IAB2" if name == "e" else None
        world.add(Advertiser(id=name, category=category), Campaign(id=f"c-{name}", advertiser_id=name))
    for name, advertiser, categories, bid in ADS:
        world.add(group(f"g-{name}", f"c-{advertiser}", bid=bid, kind="cpm"))
        world.add(banner(name, f"g-{name}", categories=categories))
    return world


#   separation                 slots  ads, prices                                            reasons
TABLE = [
    ((),                       3, [("a-1", 800), ("a-2", 700), ("b-1", 600)],                {"outbid": 3}),
    (("creative",),            2, [("a-1", 800), ("a-2", 700)],                              {"outbid": 4}),
    (("advertiser",),          1, [("a-1", 800)],                                            {"outbid": 5}),
    (("advertiser",),          2, [("a-1", 800), ("b-1", 600)],       {"same_advertiser": 1, "outbid": 3}),
    (("category",),            3, [("a-1", 800), ("a-2", 600), ("c-1", 500)],
                                                                      {"same_category": 2, "outbid": 1}),
    (("advertiser", "category"), 3, [("a-1", 800), ("c-1", 500), ("d-1", 0)],
                                                          {"same_advertiser": 1, "same_category": 2}),
    (("category",),            9, [("a-1", 800), ("a-2", 600), ("c-1", 500), ("d-1", 0)],
                                                                      {"same_category": 2}),
]  # fmt: skip


@pytest.mark.parametrize(("separation", "slots", "expected", "reasons"), TABLE)
def test_kept_apart(
    separation: tuple[str, ...], slots: int, expected: list[tuple[str, int]], reasons: dict[str, int]
) -> None:
    """The top slot costs 800: the best of another group, though the winner keeps it off the page."""
    world = world_apart(*separation)
    (placed,) = world.choose(ask_for("plc-1", count=slots)).placed
    assert [(win.creative_id, win.price_micros // WON) for win in placed.wins] == expected
    assert placed.reasons == reasons
    assert sum(reasons.values()) + len(expected) == len(ADS)


def test_a_placement_keeps_its_ads_from_those_of_the_placements_above() -> None:
    world = world_apart("advertiser", "category")
    world.add(placement("plc-2"))
    asks = (Ask(name="top", placement_id="plc-2"), Ask(name="below", placement_id="plc-1", count=2))
    top, below = world.choose(AdRequest(request_id="r", asks=asks)).placed
    assert [win.creative_id for win in top.wins] == ["a-1"]
    assert [win.creative_id for win in below.wins] == ["c-1", "d-1"]
    assert below.reasons == {"same_creative": 1, "same_advertiser": 1, "same_category": 2}
    asks = (Ask(name="top", placement_id="plc-1"), Ask(name="below", placement_id="plc-2", count=2))
    _, below = world.choose(AdRequest(request_id="r", asks=asks)).placed
    assert [win.creative_id for win in below.wins] == ["a-2", "b-1"], "plc-2 asks for nothing"
