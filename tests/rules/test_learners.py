"""Every learner keeps the laws of learners, and those of the abilities that it declares.

A new learner is one more row of the table; `learner_laws` says what each law means.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from app.rules.delayed_learner import delayed_learner
from app.rules.ffm import FactorRates
from app.rules.ffm_learner import ffm_learner
from app.rules.ftrl import Rates
from app.rules.ftrl_learner import ftrl_learner, main_learner
from app.rules.hctr import default_levels, hctr_learner
from app.rules.hctr_plain import PlainHctr
from app.rules.learner import F64, NOTHING, Ability, Learner, Samples, Space, State, fields_of, side_by_side
from app.rules.sampling import down_sampled
from tests.rules import learner_laws as laws
from tests.rules.learner_laws import SPACE, Make, filled, logs


@dataclass(frozen=True, slots=True)
class Row:
    """A learner, what it declares, and how exactly it does that where it cannot to the bit."""

    make: Make
    abilities: set[Ability]
    additive_within_logit: float = 0.0
    merges_exactly: bool = False
    unlearns_within: float = 1e-7


def _sparse(space: Space) -> Learner:
    return ftrl_learner(space, Rates(alpha_main=0.3, alpha_cross=0.1, l1_main=0.5, l1_cross=0.5))


def _small_hctr(space: Space) -> Learner:
    return hctr_learner(space, bits=10)


def _down_sampled(space: Space) -> Learner:
    return down_sampled(ftrl_learner, space, keep=0.5)


def _bold_ffm(space: Space) -> Learner:
    return ffm_learner(space, factors=8, factor_rates=FactorRates(alpha=0.2, spread=0.3))


ALL: set[Ability] = {"online", "additive", "unlearns", "merges"}
NO_MERGE: set[Ability] = {"online", "additive", "unlearns"}
#   name                       learner         abilities    apart from joined, merges exactly, and why
LEARNERS = {
    "ftrl":                Row(ftrl_learner,   ALL,         0.5),         # the weights move in between
    "main":                Row(main_learner,   ALL,         0.5),
    "ftrl, L1":            Row(_sparse,        ALL,         2.0),
    "ffm":                 Row(ffm_learner,    NO_MERGE,    0.5,   False, 1e-4),  # two parts' axes differ
    "ffm, bold":           Row(_bold_ffm,      NO_MERGE,    3.0,   False, 1e-3),  # float32 vectors, squared
    "hctr":                Row(_small_hctr,    ALL,         1e-9, True),  # counts are sums
    "delayed":             Row(delayed_learner, {"online"}),              # a later label is no sum
    "ftrl, down-sampled":  Row(_down_sampled,  {"online"}),               # a click may find nothing to join
}  # fmt: skip
EVENTS = [(1.0, 0.0), (1.0, 1.0)]

every_learner = pytest.mark.parametrize("name", list(LEARNERS))


def able(ability: Ability) -> pytest.MarkDecorator:
    """The learners that declare an ability."""
    return pytest.mark.parametrize(
        "name", [name for name, one in LEARNERS.items() if ability in one.abilities]
    )


@every_learner
def test_a_learner_is_able_to_what_its_row_says(name: str) -> None:
    learner = LEARNERS[name].make(SPACE)
    assert learner.abilities == LEARNERS[name].abilities
    assert (learner.unlearn is not None) == ("unlearns" in learner.abilities)
    assert (learner.merge is not None) == ("merges" in learner.abilities)


@every_learner
@given(logs())
def test_deterministic(name: str, samples: Samples) -> None:
    laws.is_deterministic(LEARNERS[name].make, samples)


@every_learner
@given(logs(), st.integers(0, 100))
def test_the_order_of_features_has_no_effect(name: str, samples: Samples, seed: int) -> None:
    laws.knows_no_order_of_features(LEARNERS[name].make, samples, seed)


@every_learner
@given(logs())
def test_unseen_values_survive(name: str, samples: Samples) -> None:
    laws.survives_the_unseen(LEARNERS[name].make, samples)


@every_learner
@settings(max_examples=30, deadline=None)
@given(logs(), st.integers(1, 10))
def test_never_nan(name: str, samples: Samples, times: int) -> None:
    laws.never_breaks(LEARNERS[name].make, samples, times)


@every_learner
@given(logs(), st.integers(0, 25))
def test_snapshot_and_restore_are_equal(name: str, samples: Samples, cut: int) -> None:
    laws.survives_a_snapshot(LEARNERS[name].make, samples, min(cut, len(samples)))


@every_learner
@given(logs())
def test_predicting_is_not_learning(name: str, samples: Samples) -> None:
    laws.predicts_without_learning(LEARNERS[name].make, samples)


@able("online")
@given(logs(), st.integers(0, 25))
def test_online(name: str, samples: Samples, cut: int) -> None:
    laws.learns_online(LEARNERS[name].make, samples, min(cut, len(samples)))


@able("additive")
@given(logs(EVENTS))
def test_additive(name: str, samples: Samples) -> None:
    laws.adds_up(LEARNERS[name].make, samples, LEARNERS[name].additive_within_logit)


@able("unlearns")
@given(logs(), logs(EVENTS, most=5))
def test_unlearns(name: str, kept: Samples, false: Samples) -> None:
    laws.takes_back(LEARNERS[name].make, kept, false, LEARNERS[name].unlearns_within)


@able("merges")
@given(logs(EVENTS), logs(EVENTS), logs(EVENTS))
def test_merges(name: str, base: Samples, one: Samples, other: Samples) -> None:
    laws.merges(LEARNERS[name].make, base, one, other, LEARNERS[name].merges_exactly)


# ------------------------------------------------------------------------------------ the laws can fail
def test_a_learner_that_counts_its_calls_breaks_the_laws() -> None:
    """What is kept outside of the state shows."""
    calls: list[int] = []

    def make(space: Space) -> Learner:
        learner = hctr_learner(space, bits=10)

        def learn(state: State, samples: Samples) -> F64:
            calls.append(len(samples))
            return learner.learn(state, samples) * (1.0 - 1e-3 * len(calls))

        return Learner("odd", space, learner.abilities, learner.fresh, learner.predict, learn)

    samples = Samples(filled([[0, 1], [0, 2]]), filled([[0, 1], [0, 2]]), np.ones(2), np.zeros(2))
    broken: list[Callable[[], None]] = [
        lambda: laws.is_deterministic(make, samples),
        lambda: laws.learns_online(make, samples, 1),
        lambda: laws.survives_a_snapshot(make, samples, 1),
        lambda: laws.predicts_without_learning(make, samples),
    ]
    for law in broken:
        with pytest.raises(AssertionError):
            law()


# ------------------------------------------------------------------------------------ twins and helpers
@given(logs([(1.0, 0.0), (1.0, 1.0), (40.0, 3.0)]))
def test_hctr_is_what_a_dictionary_of_segments_gives(samples: Samples) -> None:
    """Wherever no two segments share a slot; at 14 bits they rarely do."""
    learner = hctr_learner(SPACE, bits=14)
    state = learner.fresh()
    rows, columns, count = default_levels(SPACE)
    level_of = {("row", row): int(level) for row, level in enumerate(rows) if level < count}
    level_of |= {("column", column): int(level) for column, level in enumerate(columns) if level < count}
    plain = PlainHctr(SPACE.prior, 10.0, count, level_of)
    expected = [
        plain.learn(
            [("row", row) for row in samples.rows[k] if row != NOTHING]
            + [("column", column) for column in samples.columns[k] if column != NOTHING],
            samples.impressions[k],
            samples.clicks[k],
        )
        for k in range(len(samples))
    ]
    p = learner.learn(state, samples)
    assume(np.count_nonzero(state["shown"]) == len(plain.counts))
    assert p == pytest.approx(expected, rel=1e-9)


def test_a_segment_is_believed_as_its_clicks_come() -> None:
    """Ten expected clicks of strength: at 1,000 impressions under 1 % a segment is believed halfway."""
    space = Space(fields_of(()), fields_of((3,)), prior=0.01)
    learner = hctr_learner(space, bits=10)
    state = learner.fresh()
    one = np.zeros((1, 1), np.int32)
    everybody = Samples(one, filled([[0]]), np.array([1e6]), np.array([1e4]))
    learner.learn(state, everybody)
    ad = Samples(one, filled([[0, 1]]), np.array([1e3]), np.array([30.0]))
    learner.learn(state, ad)
    assert learner.predict(state, ad)[0] == pytest.approx(0.02, rel=0.01)


def test_main_cells_side_by_side() -> None:
    samples = Samples(filled([[0, 1, 2], [0, 3]]), filled([[0, 2], [0, 1]]), np.ones(2), np.zeros(2))
    space = Space(fields_of((3,)), fields_of((2,)))
    flat = side_by_side(space, samples)
    assert flat.rows.tolist() == [[0, 1, 2, 5], [0, 3, 4, NOTHING]]
    assert flat.columns.tolist() == [[0], [0]]
