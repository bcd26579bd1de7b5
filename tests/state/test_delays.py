"""Clicks that may yet convert: they ripen by age, teach as much, and leave no trace when taken back.

Method: worlds of a few lines; the counts are held against the ring after every line (`Delays.check`).
"""

from __future__ import annotations

import numpy as np
import pytest

from app.domain.catalogue import Campaign
from app.domain.decisions import ServedAd
from app.domain.lines import Clicked, FoldSettings, Shown
from app.rules.delays import AGES_S, BINS, EDGES_S, ripeness_of
from app.state.ripening import MOST_A_CLICK, MOST_A_TICK
from tests.state.world import HOUR_MS, WON, World, banner, contents, fold, group, one_of_each

WEEK_MS = 7 * 24 * HOUR_MS


def world_with(kind: str = "cpa", **campaign: object) -> World:
    world = World()
    world.add(*one_of_each(**campaign)[:-2], group("g-1", bid=10_000, kind=kind), banner("cr-1"))
    return world


def clicked(world: World, kind: str = "cpa") -> ServedAd:
    ad = world.ad(kind=kind, pcvr=0.02)
    world.show(ad)
    world.click(ad)
    return ad


def ripe(world: World, place: int = 0) -> float:
    return float(world.state.delays.at(place)["ripe"])


def test_a_click_ripens_by_age_and_is_whole_after_a_week() -> None:
    world = world_with()
    clicked(world)
    at_s = 0.0
    for age in range(BINS):
        assert ripe(world) == pytest.approx(world.state.delays.ripeness[0, age])
        assert float(world.state.goals.clicks[0]) == pytest.approx(ripe(world))
        world.tick(round((EDGES_S[age] - at_s) * 1000))
        at_s = float(AGES_S[age + 1])
    assert ripe(world) == pytest.approx(1.0)
    assert world.state.delays.first == world.state.delays.next == 1, "it is open no more"


def test_whatever_was_expected_meanwhile_the_parts_add_up_to_one_click() -> None:
    world = world_with()
    ad = clicked(world)
    world.convert(ad, "a")
    parts = []
    for _ in range(30):
        world.tick(6 * HOUR_MS)
        clicked(world)
        parts.append(ripe(world))
    assert parts == sorted(parts)
    assert parts[-1] == pytest.approx(1.0)
    first = world.state.delays.ring[0]
    assert first["parts"].sum() == pytest.approx(1.0, rel=1e-6)


def test_a_young_click_hardly_speaks_against_its_ad() -> None:
    world = world_with()
    ad = world.ad(kind="cpa")
    for _ in range(50):
        clicked(world)
    young = world.pcvr(ad)
    assert young == pytest.approx(0.02, rel=0.02)
    world.tick(WEEK_MS)
    for _ in range(6):
        world.tick(1_000)  # a tick takes a few hundred parts
    assert world.pcvr(ad) < 0.8 * young


def test_conversions_teach_how_late_they_are_campaign_by_campaign() -> None:
    world = world_with()
    world.add(Campaign(id="c-2", advertiser_id="adv-1"), group("g-2", "c-2", kind="cpa"))
    world.add(banner("cr-2", "g-2"))
    quick = []
    for _ in range(60):
        ad, slow = clicked(world), world.ad("cr-2", kind="cpa", pcvr=0.02)
        world.show(slow), world.click(slow)
        quick.append(slow)
        world.convert(ad)
        world.tick(600_000)
    world.tick(20 * HOUR_MS)
    for slow in quick:
        world.convert(slow)
    world.tick(60_000)
    shares = world.state.delays.shares
    assert shares[0, 0] > 0.7
    assert shares[1, 6] > 0.5
    assert world.state.delays.to_come(1, 0.02, world.now_ms) > 0.0


@pytest.mark.parametrize("after_ms", [0, 3 * HOUR_MS])
def test_a_refunded_click_ripens_no_more_and_teaches_nothing(after_ms: int) -> None:
    world = world_with()
    ad = world.ad(kind="cpa", pcvr=0.02)
    before = world.pcvr(ad)
    world.show(ad)
    receipt = world.click(ad)
    world.tick(after_ms)
    world.refund(receipt)
    assert world.pcvr(ad) == pytest.approx(before, rel=1e-6)
    assert float(world.state.goals.clicks[0]) == pytest.approx(0.0, abs=1e-12)
    world.tick(WEEK_MS)
    assert world.pcvr(ad) == pytest.approx(before, rel=1e-6)
    assert world.state.delays.lived(world.now_ms).sum() == pytest.approx(0.0, abs=1e-6)


def test_a_click_refunded_late_keeps_what_it_taught_and_teaches_no_more() -> None:
    world = world_with()
    ad = world.ad(kind="cpa", pcvr=0.02)
    world.show(ad)
    receipt = world.click(ad)
    world.state.conversions.lessons += 5_000
    world.refund(receipt)
    before = world.pcvr(ad)
    world.tick(WEEK_MS)
    assert world.pcvr(ad) == before


def test_the_oldest_click_leaves_whole_where_there_is_no_room() -> None:
    world = world_with()
    delays = world.state.delays
    delays.capacity = 4
    for number in range(6):
        clicked(world)
        assert delays.next - delays.first <= 4
        if number == 4:
            assert ripe(world, 0) or delays.first == 1
    assert float(world.state.goals.clicks[0]) > 2.0


def test_what_clicks_lit_is_kept_however_the_room_turns() -> None:
    world = world_with()
    delays = world.state.delays
    delays.lit = np.zeros(40, dtype=np.uint16)
    for number in range(12):
        ad = world.ad(kind="cpa", pcvr=0.02, rows=[0, *range(100, 100 + number)])
        world.show(ad), world.click(ad)
        newest = delays.at(delays.next - 1)
        assert delays.lit_by(newest) == (ad.rows, ad.columns)
        oldest = delays.at(delays.first)
        assert delays.lit_by(oldest)[1] == ad.columns


@pytest.mark.parametrize("kind", ["cpa", "ocpm"])
def test_replays_and_restarts_agree(kind: str) -> None:
    world = world_with(kind)
    receipts = []
    for number in range(30):
        ad = world.ad(kind=kind, pctr=0.1, pcvr=0.05)
        world.show(ad)
        receipts.append(world.click(ad))
        if number % 3 == 0:
            world.tick(number * 90_000)
            world.convert(ad)
        if number == 15:
            world = world.copy()
    world.refund(receipts[4])
    world.tick(24 * HOUR_MS)
    again = fold(world.entries, bytes_too=True)
    assert again.hash == world.state.hash == world.copy().state.hash
    assert contents(again) == contents(world.state) == contents(world.copy().state)


def test_an_ocpm_bid_counts_the_conversions_that_are_still_to_come() -> None:
    def percent(*, open_clicks: int) -> int:
        world = World(FoldSettings(prior_cvr=0.5))
        world.add(*one_of_each()[:-2], group("g-1", bid=1_000, kind="ocpm"), banner("cr-1"))
        for _ in range(20):
            ad = world.ad(kind="ocpm", price_micros=1_000 * WON, pctr=1.0, pcvr=0.5)
            world.put(Shown(at_ms=world.now_ms, ad=ad), check=False)
        for _ in range(open_clicks):
            clicked(world, "ocpm")
        world.tick()
        return int(world.state.goals.percent[0])

    assert percent(open_clicks=0) == 50, "ten targets were spent for nothing"
    assert percent(open_clicks=20) == pytest.approx(100, abs=1), "at one of two clicks, ten are to come"


def test_ripeness_follows_from_the_shares() -> None:
    delays = world_with().state.delays
    assert np.array_equal(delays.ripeness, ripeness_of(delays.shares))


def test_parts_that_are_due_come_with_ticks_and_clicks_a_few_at_a_time() -> None:
    world = world_with()
    for _ in range(100):
        ad = world.ad(kind="cpa", pcvr=0.02)
        world.put(Shown(at_ms=world.now_ms, ad=ad), check=False)
        world.put(Clicked(at_ms=world.now_ms, ad=ad), check=False)
    delays = world.state.delays
    world.tick(600_000)
    assert sum(delays.reached) == MOST_A_TICK
    clicked(world)
    assert sum(delays.reached) == MOST_A_TICK + MOST_A_CLICK
    world.tick(1_000)
    assert delays.reached[:3] == [100, 100, 0]
