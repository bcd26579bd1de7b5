"""The product's FTRL matrix as a learner: every lit row meets every lit column, or main cells alone."""

import numpy as np
from numpy.typing import NDArray

from app.rules import ftrl
from app.rules.ftrl import Rates
from app.rules.learner import F64, Learner, Samples, Space, State, main_space, side_by_side

CELL_BYTES = 8 + 8 + 4


def ftrl_learner(space: Space, rates: Rates | None = None) -> Learner:
    """All crosses of lit rows and columns, as a node learns them.

    Cost    20 bytes a cell of rows x columns, resident where touched; about 50 ns a cell and sample.

    >>> from app.rules.learner import fields_of, single
    >>> learner = ftrl_learner(Space(fields_of((2,)), fields_of((2,)), prior=0.1))
    >>> state = learner.fresh()
    >>> learner.learn(state, single([0, 1], [0, 2], 1.0, 1.0)).round(6).tolist()
    [0.1]
    >>> bool(learner.predict(state, single([0, 1], [0, 2], 1.0, 0.0))[0] > 0.1)
    True
    """
    hyper = (rates or Rates()).array()
    stride, prior_logit = space.column_count, space.prior_logit

    def learn(state: State, samples: Samples) -> F64:
        p = np.empty(len(samples))
        ftrl.learn_log(
            *_sums(state), samples.rows, samples.columns, stride, space.main_only_from,
            samples.impressions, samples.clicks, prior_logit, hyper, p,
        )  # fmt: skip
        return p

    def predict(state: State, samples: Samples) -> F64:
        p = np.empty(len(samples))
        lit = samples.rows, samples.columns
        ftrl.predict_log(state["w"], *lit, stride, space.main_only_from, prior_logit, p)
        return p

    def unlearn(state: State, samples: Samples, learned_p: F64) -> None:
        ftrl.unlearn_log(
            *_sums(state), samples.rows, samples.columns, stride, space.main_only_from,
            samples.impressions, samples.clicks, learned_p, hyper,
        )  # fmt: skip

    def fresh() -> State:
        cells = space.row_count * space.column_count
        return {"z": np.zeros(cells), "n": np.zeros(cells), "w": np.zeros(cells, np.float32)}

    abilities = frozenset({"online", "additive", "unlearns"})
    return Learner("ftrl", space, abilities, fresh, predict, learn, unlearn)  # type: ignore[arg-type]


def main_learner(space: Space, rates: Rates | None = None) -> Learner:
    """Main cells alone: the linear model of each row and each column, without their crosses."""
    flat = ftrl_learner(main_space(space), rates)
    assert flat.unlearn is not None
    unlearn = flat.unlearn
    return Learner(
        "main",
        space,
        flat.abilities,
        flat.fresh,
        lambda state, samples: flat.predict(state, side_by_side(space, samples)),
        lambda state, samples: flat.learn(state, side_by_side(space, samples)),
        lambda state, samples, learned_p: unlearn(state, side_by_side(space, samples), learned_p),
    )


def _sums(state: State) -> tuple[F64, F64, NDArray[np.float32]]:
    return state["z"], state["n"], state["w"]
