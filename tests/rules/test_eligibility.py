"""The eligibility kernel against its plain twin, clause by clause and ad by ad."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.rules.eligibility import EVERYONE, Clause, judge, judge_plain, program, tally

SETS = 6
set_numbers = st.lists(st.integers(0, SETS - 1), max_size=3).map(tuple)
clauses = st.lists(
    st.builds(
        Clause,
        reason=st.integers(2, 40),
        restricted=st.integers(EVERYONE, SETS - 1),
        any_of=set_numbers,
        none_of=set_numbers,
    ),
    max_size=6,
)


@st.composite
def crowds(draw: Any) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Sets over some ads, a few of which are out already."""
    count = draw(st.integers(0, 9))
    bits = st.lists(st.integers(0, 1), min_size=count, max_size=count)
    sets = np.array([draw(bits) for _ in range(SETS)], dtype=np.uint8).reshape(SETS, count)
    reason = draw(st.lists(st.sampled_from([0, 0, 0, 1, 9]), min_size=count, max_size=count))
    return sets, np.array(reason, dtype=np.uint8)


def judged(todo: list[Clause], sets: NDArray[np.uint8], reason: NDArray[np.uint8]) -> list[int]:
    answer = reason.copy()
    judge(program(todo), sets, answer, np.empty_like(answer))
    return [int(code) for code in answer]


@given(clauses, crowds())
def test_the_kernel_judges_as_its_plain_twin(
    todo: list[Clause], crowd: tuple[NDArray[np.uint8], NDArray[np.uint8]]
) -> None:
    sets, reason = crowd
    assert judged(todo, sets, reason) == judge_plain(todo, sets, reason).tolist()


@given(clauses, crowds())
def test_a_loser_keeps_the_first_reason_that_applied(
    todo: list[Clause], crowd: tuple[NDArray[np.uint8], NDArray[np.uint8]]
) -> None:
    sets, reason = crowd
    one_by_one = reason
    for clause in todo:
        before = one_by_one
        one_by_one = np.array(judged([clause], sets, before), dtype=np.uint8)
        assert (one_by_one[before != 0] == before[before != 0]).all()
    assert judged(todo, sets, reason) == one_by_one.tolist()


ONE = np.array([[1], [1], [0]], dtype=np.uint8)  # one ad: in sets 0 and 1, not in 2

#   clause                            passes  why
TABLE = [
    (Clause(7, EVERYONE, (0,)),        True,  "everyone must be in set 0, and it is"),
    (Clause(7, EVERYONE, (2,)),        False, "everyone must be in set 2"),
    (Clause(7, EVERYONE, (2, 1)),      True,  "one of several is enough"),
    (Clause(7, EVERYONE),              True,  "a clause that asks nothing"),
    (Clause(7, EVERYONE, (), (2,)),    True,  "kept out of a set that it is not in"),
    (Clause(7, EVERYONE, (), (2, 0)),  False, "one forbidden set is enough"),
    (Clause(7, EVERYONE, (0,), (1,)),  False, "exclude beats include"),
    (Clause(7, 2, (), ()),             True,  "does not bind those who are not restricted"),
    (Clause(7, 2, (), (0,)),           False, "an exclude binds the unrestricted, too"),
    (Clause(7, 0, (), ()),             False, "restricted, and the request tells nothing: fails"),
    (Clause(7, 0, (1,), ()),           True,  "restricted and included"),
    (Clause(7, 0, (2,), ()),           False, "restricted to something else"),
]  # fmt: skip


@pytest.mark.parametrize(("clause", "passes", "why"), TABLE, ids=[row[2] for row in TABLE])
def test_what_a_clause_means(clause: Clause, passes: bool, why: str) -> None:
    assert judged([clause], ONE, np.zeros(1, np.uint8)) == [0 if passes else 7], why


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 3)), max_size=30))
def test_losers_are_counted_by_reason_and_campaign(
    ads: list[tuple[int, int]],
) -> None:
    reason = np.array([code for code, _ in ads], dtype=np.uint8)
    campaign = np.array([number for _, number in ads], dtype=np.int32)
    funnel, totals = np.zeros((4, 8), dtype=np.int64), np.zeros(8, dtype=np.int64)
    tally(reason, campaign, 6, funnel, totals)
    counted = Counter((code or 6, number) for code, number in ads if code != 1)
    assert {(code, number): int(funnel[number, code]) for code, number in counted} == counted
    assert funnel.sum() == len([ad for ad in ads if ad[0] != 1])
    assert funnel.sum(axis=0).tolist() == totals.tolist()
