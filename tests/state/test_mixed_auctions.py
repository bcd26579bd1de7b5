"""All four kinds of price in one auction, held against a slow evaluator and against what a price must be.

Method: small worlds with something learned in both matrices; each property changes one bid and decides again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from app.domain.catalogue import Pricing
from app.domain.decisions import Win
from app.domain.lines import FoldSettings
from tests.state.world import WON, World, ask_for, banner, group, one_of_each, placement, served

KINDS = ("cpm", "cpc", "cpa", "ocpm")
FLOOR = 40 * WON
MOST = 400 * WON


@dataclass(frozen=True)
class Offer:
    """One ad group with one banner. `taught`: so many shown, clicked and converted before the auction."""

    kind: str
    bid: int
    taught: tuple[int, int, int]


offers = st.lists(
    st.builds(
        Offer,
        st.sampled_from(KINDS),
        st.integers(1, 400),
        st.sampled_from([(0, 0, 0), (6, 0, 0), (6, 3, 0), (6, 3, 2)]),
    ),
    min_size=1,
    max_size=5,
)
# What one unit of `Offer.bid` is: so that all kinds are worth about the same before anything was learned.
UNIT = {"cpm": 1, "cpc": 1 / 10, "cpa": 5, "ocpm": 5}


def pricing(kind: Any, bid: int) -> Pricing:
    return Pricing(kind=kind, bid_micros=round(bid * UNIT[kind] * WON))


def world_of(bids: list[Offer], most: int = 0) -> World:
    world = World(FoldSettings(max_ecpm_micros=most))
    world.add(*one_of_each()[:-2], placement("plc-2", floor_micros=FLOOR))
    for number, offer in enumerate(bids):
        one = group(f"g-{number}", kind=offer.kind)
        world.add(type(one)(id=one.id, campaign_id="c-1", pricing=pricing(offer.kind, offer.bid)))
        world.add(banner(f"cr-{number}", one.id))
        shown, clicked, converted = offer.taught
        for turn in range(shown):
            ad = world.ad(f"cr-{number}", 0, offer.kind, pcvr=0.02, rows=(0, 5))
            world.show(ad)
            if turn < clicked:
                world.click(ad)
            if turn < converted:
                world.convert(ad)
    return world


def worth(world: World, creative_id: str, rows: tuple[int, ...], placement_id: str) -> float:
    """What an ad's thousand impressions are worth, from the weights alone."""
    ad = world.ad(creative_id, rows=rows, placement_id=placement_id)
    at = ad.creative_index
    catalogue = world.state.catalogue
    kind = catalogue.payers(creative_id)[0].pricing.kind
    v = 1.0 if kind == "cpm" else 1000.0 * world.p(ad)
    if kind in ("cpa", "ocpm"):
        v *= world.pcvr(ad)
    limit = world.state.settings.max_ecpm_micros or math.inf
    return min(float(catalogue.ads.bid[at]) * v, limit)


def decide(world: World, placement_id: str, key: bytes) -> tuple[Win | None, tuple[int, ...]]:
    (placed,) = world.choose(ask_for(placement_id), key).placed
    return (placed.wins[0] if placed.wins else None), placed.rows


@settings(max_examples=40, deadline=None)
@given(offers, st.sampled_from([0, MOST]), st.sampled_from(["plc-1", "plc-2"]))
def test_the_winner_is_the_worthiest_by_a_slow_evaluator(bids: list[Offer], most: int, place: str) -> None:
    world = world_of(bids, most)
    win, rows = decide(world, place, world.key())
    floor = FLOOR if place == "plc-2" else 0
    worths = {n: worth(world, f"cr-{n}", rows, place) for n in range(len(bids))} if rows else {}
    best = max(worths.values(), default=0.0)
    if win is None:
        assert best < floor * (1 + 1e-6)
        return
    own = worths[int(win.creative_id[3:])]
    assert own >= best * (1 - 1e-5)
    others = [value for n, value in worths.items() if f"cr-{n}" != win.creative_id and value >= floor]
    least = max([floor, *others])
    assert win.price_micros <= win.bid_micros, "never above the bid"
    assert abs(win.cleared_ecpm_micros - least) <= max(1e-5 * least, 1e5), "pays the floor or the next one"
    if win.kind in ("cpa", "ocpm"):
        ad = served(world.choose(ask_for(place)).placed[0], world.now_ms)
        assert math.isclose(win.pcvr, world.pcvr(ad), rel_tol=1e-5) or win.creative_id != ad.creative_id


@settings(max_examples=40, deadline=None)
@given(offers, st.sampled_from([0, MOST]), st.integers(0, 1000))
def test_the_price_is_the_least_that_keeps_the_slot_and_no_bid_above_it_changes_it(
    bids: list[Offer], most: int, share: int
) -> None:
    world = world_of(bids, most)
    key = world.key()
    win, _ = decide(world, "plc-2", key)
    assume(win is not None)
    assert win is not None

    def with_bid(micros: int) -> Win | None:
        changed = Pricing(kind=win.kind, bid_micros=micros)  # type: ignore[arg-type]
        world.change("ad_group", win.ad_group_id, pricing=changed)
        return decide(world, "plc-2", key)[0]

    # At the price itself it ties with who set it, and the tie may turn: a micro more keeps the slot.
    offered = win.price_micros + (win.bid_micros - win.price_micros) * share // 1000
    for bid in (max(win.price_micros + 1, offered), win.bid_micros * 2):
        again = with_bid(bid)
        assert again is not None
        assert (again.creative_id, again.price_micros) == (win.creative_id, win.price_micros)
    if win.price_micros > 1:
        less = with_bid(win.price_micros - 1)
        assert less is None or less.creative_id != win.creative_id
