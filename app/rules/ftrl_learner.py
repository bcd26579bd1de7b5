"""The product's FTRL matrix as a learner: every lit row meets every lit column, or main cells alone."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.rules import ftrl
from app.rules.ftrl import Rates
from app.rules.learner import F64, Ability, Learner, Samples, Space, State, main_space, side_by_side

_ABILITIES: frozenset[Ability] = frozenset({"online", "additive", "unlearns", "merges"})


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

    def merge(base: State, parts: Sequence[State]) -> State:
        return merged(space, rates or Rates(), base, parts)

    return Learner("ftrl", space, _ABILITIES, fresh, predict, learn, unlearn, merge)


def merged(space: Space, rates: Rates, base: State, parts: Sequence[State]) -> State:
    """One model of several that were learned apart from one base, on parts of a log.

    Exact: n, the sum of all advances; and every cell that one part alone has touched. Where several have, it
    is an approximation, since no part knew what others had explained already: the weight moves by the mean of
    their steps. That is slower than one pass, and safe. Adding the steps up (or the changes of z) would count
    what is common to all parts, the bias above all, once for each; weighting them by what each added to n
    would favour the parts with clicks, of which n is mostly made, and predict too much.
    """
    alpha = _alphas(space, rates)
    n = np.maximum(base["n"] + np.sum([part["n"] - base["n"] for part in parts], axis=0), 0.0)
    count = np.sum([part["n"] != base["n"] for part in parts], axis=0)
    weight = _unrounded(base, alpha, rates)
    moved = np.sum([_unrounded(part, alpha, rates) - weight for part in parts], axis=0)
    moved /= np.maximum(count, 1)
    # z from the weight and back: what L1 cuts off is given back on the side that the weight is on.
    z = np.where(count > 0, -(weight + moved) * _slope(n, alpha, rates), base["z"])
    w = np.empty(n.size, np.float32)
    shape = (space.row_count, space.column_count)
    ftrl.derive_weights(z.reshape(shape), n.reshape(shape), w.reshape(shape), 0, 0, rates.array())
    return {"z": z, "n": n, "w": w}


def _unrounded(state: State, alpha: F64, rates: Rates) -> F64:
    """The weight that z and n give where L1 is 0; with it, what the weight would be without."""
    return np.asarray(-state["z"] / _slope(state["n"], alpha, rates))


def _slope(n: F64, alpha: F64, rates: Rates) -> F64:
    return np.asarray((rates.beta + np.sqrt(n)) / alpha + rates.l2)


def _alphas(space: Space, rates: Rates) -> F64:
    """The learning rate of each cell."""
    alpha = np.full((space.row_count, space.column_count), rates.alpha_cross)
    alpha[0, :] = alpha[:, 0] = rates.alpha_main
    return alpha.reshape(-1)


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
        flat.merge,
    )


def _sums(state: State) -> tuple[F64, F64, NDArray[np.float32]]:
    return state["z"], state["n"], state["w"]
