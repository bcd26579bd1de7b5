"""hCTR, the baseline: the click rate a segment has shown so far, shrunk to that of the segment around it.

A segment is a set of values: everybody; this size; this size and category; ... this creative; the same on
this placement. Each level adds the values of one field, and its rate starts as that of the level above:
(clicks + strength) / (impressions + strength / rate above). Counts lie in a fixed table, hashed by the
segment; `hctr_plain` is the slow twin with a dictionary.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.rules.learner import F64, I32, Ability, Learner, Samples, Space, State

STRENGTH_CLICKS = 10.0
DEPTH = 2
BITS = 22
LEAST_P = 1e-7
NO_LEVEL = 127
_ABILITIES: frozenset[Ability] = frozenset({"online", "additive", "unlearns", "merges"})
_Function = TypeVar("_Function", bound=Callable[..., object])
Levels = NDArray[np.int8]


def _kernel(function: _Function) -> _Function:
    return cast(_Function, njit(nogil=True, cache=True, error_model="numpy")(function))


@_kernel
def mixed(value: int) -> np.uint64:
    """Scatter a number over 64 bits. Source: Steele et al. 2014, splitmix64's finaliser."""
    x = np.uint64(value) + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@_kernel
def _slots(
    rows: I32, columns: I32, row_levels: Levels, column_levels: Levels, keys: NDArray[np.uint64], mask: int
) -> None:
    """The slot of each level's segment; a sum of hashes, so that the order of features does not matter."""
    keys[:] = np.uint64(0)
    for row in rows:
        if row >= 0 and row_levels[row] != NO_LEVEL:
            keys[row_levels[row]] += mixed(2 * row)
    for column in columns:
        if column >= 0 and column_levels[column] != NO_LEVEL:
            keys[column_levels[column]] += mixed(2 * column + 1)
    total = np.uint64(0)
    for level in range(keys.size):
        total += keys[level]
        keys[level] = mixed(total + np.uint64(level)) & np.uint64(mask)


@_kernel
def _rate(shown: F64, clicked: F64, slots: NDArray[np.uint64], prior: float, strength: float) -> float:
    rate = prior
    for slot in slots:
        rate = (clicked[slot] + strength) / (shown[slot] + strength / rate)
        rate = min(max(rate, LEAST_P), 1.0 - LEAST_P)
    return rate


@_kernel
def _pass(
    shown: F64, clicked: F64, rows: I32, columns: I32, impressions: F64, clicks: F64,
    row_levels: Levels, column_levels: Levels, depth: int, prior: float, strength: float, sign: float,
    out_p: F64,
) -> None:  # fmt: skip
    """Predict each sample, then add `sign` times its counts to its segments."""
    keys = np.empty(depth, np.uint64)
    for k in range(rows.shape[0]):
        _slots(rows[k], columns[k], row_levels, column_levels, keys, shown.size - 1)
        out_p[k] = _rate(shown, clicked, keys, prior, strength)
        if sign != 0.0:
            for slot in keys:
                shown[slot] += sign * impressions[k]
                clicked[slot] += sign * clicks[k]


def default_levels(space: Space, depth: int = DEPTH) -> tuple[Levels, Levels, int]:
    """The level at which each row and column joins its segment: 0 is everybody's.

    Fields of the ad come first, from the one with the fewest values to the one with the most, each a level;
    then the first `depth` fields of the request, in their order. Other fields are not looked at.

    >>> from app.rules.learner import fields_of
    >>> rows, columns, count = default_levels(Space(fields_of((2, 3, 1)), fields_of((4, 2))), depth=1)
    >>> rows.tolist(), columns.tolist(), count
    ([127, 3, 3, 127, 127, 127, 127], [127, 2, 2, 2, 2, 1, 1], 4)
    """
    sizes = np.bincount(space.column_fields)[1:]
    coarse_first = 1 + np.argsort(sizes, kind="stable")
    column_levels = np.full(space.column_count, NO_LEVEL, np.int8)
    row_levels = np.full(space.row_count, NO_LEVEL, np.int8)
    level = 0
    for one in coarse_first:
        level += 1
        column_levels[space.column_fields == one] = level
    for one in range(1, min(depth, int(space.row_fields.max(initial=0))) + 1):
        level += 1
        row_levels[space.row_fields == one] = level
    return row_levels, column_levels, level + 1


def hctr_learner(
    space: Space, strength_clicks: float = STRENGTH_CLICKS, depth: int = DEPTH, bits: int = BITS
) -> Learner:
    """Segments by the fields of the ad, and by the first `depth` fields of the request.

    Units   strength_clicks: as many expected clicks as a segment needs to be believed halfway.
    Cost    16 bytes x 2^bits, resident where touched; two segments may share a slot.

    >>> from app.rules.learner import fields_of, single
    >>> learner = hctr_learner(Space(fields_of((2,)), fields_of((2,)), prior=0.1), bits=10)
    >>> state = learner.fresh()
    >>> _ = learner.learn(state, single([0, 1], [0, 2], 1000.0, 200.0))
    >>> learner.predict(state, single([0, 1], [0, 2], 1.0, 0.0)).round(3).tolist()
    [0.2]
    """
    levels = default_levels(space, depth)

    def run(state: State, samples: Samples, sign: float) -> F64:
        p = np.empty(len(samples))
        _pass(
            state["shown"], state["clicked"], samples.rows, samples.columns, samples.impressions,
            samples.clicks, *levels, space.prior, strength_clicks, sign, p,
        )  # fmt: skip
        return p

    def unlearn(state: State, samples: Samples, learned_p: F64) -> None:
        run(state, samples, -1.0)

    return Learner(
        "hctr",
        space,
        _ABILITIES,
        lambda: {"shown": np.zeros(1 << bits), "clicked": np.zeros(1 << bits)},
        lambda state, samples: run(state, samples, 0.0),
        lambda state, samples: run(state, samples, 1.0),
        unlearn,
        summed,
    )


def summed(base: State, parts: Sequence[State]) -> State:
    """Counts are sums: those of the base, and what each part added. Exact."""
    return {name: counts + sum(part[name] - counts for part in parts) for name, counts in base.items()}
