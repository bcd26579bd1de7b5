"""Vowpal Wabbit's FTRL beside ours: same samples, features, prior and settings, so the same predictions."""

from pathlib import Path

import numpy as np
import pytest

from app.offline.fit import fit_file
from app.offline.world.planted import PRIOR, plant
from app.rules.evaluation import log_loss
from app.rules.ftrl import Rates
from loadtest.rivals import main_cells, ours_main, vowpal_wabbit_main

pytest.importorskip("vowpalwabbit")

PRIOR_LOGIT = float(np.log(PRIOR / (1.0 - PRIOR)))


@pytest.mark.parametrize("rates", [Rates(), Rates(alpha_main=0.5, beta=0.1, l1_main=2.0, l2=0.0)])
def test_main_cells_alone_predict_as_vowpal_wabbit(rates: Rates, tmp_path: Path) -> None:
    log = plant(20_000, seed=4)
    ours = ours_main(log, rates, PRIOR_LOGIT)
    theirs = vowpal_wabbit_main(log, rates, PRIOR_LOGIT, tmp_path)
    ones = np.ones(20_000)
    assert log_loss(ours.p, ones, log.clicks) == pytest.approx(log_loss(theirs.p, ones, log.clicks), abs=1e-5)
    assert ours.p == pytest.approx(theirs.p, abs=1e-4)


def test_fit_agrees_with_vowpal_wabbit(tmp_path: Path) -> None:
    log = plant(5_000, seed=5)
    rates = Rates(0.2, 0.2, 1.0, 0.1, 0.1, 0.5)
    lines = (
        f"{label:.0f} {' '.join(f'{index}:1' for index in lit)}\n"
        for label, lit in zip(log.clicks, main_cells(log).tolist(), strict=True)
    )
    samples = tmp_path / "samples.svm"
    samples.write_text("".join(lines), encoding="ascii")
    theirs = vowpal_wabbit_main(log, rates, 0.0, tmp_path)
    expected = log_loss(theirs.p, np.ones(5_000), log.clicks)
    assert fit_file(samples, rates).log_loss == pytest.approx(expected, abs=1e-5)
