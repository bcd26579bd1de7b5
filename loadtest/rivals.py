"""Other learners on the same samples: Vowpal Wabbit's FTRL (the same algorithm) and River (for speed)."""

from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from app.offline.world.planted import Planted
from app.rules import ftrl
from app.rules.ftrl import Rates


@dataclass(frozen=True, slots=True)
class Predicted:
    """Progressive predictions, and how long predicting and learning took."""

    p: NDArray[np.float64]
    seconds: float


def main_cells(log: Planted) -> NDArray[np.int32]:
    """The main cells of each sample, numbered side by side: row r is r, column c is row_count - 1 + c.

    Shape   (k, 18) for a planted log: the bias, 12 context values, 5 ad values.
    """
    return np.concatenate([log.rows, log.columns[:, 1:] + (log.row_count - 1)], axis=1, dtype=np.int32)


def ours_main(log: Planted, rates: Rates, prior_logit: float) -> Predicted:
    """Our kernel on main cells alone."""
    lit, cell_count = main_cells(log), log.row_count + log.stride - 1
    sums = np.zeros(cell_count), np.zeros(cell_count), np.zeros(cell_count, np.float32)
    p, ones, zero = np.empty(len(lit)), np.ones(len(lit)), np.zeros((len(lit), 1), np.int32)
    started = perf_counter()
    ftrl.learn_log(*sums, lit, zero, 1, ftrl.NO_MAIN_ONLY, ones, log.clicks, prior_logit, rates.array(), p)
    return Predicted(p, perf_counter() - started)


def vowpal_wabbit_main(log: Planted, rates: Rates, prior_logit: float, folder: Path) -> Predicted:
    """`--ftrl` with the same settings and features; our prior is each sample's base (an offset of its logit).

    The time includes reading its text and writing its predictions, as it is meant to be used.
    """
    from vowpalwabbit import pyvw

    samples, predictions = folder / "samples.vw", folder / "predictions.txt"
    with samples.open("w", encoding="ascii") as file:
        for clicked, lit in zip(log.clicks.tolist(), main_cells(log).tolist(), strict=True):
            label = 1 if clicked else -1
            file.write(f"{label} 1 {prior_logit!r} | {' '.join(map(str, lit))}\n")
    settings = f"--ftrl --ftrl_alpha {rates.alpha_main} --ftrl_beta {rates.beta}"
    settings += f" --l1 {rates.l1_main} --l2 {rates.l2} --loss_function logistic --noconstant -b 18 --quiet"
    started = perf_counter()
    workspace = pyvw.Workspace(f"{settings} -d {samples} -p {predictions}")
    workspace.finish()
    seconds = perf_counter() - started
    logits = np.loadtxt(predictions, usecols=0)
    return Predicted(1.0 / (1.0 + np.exp(-logits)), seconds)


def river_main(log: Planted, rates: Rates, prior_logit: float, samples: int) -> Predicted:
    """River's FTRLProximal on the first samples. Not a reference: its weight is a step late."""
    from river import linear_model, optim

    optimizer = optim.FTRLProximal(alpha=rates.alpha_main, beta=rates.beta, l1=rates.l1_main, l2=rates.l2)
    model = linear_model.LogisticRegression(optimizer, intercept_init=prior_logit, intercept_lr=0.0)
    lit = [dict.fromkeys(one, 1.0) for one in main_cells(log)[:samples].tolist()]
    clicked = [bool(one) for one in log.clicks[:samples].tolist()]
    p = np.empty(samples)
    started = perf_counter()
    for k in range(samples):
        p[k] = model.predict_proba_one(lit[k])[True]  # type: ignore[no-untyped-call]
        model.learn_one(lit[k], clicked[k])
    return Predicted(p, perf_counter() - started)
