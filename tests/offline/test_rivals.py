"""Other learners beside ours: Vowpal Wabbit's FTRL is the same algorithm, so the same predictions."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.offline.compare import model_of
from app.offline.fit import fit_file
from app.offline.rivals import (
    installed,
    river_main,
    trees_and_linear,
    vowpal_wabbit_crosses,
    vowpal_wabbit_main,
)
from app.offline.world.planted import plant
from app.rules.evaluation import log_loss
from app.rules.ftrl import Rates
from app.rules.learner import F64, Samples, side_by_side

needs_vowpal_wabbit = pytest.mark.skipif(not installed("vowpalwabbit"), reason="Vowpal Wabbit is not here")


def loss(p: F64, samples: Samples) -> float:
    one = log_loss(p, samples.impressions, samples.clicks)
    assert one is not None
    return one


@needs_vowpal_wabbit
@pytest.mark.parametrize("rates", [Rates(), Rates(alpha_main=0.5, beta=0.1, l1_main=2.0, l2=0.0)])
def test_main_cells_alone_predict_as_vowpal_wabbit(rates: Rates) -> None:
    log = plant(20_000, seed=4)
    ours = model_of("main")[0](log.space, log.samples, rates)
    theirs = vowpal_wabbit_main(log.space, log.samples, rates)
    assert loss(ours.p, log.samples) == pytest.approx(loss(theirs.p, log.samples), abs=1e-5)
    assert ours.p == pytest.approx(theirs.p, abs=1e-4)


@needs_vowpal_wabbit
def test_crosses_predict_about_as_vowpal_wabbits(tmp_path: Path) -> None:
    """At one rate for all cells. Its places are hashed, so that a few cells share one."""
    log, rates = plant(10_000, seed=4), Rates(0.05, 0.05)
    ours = model_of("ftrl")[0](log.space, log.samples, rates)
    theirs = vowpal_wabbit_crosses(log.space, log.samples, rates)
    assert loss(ours.p, log.samples) == pytest.approx(loss(theirs.p, log.samples), abs=2e-3)


@needs_vowpal_wabbit
def test_fit_agrees_with_vowpal_wabbit(tmp_path: Path) -> None:
    log, rates = plant(5_000, seed=5), Rates(0.2, 0.2, 1.0, 0.1, 0.1, 0.5)
    lit = side_by_side(log.space, log.samples).rows
    lines = (
        f"{label:.0f} {' '.join(f'{index}:1' for index in one)}\n"
        for label, one in zip(log.clicks, lit.tolist(), strict=True)
    )
    samples = tmp_path / "samples.svm"
    samples.write_text("".join(lines), encoding="ascii")
    theirs = vowpal_wabbit_main(replace(log.space, prior=0.5), log.samples, rates)
    assert fit_file(samples, rates).log_loss == pytest.approx(loss(theirs.p, log.samples), abs=1e-5)


def test_river_is_about_as_good() -> None:
    pytest.importorskip("river")
    log, rates = plant(3_000, seed=5), Rates()
    ours = model_of("main")[0](log.space, log.samples, rates)
    theirs = river_main(log.space, log.samples, rates)
    assert loss(theirs.p, log.samples) == pytest.approx(loss(ours.p, log.samples), abs=2e-3)


def test_trees_and_linear_begin_as_main_cells_and_go_on_with_leaves() -> None:
    pytest.importorskip("lightgbm")
    log, rates = plant(16_000, seed=5), Rates()
    ours = model_of("main")[0](log.space, log.samples, rates)
    theirs = trees_and_linear(log.space, log.samples, rates)
    assert theirs.p[:2_000] == pytest.approx(ours.p[:2_000], rel=1e-6)
    assert not np.allclose(theirs.p[2_000:], ours.p[2_000:], rtol=0.01)
    assert loss(theirs.p, log.samples) == pytest.approx(loss(ours.p, log.samples), abs=0.005)
