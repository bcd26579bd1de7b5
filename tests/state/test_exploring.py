"""Exploration in the auction: new ads are tried, chance repeats, lots are fair, and the cost is held."""

from __future__ import annotations

from collections import Counter
from random import Random

import msgspec
import numpy as np
import pytest

from app.domain.catalogue import Campaign
from app.domain.lines import Clicked, FoldSettings, Shown, Ticked
from app.domain.requests import AdRequest
from app.state.choose import Chooser
from tests.state.world import WON, World, ask_for, banner, contents, group, one_of_each, placement, served

THOMPSON = FoldSettings(exploration="thompson", uniform_share=0.0)
GREEDY = FoldSettings()


def many_ads(settings: FoldSettings, count: int = 8) -> World:
    """Ads of an ad group each, all at 2,000 won a click."""
    world = World(settings)
    world.add(*one_of_each(), placement("plc-2", floor_micros=3 * WON))
    for number in range(2, count + 1):
        world.add(group(f"g-{number}"), banner(f"cr-{number}", f"g-{number}"))
    return world


def teach(world: World, impressions: int, clicks: dict[str, int]) -> None:
    """Show ads by turns, each so often, and click on them evenly."""
    for number in range(impressions):
        for creative_id, wanted in clicks.items():
            ad = world.ad(creative_id)
            world.put(Shown(at_ms=world.now_ms, ad=ad), check=False)
            if number * wanted // impressions != (number + 1) * wanted // impressions:
                world.put(Clicked(at_ms=world.now_ms, ad=ad), check=False)


def test_without_exploring_the_means_rank() -> None:
    world = many_ads(GREEDY)
    slate = world.chooser.slate(
        ask_for("plc-1").asks[0], placement("plc-1"), world.state.catalogue.ads.view(), (0,)
    )
    assert slate.scale == 0.0
    assert slate.sums is slate.means


def test_what_is_known_well_is_not_doubted() -> None:
    world = many_ads(THOMPSON)
    column = world.state.catalogue.ads.columns[-1, world.state.catalogue.ads.places.by_key["cr-1"]]
    other = world.state.catalogue.ads.columns[-1, world.state.catalogue.ads.places.by_key["cr-2"]]
    teach(world, 3_000, {"cr-1": 120})
    doubts = world.state.model.doubts
    assert doubts[column] < 0.15
    assert doubts[other] > 0.29
    world.state.check()


def test_a_good_new_ad_is_found_that_the_greedy_never_tries() -> None:
    truth = {"cr-1": 0.02, "cr-2": 0.06}
    shown: dict[str, Counter[str]] = {}
    for name, settings in (("greedy", GREEDY), ("thompson", THOMPSON)):
        world, random = many_ads(settings, count=2), Random(3)
        teach(world, 4_000, {"cr-1": 80})  # twice the prior
        counts: Counter[str] = Counter()
        for _ in range(3_000):
            ad = served(world.choose().placed[0], world.now_ms)
            counts[ad.creative_id] += 1
            world.put(Shown(at_ms=world.now_ms, ad=ad), check=False)
            if random.random() < truth[ad.creative_id]:
                world.put(Clicked(at_ms=world.now_ms, ad=ad), check=False)
        shown[name] = counts
    assert shown["greedy"]["cr-2"] == 0
    assert shown["thompson"]["cr-2"] > 1_500


def test_the_same_decision_draws_the_same_again_and_the_pctr_is_the_mean() -> None:
    world = many_ads(THOMPSON)
    teach(world, 500, {"cr-1": 10})
    keys = [world.key() for _ in range(60)]
    first = [world.chooser.choose(ask_for("plc-1", "plc-2"), key, world.now_ms) for key in keys]
    again = Chooser(world.copy().state)
    assert [again.choose(ask_for("plc-1", "plc-2"), key, world.now_ms) for key in keys] == first
    winners = {choice.placed[0].wins[0].creative_id for choice in first}
    assert len(winners) > 2
    for choice in first:
        for placed in choice.placed:
            (win,) = placed.wins
            assert win.pctr == pytest.approx(world.p(served(placed, world.now_ms)), rel=1e-5)
            assert 0 < win.price_micros <= win.bid_micros


def test_lots_are_fair_among_the_best_and_say_their_chance() -> None:
    world = many_ads(FoldSettings(exploration="thompson", exploration_scale=1e-6, uniform_share=0.25))
    teach(world, 300, {f"cr-{number}": 3 * number for number in range(1, 9)})
    drawn: Counter[str] = Counter()
    total = 4_000
    for _ in range(total):
        (win,) = world.choose(ask_for("plc-2")).placed[0].wins
        assert win.price_micros <= win.bid_micros
        if win.propensity:
            assert win.propensity == 0.25
            drawn[win.creative_id] += 1
            assert win.creative_id in {"cr-5", "cr-6", "cr-7", "cr-8"}
            assert win.cleared_ecpm_micros >= 3 * WON
        else:
            assert win.creative_id == "cr-8"
    share = sum(drawn.values())
    assert abs(share - total / 4) < 5 * np.sqrt(total * 0.25 * 0.75)
    for count in drawn.values():
        assert abs(count - share / 4) < 5 * np.sqrt(share * 0.25 * 0.75)


def test_the_winner_of_a_lot_pays_what_keeps_it_among_the_best() -> None:
    world = many_ads(FoldSettings(exploration="thompson", exploration_scale=1e-6, uniform_share=0.5))
    teach(world, 300, {f"cr-{number}": 3 * number for number in range(1, 9)})
    wins = [world.choose().placed[0].wins[0] for _ in range(200)]
    lots = {win.creative_id: win for win in wins if win.propensity}
    outside = world.state.catalogue.ads.places.by_key["cr-4"]
    assert len(lots) == 4
    assert {win.rival_index for win in lots.values()} == {outside}
    worths = {win.price_micros * win.pctr for win in lots.values()}
    assert max(worths) == pytest.approx(min(worths), rel=1e-3), "each as much as the first who is not"


def test_off_draws_no_lots() -> None:
    world = many_ads(FoldSettings(uniform_share=0.5))
    assert not any(world.choose().placed[0].wins[0].propensity for _ in range(50))


def explored(world: World, request: AdRequest, times: int) -> tuple[int, int]:
    placed = [world.choose(request).placed[0] for _ in range(times)]
    return sum(each.greedy_ecpm_micros for each in placed), sum(each.chosen_ecpm_micros for each in placed)


def test_its_cost_is_measured_and_held_under_the_ceiling() -> None:
    world = many_ads(FoldSettings(exploration="thompson", exploration_ceiling=0.02, uniform_share=0.0))
    teach(world, 300, {"cr-1": 9})
    greedy, chosen = explored(world, ask_for("plc-1"), 1_600)
    assert 0 < chosen < greedy
    before = 1 - chosen / greedy
    assert before > 0.04
    for _ in range(60):
        world.now_ms += 1_000
        world.put(Ticked(at_ms=world.now_ms, explored=explored(world, ask_for("plc-1"), 160)), check=False)
    greedy, chosen = explored(world, ask_for("plc-1"), 1_600)
    assert 1 - chosen / greedy < 0.03
    assert 0.01 < world.state.exploration.factor < 1.0
    assert world.copy().state.exploration == world.state.exploration


def test_one_campaign_alone_is_turned_down_that_costs_too_much() -> None:
    world = many_ads(msgspec.structs.replace(THOMPSON, exploration_campaign_ceiling=0.02))
    world.add(Campaign(id="c-2", advertiser_id="adv-1"), group("g-9", "c-2"), banner("cr-9", "g-9"))
    dear = Ticked(
        at_ms=world.now_ms, explored=(10**9, 96 * 10**7), explored_by_campaign=(("c-2", 4 * 10**7),)
    )
    world.tick()
    before = world.state.model.doubts.copy()
    for _ in range(20):
        world.put(dear)
    cost, factor = world.state.explored("c-2")
    assert cost == pytest.approx(0.04)
    assert factor < 0.5
    assert world.state.explored("c-1")[1] == world.state.exploration.factor == 1.0
    columns = world.state.catalogue.ads.columns
    ninth = columns[:, world.state.catalogue.ads.places.by_key["cr-9"]]
    doubts = world.state.model.doubts
    damped = np.zeros(doubts.size, dtype=bool)
    damped[[ninth[-2], ninth[-1]]] = True  # the campaign's column and its ad's own
    assert doubts[damped] == pytest.approx(factor * before[damped], rel=1e-5)
    assert np.array_equal(doubts[~damped], before[~damped])
    restored = world.copy()
    assert contents(restored.state) == contents(world.state)
    for _ in range(100):
        world.put(Ticked(at_ms=world.now_ms, explored=(10**9, 10**9), explored_by_campaign=(("c-1", 1),)))
    assert world.state.explored("c-2")[1] == 1.0
    assert np.array_equal(world.state.model.doubts, before)
