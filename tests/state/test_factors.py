"""Field-aware vectors in the fold: they learn, rank and explain with the cells; forget and restore."""

from __future__ import annotations

import math
from collections import Counter
from random import Random

import msgspec
import numpy as np
import pytest

from app.domain.catalogue import Learning, Variant
from app.domain.decisions import ServedAd
from app.domain.lines import Clicked, FoldSettings, Shown
from app.rules import features, ffm, ranking
from app.state import factors, saving
from app.state.choose import Chooser
from app.state.columns import SHARED_COLUMN_KINDS, column_keys
from app.state.explain import Explainer
from app.state.factors import NO_FACTORS, ROW_FIELDS
from app.state.state import State
from tests.state.test_determinism import STEPS, WATCHED, Life, choices, equal, restart_at
from tests.state.test_experiments import in_arm, somebody
from tests.state.test_experiments import world_of as variants_of
from tests.state.world import RECENT, World, ask_for, banner, fold, group, one_of_each, placement

FFM = FoldSettings(learner="ffm", factor_alpha=0.3)
BOTH = ("cr-1", "cr-2")


def world_of_two(settings: FoldSettings = FFM) -> World:
    world = World(settings)
    world.add(*one_of_each(), placement("plc-2"), group("g-2"), banner("cr-2", "g-2"))
    return world


def lit_in(world: World, creative_id: str, placement_id: str) -> ServedAd:
    """An ad as it is shown there: with the rows that a request for this placement lights."""
    rows = world.choose(ask_for(placement_id)).placed[0].rows
    return world.ad(creative_id, rows=rows, placement_id=placement_id)


def teach(world: World, times: int) -> None:
    """Click one ad on one placement and the other on the other: nothing but a cross."""
    for number in range(times):
        creative_id, where = BOTH[number % 2], f"plc-{1 + number // 2 % 2}"
        ad = lit_in(world, creative_id, where)
        world.put(Shown(at_ms=world.now_ms, ad=ad), check=False)
        if (creative_id == "cr-1") == (where == "plc-1"):
            world.put(Clicked(at_ms=world.now_ms, ad=ad), check=False)
    world.state.check()


def test_every_field_is_one_of_the_schema_and_every_column_has_one() -> None:
    fields = factors.row_fields()
    told = [name for names in ROW_FIELDS for name in names]
    assert len(told) == len(set(told))
    assert set(features.BLOCKS) - set(told) == {"any", "gender_age", "views"}
    assert (fields[features.MAIN_ONLY_FROM :] == ffm.NO_FIELD).all()
    world = world_of_two()
    catalogue = world.state.catalogue
    columns = catalogue.ads.columns[:, catalogue.ads.places.by_key["cr-2"]]
    assert catalogue.column_fields[columns].tolist() == [0, 1, 2, 3, 4, 5]
    creative = world.state.catalogue.ads.creatives[0]
    assert creative is not None
    chain = catalogue.ads.groups[0], catalogue.ads.campaigns[0]
    assert chain[0] is not None
    assert chain[1] is not None
    keys = column_keys(creative, chain[0], chain[1], catalogue.above(chain[0])[1])
    assert tuple(kind for kind, _ in keys) == SHARED_COLUMN_KINDS


def test_what_ranks_is_what_learning_predicts_and_the_explanation_adds_up() -> None:
    world = world_of_two()
    teach(world, 80)
    for where in ("plc-1", "plc-2"):
        chooser = Chooser(world.state)
        placed = chooser.choose(ask_for(where), world.key(), world.now_ms).placed[0]
        _, (told,) = Explainer(world.state).explain(ask_for(where), world.key(), world.now_ms)
        for each in told.best:
            weights = [cell.weight for cell in (*each.main, *each.crosses)]
            cells = each.prior_logit + math.fsum(weights) + each.crosses_left_out_sum
            assert each.logit == pytest.approx(cells + each.factors, abs=1e-5)
            assert abs(each.factors) > 0.01
            ad = world.ad(each.creative_id, rows=placed.rows, placement_id=where)
            learned = world.copy()
            learned.put(Shown(at_ms=world.now_ms, ad=ad), check=False)
            p = float(learned.state.recent.ring[(learned.state.recent.next - 1) % RECENT]["p_shown"])
            assert math.log(p / (1 - p)) == pytest.approx(each.logit, abs=1e-5)
            logit = ranking.logit_at(
                chooser.means, world.state.catalogue.ads.view().columns, each.prior_logit, each.creative_index
            )
            assert logit == pytest.approx(each.logit, abs=1e-6)


def test_vectors_find_the_cross_too() -> None:
    world = world_of_two()
    teach(world, 200)
    assert [world.winner(ask_for(where)) for where in ("plc-1", "plc-2")] == ["cr-1", "cr-2"]
    _, (told,) = Explainer(world.state).explain(ask_for("plc-1"), world.key(), world.now_ms)
    added = {each.creative_id: each.factors for each in told.best}
    assert added["cr-1"] > added["cr-2"]


def test_a_variant_with_vectors_of_its_own_is_explained_by_them() -> None:
    """Beside a default without any."""
    variant = Variant(name="b", share=0.5, learner=Learning(kind="ffm", factor_alpha=0.3))
    world = variants_of(variant, settings=FoldSettings())
    teach(world, 80)
    told = {}
    for arm in (0, 1):
        request = somebody(in_arm(world, arm))
        _, (explained,) = Explainer(world.state).explain(request, world.key(), world.now_ms)
        for each in explained.best:
            weights = [cell.weight for cell in (*each.main, *each.crosses)]
            cells = each.prior_logit + math.fsum(weights) + each.crosses_left_out_sum
            assert each.logit == pytest.approx(cells + each.factors, abs=1e-5)
        told[arm] = {each.factors for each in explained.best}
    assert told[0] == {0.0}
    assert min(map(abs, told[1])) > 0.01


def test_linear_is_what_it_was_and_has_no_vectors() -> None:
    world = world_of_two(FoldSettings())
    teach(world, 40)
    assert world.state.model.factors is NO_FACTORS
    assert not any("vectors" in name for name in saving.parts(world.state))
    _, (told,) = Explainer(world.state).explain(ask_for("plc-1"), world.key(), world.now_ms)
    assert {each.factors for each in told.best} == {0.0}


def test_vectors_begin_anew_where_the_setting_becomes_ffm() -> None:
    world = world_of_two(FoldSettings())
    teach(world, 40)
    cells = world.state.model.w.copy()
    world.configure(learner="ffm")
    world.state.check()
    assert not world.state.model.factors.column_vectors.any()
    assert np.array_equal(world.state.model.w, cells)
    teach(world, 40)
    assert world.state.model.factors.column_vectors.any()
    world.configure(factor_alpha=0.2)
    assert world.state.model.factors.column_vectors.any(), "another rate is no other learner"
    cells = world.state.model.w.copy()
    world.configure(learner="linear")
    assert np.array_equal(world.state.model.w, cells)
    world.configure(learner="ffm")
    assert not world.state.model.factors.column_vectors.any()


def test_a_fresh_event_taken_back_is_taken_out_of_the_vectors() -> None:
    world = world_of_two()
    teach(world, 80)
    before = [array.copy() for array in world.state.model.factors[:4]]
    receipts = [world.show(ad := lit_in(world, "cr-1", "plc-2")), world.click(ad)]
    assert not np.array_equal(before[1], world.state.model.factors.column_vectors)
    assert world.refund(receipts[0]).learned
    for was, now in zip(before, world.state.model.factors[:4], strict=True):
        assert now == pytest.approx(was, rel=1e-5, abs=1e-6)


def test_what_is_cleared_is_forgotten() -> None:
    world = world_of_two(msgspec.structs.replace(FFM, column_rest_s=60))
    teach(world, 80)
    catalogue, vectors = world.state.catalogue, world.state.model.factors
    own = int(catalogue.ads.columns[-1, catalogue.ads.places.by_key["cr-2"]])
    row = catalogue.rows.by_key["plc-2"]
    assert vectors.column_vectors[:, :, own].any()
    assert vectors.row_squares[row].any()
    world.change("creative", "cr-2", status="archived")
    world.change("placement", "plc-2", status="archived")
    for _ in range(4):
        world.tick(61_000)
    assert not vectors.column_vectors[:, :, own].any()
    assert not vectors.column_squares[:, :, own].any()
    assert not vectors.row_squares[row].any()
    world.state.check()


def test_a_resting_column_keeps_its_field_through_a_restart() -> None:
    world = world_of_two()
    world.change("creative", "cr-1", status="archived")
    world.change("creative", "cr-2", status="archived")
    again = world.copy()
    assert np.array_equal(world.state.catalogue.column_fields, again.state.catalogue.column_fields)


def test_a_life_with_vectors_restarts_anywhere() -> None:
    """As in test_determinism, with everything judged, explored, calibrated; the learner changes, too."""
    settings = msgspec.structs.replace(WATCHED, learner="ffm", exploration="thompson", uniform_share=0.1)
    seen: Counter[str] = Counter()
    for seed in range(3):
        chance, life = Random(seed), Life(settings)
        for number in range(300):
            life.do(chance.choice(STEPS), chance.randrange(1_000))
            if number in {150, 200}:
                life.world.configure(learner=("linear", "ffm")[number == 200])
        world = life.world
        seen["learned"] += bool(world.state.model.factors.column_vectors.any())
        seen["taken back"] += sum(v.verdict.fate == "refunded" for v in world.known.values() if v.verdict)
        seen["freed"] += sum(world.state.catalogue.ads.places.generation.values())
        for cut in (140, 190, 260):
            restart_at(cut, world)
    assert min(seen["learned"], seen["taken back"], seen["freed"]) > 0, "a life without these proves little"


def test_a_fold_from_bytes_chooses_the_same() -> None:
    world = world_of_two(msgspec.structs.replace(FFM, exploration="thompson"))
    teach(world, 80)
    again = fold(world.entries, bytes_too=True)
    equal(world.state, again)
    keys = [world.key() for _ in range(6)]
    assert choices(again, world, keys) == choices(world.state, world, keys)


def test_a_flood_of_clicks_breaks_nothing() -> None:
    """Two thousand clicks on one ad without an impression that was not clicked."""
    world = world_of_two(FoldSettings(learner="ffm", factor_alpha=1.0))
    ad = lit_in(world, "cr-1", "plc-1")
    rows, columns = ad.rows, ad.columns
    for _ in range(2_000):
        world.state.model.learn(rows, columns, world.state.prior_logit, 0.0, 1.0)
    world.state.check()
    assert 0.99 < world.state.model.learn(rows, columns, world.state.prior_logit, 1.0, 0.0) < 1.0
    assert world.winner(ask_for("plc-1")) is not None


def test_a_state_of_another_size_has_vectors_of_its_size() -> None:
    state = State(columns=1_024, recent=8)
    state.configure(FFM)
    assert state.model.factors.column_vectors.shape == (len(ROW_FIELDS), ffm.FACTORS, state.model.stride)
    assert state.model.factors.column_fields is state.catalogue.column_fields
