"""What every learner is: arrays in, predictions out, and a state that is arrays too.

A learner knows no log, no journal and no clock: `learn` and `predict` are functions of the state and the
samples they are given, and of nothing else. What it is able to do beyond that it declares (`Ability`); the
laws that all of them pass, and those that come with each ability, stand in `tests/rules/learner_laws.py`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from app.rules.ftrl import NO_MAIN_ONLY

F64 = NDArray[np.float64]
I32 = NDArray[np.int32]
State = Mapping[str, NDArray[Any]]  # the arrays are changed in place, the mapping is not

NOTHING = -1  # fills a sample's places up where fewer than the widest sample's features are lit

# online      learning a log in any cuts gives what learning it in one call gives
# additive    an impression and its click, each learned by itself, teach what both together do
# unlearns    what was just learned can be taken back
# merges      states learned apart from one base can be made one
Ability = Literal["online", "additive", "unlearns", "merges"]


@dataclass(frozen=True, slots=True)
class Space:
    """What may be lit: so many rows and columns, each of a field, and where a model without data stands.

    Row 0 (any request) and column 0 (any ad) are lit in every sample. Fields are numbered from 0, which
    is that of row 0 (and of column 0) alone.
    Shape   row_fields (row_count,), column_fields (column_count,): the field of each.
    """

    row_fields: I32 = field(repr=False)
    column_fields: I32 = field(repr=False)
    prior: float = 0.01
    main_only_from: int = NO_MAIN_ONLY  # rows from here on shift every ad alike: no crosses

    @property
    def row_count(self) -> int:
        return int(self.row_fields.size)

    @property
    def column_count(self) -> int:
        return int(self.column_fields.size)

    @property
    def prior_logit(self) -> float:
        return float(np.log(self.prior / (1.0 - self.prior)))


def fields_of(sizes: tuple[int, ...]) -> I32:
    """Number the fields of places laid out side by side, place 0 before them.

    >>> fields_of((2, 3)).tolist()
    [0, 1, 1, 2, 2, 2]
    """
    return np.repeat(np.arange(len(sizes) + 1, dtype=np.int32), (1, *sizes))


@dataclass(frozen=True, slots=True)
class Samples:
    """Samples in the order in which they are to be learned.

    Shape   rows (k, R) and columns (k, C): what is lit, each once, filled up with NOTHING behind;
            impressions and clicks (k,): (1, 0) is an impression, (0, 1) a click alone, (1, 1) both; seconds
            (k,): how late the click was, or since when none came. None: none will come any more.
    """

    rows: I32
    columns: I32
    impressions: F64
    clicks: F64
    seconds: F64 | None = None

    def __len__(self) -> int:
        return int(self.clicks.size)

    def part(self, first: int, last: int) -> "Samples":
        """The samples from `first` up to, not including, `last`."""
        cut = slice(first, last)
        lit, counts = (self.rows[cut], self.columns[cut]), (self.impressions[cut], self.clicks[cut])
        return Samples(*lit, *counts, None if self.seconds is None else self.seconds[cut])


def single(rows: list[int], columns: list[int], impressions: float, clicks: float) -> Samples:
    """One sample."""
    lit = np.array([rows], np.int32), np.array([columns], np.int32)
    return Samples(*lit, np.array([impressions]), np.array([clicks]))


def side_by_side(space: Space, samples: Samples) -> Samples:
    """The main cells alone: columns become further rows, and column 0 is the only one left.

    Row r stays r, column c becomes row_count - 1 + c. Crosses then have no cells at all, where a matrix
    would hold a mostly empty one.
    """
    columns = np.where(samples.columns > 0, samples.columns + (space.row_count - 1), NOTHING)
    lit = np.concatenate([samples.rows, columns], axis=1).astype(np.int32)
    no_columns = np.zeros((len(samples), 1), np.int32)
    return replace(samples, rows=filled_behind(lit), columns=no_columns)


def main_space(space: Space) -> Space:
    """The space of `side_by_side`."""
    behind = space.column_fields[1:] + space.row_fields.max()
    rows = np.concatenate([space.row_fields, behind]).astype(np.int32)
    return Space(rows, np.zeros(1, np.int32), space.prior)


def filled_behind(lit: I32) -> I32:
    """Move NOTHING behind everything lit, in each sample, and drop the places that no sample lights."""
    empty = lit == NOTHING
    if empty.all(axis=0).sum() < empty.any(axis=0).sum():  # some samples light a place, others do not
        order = np.argsort(empty, axis=1, kind="stable")
        lit = np.take_along_axis(lit, order, axis=1)
    return np.ascontiguousarray(lit[:, (lit != NOTHING).any(axis=0)]) if len(lit) else lit


@dataclass(frozen=True, slots=True)
class Learner:
    """A learner of one space, as functions.

    `learn` predicts each sample, then learns it, in order, and gives the predictions made before; `unlearn`
    takes back samples learned with those predictions, the newest first. Both change the state's arrays.
    `merge` makes one state of the base that several states began at, and of those states.
    """

    name: str
    space: Space
    abilities: frozenset[Ability]
    fresh: Callable[[], State]
    predict: Callable[[State, Samples], F64]
    learn: Callable[[State, Samples], F64]
    unlearn: Callable[[State, Samples, F64], None] | None = None
    merge: Callable[[State, Sequence[State]], State] | None = None


def used_bytes(state: State) -> int:
    """What the cells of a state that hold something take; the rest of its arrays is reserved, not resident.

    >>> used_bytes({"n": np.array([0.0, 1.5])})
    8
    """
    return sum(int(np.count_nonzero(array)) * array.itemsize for array in state.values())


def copy_of(state: State) -> dict[str, NDArray[Any]]:
    """A state of its own with the same contents."""
    return {name: array.copy() for name, array in state.items()}
