"""Deals: who enters which auction, at what price, and what stands beside what."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from app.domain.catalogue import Advertiser, Campaign, Rule, Targeting
from app.domain.decisions import Placed, Record
from app.domain.requests import Deal
from tests.state.world import WON, World, ask_for, banner, group, one_of_each, placement


def targeting(*include: str, exclude: tuple[str, ...] = ()) -> Targeting:
    return Targeting(deal=Rule(include=include, exclude=exclude))


def world_of_deals() -> World:
    """Open at 9,000 and 8,000 a thousand; d-1 at 5,000 and 3,000; d-2 at 4,000. c-2 has a seat."""
    world = World()
    world.add(*one_of_each()[:-2])
    world.add(
        Advertiser(id="adv-2", seat="s-2", domain="two.example"), Campaign(id="c-2", advertiser_id="adv-2")
    )
    offers: list[tuple[str, str, int, Targeting]] = [
        ("open-1", "c-1", 9_000, Targeting()),
        ("open-2", "c-2", 8_000, Targeting()),
        ("one-1", "c-1", 5_000, targeting("d-1")),
        ("one-2", "c-2", 3_000, targeting("d-1", "d-9")),
        ("two-1", "c-2", 4_000, targeting("d-2")),
    ]
    for name, campaign, bid, wanted in offers:
        world.add(group(f"g-{name}", campaign, bid=bid, kind="cpm", targeting=wanted))
        world.add(banner(name, f"g-{name}"))
    return world


def sold(placed: Placed) -> list[tuple[str, str, int]]:
    return [(win.creative_id, win.deal_id, win.price_micros // WON) for win in placed.wins]


D1, D2 = Deal(id="d-1"), Deal(id="d-2")
OPEN = ("open-1", "", 8_000)
#   deals offered, private                       sold                                         why
TABLE: list[tuple[tuple[Deal, ...], bool, list[tuple[str, str, int]], dict[str, int], str]] = [
    ((), False, [OPEN], {"deal": 3, "outbid": 1}, "without a deal nobody who sells by deals enters"),
    ((D1,), False, [OPEN, ("one-1", "d-1", 3_000)], {"deal": 1, "outbid": 2}, "beside the open one"),
    ((D1, D2), False, [OPEN, ("one-1", "d-1", 3_000), ("two-1", "d-2", 0)], {"outbid": 2}, "one per deal"),
    ((D1,), True, [("one-1", "d-1", 3_000)], {"deal": 3, "outbid": 1}, "a private auction: deals alone"),
    ((Deal(id="x"),), True, [], {"deal": 5}, "a deal that nobody has"),
    ((Deal(id="d-1", floor_micros=4_000 * WON),), False, [OPEN, ("one-1", "d-1", 4_000)],
     {"deal": 1, "below_deal_floor": 1, "outbid": 1}, "the deal's floor, whatever the placement's"),
    ((Deal(id="d-1", floor_micros=5_001 * WON),), True, [], {"deal": 3, "below_deal_floor": 2}, "far"),
    ((Deal(id="d-1", floor_micros=1_000 * WON, at=3),), False, [OPEN, ("one-1", "d-1", 1_000)],
     {"deal": 1, "outbid": 2}, "at 3 the floor is the price, though another offers 3,000"),
    ((Deal(id="d-1", at=1),), False, [OPEN, ("one-1", "d-1", 3_000)], {"deal": 1, "outbid": 2}, "ours"),
    ((Deal(id="d-1", seats=("s-2",)),), False, [OPEN, ("one-2", "d-1", 0)], {"deal": 2, "outbid": 1}, "s"),
    ((Deal(id="d-1", seats=("",)),), False, [OPEN, ("one-1", "d-1", 0)], {"deal": 2, "outbid": 1}, "ours"),
    ((Deal(id="d-1", seats=("?",)),), False, [OPEN], {"deal": 3, "outbid": 1}, "nobody's seat"),
    ((Deal(id="d-1", advertisers=("two.example",)),), False, [OPEN, ("one-2", "d-1", 0)],
     {"deal": 2, "outbid": 1}, "its advertiser, by domain"),
    ((Deal(id="d-1", advertisers=("adv-1",)),), False, [OPEN, ("one-1", "d-1", 0)],
     {"deal": 2, "outbid": 1}, "its advertiser, by id"),
    ((D1, Deal(id="d-9")), False, [OPEN, ("one-1", "d-1", 3_000), ("one-2", "d-9", 0)],
     {"deal": 1, "outbid": 1}, "an ad of two deals enters both; sold by one, it is nobody's loser"),
    ((Deal(id="d-1", floor_micros=4_000 * WON), D1), False, [OPEN, ("one-1", "d-1", 4_000)],
     {"deal": 1, "below_deal_floor": 1, "outbid": 1}, "offered twice, sold once: as it was offered first"),
    ((D1, D2, D1), False, [OPEN, ("one-1", "d-1", 3_000), ("two-1", "d-2", 0)], {"outbid": 2}, "the same"),
    ((Deal(id="d-1", seats=("?",)), Deal(id="d-1", seats=("s-2",)), D1), False,
     [OPEN, ("one-2", "d-1", 0)], {"deal": 2, "outbid": 1}, "as it was first offered to one of ours"),
    ((Deal(id="d-1", floor_micros=4_000 * WON), Deal(id="d-9")), False,
     [OPEN, ("one-1", "d-1", 4_000), ("one-2", "d-9", 0)], {"deal": 1, "outbid": 1}, "each at its own floor"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("offered", "private", "expected", "reasons", "why"), TABLE, ids=[row[4] for row in TABLE]
)
def test_deals(
    offered: tuple[Deal, ...], private: bool, expected: Any, reasons: dict[str, int], why: str
) -> None:
    world = world_of_deals()
    (placed,) = world.choose(ask_for("plc-1", deals=offered, deal_only=private)).placed
    assert sold(placed) == expected, why
    assert placed.reasons == reasons, why
    assert [win.ad_index for win in placed.wins] == list(range(len(placed.wins)))
    assert sum(reasons.values()) + len({win.creative_id for win in placed.wins}) == 5
    assert (placed.code == "") == bool(placed.wins)


def test_a_deal_s_floor_stands_for_the_placement_s() -> None:
    world = world_of_deals()
    world.change("placement", "plc-1", floor_micros=20_000 * WON)
    (placed,) = world.choose(ask_for("plc-1", deals=(D1,))).placed
    assert sold(placed) == [("one-1", "d-1", 3_000)]
    assert placed.reasons == {"deal": 1, "below_floor": 2, "outbid": 1}


def test_an_ad_group_that_excludes_a_deal_stays_away_where_it_is_offered() -> None:
    world = world_of_deals()
    world.change("ad_group", "g-open-1", targeting=targeting(exclude=("d-1",)))
    assert world.winner() == "open-1", "elsewhere it stands"
    (placed,) = world.choose(ask_for("plc-1", deals=(D1,))).placed
    assert sold(placed) == [("open-2", "", 0), ("one-1", "d-1", 3_000)]
    world.change("ad_group", "g-one-1", targeting=targeting("d-1", exclude=("d-2",)))
    (placed,) = world.choose(ask_for("plc-1", deals=(D1, D2))).placed
    assert sold(placed)[1:] == [("one-2", "d-1", 0), ("two-1", "d-2", 0)]


def test_a_fixed_price_holds_for_clicks_too() -> None:
    """A thousand impressions are expected to bring the floor, and a click costs what makes them."""
    world = world_of_deals()
    world.add(group("g-clicks", bid=2_000, targeting=targeting("d-7")), banner("clicks", "g-clicks"))
    (placed,) = world.choose(ask_for("plc-1", deals=(Deal(id="d-7", floor_micros=5_000 * WON, at=3),))).placed
    win = placed.wins[1]
    assert win.cleared_ecpm_micros == 5_000 * WON
    assert win.price_micros == pytest.approx(500 * WON, rel=1e-6), "at a click in a hundred"


def test_slots_and_deals_together() -> None:
    """Deals take no slot: their ads come behind, and stand for the top of the page."""
    world = world_of_deals()
    (placed,) = world.choose(ask_for("plc-1", count=2, deals=(D1, D2))).placed
    assert [win.creative_id for win in placed.wins] == ["open-1", "open-2", "one-1", "two-1"]
    assert [(win.ad_index, win.slot) for win in placed.wins] == [(0, 0), (1, 1), (2, 0), (3, 0)]


def test_what_a_deal_sold_is_not_shown_again_below() -> None:
    world = world_of_deals()
    world.add(placement("plc-2"))
    first, second = world.choose(ask_for("plc-1", "plc-2", deals=(D1,))).placed
    assert sold(first)[1:] == [("one-1", "d-1", 3_000)]
    assert sold(second)[1:] == [("one-2", "d-1", 0)]
    assert second.reasons == {"deal": 1, "same_creative": 2}


def test_a_kept_decision_on_deals_is_made_again_the_same() -> None:
    """What is kept of the request tells each deal's floor, terms and parties."""
    world = world_of_deals()
    offered = (Deal(id="d-1", floor_micros=4_000 * WON, at=3, advertisers=("adv-1",)), D2)
    request, key = ask_for("plc-1", count=2, deals=offered), world.key()
    record = Record(request_key=key, request=request, choice=world.choose(request, key))
    read = msgspec.msgpack.decode(msgspec.msgpack.encode(record), type=Record)
    assert read == record
    assert world.copy().choose(read.request, key) == record.choice
    assert [win.deal_id for win in read.choice.placed[0].wins] == ["", "", "d-1", "d-2"]
