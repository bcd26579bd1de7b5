"""What counts against budgets before it is charged: how it fades, and how it is let go ("Money" in DESIGN).

Method: small worlds by hand; and simulated answers whose charges are late by chance, held against the truth.
"""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.decisions import ServedAd
from app.domain.lines import Clicked, FoldSettings, Noticed, Sender, Shown, Ticked
from app.rules.pricing import expected_charge_micros
from app.state import saving
from app.state.holds import Hold
from app.state.state import State
from tests.state.world import HOUR_MS, WON, World, banner, contents, fold, group, one_of_each

TRUTH = [
    #  share  late_s  why
    (0.05, 8.0, "clicks: most answers never bring one"),
    (0.40, 20.0, "a conversion of every other click"),
    (0.96, 2.5, "impressions: few are lost"),
]


def world_with(kind: str = "cpm", **campaign: object) -> World:
    world = World()
    world.add(*one_of_each(pacing="asap", **campaign)[:-2], group("g-1", kind=kind), banner("cr-1"))
    return world


def in_flight(world: World) -> tuple[int, int]:
    """Of the ad group, and of its campaign."""
    catalogue = world.state.catalogue
    return int(catalogue.group_accounts.in_flight[0]), int(catalogue.campaign_accounts.in_flight[0])


def tick_with(world: World, ads: list[ServedAd], elapsed_ms: int = 1_000, requests: int = 0) -> None:
    """Let a second pass in which these were answered."""
    value = sum(expected_charge_micros(ad.price_kind, ad.price_micros, ad.pctr, ad.pcvr) for ad in ads)
    world.now_ms += elapsed_ms
    told = (("g-1", round(value)),) if ads else ()
    wins = (("g-1", len(ads)),) if ads else ()
    asked = (("plc-1", requests, requests),) if requests else ()
    world.put(Ticked(at_ms=world.now_ms, requests=asked, in_flight=told, wins=wins), check=False)


#   kind   report           why
SETTLED = [
    ("cpm",  ["show"],          "it is charged now"),
    ("ocpm", ["show"],          "the same"),
    ("cpc",  ["show", "click"], "its click is charged"),
    ("cpa",  ["show", "click"], "its conversion is awaited from here on"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "reports", "why"), SETTLED)
def test_an_ad_s_charge_lets_go_of_what_it_held(kind: str, reports: list[str], why: str) -> None:
    world = world_with(kind)
    ads = [world.ad(kind=kind, pctr=0.1, pcvr=0.1) for _ in range(2)]
    tick_with(world, ads, elapsed_ms=0)
    both, _ = in_flight(world)
    for report in reports[:-1]:
        getattr(world, report)(ads[0])
    assert in_flight(world) == (both, both)
    getattr(world, reports[-1])(ads[0])
    assert in_flight(world) == (both // 2, both // 2), why


def test_a_charge_that_comes_before_its_tick_is_not_held_at_all() -> None:
    world = world_with()
    ads = [world.ad(kind="cpm") for _ in range(3)]
    world.now_ms += 500
    early = [world.ad(kind="cpm") for _ in range(2)]
    for ad in early:
        world.show(ad)
    assert in_flight(world) == (0, 0)
    tick_with(world, [*ads, *early], elapsed_ms=500)
    assert in_flight(world) == (3 * WON, 3 * WON)
    tick_with(world, [])
    assert 0 < in_flight(world)[0] < 3 * WON


def test_an_invalid_event_lets_go_too() -> None:
    world = World(FoldSettings(invalid_traffic="on"))
    world.add(*one_of_each()[:-2], group("g-1"), banner("cr-1"))
    ad = world.ad()
    tick_with(world, [ad], elapsed_ms=0)
    assert in_flight(world)[0] == 10 * WON
    world.put(Shown(at_ms=world.now_ms, ad=ad, sender=Sender("bot", b"", True)))
    assert in_flight(world) == (0, 0)
    other = world.ad()
    tick_with(world, [other], elapsed_ms=0)
    assert world.click(ad).code == "invalid_impression"
    assert in_flight(world)[0] == 10 * WON, "that ad holds nothing any more"


def test_a_lost_bid_lets_go() -> None:
    world = world_with()
    ad = world.ad(kind="cpm")
    tick_with(world, [ad], elapsed_ms=0)
    world.put(Noticed(at_ms=world.now_ms, ad=ad, kind="win"))
    assert in_flight(world)[0] == WON
    world.put(Noticed(at_ms=world.now_ms, ad=ad, kind="loss"))
    assert in_flight(world) == (0, 0)


#   charges  answers  within_s  charges shown and not billed, at most
BUDGETS = [
    (30,     2,       40,       0),
    (30,     20,      40,       1),
    (300,    2,       190,      1),
    (3_000,  20,      220,      15),
]  # fmt: skip


@pytest.mark.parametrize(("charges", "answers", "within_s", "unbilled"), BUDGETS)
@pytest.mark.parametrize(("kind", "pctr"), [("cpm", 0.0), ("cpc", 1.0)])
def test_a_budget_is_delivered_at_once_and_hardly_beyond(
    charges: int, answers: int, within_s: int, unbilled: int, kind: str, pctr: float
) -> None:
    """So many answers a second, charged two seconds later: nothing waits for what has been charged, and the
    last second's answers are no more than what is left.
    """
    price = WON * (1_000 if kind == "cpm" else 1)
    world, chance = world_with(kind, budget_total_micros=charges * WON), Random(1)
    waiting: list[tuple[int, ServedAd]] = []
    for second in range(within_s):
        due = [ad for at, ad in waiting if at == second]
        for ad in due:
            world.put(Shown(at_ms=world.now_ms, ad=ad), check=False)
            if kind == "cpc":
                world.put(Clicked(at_ms=world.now_ms, ad=ad), check=False)
        share = float(world.state.pacing.of("throttle")[0]) if world.state.group_standing[0] == 0 else 0.0
        taken = sum(chance.random() < share for _ in range(answers))
        world.now_ms += 1  # behind the last tick
        ads = [world.ad(kind=kind, price_micros=price, pctr=pctr, rows=(0,)) for _ in range(taken)]
        waiting += [(second + 2, ad) for ad in ads]
        tick_with(world, ads, 999, requests=answers)
    assert world.spent() == charges * WON
    assert int(world.state.ledger.unbilled_debits[0]) <= unbilled * WON
    world.state.check()


def play(
    hold: Hold, share: float, late_s: float, seconds: int, rate: int = 10, price: int = WON
) -> tuple[list[float], list[int]]:
    """Answers at a steady rate, some charged after an exponential time: what is held, what is to come."""
    chance, due = Random(1), list[tuple[float, int]]()
    held, true = [], []
    for second in range(seconds):
        hold.tick(1_000 * second, 1.0)
        hold.hold(0, round(rate * share * price), rate)
        answered = [second + chance.expovariate(1 / late_s) for _ in range(rate) if chance.random() < share]
        due += [(at, second) for at in answered]
        for at, since in [pair for pair in due if pair[0] <= second]:
            hold.came(0, share * price, price, second - since, at - since)
        due = [pair for pair in due if pair[0] > second]
        held.append(int(hold.catalogue.group_accounts.in_flight[0]) / price)
        true.append(len(due))
    return held, true


@pytest.mark.parametrize(("share", "late_s", "why"), TRUTH)
def test_what_is_held_is_what_is_still_to_come_in_the_mean(share: float, late_s: float, why: str) -> None:
    hold = world_with("cpc").state.in_flight
    held, true = play(hold, share, late_s, 3_000)
    assert 0.85 < np.mean(held[300:]) / np.mean(true[300:]) < 1.4, why
    assert float(hold.of("mean_s")[0]) == pytest.approx(late_s, rel=0.25)
    hold.check()


def test_a_thousand_conversions_that_are_still_out_are_not_forgotten_for_the_few_quick_ones() -> None:
    """All at once, an hour late in the mean: within minutes only those come that are early."""
    hold = world_with("cpc").state.in_flight
    hold.prior_s = 86_400.0
    held, true = play(hold, 0.4, 3_600.0, 600, rate=100, price=1_000)
    assert held[-1] > 0.8 * true[-1]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("hct"), st.integers(0, 10**12), st.floats(-1, 1e6)), max_size=40))
def test_whatever_comes_nothing_is_held_below_0_and_it_ends_at_nothing(
    steps: list[tuple[str, int, float]],
) -> None:
    world = world_with()
    hold = world.state.in_flight
    for step, micros, seconds in steps:
        if step == "h":
            hold.hold(0, micros, 1, micros / 3)
        elif step == "c":
            hold.came(0, micros, micros, seconds, seconds)
        else:
            before = in_flight(world)[0]
            hold.tick(0, max(0.0, seconds))
            assert in_flight(world)[0] <= before
        hold.check()
    for _ in range(40):
        hold.tick(0, 10 * float(hold.of("time_constant_s")[0]))
    assert in_flight(world) == (0, 0)


# Conversions that are awaited.


def test_a_conversion_of_tomorrow_is_not_held_against_today_s_budget() -> None:
    """Seven hours of the day are left, and a conversion is awaited for a day in the mean: a quarter of it."""
    world = world_with("cpa", budget_daily_micros=1_000 * WON)
    for _ in range(3):
        ad = world.ad(kind="cpa", price_micros=10_000 * WON, pcvr=0.1)
        world.show(ad)
        world.click(ad)
    world.tick(0)
    accounts = world.state.catalogue.campaign_accounts
    assert int(accounts.awaited[0]) == 3_000 * WON
    assert int(accounts.awaited_today()[0]) == pytest.approx(3_000 * WON * (1 - np.exp(-7 / 24)), rel=0.01)
    assert world.winner() == "cr-1"
    world.change("campaign", "c-1", budget_daily_micros=None, budget_total_micros=3_000 * WON)
    assert world.winner() is None, "it counts against what may ever be spent"


def test_a_campaign_s_own_conversions_tell_how_long_they_are_awaited() -> None:
    world = world_with("cpa")
    for _ in range(50):
        ads = [world.ad(kind="cpa", pcvr=0.5, rows=(0,)) for _ in range(2)]
        for ad in ads:
            world.show(ad)
            world.click(ad)
        world.tick(HOUR_MS)
        world.convert(ads[0])
    assert float(world.state.awaited.of("mean_s")[0]) == pytest.approx(2 * 3_600, rel=0.5)
    assert contents(fold(world.entries, bytes_too=True)) == contents(world.copy().state)


def test_a_state_of_a_build_that_held_sums_alone_goes_on() -> None:
    world = world_with(budget_daily_micros=1_000 * WON)
    tick_with(world, [world.ad(kind="cpm") for _ in range(9)])
    parts = saving.parts(world.state)
    del parts["in_flight"], parts["awaited"]
    for name in ("campaign_accounts", "group_accounts"):
        parts[name] = np.asarray(parts[name])[:-1]
    parts["pacing"] = np.delete(np.asarray(parts["pacing"]), -2, axis=0)
    world.state = State(columns=world.columns, recent=world.recent)
    saving.restore(world.state, len(world.entries), parts)
    assert in_flight(world) == (9 * WON, 9 * WON)
    world.tick(600_000)
    assert in_flight(world)[0] < WON
