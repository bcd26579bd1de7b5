"""Money: what is billed, when a campaign leaves the auction, and when it comes back ("Money" in DESIGN)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.state.apply import Receipt
from tests.state.world import DAY_MS, HOUR_MS, WON, World, banner, group, one_of_each

TO_MIDNIGHT_MS = 7 * HOUR_MS  # from NOW_MS, 17:00 in Seoul, to the midnight there


def world_with(**campaign: Any) -> World:
    world = World()
    world.add(*one_of_each(**campaign))
    return world


def clicks(world: World, count: int, price: int = 1_000, creative_id: str = "cr-1") -> list[Receipt]:
    """Show and click so many ads at a price in whole currency; the clicks' receipts."""
    receipts = []
    for _ in range(count):
        ad = world.ad(creative_id, price * WON)
        world.show(ad)
        receipts.append(world.click(ad))
    return receipts


# What is charged.


def test_a_click_is_billed_at_its_token_s_price_and_its_impression_is_free() -> None:
    world = world_with()
    ad = world.ad(price_micros=1_764_705_883)
    assert world.show(ad).billed_micros == 0
    assert world.click(ad).billed_micros == 1_764_705_883
    assert world.spent() == world.spent_by_group() == 1_764_705_883


def test_a_cpm_impression_is_billed_and_its_click_is_free() -> None:
    world = world_with()
    ad = world.ad(price_micros=5_000 * WON, kind="cpm")
    assert world.show(ad).billed_micros == 5 * WON
    assert world.click(ad).billed_micros == 0


@settings(max_examples=10)
@given(st.integers(0, 10**10))
def test_a_thousand_impressions_cost_exactly_the_cpm(price_micros: int) -> None:
    world = world_with()
    ads = [world.ad(price_micros=price_micros, kind="cpm", rows=(0,)) for _ in range(1000)]
    for ad in ads:
        world.show(ad)
    assert world.spent() == price_micros


def test_the_carry_is_each_ad_group_s_own() -> None:
    world = world_with()
    world.add(group("g-2"), banner("cr-2", "g-2"))
    for _ in range(500):
        world.show(world.ad("cr-1", 1_001, "cpm", rows=(0,)))
        world.show(world.ad("cr-2", 1_001, "cpm", rows=(0,)))
    assert world.spent_by_group("g-1") == world.spent_by_group("g-2") == 500


# Budgets.


@pytest.mark.parametrize("budget", ["budget_daily_micros", "budget_total_micros"])
@pytest.mark.parametrize("kind", ["campaign", "ad_group"])
def test_a_charge_is_cut_to_what_the_budget_holds_and_the_rest_is_never_billed(
    kind: str, budget: str
) -> None:
    world = world_with()
    world.change(kind, "c-1" if kind == "campaign" else "g-1", **{budget: 2_500 * WON})
    receipts = clicks(world, 4)
    assert [r.billed_micros // WON for r in receipts] == [1_000, 1_000, 500, 0]
    assert [r.unbilled_micros // WON for r in receipts] == [0, 0, 500, 1_000]
    assert {r.status for r in receipts} == {"counted"}
    assert all(r.learned for r in receipts)
    world.change(kind, "c-1" if kind == "campaign" else "g-1", **{budget: 100_000 * WON})
    assert world.spent() == 2_500 * WON, "what was unbilled stays unbilled"


@pytest.mark.parametrize("budget", ["budget_daily_micros", "budget_total_micros"])
@pytest.mark.parametrize("kind", ["campaign", "ad_group"])
def test_who_has_reached_a_budget_leaves_the_auction_at_the_next_request(kind: str, budget: str) -> None:
    world = world_with()
    world.change(kind, "c-1" if kind == "campaign" else "g-1", **{budget: 2_000 * WON})
    clicks(world, 1)
    assert world.winner() == "cr-1"
    clicks(world, 1)
    assert world.winner() is None
    assert world.reasons() == {"budget": 1}


def test_a_campaign_that_is_spent_stops_all_its_ad_groups() -> None:
    world = world_with(budget_daily_micros=1_000 * WON)
    world.add(group("g-2", status="paused"), banner("cr-2", "g-2"))
    clicks(world, 1, creative_id="cr-2")  # a late event of a paused group spends it all
    assert world.winner() is None
    assert world.reasons() == {"budget": 1, "paused": 1}


def test_a_budget_of_one_ad_group_stops_that_one_alone() -> None:
    world = world_with()
    world.add(group("g-2", bid=100, budget_total_micros=1_000 * WON), banner("cr-2", "g-2"))
    clicks(world, 1, creative_id="cr-2")
    assert world.reasons() == {"budget": 1}
    assert world.winner() == "cr-1"


def test_a_raised_budget_is_live_at_the_next_request_and_a_lowered_one_too() -> None:
    world = world_with(budget_total_micros=1_000 * WON)
    clicks(world, 1)
    assert world.winner() is None
    world.change("campaign", "c-1", budget_total_micros=1_001 * WON)
    assert world.winner() == "cr-1"
    world.change("campaign", "c-1", budget_total_micros=500 * WON)
    assert world.winner() is None
    assert clicks(world, 1)[0].billed_micros == 0
    world.change("campaign", "c-1", budget_total_micros=None)
    assert world.winner() == "cr-1"


# Days.


def test_a_day_is_the_campaign_s_own() -> None:
    world = world_with(budget_daily_micros=1_000 * WON)
    clicks(world, 1)
    world.tick(TO_MIDNIGHT_MS - 1)
    assert world.winner() is None
    world.tick(1)
    assert world.winner() == "cr-1"
    assert clicks(world, 1)[0].billed_micros == 1_000 * WON


def test_a_day_in_another_zone_ends_at_another_time() -> None:
    world = world_with(budget_daily_micros=1_000 * WON, time_zone="America/New_York")
    clicks(world, 1)  # 03:00 there
    world.tick(21 * HOUR_MS - 1)
    assert world.winner() is None
    world.tick(1)
    assert world.winner() == "cr-1"


def test_a_charge_is_of_the_day_of_its_line_not_of_the_last_tick() -> None:
    world = world_with(budget_daily_micros=1_000 * WON)
    clicks(world, 1)
    ad = world.ad()
    world.show(ad)
    world.tick(TO_MIDNIGHT_MS - 500)
    late = world.click(ad, at_ms=world.now_ms + 600)  # a tenth of a second into tomorrow
    assert late.billed_micros == 1_000 * WON


def test_a_held_click_of_yesterday_does_not_open_today_s_budget_again() -> None:
    world = world_with(budget_daily_micros=1_000 * WON)
    world.tick(TO_MIDNIGHT_MS - 60_000)
    held = world.ad()
    assert world.click(held).status == "held"
    world.tick(120_000)
    assert clicks(world, 1)[0].billed_micros == 1_000 * WON, "today's budget is spent"
    world.show(held)  # settles yesterday's click, on yesterday
    assert world.winner() is None
    assert clicks(world, 1)[0].billed_micros == 0, "today's budget is still spent"


def test_a_held_click_of_yesterday_finds_yesterday_s_budget_spent() -> None:
    world = world_with(budget_daily_micros=1_000 * WON)
    world.tick(TO_MIDNIGHT_MS - 60_000)
    held = world.ad()
    world.click(held)
    clicks(world, 1)
    world.tick(120_000)
    clicks(world, 1)
    world.show(held)
    assert world.spent() == 2_000 * WON, "a thousand on each of two days"


def test_lines_that_cross_midnight_out_of_order_do_not_open_a_budget_again() -> None:
    """Events are stamped before they queue, so one of 23:59:59.9 may stand behind one of 00:00:00.1."""
    world = world_with(budget_daily_micros=1_000 * WON)
    world.tick(TO_MIDNIGHT_MS)
    ads = [world.ad() for _ in range(3)]
    for ad in ads:
        world.show(ad)
    billed = [world.click(ads[0], world.now_ms + 100).billed_micros]
    world.click(ads[1], world.now_ms - 100)
    billed.append(world.click(ads[2], world.now_ms + 200).billed_micros)
    assert billed == [1_000 * WON, 0]


# In flight.


def test_what_is_in_flight_stops_a_campaign_and_ebbs_away() -> None:
    world = world_with(budget_daily_micros=1_000 * WON)
    world.tick(in_flight=(("g-1", 604 * WON),))
    assert world.winner() == "cr-1"
    clicks(world, 1, price=400)
    assert world.winner() is None, "400 billed and 600 in flight: 4 of them were the click's own"
    world.tick(5_000)
    assert world.winner() == "cr-1", "some of it did not happen"
    for _ in range(1_200):
        world.tick()
    assert int(world.state.catalogue.campaign_accounts.in_flight[0]) == 0
    assert int(world.state.catalogue.group_accounts.in_flight[0]) == 0


def test_in_flight_is_the_ad_group_s_and_its_campaign_s() -> None:
    world = world_with(budget_daily_micros=1_000 * WON)
    world.add(group("g-2"), banner("cr-2", "g-2"))
    world.tick(in_flight=(("g-1", 500 * WON), ("g-2", 499 * WON)))
    assert world.winner() is not None
    world.change("ad_group", "g-1", budget_daily_micros=500 * WON)
    assert world.reasons() == {"budget": 1}
    world.tick(0, in_flight=(("g-2", 1 * WON),))
    assert world.reasons() == {"budget": 2}


def test_in_flight_bills_nothing() -> None:
    world = world_with(budget_daily_micros=1_000 * WON)
    world.tick(in_flight=(("g-1", 5_000 * WON),))
    assert world.spent() == 0
    assert clicks(world, 1)[0].billed_micros == 1_000 * WON


# Refunds.


def test_a_refund_gives_the_money_back_and_reopens_the_budget() -> None:
    world = world_with(budget_daily_micros=2_000 * WON)
    first, _ = clicks(world, 2)
    assert world.winner() is None
    back = world.refund(first)
    assert back.billed_micros == 1_000 * WON
    assert world.spent() == world.spent_by_group() == 1_000 * WON
    assert world.winner() == "cr-1"
    assert [r.billed_micros // WON for r in clicks(world, 2)] == [1_000, 0]


def test_a_refund_returns_what_was_billed_not_what_was_asked() -> None:
    world = world_with(budget_total_micros=1_500 * WON)
    _, cut = clicks(world, 2)
    assert world.refund(cut).billed_micros == 500 * WON
    assert world.spent() == 1_000 * WON


def test_a_refund_of_yesterday_leaves_today_s_budget_alone() -> None:
    world = world_with(budget_daily_micros=1_000 * WON, budget_total_micros=10_000 * WON)
    (yesterday,) = clicks(world, 1)
    world.tick(DAY_MS)
    clicks(world, 1)
    world.refund(yesterday)
    assert world.spent() == 1_000 * WON
    assert world.winner() is None


def test_impression_and_click_are_refunded_each_for_itself() -> None:
    world = world_with()
    ad = world.ad(price_micros=5_000 * WON, kind="cpm")
    shown, clicked = world.show(ad), world.click(ad)
    assert world.refund(clicked).billed_micros == 0
    assert world.refund(shown).billed_micros == 5 * WON
    assert world.spent() == 0


@pytest.mark.parametrize("write_back", [True, False])
def test_a_settled_click_that_was_held_is_refunded_in_full(write_back: bool) -> None:
    world = World(write_back=write_back)
    world.add(*one_of_each())
    ad = world.ad()
    held = world.click(ad)
    world.show(ad)
    assert world.spent() == 1_000 * WON
    assert world.refund(held).billed_micros == 1_000 * WON
    assert world.spent() == 0


def test_a_click_that_was_refunded_while_held_is_never_billed() -> None:
    world = world_with()
    ad = world.ad()
    held = world.click(ad)
    assert world.refund(held).billed_micros == 0
    world.show(ad)
    assert world.spent() == 0


def test_a_refund_after_the_memory_of_impressions_is_full_still_returns_the_money() -> None:
    world = World(recent=8)
    world.add(*one_of_each())
    (receipt,) = clicks(world, 1)
    clicks(world, 10)
    back = world.refund(receipt)
    assert back.billed_micros == 1_000 * WON
    assert not back.learned, "too old to be un-learned"


def test_a_changed_zone_cannot_turn_a_refund_into_budget() -> None:
    """At 16:00 UTC it is tomorrow in Seoul: what was billed before the change was billed on that day, too."""
    world = world_with(budget_daily_micros=1_000 * WON, time_zone="UTC")
    world.tick(8 * HOUR_MS)  # 16:00 UTC on the 15th, 01:00 in Seoul on the 16th
    (early,) = clicks(world, 1, price=900)
    world.change("campaign", "c-1", time_zone="Asia/Seoul")
    clicks(world, 1, price=100)
    world.refund(early)
    billed = sum(r.billed_micros for r in clicks(world, 12, price=100)) // WON
    assert billed <= 900, "a hundred of today's thousand is spent"
