"""Other people's learners on the same samples: Vowpal Wabbit, River, and gradient-boosted trees + linear.

Optional (`pip install 'adjudge[compare]'`): each is imported where it runs. All predict each sample before
they learn it, and start from the same prior.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.rules.ftrl import Rates
from app.rules.ftrl_learner import ftrl_learner
from app.rules.learner import I32, NOTHING, Samples, Space, fields_of, side_by_side, used_bytes

TREES_AT = (1 / 8, 1 / 4, 1 / 2)  # shares of the log after which the trees are grown anew
TREES, LEAVES = 50, 12
TREE_SETTINGS: dict[str, Any] = {
    "objective": "binary", "num_leaves": LEAVES, "learning_rate": 0.1, "min_data_in_leaf": 200,
    "cat_smooth": 20.0, "cat_l2": 20.0, "max_cat_threshold": 64, "verbosity": -1, "num_threads": 1,
    "deterministic": True, "seed": 1,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Predicted:
    """Progressive predictions, how long they took, and what the model takes at the end, if known."""

    p: NDArray[np.float64]
    seconds: float
    bytes: int | None


Run = Callable[[Space, Samples, Rates], Predicted]


def installed(package: str) -> bool:
    """Tell whether a rival's package is there."""
    return find_spec(package) is not None


def _lit_lists(lit: I32) -> list[list[int]]:
    return [[place for place in one if place != NOTHING] for one in lit.tolist()]


# ------------------------------------------------------------------------------------ Vowpal Wabbit
def vowpal_wabbit_main(space: Space, samples: Samples, rates: Rates) -> Predicted:
    """`--ftrl` over main cells with the same settings; our prior is each sample's base (an offset).

    The time includes reading its text and writing its predictions, as it is meant to be used.
    """
    lines = [f"| {' '.join(map(str, lit))}" for lit in _lit_lists(side_by_side(space, samples).rows)]
    return _vowpal_wabbit(space, samples, rates, lines, "-b 18")


def vowpal_wabbit_crosses(space: Space, samples: Samples, rates: Rates) -> Predicted:
    """The same with all crosses by its `-q`, hashed into 2^24 places; all cells at the rate of main cells."""
    pairs = zip(_lit_lists(samples.rows), _lit_lists(samples.columns), strict=True)
    lines = [f"|r {' '.join(map(str, rows))} |c {' '.join(map(str, columns))}" for rows, columns in pairs]
    return _vowpal_wabbit(space, samples, rates, lines, "-b 24 -q rc --ignore_linear r --ignore_linear c")


def _vowpal_wabbit(space: Space, samples: Samples, rates: Rates, features: list[str], more: str) -> Predicted:
    from vowpalwabbit import pyvw

    settings = f"--ftrl --ftrl_alpha {rates.alpha_main} --ftrl_beta {rates.beta}"
    settings += f" --l1 {rates.l1_main} --l2 {rates.l2} --loss_function logistic --noconstant --quiet {more}"
    with tempfile.TemporaryDirectory() as name:
        file, predictions, model = (Path(name) / one for one in ("samples.vw", "predictions.txt", "model"))
        with file.open("w", encoding="ascii") as out:
            for clicked, lit in zip(samples.clicks.tolist(), features, strict=True):
                out.write(f"{1 if clicked else -1} 1 {space.prior_logit!r} {lit}\n")
        started = perf_counter()
        pyvw.Workspace(f"{settings} -d {file} -p {predictions} -f {model}").finish()
        seconds = perf_counter() - started
        logits = np.loadtxt(predictions, usecols=0, ndmin=1)
        bits = int(more.split()[1])
    # Three float32 sums and a weight for each of its places.
    return Predicted(1.0 / (1.0 + np.exp(-logits)), seconds, 16 << bits)


# ------------------------------------------------------------------------------------ River
def river_main(space: Space, samples: Samples, rates: Rates) -> Predicted:
    """River's FTRLProximal over main cells. Not a reference: its weight is a step late, and never zero."""
    from river import linear_model, optim

    optimizer = optim.FTRLProximal(alpha=rates.alpha_main, beta=rates.beta, l1=rates.l1_main, l2=rates.l2)
    model = linear_model.LogisticRegression(optimizer, intercept_init=space.prior_logit, intercept_lr=0.0)
    examples = [dict.fromkeys(one, 1.0) for one in _lit_lists(side_by_side(space, samples).rows)]
    clicked = [bool(one) for one in samples.clicks.tolist()]
    p = np.empty(len(samples))
    started = perf_counter()
    for k, example in enumerate(examples):
        p[k] = model.predict_proba_one(example)[True]  # type: ignore[no-untyped-call]
        model.learn_one(example, clicked[k])
    seconds = perf_counter() - started
    # Three dictionaries of floats: about 100 bytes an entry each.
    return Predicted(p, seconds, 300 * len({place for one in examples for place in one}))


# ------------------------------------------------------------------------------------ trees + linear
def trees_and_linear(space: Space, samples: Samples, rates: Rates) -> Predicted:
    """Gradient-boosted trees whose leaves are further features of our linear model.

    The trees are grown on all that came before 1/8, 1/4 and 1/2 of the log. The linear model goes on online:
    its main cells stay, its cells of leaves begin anew with the new trees, so that no leaf's weight is
    learned from a sample that the leaf was made for. Leaves learn at the rate of crosses.
    Source  He et al. 2014, 3.1.
    """
    dense, count = _one_of_each_field(space, samples), len(samples)
    rows, places = _beside_leaves(space, samples)
    learner = ftrl_learner(places, rates)
    state = learner.fresh()
    cuts = [0, *(int(share * count) for share in TREES_AT), count]
    p, size, started = np.empty(count), 0, perf_counter()
    for first, last in pairwise(cuts):
        leaves = np.zeros((last - first, 1), np.int32)
        if samples.clicks[:first].any():
            booster = _grown(dense[:first], samples.part(0, first))
            found = np.asarray(booster.predict(dense[first:last], pred_leaf=True), np.int32)
            leaves = np.concatenate([leaves, 1 + found + LEAVES * np.arange(TREES, dtype=np.int32)], axis=1)
            for cells in state.values():
                cells.reshape(places.row_count, places.column_count)[:, 1:] = 0.0
            size = len(booster.model_to_string())
        part = samples.part(first, last)
        lit = Samples(rows[first:last], leaves, part.impressions, part.clicks)
        p[first:last] = learner.learn(state, lit)
    return Predicted(p, perf_counter() - started, size + used_bytes(state))


def _beside_leaves(space: Space, samples: Samples) -> tuple[I32, Space]:
    """Main cells as rows that meet no leaf, beside row 1, the bias, which meets them all."""
    flat = side_by_side(space, samples).rows
    rows = np.where(flat == NOTHING, NOTHING, flat + 1).astype(np.int32)  # row 0, the bias, becomes row 1
    row_count = space.row_count + space.column_count
    return rows, Space(fields_of((row_count,)), fields_of((TREES * LEAVES,)), space.prior, main_only_from=2)


def _grown(dense: NDArray[np.float64], samples: Samples) -> Any:
    import lightgbm

    data = lightgbm.Dataset(
        dense, samples.clicks, weight=samples.impressions, categorical_feature=list(range(dense.shape[1]))
    )
    return lightgbm.train(TREE_SETTINGS, data, TREES)


def _one_of_each_field(space: Space, samples: Samples) -> NDArray[np.float64]:
    """One category a field for each sample, the first of several, NaN for none."""
    parts = []
    for lit, field_of in ((samples.rows, space.row_fields), (samples.columns, space.column_fields)):
        fields = np.where(lit == NOTHING, 0, field_of[lit])
        for one in range(1, int(field_of.max(initial=0)) + 1):
            there = fields == one
            value = np.take_along_axis(lit, there.argmax(axis=1)[:, None], axis=1)[:, 0]
            offset = int(np.flatnonzero(field_of == one)[0])
            parts.append(np.where(there.any(axis=1), value - offset, np.nan))
    return np.stack(parts, axis=1)
