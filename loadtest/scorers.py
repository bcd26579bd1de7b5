"""Other learners scoring the same ads for one request: Vowpal Wabbit and River, each as meant to be used."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray


def vowpal_wabbit_scores(rows: NDArray[np.int32], columns: NDArray[np.int32]) -> Callable[[int], object]:
    """Predict every ad from text: rows and columns as two namespaces, crossed by Vowpal Wabbit itself.

    Shape   rows (k,), columns (6, a).
    """
    from vowpalwabbit import pyvw

    workspace = pyvw.Workspace("--ftrl --loss_function logistic --noconstant -q rc --ignore_linear r "
                               "--ignore_linear c -b 24 --quiet")  # fmt: skip
    lit = " ".join(map(str, rows.tolist()))
    examples = [f"|r {lit} |c {' '.join(map(str, one))}" for one in columns.T.tolist()]
    workspace.learn("1 " + examples[0])

    def score(_: int) -> list[float]:
        return [workspace.predict(example) for example in examples]

    return score


def river_scores(rows: NDArray[np.int32], columns: NDArray[np.int32]) -> Callable[[int], object]:
    """Predict every ad from a dictionary of its crosses, which are written beforehand."""
    from river import linear_model, optim

    model = linear_model.LogisticRegression(optimizer=optim.FTRLProximal())
    stride = int(columns.max()) + 1
    flat = (rows[:, None, None].astype(np.int64) * stride + columns[None]).reshape(-1, columns.shape[1])
    examples = [dict.fromkeys(one, 1.0) for one in flat.T.tolist()]
    model.learn_one(examples[0], True)

    def score(_: int) -> list[float]:
        return [model.predict_proba_one(one)[True] for one in examples]  # type: ignore[no-untyped-call]

    return score
