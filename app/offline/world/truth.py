"""The hidden truth: how likely anything is, as one matrix of effects of the same form as a learner's.

A row for each value that a request may have, a column for each that an ad may have; the logit is the sum of
the cells where what is lit meets. Everything here is drawn once from a seed and then only looked up.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from app.rules.learner import F64, I32, Space, fields_of

Pair = tuple[str, str]  # a field of the request, a field of the ad


def logit_of(p: float) -> float:
    """The logit of a probability.

    >>> logit_of(0.5)
    0.0
    """
    return float(np.log(p / (1.0 - p)))


@dataclass(frozen=True, slots=True)
class Plan:
    """How strong which effects are: standard deviations of the logit, by field or by pair of fields.

    `crosses` are effects of every pair of values; `low_rank` are crosses too, but each is the product of two
    short vectors, one for the request's value and one for the ad's, which is what factorisation machines look
    for; `sparse` is for every pair of values of any fields, most of which have none.
    """

    rate: float  # of the median ad of everybody, before the effects
    rows: Mapping[str, float] = field(default_factory=dict)
    columns: Mapping[str, float] = field(default_factory=dict)
    crosses: Mapping[Pair, float] = field(default_factory=dict)
    low_rank: Mapping[Pair, float] = field(default_factory=dict)
    rank: int = 3
    sparse: float = 0.0
    sparse_share: float = 0.1

    @property
    def mean_logit(self) -> float:
        """The intercept at which the mean rate is about `rate`: a log-normal's mean lies above its median."""
        parts = (self.rows, self.columns, self.crosses, self.low_rank)
        variance = sum(sd * sd for part in parts for sd in part.values())
        return logit_of(self.rate) - variance / 2


@dataclass(frozen=True, slots=True)
class Values:
    """The values of the fields of one side, and the place of each: side by side, place 0 before them."""

    names: Mapping[str, Sequence[str]]
    first: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        first, firsts = 1, {}
        for name, values in self.names.items():
            firsts[name] = first
            first += len(values)
        object.__setattr__(self, "first", firsts)

    @property
    def field_of(self) -> I32:
        """The field of each place, numbered from 1; field 0 is that of place 0."""
        return fields_of(tuple(len(values) for values in self.names.values()))

    def block(self, name: str) -> slice:
        """The places of a field."""
        return slice(self.first[name], self.first[name] + len(self.names[name]))


@dataclass(frozen=True, slots=True)
class Truth:
    """Effects, with one more row and column of zeros at the end, which is where NOTHING (-1) points."""

    effects: F64

    @property
    def row_count(self) -> int:
        return int(self.effects.shape[0]) - 1

    @property
    def column_count(self) -> int:
        return int(self.effects.shape[1]) - 1

    def p(self, rows: I32, columns: I32, shift: float = 0.0) -> F64:
        """The probability of each sample, its logit shifted. Shape rows (k, R), columns (k, C)."""
        logit = np.full(rows.shape[0], shift)
        for row in rows.T:
            for column in columns.T:
                logit += self.effects[row, column]
        return np.asarray(1.0 / (1.0 + np.exp(-logit)))

    def p_of_all(self, rows: NDArray[np.intp] | I32, ads: I32, shift: float = 0.0) -> F64:
        """The probability of each of many ads for one request. Shape rows (R,), ads (a, C)."""
        few = len(ads) * len(rows) < self.effects.shape[1]  # then picking cells beats adding whole rows
        cells = self.effects[rows][:, ads].sum(axis=0) if few else self.effects[rows].sum(axis=0)[ads]
        logit = cells.sum(axis=1) + shift
        return np.asarray(1.0 / (1.0 + np.exp(-logit)))


def draw_truth(random: np.random.Generator, plan: Plan, rows: Values, columns: Values) -> Truth:
    """Draw the effects of a plan."""
    row_field, column_field = rows.field_of, columns.field_of
    effects = np.zeros((row_field.size + 1, column_field.size + 1))
    inner = effects[:-1, :-1]
    if plan.sparse:
        inner += random.normal(0.0, plan.sparse, inner.shape)
        inner *= random.random(inner.shape) < plan.sparse_share
    inner[0, :] = random.normal(0.0, _spread(plan.columns, columns, column_field))
    inner[:, 0] = random.normal(0.0, _spread(plan.rows, rows, row_field))
    inner[0, 0] = plan.mean_logit
    for (row, column), sd in plan.crosses.items():
        block = inner[rows.block(row), columns.block(column)]
        block += random.normal(0.0, sd, block.shape)
    for (row, column), sd in plan.low_rank.items():
        block = inner[rows.block(row), columns.block(column)]
        block += _low_rank(random, block.shape, plan.rank, sd)
    return Truth(effects)


def _spread(sds: Mapping[str, float], values: Values, field_of: I32) -> F64:
    """The standard deviation of each place's main effect; place 0 gets one too, which is overwritten."""
    by_field = np.array([1.0, *(sds.get(name, 0.0) for name in values.names)])
    return np.asarray(by_field[field_of])


def _low_rank(random: np.random.Generator, shape: tuple[int, ...], rank: int, sd: float) -> F64:
    """Products of random vectors, each with a standard deviation of sd."""
    left, right = (random.normal(0.0, 1.0, (count, rank)) for count in shape)
    return np.asarray(left @ right.T * (sd / np.sqrt(rank)))


def space_of(rows: Values, columns: Values, prior: float) -> Space:
    """The learner's space over the same places."""
    return Space(rows.field_of, columns.field_of, prior)
