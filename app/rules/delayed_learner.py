"""The delayed-feedback model: whether a click converts and how late, learned together.

A click that has not converted may be one that never will, or one that will yet. With p the probability that
it ever does and an exponential delay of rate lambda, both log-linear in the same features, its likelihood
after the time e is 1 - p + p exp(-lambda e), that of a conversion after d is p lambda exp(-lambda d). The
gradients of both go to two matrices of the same cells, each learned by FTRL-Proximal.

For logs, where a sample is learned once with what is known of it by then; a node releases the negative half
of a click instead (`app.rules.delays`), since it learns of each click before anything is known.
Source  Chapelle 2014, "Modeling delayed feedback in display advertising", equations 4 to 7.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from app.rules.ftrl import (
    F32,
    F64,
    Rates,
    _kernel,
    cells_of,
    learn,
    learn_large,
    lit_count,
    predict_log,
    sigmoid,
    step,
)
from app.rules.ftrl import logit_of as score_of
from app.rules.learner import Learner, Samples, Space, State

MEAN_LATE_S = 86_400.0  # of a model without data
MOST_LOG_RATE = 20.0  # of lambda, either way: exp stays finite
NEVER = math.inf  # as a time since the click: nothing more will come


@_kernel
def delayed_gradients(p: float, rate: float, came: bool, time: float) -> tuple[float, float]:
    """The gradients of a click's negative log-likelihood, by the logit of p and by the log of the rate.

    Units   rate and time in units that cancel; `time` is the delay where it came, else the time since the
            click. With an infinite time this is the logistic model's gradient, and the delay learns nothing.

    >>> delayed_gradients(0.25, 1.0, False, math.inf)
    (0.25, 0.0)
    >>> delayed_gradients(0.25, 1.0, True, 3.0)
    (-0.75, 2.0)
    """
    if came:
        return p - 1.0, rate * time - 1.0
    still = math.exp(-rate * time)
    unconverted = 1.0 - p + p * still
    gradient = p * (1.0 - p) * (1.0 - still) / unconverted
    return gradient, p * still * rate * time / unconverted if still > 0.0 else 0.0


@_kernel
def learn_delayed_log(
    z: F64, n: F64, w: F32, late_z: F64, late_n: F64, late_w: F32, rows: NDArray[np.int32],
    columns: NDArray[np.int32], stride: int, main_only_from: int, trials: F64, conversions: F64, times: F64,
    prior_logit: float, hyper: F64, out_p: F64,
) -> None:  # fmt: skip
    """Predict, then learn, each sample in order.

    Shape   as in `learn_log`; times (k,), in mean delays of a model without data. A sample whose time is
            infinite, or of other than one trial, is learned as the logistic model does.
    """
    cells = np.empty(rows.shape[1] * columns.shape[1], np.int64)
    for k in range(rows.shape[0]):
        row, column = rows[k, : lit_count(rows[k])], columns[k, : lit_count(columns[k])]
        main, total = cells_of(row, column, stride, main_only_from, cells)
        if trials[k] > 1.0:
            out_p[k] = learn_large(z, n, w, cells, main, total, prior_logit, trials[k], conversions[k], hyper)
            continue
        if trials[k] < 1.0 or times[k] == math.inf:
            out_p[k] = learn(z, n, w, cells, main, total, prior_logit, trials[k], conversions[k], hyper)
            continue
        p = sigmoid(score_of(w, cells, total, prior_logit))
        log_rate = min(max(score_of(late_w, cells, total, 0.0), -MOST_LOG_RATE), MOST_LOG_RATE)
        gradient, late_gradient = delayed_gradients(p, math.exp(log_rate), conversions[k] > 0.0, times[k])
        step(z, n, w, cells, main, total, gradient, gradient * gradient, hyper)
        step(late_z, late_n, late_w, cells, main, total, late_gradient, late_gradient * late_gradient, hyper)
        out_p[k] = p


def delayed_learner(space: Space, rates: Rates | None = None, mean_late_s: float = MEAN_LATE_S) -> Learner:
    """A learner of conversions after clicks; `Samples.seconds` tells how late, or since when none came.

    Cost    40 bytes a cell, twice the time of `ftrl_learner`.
    """
    hyper, stride = (rates or Rates()).array(), space.column_count

    def learn_all(state: State, samples: Samples) -> F64:
        p = np.empty(len(samples))
        times = np.full(len(samples), NEVER) if samples.seconds is None else samples.seconds / mean_late_s
        learn_delayed_log(
            *_of(state, ""), *_of(state, "late_"), samples.rows, samples.columns, stride,
            space.main_only_from, samples.impressions, samples.clicks, times, space.prior_logit, hyper, p,
        )  # fmt: skip
        return p

    def predict(state: State, samples: Samples) -> F64:
        p = np.empty(len(samples))
        lit = samples.rows, samples.columns
        predict_log(state["w"], *lit, stride, space.main_only_from, space.prior_logit, p)
        return p

    def fresh() -> State:
        cells = space.row_count * space.column_count
        return {name: np.zeros(cells, np.float32 if name.endswith("w") else np.float64) for name in _PARTS}

    return Learner("delayed", space, frozenset({"online"}), fresh, predict, learn_all)


def _of(state: State, which: str) -> tuple[F64, F64, F32]:
    return state[f"{which}z"], state[f"{which}n"], state[f"{which}w"]


_PARTS = ("z", "n", "w", "late_z", "late_n", "late_w")
