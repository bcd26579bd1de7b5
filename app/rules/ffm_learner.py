"""The matrix with field-aware vectors on top as a learner: `ftrl` where those have learned nothing."""

import numpy as np

from app.rules import ffm
from app.rules.ffm import FACTORS, FactorRates, Factors
from app.rules.ftrl import F32, Rates
from app.rules.learner import F64, I32, Ability, Learner, Samples, Space, State

_ABILITIES: frozenset[Ability] = frozenset({"online", "additive", "unlearns"})


def ffm_learner(
    space: Space, rates: Rates | None = None, factors: int = FACTORS, factor_rates: FactorRates | None = None
) -> Learner:
    """All crosses of lit rows and columns, and the products of their vectors of so many factors.

    States learned apart cannot be made one: two parts' vectors do not lie along the same axes.
    Cost    that of `ftrl_learner`, and 12 bytes for each factor of a row and column field, of a column and
            row field; 12 rows x 5 columns about 3.5 us a sample with 4 factors.

    >>> from app.rules.learner import fields_of, single
    >>> learner = ffm_learner(Space(fields_of((2,)), fields_of((2,)), prior=0.1))
    >>> state = learner.fresh()
    >>> learner.learn(state, single([0, 1], [0, 2], 1.0, 1.0)).round(6).tolist()
    [0.1]
    >>> bool(np.abs(state["column_vectors"]).max() > 0.0)
    True
    """
    assert factors % 4 == 0
    settings = factor_rates or FactorRates()
    hyper, speeds = (rates or Rates()).array(), ffm.rates_of(settings)
    stride, main_only_from, prior_logit = space.column_count, space.main_only_from, space.prior_logit
    row_fields = _with_crosses(space)
    kinds = int(space.row_fields.max()), int(space.column_fields.max())

    def fresh() -> State:
        cells = space.row_count * space.column_count
        vectors = ffm.fresh(row_fields, space.column_fields, *kinds, factors, settings.spread)
        return {
            "z": np.zeros(cells), "n": np.zeros(cells), "w": np.zeros(cells, np.float32),
            "row_vectors": vectors.row_vectors, "column_vectors": vectors.column_vectors,
            "row_squares": vectors.row_squares, "column_squares": vectors.column_squares,
        }  # fmt: skip

    def factors_of(state: State) -> Factors:
        return Factors(
            state["row_vectors"], state["column_vectors"], state["row_squares"], state["column_squares"],
            row_fields, space.column_fields,
        )  # fmt: skip

    def learn(state: State, samples: Samples) -> F64:
        p = np.empty(len(samples))
        ffm.learn_log(
            *_sums(state), factors_of(state), samples.rows, samples.columns, stride, main_only_from,
            samples.impressions, samples.clicks, prior_logit, hyper, speeds, p,
        )  # fmt: skip
        return p

    def predict(state: State, samples: Samples) -> F64:
        p = np.empty(len(samples))
        lit = samples.rows, samples.columns
        ffm.predict_log(state["w"], factors_of(state), *lit, stride, main_only_from, prior_logit, p)
        return p

    def unlearn(state: State, samples: Samples, learned_p: F64) -> None:
        ffm.unlearn_log(
            *_sums(state), factors_of(state), samples.rows, samples.columns, stride, main_only_from,
            samples.impressions, samples.clicks, learned_p, hyper, speeds,
        )  # fmt: skip

    return Learner("ffm", space, _ABILITIES, fresh, predict, learn, unlearn)


def _with_crosses(space: Space) -> I32:
    """The rows' fields, none where a row has a main cell only."""
    fields = space.row_fields.copy()
    fields[space.main_only_from :] = ffm.NO_FIELD
    return fields


def _sums(state: State) -> tuple[F64, F64, F32]:
    return state["z"], state["n"], state["w"]
