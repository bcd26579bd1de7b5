"""The laws of the auction, over mixed auctions: kinds of price, floors, deals, slots and what is kept apart.

Method: random worlds and requests through the real chooser, held against a slow and plain auctioneer; and
each law by asking again at another bid.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.catalogue import AdGroup, Advertiser, Campaign, Pricing, Rule, Targeting, Thing
from app.domain.decisions import Win
from app.domain.lines import Catalogued, Configured
from app.domain.requests import AdRequest, Ask, Deal
from app.rules.pricing import ecpm_per_bid
from tests.state.auctioneer import Auctioneer, Sold
from tests.state.world import WON, World, banner, one_of_each, placement


class Offer(NamedTuple):
    """One ad: its group, what is added to its logit, its quality index and its category."""

    group: int
    weight: float
    quality: float
    category: str


GROUPS = 5
WORTH = {"cpm": 1, "cpc": 10, "cpa": 0.2, "ocpm": 0.2}  # of a unit of bid, at a pCTR of 1 % and a pCVR of 2 %
# Each group's advertiser, and the deals that it sells by.
OWNERS = [("adv-1", ()), ("adv-1", ()), ("adv-2", ()), ("adv-2", ("d-1",)), ("adv-3", ("d-1", "d-2"))]
offers = st.lists(
    st.builds(
        Offer, st.integers(0, GROUPS - 1), st.sampled_from((0.0, 0.5, -1.0, 0.1)),
        st.sampled_from((1.0, 1.0, 0.5, 2.0, 1.1)), st.sampled_from(("", "IAB2-1", "IAB2-3", "IAB3")),
    ),
    min_size=1, max_size=8,
)  # fmt: skip
terms = st.lists(
    st.tuples(st.sampled_from(("cpc", "cpm", "cpa", "ocpm")), st.sampled_from((1, 2, 3, 3, 5, 8))),
    min_size=GROUPS, max_size=GROUPS,
)  # fmt: skip
separations = st.sampled_from(((), (), ("advertiser",), ("category",), ("advertiser", "category")))
floors = st.sampled_from((0, 0, 200, 300, 500))
deals = st.builds(
    Deal, id=st.sampled_from(("d-1", "d-2", "d-3")), floor_micros=floors.map(lambda floor: floor * WON),
    at=st.sampled_from((1, 2, 3)), seats=st.sampled_from(((), (), ("s-3",), ("",))),
    advertisers=st.sampled_from(((), (), ("two.example",))),
)  # fmt: skip
asks = st.builds(
    Ask, name=st.just("?"), placement_id=st.sampled_from(("plc-1", "plc-2")), count=st.integers(1, 4),
    floor_micros=floors.map(lambda floor: floor * WON),
    deals=st.lists(deals, max_size=3, unique_by=lambda deal: deal.id).map(tuple),
    deal_only=st.sampled_from((False, False, True)),
)  # fmt: skip


def put(world: World, thing: Thing) -> None:
    """Register a thing without the state's own checks: weights set by hand are nothing that was learned."""
    world.put(Catalogued(at_ms=world.now_ms, thing=thing), check=False)


@st.composite
def worlds(draw: Any) -> World:
    world = World()
    for thing in (
        *one_of_each()[:1],
        placement("plc-1", separation=draw(separations), floor_micros=draw(floors) * WON),
        placement("plc-2", separation=draw(separations), prior_ctr=0.02),
        Advertiser(id="adv-1", category="IAB3"),
        Advertiser(id="adv-2", domain="two.example"),
        Advertiser(id="adv-3", seat="s-3"),
        *(Campaign(id=f"c-{n}", advertiser_id=f"adv-{n}", pacing="asap", prior_cvr=0.02) for n in (1, 2, 3)),
    ):
        put(world, thing)
    for number, ((owner, sells_by), (kind, ecpm)) in enumerate(zip(OWNERS, draw(terms), strict=True)):
        bid = int(ecpm * 100 * WON / WORTH[kind])
        targeting = Targeting(deal=Rule(include=sells_by))
        pricing = Pricing(kind=kind, bid_micros=bid)
        campaign = owner.replace("adv", "c")
        put(world, AdGroup(id=f"g-{number}", campaign_id=campaign, pricing=pricing, targeting=targeting))
    ads, model = world.state.catalogue.ads, world.state.model
    quality = np.ones(ads.places.capacity)
    for number, offer in enumerate(draw(offers)):
        categories = (offer.category,) if offer.category else ()
        put(world, banner(f"x-{number}", f"g-{offer.group}", categories=categories))
        at = ads.places.by_key[f"x-{number}"]
        model.w[0, ads.columns[-1, at]] = offer.weight
        quality[at] = offer.quality
    ads.take_quality(quality)
    model.touched[0] = True  # as learning would
    return world


requests = st.lists(asks, min_size=1, max_size=3).map(
    lambda asked: AdRequest(
        request_id="r",
        asks=tuple(msgspec.structs.replace(ask, name=f"slot-{n}") for n, ask in enumerate(asked)),
    )
)
competitions = st.sampled_from(("ad_group", "ad_group", "advertiser"))


def told(world: World, win: Win) -> Sold:
    rival = world.state.catalogue.ads.creatives[win.rival_index] if win.rival_index >= 0 else None
    return Sold(win.creative_id, win.price_micros, rival.id if rival else "", win.deal_id)


@settings(max_examples=150, deadline=None)
@given(worlds(), requests, competitions, st.sampled_from((0, 0, 400, 250)))
def test_the_auction_is_the_plain_one(world: World, request: AdRequest, competition: str, most: int) -> None:
    world.settings = msgspec.structs.replace(
        world.settings, self_competition=competition, max_ecpm_micros=most * WON
    )
    world.put(Configured(at_ms=world.now_ms, settings=world.settings), check=False)
    for key in (world.key(), world.key()):
        plain = Auctioneer(world).hold(request, key)
        choice = world.choose(request, key)
        for placed, held in zip(choice.placed, plain, strict=True):
            assert [told(world, win) for win in placed.wins] == held.sold
            assert placed.reasons == held.reasons
        assert world.choose(request, key) == choice, "ties are stable"


def alone(world: World, win: Win) -> bool:
    """Say whether an ad is its group's only one."""
    return world.state.catalogue.ads.group.tolist().count(win_group(world, win)) == 1


def win_group(world: World, win: Win) -> int:
    return int(world.state.catalogue.ads.group[win.creative_index])


def at_bid(world: World, win: Win, bid_micros: int, request: AdRequest, key: bytes) -> list[Win]:
    """Decide again with a group at another bid."""
    old = world.state.catalogue.get("ad_group", win.ad_group_id)
    assert isinstance(old, AdGroup)
    pricing = msgspec.structs.replace(old.pricing, bid_micros=bid_micros)
    put(world, msgspec.structs.replace(old, pricing=pricing))
    wins = list(world.choose(request, key).placed[0].wins)
    put(world, old)
    return wins


def standing(wins: list[Win], win: Win) -> Win | None:
    """Find an ad among others that were sold as it was: in a slot, or by its deal."""
    return next((w for w in wins if (w.creative_id, w.deal_id) == (win.creative_id, win.deal_id)), None)


def worth(world: World, win: Win, bid_micros: int) -> tuple[float, float]:
    """Compute an ad's worth and its score at a bid, as the auction does."""
    v = ecpm_per_bid(win.kind, win.pctr, win.pcvr)
    return bid_micros * v, bid_micros * v * float(world.state.catalogue.ads.quality[win.creative_index])


def floor_of(world: World, ask: Ask, win: Win) -> int:
    deal = [deal for deal in ask.deals if deal.id == win.deal_id]
    own = world.state.catalogue.get("placement", ask.placement_id)
    return deal[0].floor_micros if deal else max(ask.floor_micros, own.floor_micros)  # type: ignore[union-attr]


single = asks.map(lambda ask: AdRequest(request_id="r", asks=(msgspec.structs.replace(ask, name="slot"),)))


@settings(max_examples=150, deadline=None)
@given(worlds(), single)
def test_never_above_the_bid_never_below_the_floor(world: World, request: AdRequest) -> None:
    (placed,) = world.choose(request).placed
    for win in placed.wins:
        assert 0 <= win.price_micros <= win.bid_micros
        floor = floor_of(world, request.asks[0], win)
        assert worth(world, win, win.price_micros)[0] >= floor
        assert floor <= win.cleared_ecpm_micros <= win.ecpm_micros + 1


@settings(max_examples=100, deadline=None)
@given(worlds(), single, st.integers(0, 7), st.sampled_from((1, 10, WON, 50 * WON, 10_000 * WON)))
def test_more_never_wins_less_and_the_same_place_costs_the_same(
    world: World, request: AdRequest, chosen: int, more: int
) -> None:
    """With the same ads above, a winner's price has nothing to do with its own bid."""
    key = world.key()
    (placed,) = world.choose(request, key).placed
    mine = [win for win in placed.wins if alone(world, win)]
    if not mine:
        return
    win = mine[chosen % len(mine)]
    now = standing(at_bid(world, win, win.bid_micros + more, request, key), win)
    assert now is not None
    assert now.slot <= win.slot, "monotone in its own bid"
    if now.slot == win.slot:
        assert now.price_micros == win.price_micros, "independent of its own bid"


@settings(max_examples=100, deadline=None)
@given(worlds(), single, st.integers(0, 7), st.integers(0, 100))
def test_the_winner_pays_the_least_that_keeps_its_place(
    world: World, request: AdRequest, chosen: int, percent: int
) -> None:
    """At its price or above it stands where it stood at the same price; one micro less and it does not."""
    key = world.key()
    (placed,) = world.choose(request, key).placed
    fixed = {deal.id for deal in request.asks[0].deals if deal.at == 3}
    mine = [win for win in placed.wins if alone(world, win) and win.deal_id not in fixed]
    if not mine:
        return
    win = mine[chosen % len(mine)]
    bid = win.price_micros + (win.bid_micros - win.price_micros) * percent // 100
    rival = next((w for w in [win.rival_index] if w >= 0), None)
    if bid > 0:
        now = standing(at_bid(world, win, bid, request, key), win)
        if now is None or now.slot != win.slot:
            assert rival is not None
            assert bid == win.price_micros, "only at an exact tie the order of ties may be against it"
        else:
            assert now.price_micros == win.price_micros
    if win.price_micros > 1:
        less = standing(at_bid(world, win, win.price_micros - 1, request, key), win)
        assert less is None or less.slot > win.slot


@settings(max_examples=60, deadline=None)
@given(worlds(), single)
def test_a_fixed_price_deal_pays_its_floor_exactly(world: World, request: AdRequest) -> None:
    ask = request.asks[0]
    deals_at_3 = tuple(msgspec.structs.replace(deal, at=3) for deal in ask.deals)
    request = AdRequest(request_id="r", asks=(msgspec.structs.replace(ask, deals=deals_at_3),))
    (placed,) = world.choose(request).placed
    for win in placed.wins:
        if win.deal_id:
            assert win.cleared_ecpm_micros in {d.floor_micros for d in deals_at_3 if d.id == win.deal_id}
            assert win.rival_index == -1
            assert win.kind != "cpm" or win.price_micros == win.cleared_ecpm_micros
