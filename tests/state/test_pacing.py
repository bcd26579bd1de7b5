"""Pacing in the fold: throttles move at ticks alone, follow the plan, and are the same again after a restore.

Traffic is played as ticks would bring it: so many answers a second, each worth so much, under the throttle.
"""

from __future__ import annotations

import math
from collections import Counter
from random import Random
from typing import Any

import numpy as np
import pytest

from app.domain.catalogue import Campaign, Rule, Targeting
from app.domain.lines import Ticked
from app.state.pacing import Plan
from tests.state.world import (
    DAY_MS,
    HOUR_MS,
    NOW_MS,
    WON,
    World,
    banner,
    contents,
    group,
    one_of_each,
    placement,
)

WORTH = 2 * WON  # what every answer puts in flight
RATE = 10  # requests a second
MIDNIGHT_MS = NOW_MS + 7 * HOUR_MS  # in Seoul


def world_with(now_ms: int = NOW_MS, **campaign: Any) -> World:
    world = World(now_ms=now_ms)
    world.add(*one_of_each(**campaign))
    return world


def play(world: World, seconds: int, *, bill: bool = True, rate: int = RATE, tick_ms: int = 1_000) -> None:
    """Let traffic pass: the campaign wins whatever it takes part in, and every answer is shown and billed."""
    for _ in range(seconds * 1_000 // tick_ms):
        throttle = float(world.state.pacing.of("throttle")[0])
        open_now = world.state.group_standing[0] == 0
        requests = rate * tick_ms // 1_000
        chance = Random(world.now_ms).random()  # a fraction of a win is won by chance
        wins = int(throttle * requests + chance) if open_now else 0
        if bill and wins:
            ad = world.ad(kind="cpm", price_micros=1_000 * WORTH * wins)
            world.show(ad)
        world.now_ms += tick_ms
        world.put(
            Ticked(
                at_ms=world.now_ms, requests=(("plc-1", requests, requests),),
                in_flight=(("g-1", WORTH * wins),) if wins else (), wins=(("g-1", wins),) if wins else (),
            ),
            check=False,
        )  # fmt: skip


def plan(world: World) -> Plan:
    state = world.state
    return state.pacing.plan_of(0, state.clock_ms, state.supply, state.group_standing)


def throttle(world: World) -> float:
    return float(world.state.pacing.of("throttle")[0])


def shares(world: World, count: int = 400) -> Counter[str]:
    """Decide often and count who won, or why nobody did."""
    found: Counter[str] = Counter()
    for _ in range(count):
        (placed,) = world.choose().placed
        found[placed.wins[0].creative_id if placed.wins else placed.code] += 1
    return found


#   campaign                                                       throttled  why
TABLE = [
    ({"budget_daily_micros": 10_000 * WON},                        True,  "even is the default"),
    ({"budget_daily_micros": 10_000 * WON, "pacing": "asap"},      False, "as soon as possible"),
    ({},                                                           False, "no budget, nothing to spread"),
    ({"budget_daily_micros": 10_000_000 * WON},                    False, "more than the traffic can bring"),
    ({"budget_total_micros": 10_000 * WON},                        False, "no end to spread a total over"),
    ({"budget_total_micros": 10_000 * WON, "ends_at_ms": NOW_MS + DAY_MS}, True, "spread to the end"),
]  # fmt: skip


@pytest.mark.parametrize(("campaign", "expected", "why"), TABLE)
def test_who_is_throttled(campaign: dict[str, Any], expected: bool, why: str) -> None:
    world = world_with(**campaign)
    assert throttle(world) == 1.0
    play(world, 30)
    assert (throttle(world) < 1.0) is expected, why


def test_before_data_everybody_takes_part() -> None:
    world = world_with(budget_daily_micros=1_000 * WON)
    for _ in range(10):
        world.tick()
    assert throttle(world) == 1.0
    assert shares(world) == {"cr-1": 400}


def test_a_throttle_is_the_share_of_decisions_taken_part_in() -> None:
    """Seven hours are left: 50,400 won by 20 a second take a twentieth of the traffic."""
    world = world_with(budget_daily_micros=25_200 * WON)
    play(world, 60)
    assert throttle(world) == pytest.approx(0.05, rel=0.1)
    found: Counter[str] = Counter()
    for _ in range(60):
        play(world, 1)
        found += shares(world, 50)
    assert found["cr-1"] + found["paced"] == 3_000
    assert found["cr-1"] / 3_000 == pytest.approx(0.05, abs=0.015)


def test_a_loser_by_pacing_has_its_reason() -> None:
    world = world_with(budget_daily_micros=100 * WON)
    play(world, 30)
    reasons: Counter[str] = Counter()
    for _ in range(100):
        reasons.update(world.reasons())
    assert reasons["paced"] > 90


def test_spending_follows_the_plan_to_the_end_of_the_day() -> None:
    world = world_with(budget_daily_micros=100_000 * WON)
    play(world, 3_600, tick_ms=4_000)
    assert plan(world).planned == pytest.approx(world.spent(), rel=0.02)
    assert world.spent() == pytest.approx(100_000 * WON / 7, rel=0.02)
    play(world, 6 * 3_600 - 8, tick_ms=4_000)
    assert 0.98 <= world.spent() / (100_000 * WON) <= 1.0


def test_midnight_brings_no_blackout_and_no_burst() -> None:
    world = world_with(MIDNIGHT_MS - 600_000, budget_daily_micros=86_400 * WON)
    play(world, 590)
    play(world, 12)
    spent = world.spent()
    assert 0.02 < throttle(world) < 0.1
    play(world, 600)
    assert world.spent() - spent == pytest.approx(600 * WON, rel=0.25)


@pytest.mark.parametrize("times", [0.5, 3])
def test_an_edited_budget_spreads_what_is_left(times: float) -> None:
    world = world_with(budget_daily_micros=100_000 * WON)
    play(world, 7_200, tick_ms=4_000)
    spent = world.spent()
    world.change("campaign", "c-1", budget_daily_micros=round(100_000 * times) * WON)
    play(world, 3_600, tick_ms=4_000)
    assert world.spent() - spent == pytest.approx((100_000 * times * WON - spent) / 5, rel=0.05)
    assert plan(world).planned == pytest.approx(world.spent(), rel=0.05)


def test_an_outage_is_not_caught_up_in_a_burst() -> None:
    world = world_with(budget_daily_micros=100_000 * WON)
    play(world, 3_600, tick_ms=4_000)
    world.tick(2 * HOUR_MS)
    spent = world.spent()
    play(world, 3_600, tick_ms=4_000)
    assert world.spent() - spent == pytest.approx((100_000 * WON - spent) / 4, rel=0.05)


def test_hours_that_are_not_wanted_are_not_planned_for() -> None:
    """At 17:00 with hours 17-18 all is to be spent by 19:00."""
    world = world_with(budget_daily_micros=50_000 * WON)
    world.change("ad_group", "g-1", targeting=Targeting(hour=Rule(include=((17, 18),))))
    play(world, 3_600, tick_ms=4_000)
    assert world.spent() == pytest.approx(25_000 * WON, rel=0.03)


def test_what_is_answered_but_never_billed_is_learned() -> None:
    """Four of five impressions are lost: the throttle rises until what is billed meets the plan."""
    world = world_with(budget_daily_micros=50_000 * WON)
    world.add(group("g-1", kind="cpm"))
    for number in range(600):
        play(world, 5, bill=number % 5 == 0)
    spent = world.spent()
    for number in range(300):
        play(world, 5, bill=number % 5 == 0)
    left_s = (MIDNIGHT_MS - NOW_MS) / 1000 - 3_000
    assert world.spent() - spent == pytest.approx((50_000 * WON - spent) * 1_500 / left_s, rel=0.15)


def test_budgets_of_groups_alone_are_paced_together() -> None:
    world = world_with()
    world.add(group("g-2"), banner("cr-2", "g-2"))
    for key in ("g-1", "g-2"):
        world.change("ad_group", key, budget_daily_micros=5_000 * WON)
    play(world, 30)
    assert plan(world).allowance == pytest.approx(10_000 * WON)
    assert throttle(world) < 0.1


def test_a_clock_that_stands_still_deals_on() -> None:
    world = world_with(budget_daily_micros=1_000 * WON)
    play(world, 30)
    at, dealt = world.state.clock_ms, set()
    for _ in range(200):
        world.put(Ticked(at_ms=at - 1_000), check=False)
        dealt.add(world.state.catalogue.ads.participation.share[0])
    assert len(dealt) == 2


def test_a_restored_state_goes_on_alike() -> None:
    world = world_with(budget_daily_micros=30_000 * WON)
    world.add(group("g-2"), banner("cr-2", "g-2"))
    play(world, 50)
    other = world.copy()
    keys = [world.key() for _ in range(100)]
    assert [world.choose(key=key) for key in keys] == [other.choose(key=key) for key in keys]
    for each in (world, other):
        play(each, 20, bill=False)
    assert contents(world.state) == contents(other.state)
    assert [world.choose(key=key) for key in keys] == [other.choose(key=key) for key in keys]


def test_a_creative_added_later_takes_part_as_its_campaign_does() -> None:
    world = world_with(budget_daily_micros=2_520 * WON)
    play(world, 60)
    world.add(*(banner(f"more-{number}") for number in range(5)))
    both = np.array([len(placed.reasons) for _ in range(300) for placed in world.choose().placed])
    found = shares(world)
    assert found["paced"] > 350
    assert both.max() >= 1


def test_a_plan_says_what_is_to_come() -> None:
    world = world_with(budget_daily_micros=100_000 * WON)
    play(world, 600)
    told = plan(world)
    assert told.allowance == pytest.approx(100_000 * WON)
    assert told.day_end == pytest.approx(100_000 * WON, rel=0.01)
    assert told.aim == pytest.approx(100_000 / (7 * 3_600) * WON, rel=0.05)
    assert told.billed_ratio == pytest.approx(1.0, abs=0.1)
    world.change("campaign", "c-1", budget_daily_micros=10_000_000 * WON)
    play(world, 5)
    told = plan(world)
    assert told.day_end is not None
    assert told.day_end == pytest.approx(7 * 3_600 * RATE * WORTH, rel=0.1)


def test_a_campaign_of_some_placements_follows_their_hours() -> None:
    """plc-1 has its traffic by day, plc-2 by night: each campaign's plan follows its own."""
    world = world_with(MIDNIGHT_MS, budget_daily_micros=1_000 * WON)
    world.add(placement("plc-2"))
    for hour in range(24):
        day = 8 <= hour < 20
        for _ in range(0, 3_600, 5):
            world.now_ms += 5_000
            asked = (("plc-1", 40 if day else 4, 0), ("plc-2", 4 if day else 40, 0))
            world.put(Ticked(at_ms=world.now_ms, requests=asked), check=False)
    world.tick()
    plans = {}
    for name in ("plc-1", "plc-2"):
        world.change("ad_group", "g-1", targeting=Targeting(placement=Rule(include=(name,))))
        world.tick()
        plans[name] = plan(world).aim
    assert plans["plc-1"] is not None
    assert plans["plc-2"] is not None
    assert plans["plc-2"] > 2 * plans["plc-1"]
    world.change("ad_group", "g-1", targeting=Targeting(publisher=Rule(include=("pub-1",))))
    world.tick()
    assert plan(world).aim == pytest.approx(1_000 / 86_400 * WON, rel=0.01)


def test_campaigns_without_ads_yet_are_many() -> None:
    """More than there is room for at first, and a tick before any of them has an ad."""
    world = world_with()
    world.add(*(Campaign(id=f"c-{number}", advertiser_id="adv-1") for number in range(2, 300)))
    world.tick()
    assert world.state.pacing.of("throttle").tolist() == [1.0] * 299


def test_conversions_awaited_over_midnight_make_up_for_each_other() -> None:
    """What today's clicks bring tomorrow is spent of today's plan; what yesterday's bring is not new."""
    world = World()
    world.add(*one_of_each(budget_daily_micros=1_000 * WON)[:-2], group("g-1", kind="cpa"), banner("cr-1"))
    world.tick(5 * HOUR_MS)  # 22:00
    ad = world.ad(kind="cpa", price_micros=600 * WON, pcvr=0.5)
    world.show(ad)
    world.click(ad)
    world.change("campaign", "c-1", budget_daily_micros=1_001 * WON)  # so that the plan is laid anew
    world.tick(0)
    rest = world.state.pacing.of("plan_rest")
    assert rest[0] == pytest.approx(701 * WON, rel=0.001), "300 are awaited, tomorrow most of them"
    world.tick(2 * HOUR_MS)
    accounts = world.state.catalogue.campaign_accounts
    left = int(accounts.awaited[0])
    due = int(accounts.awaited_today()[0])
    assert 250 * WON < left < 300 * WON
    assert due == pytest.approx(left * (1 - math.exp(-1)), rel=0.02)
    assert rest[0] == pytest.approx(1_001 * WON - due, rel=0.001), "part of the new day's is on its way"
