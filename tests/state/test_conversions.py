"""Conversions: the second matrix, what CPA and oCPM are charged, and how both follow what was reached.

Method: worlds of a few lines, with the expected worth worked out by hand or by the weights alone.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.decisions import ServedAd
from app.domain.lines import FoldSettings, Shown, Verdict
from app.state.apply import Receipt
from app.state.money import money_of
from tests.state.world import (
    HOUR_MS,
    WON,
    World,
    ask_for,
    banner,
    contents,
    fold,
    group,
    one_of_each,
    placement,
)


def world_with(kind: str = "cpa", bid: int = 10_000, **campaign: object) -> World:
    """One campaign whose ad group g-1 (creative cr-1) pays by conversion."""
    world = World()
    world.add(*one_of_each(**campaign)[:-2], group("g-1", bid=bid, kind=kind), banner("cr-1"))
    return world


def path(world: World, ad: ServedAd, *own_ids: str) -> list[Receipt]:
    """Show and click an ad, then convert as often as ids are given."""
    return [world.show(ad), world.click(ad), *(world.convert(ad, own_id) for own_id in own_ids)]


WEEK_MS = 7 * 24 * HOUR_MS

# What is learned.


def test_a_click_is_a_trial_and_its_conversion_a_success() -> None:
    world = world_with()
    ad = world.ad(kind="cpa", pcvr=0.02)
    assert world.pcvr(ad) == pytest.approx(0.02)
    world.show(ad)
    assert world.pcvr(ad) == pytest.approx(0.02), "an impression is no trial"
    world.click(ad)
    lower = world.pcvr(ad)
    assert lower < 0.02
    assert world.convert(ad).learned
    assert world.pcvr(ad) > lower


def test_one_conversion_of_a_click_teaches_and_each_is_billed() -> None:
    world = world_with()
    receipts = path(world, world.ad(kind="cpa", pcvr=0.02), "order-1", "order-2")
    assert [r.learned for r in receipts] == [True, True, True, False]
    assert [r.billed_micros // WON for r in receipts] == [0, 0, 1_000, 1_000]


def test_clicks_of_a_campaign_that_reports_no_conversions_are_no_trials() -> None:
    world = world_with()
    world.add(group("g-2"), banner("cr-2", "g-2"))  # cpc
    ad = world.ad("cr-2")
    before = world.pcvr(ad)
    path(world, ad)
    assert world.pcvr(ad) == before
    path(world, world.ad("cr-2"), "order-1")  # now they are known to be reported
    path(world, world.ad("cr-2"))
    assert world.pcvr(ad) != before


@pytest.mark.parametrize("kind", ["cpa", "ocpm"])
def test_a_conversion_without_a_click_bills_teaches_and_moves_nothing(kind: str) -> None:
    world = world_with(kind)
    ad = world.ad(kind=kind, pcvr=0.02)
    world.show(ad)
    before = world.spent(), world.pcvr(ad), contents(world.state)["goals_campaigns"]
    receipt = world.convert(ad)
    assert (receipt.status, receipt.billed_micros, receipt.learned) == ("counted", 0, False)
    assert (receipt.code, receipt.note) == (None, "view_through")
    assert (world.spent(), world.pcvr(ad), contents(world.state)["goals_campaigns"]) == before
    assert float(world.state.goals.converted[0]) == 0, "nor does an oCPM bid rise by it"
    world.tick(world.settings.held_s * 1_000)
    assert not world.state.early, "it has waited long enough"
    assert (world.spent(), world.pcvr(ad)) == before[:2]
    assert world.refund(receipt).billed_micros == 0
    world.click(ad)
    after = world.convert(ad, "order-2")
    assert after.billed_micros == (1_000 * WON if kind == "cpa" else 0), "one after its click is billed"
    assert after.note is None


@pytest.mark.parametrize("write_back", [True, False])
def test_a_conversion_of_a_refunded_click_is_neither_billed_nor_learned(write_back: bool) -> None:
    world = World(write_back=write_back)
    world.add(*one_of_each()[:-2], group("g-1", kind="cpa"), banner("cr-1"))
    ad = world.ad(kind="cpa", pcvr=0.02)
    world.refund(path(world, ad)[1])
    receipt = world.convert(ad)
    assert (receipt.status, receipt.billed_micros, receipt.learned) == ("counted", 0, False)
    assert receipt.code == "invalid_click"
    assert world.refund(receipt).billed_micros == 0


@pytest.mark.parametrize("restart", [False, True])
def test_a_conversion_that_overtook_its_click_is_billed_and_learned_when_that_comes(restart: bool) -> None:
    world, plain = world_with(), world_with()
    ad = world.ad(kind="cpa", pcvr=0.02)
    path(plain, ad, "order-1")
    plain.tick(1_000 + plain.settings.held_s * 1_000)
    world.show(ad)
    event = world.convert(ad, "order-1").event_id
    world.tick(1_000)
    if restart:
        world = world.copy()
    world.click(ad)
    assert world.known[event].verdict == Verdict("learned", 1_000 * WON)
    world.tick(world.settings.held_s * 1_000)
    assert (world.spent(), len(world.state.early)) == (1_000 * WON, 0), "once"
    assert world.pcvr(ad) == pytest.approx(plain.pcvr(ad), rel=1e-3)
    assert float(world.state.goals.conversions[0]) == 1


def test_a_conversion_waits_for_a_click_that_waits_for_its_impression() -> None:
    world = world_with()
    ad = world.ad(kind="cpa", pcvr=0.02)
    world.click(ad)
    receipts = [world.convert(ad, order) for order in ("order-1", "order-2")]
    assert [(each.status, each.billed_micros, each.note) for each in receipts] == [
        ("counted", 0, "view_through")
    ] * 2
    outcome = world.put(Shown(at_ms=world.now_ms, ad=ad))
    assert [verdict.billed_micros // WON for _, verdict in outcome.verdicts] == [0, 0, 1_000, 1_000]
    assert outcome.first_count == 4
    assert world.refund(receipts[0]).billed_micros == 1_000 * WON
    assert world.convert(ad, "order-3").billed_micros == 1_000 * WON


def test_a_conversion_that_waits_and_is_refunded_is_never_billed() -> None:
    world = world_with()
    ad = world.ad(kind="cpa", pcvr=0.02)
    world.show(ad)
    first, second = world.convert(ad, "order-1"), world.convert(ad, "order-2")
    assert world.refund(first).billed_micros == 0
    world.click(ad)
    assert world.spent() == 1_000 * WON
    assert world.refund(second).billed_micros == 1_000 * WON
    assert world.spent() == 0


def test_a_conversion_of_an_invalid_click_is_invalid_though_it_came_first() -> None:
    world = world_with()
    world.configure(invalid_traffic="on")
    ad = world.ad(kind="cpa", pcvr=0.02)
    shown = world.show(ad)
    receipt = world.convert(ad)
    world.refund(shown)
    world.click(ad)
    assert world.known[receipt.event_id].verdict == Verdict("invalid", code="invalid_click")
    assert world.spent() == 0


def test_refunding_a_click_takes_its_trial_and_its_conversion_out_of_the_model() -> None:
    world = world_with()
    ad = world.ad(kind="cpa", pcvr=0.02)
    before = world.pcvr(ad)
    _, click, _ = path(world, ad, "order-1")
    world.refund(click)
    assert world.pcvr(ad) == pytest.approx(before, rel=1e-6)


@pytest.mark.parametrize("write_back", [True, False])
def test_conversions_of_a_click_that_is_taken_back_are_owed_back_too(write_back: bool) -> None:
    world = World(write_back=write_back)
    world.add(*one_of_each(budget_total_micros=2_000 * WON)[:-2], group("g-1", kind="cpa"), banner("cr-1"))
    ad, other = (world.ad(kind="cpa", pcvr=0.0) for _ in range(2))
    _, click, *converted = path(world, ad, "order-1", "order-2", "order-3")
    assert [receipt.billed_micros // WON for receipt in converted] == [1_000, 1_000, 0]
    path(world, other, "order-1")
    world.refund(click)
    owed = world.state.conversions.owed
    assert list(owed) == [receipt.position for receipt in converted[:2]], "what was billed, and nobody else's"
    again = world.copy()
    assert list(again.state.conversions.owed) == list(owed)
    for receipt in converted[:2]:
        assert world.refund(receipt).billed_micros == 1_000 * WON
    assert not owed
    assert world.spent() == 0
    assert world.convert(other, "order-2").billed_micros == 1_000 * WON, "the budget is open again"


def test_what_is_owed_back_is_forgotten_with_the_conversion() -> None:
    world = world_with()
    world.state.conversions.capacity = 4
    _, click, _ = path(world, world.ad(kind="cpa", pcvr=0.0), "order-1")
    world.refund(click)
    assert len(world.state.conversions.owed) == 1
    path(world, world.ad(kind="cpa", pcvr=0.0), *"abcd")
    assert not world.state.conversions.owed


def test_refunding_a_conversion_returns_its_money_and_unlearns_it() -> None:
    world = world_with()
    ad = world.ad(kind="cpa", pcvr=0.02)
    world.show(ad)
    world.click(ad)
    before = world.pcvr(ad)
    back = world.refund(world.convert(ad, "order-1"))
    assert (back.billed_micros, back.learned) == (1_000 * WON, True)
    assert world.spent() == world.spent_by_group() == 0
    assert world.pcvr(ad) == pytest.approx(before, rel=1e-6)
    assert world.convert(ad, "order-2").learned, "another conversion of the click may teach"


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.sampled_from([0.001, 0.02, 0.3]), min_size=1, max_size=3),
    st.sampled_from([None, 0.05]),
    st.integers(0, 4),
)
def test_a_changed_prior_leaves_what_was_learned(
    priors: list[float], own: float | None, converted: int
) -> None:
    world = world_with(prior_cvr=own)
    for number in range(5):
        path(world, world.ad(kind="cpa", pcvr=0.02), *(["o"] if number < converted else []))
    ad = world.ad()
    before = world.pcvr(ad)
    for prior in priors:
        world.configure(prior_cvr=prior)
        assert world.pcvr(ad) == pytest.approx(before, rel=1e-5)
        world.change("campaign", "c-1", prior_cvr=prior / 2)
        assert world.pcvr(ad) == pytest.approx(before, rel=1e-5)
        world.change("campaign", "c-1", prior_cvr=own)
        assert world.pcvr(ad) == pytest.approx(before, rel=1e-5)


def test_a_prior_counts_where_nothing_was_learned() -> None:
    world = world_with(prior_cvr=0.1)
    assert world.choose().placed[0].wins[0].pcvr == pytest.approx(0.1)
    world.change("campaign", "c-1", prior_cvr=None)
    assert world.choose().placed[0].wins[0].pcvr == pytest.approx(0.02)
    world.configure(prior_cvr=0.3)
    assert world.choose().placed[0].wins[0].pcvr == pytest.approx(0.3)


# The auction.


#   kind   bid      price             why
KINDS = [
    ("cpm",  400,   200,              "v = 1"),
    ("cpc",  40,    20,               "v = 1000 pCTR = 10"),
    ("cpa",  2_000, 1_000,            "v = 1000 pCTR pCVR = 0.2"),
    ("ocpm", 2_000, 1_000,            "the same: its charge is per impression"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "bid", "price", "why"), KINDS)
def test_all_kinds_meet_in_one_auction_by_what_they_are_worth(
    kind: str, bid: int, price: int, why: str
) -> None:
    world = World()
    world.add(*one_of_each()[:-2])
    world.add(group("g-1", bid=bid, kind=kind), banner("cr-1"), group("g-2", bid=200, kind="cpm"))
    world.add(banner("cr-2", "g-2"))
    (win,) = world.choose().placed[0].wins
    assert win.creative_id == "cr-1", why
    assert win.ecpm_micros == pytest.approx(400 * WON)
    assert win.price_micros == pytest.approx(price * WON)


def test_the_second_matrix_decides_between_equal_bids() -> None:
    world = world_with()
    world.add(group("g-2", bid=10_000, kind="cpa"), banner("cr-2", "g-2"))
    for _ in range(5):
        path(world, world.ad("cr-2", kind="cpa", pcvr=0.02), "order")
    for _ in range(5):
        path(world, world.ad("cr-1", kind="cpa", pcvr=0.02))
    (win,) = world.choose().placed[0].wins
    assert win.creative_id == "cr-2"
    assert win.pcvr == pytest.approx(world.pcvr(world.serve()), rel=1e-5)


def test_worth_is_cut_to_the_node_s_limit_in_score_and_price() -> None:
    world = World(FoldSettings(max_ecpm_micros=300 * WON))
    world.add(*one_of_each()[:-2], group("g-1", bid=5_000, kind="cpm"), banner("cr-1"))
    world.add(group("g-2", bid=250, kind="cpm"), banner("cr-2", "g-2"))
    (win,) = world.choose().placed[0].wins
    assert (win.creative_id, win.ecpm_micros, win.price_micros) == ("cr-1", 300 * WON, 250 * WON)
    world.change("ad_group", "g-2", pricing=group("g-2", bid=9_000, kind="cpm").pricing)
    assert {world.winner() for _ in range(20)} == {"cr-1", "cr-2"}, "both are worth the limit: a tie"
    (win,) = world.choose().placed[0].wins
    assert win.price_micros == 300 * WON
    world.add(placement("plc-2", floor_micros=301 * WON))
    assert world.reasons(ask_for("plc-2")) == {"below_floor": 2}


# What is charged.


def test_an_ocpm_impression_costs_what_its_conversion_is_expected_to_be_worth_and_nothing_is_lost() -> None:
    world = world_with("ocpm")
    for _ in range(1_000):
        ad = world.ad(kind="ocpm", price_micros=12_345_678, pctr=0.0123, pcvr=0.0456, rows=(0,))
        world.put(Shown(at_ms=world.now_ms, ad=ad), check=False)
    assert world.spent() == pytest.approx(1_000 * 12_345_678 * 0.0123 * 0.0456, abs=1.0)
    world.state.check()


def test_a_conversion_of_ocpm_and_a_click_of_cpa_are_free() -> None:
    world = world_with("ocpm")
    shown, clicked, converted = path(world, world.ad(kind="ocpm", pctr=0.01, pcvr=0.02), "order")
    assert shown.billed_micros == 1_000 * WON * 0.01 * 0.02
    assert (clicked.billed_micros, converted.billed_micros) == (0, 0)


def test_a_conversion_is_charged_on_the_day_of_its_line_within_that_day_s_budget() -> None:
    world = world_with(budget_daily_micros=1_500 * WON)
    early, late = (world.ad(kind="cpa", pcvr=0.0) for _ in range(2))
    path(world, early, "a"), path(world, late)
    assert world.convert(early, "b").billed_micros == 500 * WON
    world.tick(24 * HOUR_MS)
    assert world.convert(late, "c").billed_micros == 1_000 * WON


def test_an_awaited_conversion_counts_against_the_budget_until_it_comes_or_fades() -> None:
    world = world_with(budget_daily_micros=1_000 * WON)
    ad = world.ad(kind="cpa", price_micros=10_000 * WON, pcvr=0.1)
    path(world, ad)
    assert world.winner() is None, "1,000 may yet come"
    world.tick(HOUR_MS)
    assert world.winner() == "cr-1", "some of it did not"
    accounts = world.state.catalogue.campaign_accounts
    assert 0 < int(accounts.awaited[0]) < 1_000 * WON
    world.convert(ad)
    assert int(accounts.awaited[0]) == 0


# Goals.


def test_a_cpa_campaign_stops_when_conversions_stay_out_and_one_starts_it_again() -> None:
    world = World(FoldSettings(cpa_stop_conversions=2))
    world.add(*one_of_each(prior_cvr=0.5)[:-2], group("g-1", bid=10_000, kind="cpa"), banner("cr-1"))
    world.add(group("g-2", bid=1), banner("cr-2", "g-2"))  # cpc, in the same campaign
    ads = [world.ad(kind="cpa", pcvr=0.0) for _ in range(4)]
    for ad in ads:
        assert world.winner() == "cr-1"
        path(world, ad)
    assert world.winner() == "cr-1", "they may only be late"
    world.tick(WEEK_MS)
    assert world.reasons() == {"no_conversions": 1}
    assert world.winner() == "cr-2", "who pays by click goes on"
    world.convert(ads[0])
    assert world.winner() == "cr-1"
    path(world, world.ad(kind="cpa", pcvr=0.0))
    world.tick(WEEK_MS)
    assert world.winner() == "cr-1", "the count begins anew"


def test_an_edit_starts_a_stopped_cpa_campaign_again_and_0_never_stops_one() -> None:
    world = World(FoldSettings(cpa_stop_conversions=1))
    world.add(*one_of_each(prior_cvr=0.5)[:-2], group("g-1", bid=10_000, kind="cpa"), banner("cr-1"))
    path(world, world.ad(kind="cpa")), path(world, world.ad(kind="cpa"))
    world.tick(WEEK_MS)
    assert world.winner() is None
    world.change("campaign", "c-1", name="the pixel is mended")
    assert world.winner() == "cr-1"
    for _ in range(4):  # it has shown to convert rarer than its prior said
        assert world.winner() == "cr-1"
        path(world, world.ad(kind="cpa"))
        world.tick(WEEK_MS)
    assert world.winner() is None
    world.configure(cpa_stop_conversions=0)
    assert world.winner() == "cr-1"


def dear(world: World, pcvr: float) -> ServedAd:
    """An ad whose impression costs the whole price, or nothing."""
    return world.ad(kind="ocpm", price_micros=1_000 * WON, pctr=1.0, pcvr=pcvr)


def bid_of(world: World) -> int:
    world.tick()
    return world.choose().placed[0].wins[0].bid_micros // WON


def test_an_ocpm_bid_follows_target_over_realised_cost_within_bounds() -> None:
    world = world_with("ocpm", bid=1_000)
    assert bid_of(world) == 1_000
    world.show(dear(world, 1.0))  # a target's worth spent, no conversion yet
    assert bid_of(world) == 910, "10 / 11"
    for _ in range(30):
        world.show(dear(world, 1.0))
    assert bid_of(world) == 500, "never under a half"
    for number in range(100):
        path(world, dear(world, 0.0), str(number))
    assert bid_of(world) == 1_500, "never over half as much again"
    assert int(world.state.goals.percent[0]) == 150


def test_a_new_target_is_bid_at_once_and_old_ones_survive_a_restart() -> None:
    world = world_with("ocpm", bid=1_000)
    world.show(world.ad(kind="ocpm", price_micros=1_000 * WON, pctr=1.0, pcvr=1.0))
    assert bid_of(world) == 910
    world.change("ad_group", "g-1", pricing=group("g-1", bid=2_000, kind="ocpm").pricing)
    assert world.choose().placed[0].wins[0].bid_micros == 1_820 * WON
    again = world.copy()
    assert again.choose(key=world.key()).placed[0].wins[0].bid_micros == 1_820 * WON
    assert contents(again.state) == contents(world.state)


def test_replays_agree_on_everything_about_conversions() -> None:
    world = world_with("cpa", budget_daily_micros=50_000 * WON)
    world.add(group("g-2", bid=5_000, kind="ocpm"), banner("cr-2", "g-2"))
    receipts: list[Receipt] = []
    for number in range(40):
        kind, creative = ("cpa", "cr-1") if number % 2 else ("ocpm", "cr-2")
        ad = world.ad(creative, kind=kind, pctr=0.1, pcvr=0.05)
        receipts += path(world, ad, *(["a", "b"] if number % 3 == 0 else []))
        world.tick(number * 60_000)
    for receipt in receipts[::7]:
        world.refund(receipt)
    again = fold(world.entries, bytes_too=True)
    assert again.hash == world.state.hash
    assert contents(again) == contents(world.state) == contents(world.copy().state)


def test_a_campaign_s_money_at_a_glance() -> None:
    world = world_with("ocpm", bid=1_000, budget_total_micros=1_500 * WON)
    world.add(group("g-2", bid=500, kind="cpa"), banner("cr-2", "g-2"))
    first, second = dear(world, 1.0), dear(world, 1.0)
    shown = world.show(first)
    world.show(second)
    world.click(first)
    world.convert(first)
    path(world, world.ad("cr-2", kind="cpa", pcvr=0.1))
    world.refund(shown)
    world.tick(0)
    told = money_of(world.state, "c-1")
    assert (told.spent_micros, told.unbilled_micros, told.refunded_micros) == (
        500 * WON,
        500 * WON,
        1_000 * WON,
    )
    assert told.awaited_micros == 100 * WON
    assert told.expected_conversions == pytest.approx(0.02 * world.state.delays.ripeness[0, 0], abs=1e-9)
    assert told.stops_at_conversions == 10
    assert told.open_clicks == 2
    assert 0 < told.conversions_to_come < 0.1
    assert [share for _, share in told.within] == sorted(share for _, share in told.within)
    assert told.within[-1][1] == pytest.approx(1.0)
    ocpm, cpa = told.groups
    assert (ocpm.kind, ocpm.target_cpa_micros, ocpm.realised_cpa_micros) == ("ocpm", 1_000 * WON, 500 * WON)
    assert ocpm.multiplier == 1.05, "(1 + 10) / (0.5 + 10)"
    assert ocpm.bid_micros == 1_050 * WON == bid_of(world) * WON
    assert (cpa.kind, cpa.bid_micros, cpa.multiplier) == ("cpa", 500 * WON, None)


def test_currency_rates_are_the_journal_s() -> None:
    world = World()
    world.configure(rates_micros=(("USD", 1_350_000_000),))
    assert world.state.rates_micros == {"USD": 1_350_000_000}
    assert world.copy().state.rates_micros == fold(world.entries, bytes_too=True).rates_micros
    world.configure(rates_micros=(("USD", 1_400_000_000),))
    before = fold(world.entries[:3], bytes_too=True)
    assert before.rates_micros == {"USD": 1_350_000_000}, "a replay of that time has that time's rates"


#   kind    action       why
LATE = [
    ("cpm",  "show",     "its impression was under way"),
    ("ocpm", "show",     "the same"),
    ("cpc",  "click",    "it was shown while it ran"),
    ("cpa",  "convert",  "days later"),
]  # fmt: skip


@pytest.mark.parametrize("ending", [{"status": "paused"}, {"status": "archived"}, {"ends_at_ms": 1}])
@pytest.mark.parametrize(("kind", "action", "why"), LATE)
def test_who_has_ended_pays_for_what_was_shown(
    kind: str, action: str, why: str, ending: dict[str, Any]
) -> None:
    world = world_with(kind, budget_total_micros=1_500 * WON)
    ads = [world.ad(kind=kind, price_micros=10**6 * WON if kind == "cpm" else 1_000 * WON, pctr=1.0,
                    pcvr=1.0 if kind == "ocpm" else 0.0) for _ in range(2)]  # fmt: skip
    steps = ["show", "click", "convert"]
    for ad in ads:
        for step in steps[: steps.index(action)]:
            getattr(world, step)(ad)
    world.change("campaign", "c-1", **ending)
    assert [getattr(world, action)(ad).billed_micros // WON for ad in ads] == [1_000, 500], why
