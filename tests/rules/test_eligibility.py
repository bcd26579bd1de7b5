"""The eligibility kernel against its plain twin, clause by clause and ad by ad."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.rules.eligibility import (
    EVERYONE,
    PLANES,
    Clause,
    bits_of,
    drain,
    judge,
    judge_plain,
    lose,
    name_all,
    program,
    take_out,
)

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
    count = draw(st.sampled_from([0, 1, 5, 9, 63, 64, 65, 130]))
    bits = st.lists(st.integers(0, 1), min_size=count, max_size=count)
    sets = np.array([draw(bits) for _ in range(SETS)], dtype=np.uint8).reshape(SETS, count)
    reason = draw(st.lists(st.sampled_from([0, 0, 0, 1, 9]), min_size=count, max_size=count))
    return sets, np.array(reason, dtype=np.uint8)


class Judged(NamedTuple):
    """What the kernel made of a crowd: who is still in, and who was counted under which reason."""

    alive: list[int]
    by_ad: list[list[int]]  # by reason and ad: every ad has a campaign of its own here
    totals: list[int]


def packed(sets: NDArray[np.uint8]) -> NDArray[np.uint64]:
    words = -(-sets.shape[1] // 64)
    return np.array([bits_of(row == 1, words) for row in sets], dtype=np.uint64).reshape(len(sets), words)


def judged(todo: list[Clause], sets: NDArray[np.uint8], reason: NDArray[np.uint8]) -> Judged:
    count = reason.size
    alive = bits_of(reason == 0, -(-count // 64))
    campaign = np.arange(max(count, 1), dtype=np.int32)
    planes, totals = np.zeros((41, PLANES, alive.size), np.uint64), np.zeros(41, np.int64)
    judge(program(todo), packed(sets), alive, np.empty_like(alive), planes, totals)
    funnel = np.zeros((41, max(count, 1)), np.int64)
    drain(planes, campaign, funnel)
    index = np.zeros(max(count, 1), np.int32)
    left = name_all(alive, index)
    return Judged(index[:left].tolist(), funnel.tolist(), totals.tolist())


def expected(reason: NDArray[np.uint8], answer: NDArray[np.uint8]) -> Judged:
    """Say the same of the plain twin's answer."""
    counts = np.zeros((41, max(answer.size, 1)), dtype=np.int64)
    for ad, (was, code) in enumerate(zip(reason.tolist(), answer.tolist(), strict=True)):
        if was == 0 and code:
            counts[code, ad] += 1
    return Judged(np.flatnonzero(answer == 0).tolist(), counts.tolist(), counts.sum(axis=1).tolist())


@given(clauses, crowds())
def test_the_kernel_judges_as_its_plain_twin(
    todo: list[Clause], crowd: tuple[NDArray[np.uint8], NDArray[np.uint8]]
) -> None:
    sets, reason = crowd
    assert judged(todo, sets, reason) == expected(reason, judge_plain(todo, sets, reason))


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
    assert judged([clause], ONE, np.zeros(1, np.uint8)).alive == ([0] if passes else []), why


@given(st.lists(st.integers(0, 129), max_size=8), st.lists(st.booleans(), min_size=130, max_size=130))
def test_named_ads_are_taken_out_once_and_counted(places: list[int], members: list[bool]) -> None:
    alive = bits_of(np.array(members), 3)
    campaign = np.array([place % 4 for place in range(130)], dtype=np.int32)
    planes, totals = np.zeros((8, PLANES, 3), np.uint64), np.zeros(8, np.int64)
    take_out(np.array(places, dtype=np.int64), 6, alive, planes, totals)
    funnel = np.zeros((8, 4), np.int64)
    drain(planes, campaign, funnel)
    gone = {place for place in places if members[place]}
    index = np.zeros(130, np.int32)
    left = name_all(alive, index)
    assert index[:left].tolist() == [at for at, inside in enumerate(members) if inside and at not in gone]
    assert totals.sum() == totals[6] == funnel[6].sum() == len(gone)
    assert Counter(place % 4 for place in gone) == {at: int(n) for at, n in enumerate(funnel[6]) if n}


@given(st.lists(st.lists(st.integers(0, 2**64 - 1), min_size=2, max_size=2), max_size=255))
def test_upright_counters_count_as_increments_do(auctions: list[list[int]]) -> None:
    planes, funnel = np.zeros((1, PLANES, 2), np.uint64), np.zeros((1, 128), np.int64)
    counts: Counter[int] = Counter()
    for words in auctions:
        lost = {word * 64 + bit for word in range(2) for bit in range(64) if words[word] >> bit & 1}
        counts.update(lost)
        assert sum(lose(np.uint64(word), at, planes[0]) for at, word in enumerate(words)) == len(lost)
    drain(planes, np.arange(128, dtype=np.int32), funnel)
    assert {at: int(count) for at, count in enumerate(funnel[0]) if count} == counts
    assert not planes.any(), "drained, they begin anew"
