"""What would have been: an ad at another bid in a decision that was taken, and the least bid that wins."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.catalogue import Rule, Targeting
from app.domain.decisions import Record
from app.domain.refusals import Refused
from app.domain.requests import AdRequest, Deal
from app.state.what_if import WhatIf, least_winning, what_if
from tests.state.test_separation import world_apart
from tests.state.world import WON, World, ask_for, banner, group, one_of_each, placement


def world_of(*bids: int) -> World:
    """Ads cr-1, cr-2, ... at these bids a thousand, each in a group of its own."""
    world = World()
    world.add(*one_of_each()[:-2])
    for number, bid in enumerate(bids, 1):
        world.add(group(f"g-{number}", bid=bid, kind="cpm"), banner(f"cr-{number}", f"g-{number}"))
    return world


def decided(world: World, request: AdRequest | None = None) -> Record:
    request = request or ask_for("plc-1")
    key = world.key()
    return Record(request_key=key, request=request, choice=world.choose(request, key))


def asked(world: World, record: Record, creative: str, bid: int | None = None, ordinal: int = 0) -> WhatIf:
    """Ask on a copy of the world's state, as a worker would."""
    micros = None if bid is None else bid * WON
    return what_if(world.copy().state, record, ordinal, creative, micros)


#   creative  bid     wins   price  reason         least   why
TABLE: list[tuple[str, int | None, bool, int | None, str | None, int | None, str]] = [
    ("cr-1",  None,   True,  2_000, None,          2_000,  "it did win"),
    ("cr-1",  2_500,  True,  2_000, None,          2_000,  "its own bid does not set its price"),
    ("cr-1",  1_999,  False, None,  "outbid",      2_000,  ""),
    ("cr-2",  None,   False, None,  "outbid",      3_000,  "beaten by 3,000"),
    ("cr-2",  3_001,  True,  3_000, None,          3_000,  "one more would have done"),
    ("cr-3",  None,   False, None,  "below_floor", 3_000,  "the floor is the lesser trouble"),
    ("cr-4",  None,   False, None,  "paused",      None,   "no bid helps"),
    ("cr-4",  9_000,  False, None,  "paused",      None,   ""),
    ("cr-5",  None,   False, None,  "archived",    None,   ""),
    ("cr-6",  None,   False, None,  "size",        None,   ""),
]  # fmt: skip


@pytest.mark.parametrize(("creative", "bid", "wins", "price", "reason", "least", "why"), TABLE)
def test_what_if(
    creative: str,
    bid: int | None,
    wins: bool,
    price: int | None,
    reason: str | None,
    least: int | None,
    why: str,
) -> None:
    world = world_of(3_000, 2_000, 100, 500, 600, 700)
    world.change("placement", "plc-1", floor_micros=200 * WON)
    world.change("ad_group", "g-4", status="paused")
    world.change("creative", "cr-5", status="archived")
    world.change("creative", "cr-6", width=300, height=250)
    found = asked(world, decided(world), creative, bid)
    assert (found.win is not None, found.reason) == (wins, reason), why
    assert (found.win.price_micros // WON if found.win else None) == price, why
    # At equal worth the decision's order of ties says who wins: then a micro more does.
    assert found.least_bid_micros in ({None} if least is None else {least * WON, least * WON + 1}), why
    assert found.won == (creative == "cr-1")


def test_the_first_answer_is_that_of_the_decision() -> None:
    world = world_of(3_000, 2_000, 1_000)
    record = decided(world, ask_for("plc-1", count=2))
    for win in record.choice.placed[0].wins:
        found = asked(world, record, win.creative_id)
        assert found.win == win
        assert found.won


def test_a_later_state_does_not_matter() -> None:
    """The worker folds to the decision's position; here the copy is taken before the bids change."""
    world = world_of(3_000, 2_000)
    record, then = decided(world), world.copy()
    world.add(group("g-2", bid=9_000, kind="cpm"))
    assert what_if(then.state, record, 0, "cr-2", None).reason == "outbid"


def test_an_unknown_creative_is_refused() -> None:
    world = world_of(1)
    with pytest.raises(Refused) as refused:
        asked(world, decided(world), "nobody")
    assert refused.value.code == "unknown_creative"


def test_ads_above_in_the_request_stay_as_they_were() -> None:
    """With more, cr-2 would have taken the first placement; asked about the second, it wins there."""
    world = world_of(3_000, 2_000, 1_000)
    world.add(placement("plc-2", floor_micros=500 * WON), placement("plc-3"))
    request = AdRequest(request_id="r", asks=ask_for("plc-1", "plc-2", "plc-3").asks)
    record = decided(world, request)
    found = asked(world, record, "cr-2", 5_000, ordinal=1)
    assert found.win is not None
    assert found.win.price_micros == 1_000 * WON
    assert asked(world, record, "cr-1", 9_000, ordinal=1).reason == "same_creative"
    assert asked(world, record, "cr-1", 9_000, ordinal=1).least_bid_micros is None


def test_an_ad_kept_apart_needs_to_be_the_one_above() -> None:
    world = world_apart("advertiser")
    record = decided(world, ask_for("plc-1", count=2))
    found = asked(world, record, "a-2")
    assert (found.reason, found.won) == ("same_advertiser", False)
    assert found.least_bid_micros in (900 * WON, 900 * WON + 1), "a-1 stands at 900"


def test_deals_too() -> None:
    world = world_of(3_000)
    deal = Targeting(deal=Rule(include=("d-1",)))
    world.add(group("g-9", bid=500, kind="cpm", targeting=deal), banner("cr-9", "g-9"))
    offered = (Deal(id="d-1", floor_micros=700 * WON),)
    found = asked(world, decided(world, ask_for("plc-1", deals=offered)), "cr-9")
    assert (found.reason, found.least_bid_micros) == ("below_deal_floor", 700 * WON)
    found = asked(world, decided(world, ask_for("plc-1", deals=offered)), "cr-9", 800)
    assert found.win is not None
    assert (found.win.deal_id, found.win.price_micros) == ("d-1", 700 * WON)
    assert asked(world, decided(world), "cr-9", 800).reason == "deal"


def test_a_sibling_that_is_always_better_leaves_no_bid() -> None:
    world = world_of(3_000)
    world.add(banner("cr-0", "g-1"))
    record = decided(world)
    loser = ({"cr-0", "cr-1"} - {record.choice.placed[0].wins[0].creative_id}).pop()
    found = asked(world, record, loser)
    assert (found.reason, found.least_bid_micros) == ("outbid", None), "one group, one bid, one order of ties"
    assert found.sibling_id == record.choice.placed[0].wins[0].creative_id


@given(st.integers(1, 10**15), st.integers(1, 10**15))
def test_the_least_winning_bid_is_found_from_anywhere(least: int, start: int) -> None:
    assert least_winning(lambda bid: bid >= least, start) == least


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=2, max_size=5), st.integers(1, 3), st.integers(0, 3), st.data())
def test_the_least_bid_wins_and_one_micro_less_does_not(
    bids: list[int], slots: int, floor: int, data: st.DataObject
) -> None:
    world = world_of(*(100 * bid for bid in bids))
    world.change("placement", "plc-1", floor_micros=100 * floor * WON)
    record = decided(world, ask_for("plc-1", count=slots))
    creative = f"cr-{data.draw(st.integers(1, len(bids)))}"
    found = asked(world, record, creative)
    assert found.least_bid_micros is not None

    def wins(micros: int) -> Any:
        return what_if(world.copy().state, record, 0, creative, micros).win

    assert wins(found.least_bid_micros)
    assert found.least_bid_micros == 1 or wins(found.least_bid_micros - 1) is None
    (win,) = [wins(found.least_bid_micros)]
    assert win.price_micros <= found.least_bid_micros
