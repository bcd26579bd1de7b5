"""Experiments in the fold. Goal: everybody has one variant and keeps it; it decides by its own settings and
nobody else does; events count where they were decided; promoting makes its way the default, bit for bit.
"""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import msgspec
import numpy as np
import pytest

from app.domain.catalogue import Experiment, Learning, Variant
from app.domain.decisions import ServedAd
from app.domain.lines import Clicked, FoldSettings, Shown, Ticked
from app.domain.refusals import Refused
from app.domain.requests import AdRequest, Person
from app.flows.node import Gathered
from app.flows.serve import gather_exposure
from app.rules.calibration import calibrated_plain
from app.rules.ftrl import Rates
from app.rules.splitting import BUCKETS, seat_of
from app.state.choose import Chooser
from app.state.own_model import OwnModel
from app.state.results import FIELD
from tests.state.world import WON, World, ask_for, banner, contents, fold, group, one_of_each, placement

QUIET = FoldSettings(calibration_clicks=4)


def world_of(*variants: Variant, settings: FoldSettings = QUIET, **fields: Any) -> World:
    """Two ads on two placements, an experiment, and time for its matrices to form."""
    world = World(settings)
    world.add(*one_of_each(), placement("plc-2", floor_micros=WON), group("g-2", bid=1_500))
    world.add(banner("cr-2", "g-2"))
    world.add(Experiment(id="e-1", variants=variants, **fields))
    for _ in range(3):
        world.tick()
    return world


def somebody(number: int) -> AdRequest:
    return msgspec.structs.replace(ask_for("plc-1"), person=Person(key=number.to_bytes(12, "big")))


def arm_of(world: World, number: int) -> int:
    """Say which arm a user is in: 0 the control."""
    stage = world.state.experiments.stage
    assert stage is not None
    return seat_of(world.choose(somebody(number)).variant)[0] - stage.first


def in_arm(world: World, arm: int, after: int = 0) -> int:
    """Find a user of an arm."""
    return next(number for number in range(after, after + 10_000) if arm_of(world, number) == arm)


def sums(world: World, arm: int, field: str) -> float:
    (*_, (_, table)) = world.state.experiments.results.of_experiment("e-1")
    return float(table[arm, FIELD[field]].sum())


def other_way(world: World) -> World:
    """The same lines once more, written and read again."""
    other = world.copy()
    other.state = fold(world.entries, bytes_too=True)
    other.chooser = Chooser(other.state)
    return other


# Who gets what.


def test_users_are_split_by_share_and_keep_their_variant() -> None:
    world = world_of(Variant(name="b", share=0.1), Variant(name="c", share=0.3))
    before = [arm_of(world, number) for number in range(1_000)]
    counts = Counter(before)
    assert counts[1] == pytest.approx(100, abs=45)
    assert counts[2] == pytest.approx(300, abs=70)
    world.change("experiment", "e-1", variants=(Variant(name="b", share=0.4), Variant(name="c", share=0.3)))
    after = [arm_of(world, number) for number in range(1_000)]
    assert all(now == then for then, now in zip(before, after, strict=True) if then), "a ramp moved somebody"
    assert Counter(after)[1] == pytest.approx(400, abs=75)
    world.change("experiment", "e-1", status="archived")
    world.add(Experiment(id="e-2", variants=(Variant(name="b", share=0.4), Variant(name="c", share=0.3))))
    assert [arm_of(world, number) for number in range(1_000)] != after, "another experiment, another split"


def test_who_cannot_be_told_apart_is_left_out_or_split_as_declared() -> None:
    world = world_of(Variant(name="b", share=0.5))
    assert {world.choose().variant for _ in range(50)} == {0}
    split = world_of(Variant(name="b", share=0.5), without_id="split")
    assert {seat_of(split.choose().variant)[0] for _ in range(50)} == {1, 2}


def test_an_experiment_that_does_not_run_is_nowhere() -> None:
    world = world_of(Variant(name="b", share=1.0))
    for status in ("paused", "archived"):
        world.change("experiment", "e-1", status=status)
        assert world.choose(somebody(1)).variant == 0
    world.change("experiment", "e-1", status="active")
    assert seat_of(world.choose(somebody(1)).variant)[0] == 4, "a new stage has seats of its own"


# ruff: noqa: E501  (the table is read across)
FIXED: list[tuple[dict[str, Any], str, str]] = [
    ({"variants": (Variant(name="b", share=0.2),)},                    "",                   "a ramp"),
    ({"variants": (Variant(name="c", share=0.1),)},                    "experiment_fixed",   "another variant"),
    ({"variants": (Variant(name="b", share=0.1, floor_factor=2.0),)},  "experiment_fixed",   "another treatment"),
    ({"isolated": True},                                               "experiment_fixed",   ""),
    ({"promoted": "b"},                                                "",                   ""),
    ({"promoted": "b", "status": "archived"},                          "",                   "the last word"),
    ({"id": "e-2"},                                                    "experiment_running", "one at a time"),
    ({"id": "e-2", "status": "paused"},                                "",                   "it may wait"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "code", "why"), FIXED)
def test_what_may_change_under_way(change: dict[str, Any], code: str, why: str) -> None:
    world = world_of(Variant(name="b", share=0.1))
    old = world.state.catalogue.get("experiment", "e-1")
    new: Any = msgspec.structs.replace(old, **change)  # type: ignore[type-var]
    try:
        world.state.catalogue.check(new)
        found = ""
    except Refused as refused:
        found = refused.code
    assert found == code, why


def test_only_what_runs_is_promoted_and_that_for_good() -> None:
    world = world_of(Variant(name="b", share=0.1))
    world.change("experiment", "e-1", status="paused")
    with pytest.raises(Refused, match="runs"):
        world.change("experiment", "e-1", promoted="b")
    world.change("experiment", "e-1", status="active")
    world.change("experiment", "e-1", promoted="b")
    with pytest.raises(Refused):
        world.change("experiment", "e-1", promoted=None)


# By what it decides.


def test_a_reserve_is_the_variants_own() -> None:
    world = world_of(Variant(name="b", share=0.5, floor_micros=10**9 * WON))
    assert world.winner(somebody(in_arm(world, 0))) == "cr-1"
    assert world.winner(somebody(in_arm(world, 1))) is None
    assert world.winner() == "cr-1", "outside"


def test_a_reserve_multiplies_the_placements_own_floor_and_never_lowers_what_is_asked() -> None:
    world = world_of(Variant(name="b", share=1.0, floor_factor=0.0))
    world.change("placement", "plc-1", floor_micros=10**9 * WON)
    assert world.winner() is None
    assert world.winner(somebody(1)) == "cr-1"
    asked = msgspec.structs.replace(ask_for("plc-1", floor_micros=10**9 * WON), person=Person(key=bytes(12)))
    assert world.winner(asked) is None


def test_quality_weighs_by_the_variants_own_power() -> None:
    world = world_of(Variant(name="b", share=0.5, quality_strength=0.0))
    counts = world.state.quality.counts
    counts[0, :2], counts[1, 0] = 10_000, 400  # cr-1 was complained of
    world.tick()
    assert world.winner(somebody(in_arm(world, 0))) == "cr-2"
    assert world.winner(somebody(in_arm(world, 1))) == "cr-1"


def test_a_scale_of_its_own_explores_where_the_default_does_not() -> None:
    world = world_of(Variant(name="b", share=0.5, exploration_scale=3.0))
    control, tried = in_arm(world, 0), in_arm(world, 1)
    assert {world.winner(somebody(control)) for _ in range(40)} == {"cr-1"}
    assert {world.winner(somebody(tried)) for _ in range(40)} == {"cr-1", "cr-2"}


def test_what_exploring_costs_turns_down_the_variant_that_costs_it() -> None:
    both = (Variant(name="b", share=0.3, exploration_scale=3.0), Variant(name="c", share=0.3))
    exploring = msgspec.structs.replace(QUIET, exploration="thompson")
    world = world_of(*both, settings=exploring)
    stage = world.state.experiments.stage
    assert stage is not None
    dear = ((stage.first + 1, 10**9, 10**8),)
    world.put(Ticked(at_ms=world.now_ms, explored=(10**9, 10**9), explored_by_variant=dear))
    assert world.state.exploration.factor == 1.0
    assert world.state.experiments.arms[1].exploration.factor < 1.0
    world.put(Ticked(at_ms=world.now_ms, explored_by_variant=((stage.first + 2, 10**9, 10**8),)))
    assert world.state.exploration.factor < 1.0, "a variant without a scale explores as the default does"


# What it learns.


def test_an_own_matrix_begins_with_the_defaults_weights_and_learns_by_its_own_rates() -> None:
    world = World(QUIET)
    world.add(*one_of_each())
    for number in range(30):
        ad = world.ad(rows=[0, 300 + number % 20])
        world.show(ad)
        if number % 3 == 0:
            world.click(ad)
    rates = Learning(alpha=0.5, cross_alpha=0.3, l1=0.1)
    world.add(Experiment(id="e-1", variants=(Variant(name="b", share=0.5, learner=rates),)))
    assert world.choose(somebody(1)).variant == 0, "not yet formed"
    own = world.state.experiments.own_models()[0]
    while own.forming:
        world.show(world.ad())
        world.tick()
    assert world.state.experiments.stage is not None
    touched = world.state.model.touched
    assert np.array_equal(own.model.touched, touched)
    assert own.model.w[touched] == pytest.approx(world.state.model.w[touched], abs=5e-2)
    before = world.state.model.w.copy(), own.model.w.copy()
    ad = world.ad()
    world.show(ad)
    world.click(ad)
    moved = [
        float(np.abs(now - then).max())
        for now, then in zip((world.state.model.w, own.model.w), before, strict=True)
    ]
    assert moved[1] > 2.0 * moved[0] > 0.0, "its rates are higher"
    assert sums(world, 1, "judged") == 1


def test_a_matrix_goes_on_forming_after_a_restart() -> None:
    world = World(QUIET)
    world.add(*one_of_each())
    for number in range(40):
        world.show(world.ad(rows=[0, 300 + number]))
    world.add(Experiment(id="e-1", variants=(Variant(name="b", share=0.5, learner=Learning(beta=2.0)),)))
    world.tick()
    restored = world.copy()
    assert contents(restored.state) == contents(world.state)
    for one in (world, restored):
        assert one.state.experiments.own_models()[0].forming
        for number in range(14):
            one.show(one.ad(rows=[0, 300 + number, 400 + number]))
            one.tick()
        one.tick()
        assert not one.state.experiments.own_models()[0].forming
    assert contents(restored.state) == contents(world.state)
    assert restored.state.hash == world.state.hash


def test_a_variant_without_rates_of_its_own_costs_no_matrix() -> None:
    world = world_of(Variant(name="b", share=0.5, floor_factor=2.0, exploration_scale=1.0))
    assert world.state.experiments.own_models() == []
    assert world.state.click_models == [world.state.model]


def test_a_refund_is_unlearned_by_every_matrix() -> None:
    world = world_of(Variant(name="b", share=0.5, learner=Learning(alpha=0.3)))
    own = world.state.experiments.own_models()[0]
    for _ in range(5):
        world.show(world.ad("cr-2"))
    before = own.model.z.copy(), own.model.n.copy()
    ad = world.ad()
    shown = world.show(ad)
    clicked = world.click(ad)
    assert not np.array_equal(own.model.z, before[0])
    world.refund(clicked)
    assert np.allclose(own.model.z, before[0], atol=1e-9)
    assert np.allclose(own.model.n, before[1], atol=1e-9)
    assert shown.learned


def isolated(learner: Learning | None = None) -> World:
    return world_of(Variant(name="b", share=0.5, learner=learner), isolated=True)


def test_isolated_arms_learn_from_their_own_bucket_alone() -> None:
    world = isolated()
    own = world.state.experiments.own_models()[0]
    theirs = world.serve(somebody(in_arm(world, 1)))
    ours = world.serve(somebody(in_arm(world, 0)))
    for ad, learner, other in ((theirs, own.model, world.state.model), (ours, world.state.model, own.model)):
        z, unmoved = learner.z.copy(), other.z.copy()
        world.show(ad)
        clicked = world.click(ad)
        assert not np.array_equal(learner.z, z)
        assert np.array_equal(other.z, unmoved)
        world.refund(clicked)
        assert np.allclose(learner.z, z, atol=1e-9)


def test_isolated_arms_have_their_share_of_each_budget() -> None:
    world = isolated()
    world.change("campaign", "c-1", budget_daily_micros=20_000 * WON)
    ours, theirs = (somebody(in_arm(world, arm)) for arm in (0, 1))
    billed = 0
    while (choice := world.choose(theirs)).placed[0].wins:
        ad = world.serve(theirs)
        world.show(ad)
        billed += world.click(ad).billed_micros
        world.tick()
    assert choice.placed[0].reasons == {"budget": 2}
    assert 10_000 * WON <= billed < 12_000 * WON, "half of the budget, and the click that went beyond"
    assert world.winner(ours) == "cr-1", "the control has its own half"
    assert world.winner() == "cr-1", "and who is outside the whole of what is left"
    assert contents(world.copy().state) == contents(world.state)
    world.change("experiment", "e-1", status="archived")
    assert world.winner(theirs) == "cr-1"


# What came of it.


def test_events_count_where_they_were_decided() -> None:
    world = world_of(Variant(name="b", share=0.5))
    served = [world.serve(somebody(in_arm(world, arm))) for arm in (0, 1, 1)]
    served[2] = msgspec.structs.replace(served[2], decision_id=bytes(15))
    outside = world.serve()
    for ad in (*served, outside):
        world.show(ad)
    receipts = [world.click(ad) for ad in (served[0], served[1], outside)]
    assert [sums(world, arm, "impressions") for arm in (0, 1)] == [1, 2]
    assert [sums(world, arm, "clicks") for arm in (0, 1)] == [1, 1]
    billed = [receipt.billed_micros for receipt in receipts]
    assert [sums(world, arm, "revenue_micros") for arm in (0, 1)] == billed[:2]
    first = world.state.experiments.stage
    world.change("experiment", "e-1", variants=(Variant(name="b", share=0.6),))
    assert world.state.experiments.stage != first
    world.click(served[2])  # late, of the first stage
    assert [sums(world, arm, "clicks") for arm in (0, 1)] == [0, 0]
    world.refund(receipts[1])
    (_, table), _ = world.state.experiments.results.of_experiment("e-1")
    assert table[:, FIELD["clicks"]].sum(axis=1).tolist() == [1, 1]
    assert table[:, FIELD["revenue_micros"]].sum(axis=1).tolist() == [billed[0], billed[1]]


def test_exposures_come_with_ticks() -> None:
    world, gathered = world_of(Variant(name="b", share=0.5)), Gathered()
    for number in range(200):
        choice = world.choose(msgspec.structs.replace(somebody(number), asks=ask_for("plc-1", "none").asks))
        gather_exposure(gathered, choice)
    world.put(Ticked(at_ms=world.now_ms, exposed=tuple((n, *c) for n, c in gathered.exposed.items())))  # type: ignore[misc]
    assert sums(world, 0, "decisions") + sums(world, 1, "decisions") == 200, (
        "an unknown placement asks nothing"
    )
    assert sums(world, 0, "filled") == sums(world, 0, "decisions") > 60


def test_a_shadow_looks_on_and_changes_nothing() -> None:
    shadow = Variant(name="s", share=0.3, shadow=True, floor_micros=10**9 * WON)
    world, plain = world_of(Variant(name="b", share=0.5), shadow), world_of(Variant(name="b", share=0.5))
    gathered, looked_on = Gathered(), 0
    for number in range(300):
        choice, without = world.choose(somebody(number)), plain.choose(somebody(number))
        assert choice.placed == without.placed
        looked_on += bool(choice.shadows)
        gather_exposure(gathered, choice)
        again = Chooser(world.state).choose(somebody(number), choice.placed[0].decision_id[:-1], world.now_ms)
        assert again == choice, "a trace sees the same"
    assert 50 < looked_on < 140
    world.put(Ticked(at_ms=world.now_ms, shadowed=tuple((n, *c) for n, c in gathered.shadowed.items())))  # type: ignore[misc]
    assert sums(world, 2, "decisions") == sums(world, 2, "differing") == looked_on
    assert sums(world, 2, "would_be_micros") == 0 < sums(world, 2, "served_micros")


def test_curves_of_its_own_lean_on_the_placements() -> None:
    world = world_of(Variant(name="b", share=0.5, own_calibration=True), Variant(name="c", share=0.1))
    control, tried = in_arm(world, 0), in_arm(world, 1)
    for _ in range(60):
        for number, clicked in ((control, False), (tried, True)):
            ad = world.serve(somebody(number))
            world.put(Shown(at_ms=world.now_ms, ad=ad), check=False)
            if clicked:
                world.put(Clicked(at_ms=world.now_ms, ad=ad), check=False)
        world.tick()
    row = world.state.row_of("plc-1")
    default, arms = world.state.calibration, world.state.experiments.arms
    assert arms[0].calibration.counts[row, 0].sum() == 0.0 < arms[1].calibration.counts[row, 0].sum()
    knots = [-6.0, -4.0, -2.0, -1.0]
    own, shared = (
        [calibrated_plain(knot, each.curve(row)) for knot in knots] for each in (arms[1].calibration, default)
    )
    assert own == sorted(own), "pCTRs never swap within a slice"
    assert all(mine > theirs for mine, theirs in zip(own, shared, strict=True)), "its own clicks count more"
    slate = world.chooser.slate(
        ask_for("plc-1").asks[0], placement("plc-1"), world.state.catalogue.ads.view(), (0,)
    )
    assert arms[1].of(slate, world.state.settings, world.chooser.sums, row).curve is not slate.curve
    assert arms[2].of(slate, world.state.settings, world.chooser.sums, row).curve is slate.curve


# Promoting.


@pytest.mark.parametrize("learner", [None, Learning(alpha=0.4)])
def test_promoting_makes_the_variants_way_the_default(learner: Learning | None) -> None:
    variant = Variant(
        name="b", share=0.5, learner=learner, exploration_scale=1.0, floor_factor=0.5, own_calibration=True
    )
    world = world_of(variant, without_id="split")
    for number in range(200):
        ad = world.serve(somebody(number))
        world.show(ad)
        if number % 7 == 0:
            world.click(ad)
        if number % 20 == 0:
            world.tick()
    request = somebody(in_arm(world, 1))
    key = world.key()
    before = world.chooser.choose(request, key, world.now_ms)
    world.change("experiment", "e-1", promoted="b")
    after = world.chooser.choose(request, key, world.now_ms)
    assert after.variant == 0 != before.variant
    assert after.placed[0].wins == before.placed[0].wins
    assert world.state.settings.exploration == "thompson"
    assert world.state.experiments.own_models() == []
    restored = world.copy()
    assert contents(restored.state) == contents(world.state)
    assert restored.chooser.choose(request, key, world.now_ms) == after
    world.configure(exploration_scale=0.7)  # what an operator says later counts, of that setting alone
    assert (world.state.settings.exploration_scale, world.state.settings.floor_factor) == (0.7, 0.5)


# The same lines, the same state.


LIVES = [
    (Variant(name="b", share=0.4, exploration_scale=2.0, floor_factor=1.5, quality_strength=1.0),),
    (Variant(name="b", share=0.3, learner=Learning(alpha=0.3, kind="ffm"), own_calibration=True),
     Variant(name="c", share=0.3), Variant(name="s", share=0.5, shadow=True, learner=Learning(l2=5.0))),
]  # fmt: skip


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("variants", [LIVES[0], pytest.param(LIVES[1], marks=pytest.mark.slow)])
def test_the_same_lines_give_the_same_state_and_a_snapshot_goes_on(
    variants: tuple[Variant, ...], alone: bool
) -> None:
    if alone:
        variants = tuple(variant for variant in variants if not variant.shadow)
    world = world_of(*variants, isolated=alone, without_id="split")
    live(world, Random(1), 100)
    restored = world.copy()
    assert contents(restored.state) == contents(world.state)
    for one in (world, restored):
        live(one, Random(2), 50)
    assert contents(restored.state) == contents(world.state)
    assert restored.state.hash == world.state.hash
    again = other_way(world)
    assert contents(again.state) == contents(world.state)
    for number in range(30):
        key = number.to_bytes(14, "big")
        assert again.chooser.choose(somebody(number), key, 9) == world.chooser.choose(
            somebody(number), key, 9
        )


def live(world: World, chance: Random, steps: int) -> None:
    """Serve, report, refund, ramp and let time pass; each invariant is held after each line."""
    shown: list[tuple[ServedAd, Any]] = []
    for _ in range(steps):
        match chance.randrange(12):
            case 0:
                world.tick()
            case 1 if shown:
                _, receipt = shown.pop(chance.randrange(len(shown)))
                world.refund(receipt)
            case 2 | 3 if shown:
                ad, _ = shown.pop()
                receipt = world.click(ad)
                if chance.random() < 0.3:
                    world.refund(receipt)
            case 4 if chance.random() < 0.3:
                running: Any = world.state.catalogue.get("experiment", "e-1")
                share = chance.choice((0.1, 0.2, 0.33))
                ramped = (msgspec.structs.replace(running.variants[0], share=share), *running.variants[1:])
                world.change("experiment", "e-1", variants=ramped)
            case _:
                ad = world.serve(somebody(chance.randrange(40)))
                shown.append((ad, world.show(ad)))


def test_a_model_takes_a_row_over_whatever_its_rates_are() -> None:
    world = World()
    world.add(*one_of_each())
    for number in range(20):
        ad = world.ad()
        world.show(ad)
        if number % 2:
            world.click(ad)
    rates = Rates(alpha_main=0.7, alpha_cross=0.3, beta=2.0, l1_main=0.2, l1_cross=0.1, l2=3.0)
    own = OwnModel(world.state.model.columns, 8, rates)
    for row in np.flatnonzero(world.state.model.touched).tolist():
        own.model.copy_row(world.state.model, row)
    own.model.check()
    assert np.allclose(own.model.w, world.state.model.w, atol=1e-6)
    assert np.array_equal(own.model.n, world.state.model.n)
    assert BUCKETS == 128, "archives hold numbers of so many buckets"
