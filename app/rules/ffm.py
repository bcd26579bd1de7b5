"""Field-aware factorization on top of the matrix: where a row meets a column, two short vectors do, too.

A row has a vector for each field of the columns, a column one for each field of the rows; where both are lit,
their product is added to the score. So a cross that few samples have told of is guessed from what its row did
elsewhere, and its column. Cells and vectors learn together, from one p; `ffm_plain` is the slow twin.

Vectors learn by AdaGrad (Juan et al. 2016, algorithm 1), not regularised: each sample is learned once. Rows
begin at small numbers hashed from their place, columns at 0: what is new predicts as the matrix does.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.rules import ftrl
from app.rules.ftrl import F32, F64, Cells, Indexes, _kernel
from app.rules.ranking import stretches

FACTORS = 4  # of a vector; a multiple of four
SPREAD = 0.1
# No number of a vector grows beyond, so that nothing overflows: what is learned of a market stays under 2.
LARGEST = 4.0
LARGEST_LOGIT = 34.0  # beyond, a p would round to 1
NO_FIELD = 0  # of row 0, column 0, and rows without crosses: they have no vectors


@dataclass(frozen=True, slots=True)
class FactorRates:
    """How vectors learn: AdaGrad's rate, its first sum of squares, and how far from 0 rows begin.

    Chosen on simulated markets (`python -m loadtest ffm`): at 0.1 never worse than the matrix alone there.
    """

    alpha: float = 0.1
    start: float = 1.0
    spread: float = SPREAD


class Factors(NamedTuple):
    """The vectors, the sums of squared gradients behind them, and the fields (from 1; NO_FIELD: no vectors).

    Shape   row_vectors (rows, column fields, k) float32, column_vectors (row fields, k, columns) float32, so
            that a scan over columns is contiguous; squares float64 of the same shapes; row_fields (rows,) and
            column_fields (columns,) int32.
    """

    row_vectors: F32
    column_vectors: F32
    row_squares: F64
    column_squares: F64
    row_fields: NDArray[np.int32]
    column_fields: NDArray[np.int32]


def fresh(
    row_fields: NDArray[np.int32], column_fields: NDArray[np.int32], row_kinds: int, column_kinds: int,
    factors: int = FACTORS, spread: float = SPREAD,
) -> Factors:  # fmt: skip
    """Vectors that have learned nothing: they add 0 to every score.

    Shape   row_kinds and column_kinds say how many fields there are, NO_FIELD not counted.

    >>> one = fresh(np.array([0, 1], np.int32), np.array([0, 1, 1], np.int32), 1, 1)
    >>> one.row_vectors.shape, one.column_vectors.shape
    ((2, 1, 4), (1, 4, 3))
    """
    rows, columns = np.arange(row_fields.size), column_fields.size
    vectors = first_vectors(rows, column_kinds, factors, spread)
    vectors[row_fields == NO_FIELD] = 0.0
    column_shape = (row_kinds, factors, columns)
    return Factors(
        vectors, np.zeros(column_shape, np.float32), np.zeros(vectors.shape), np.zeros(column_shape),
        row_fields, column_fields,
    )  # fmt: skip


def first_vectors(rows: NDArray[np.int64], column_kinds: int, factors: int, spread: float) -> F32:
    """What some rows begin with: numbers in (-spread, spread), by a hash of each one's place.

    Shape   (rows, column_kinds, factors).
    Source  Steele et al. 2014, splitmix64's finaliser.
    """
    place = (rows[:, None, None] * 256 + np.arange(column_kinds)[:, None]) * 256 + np.arange(factors)
    with np.errstate(over="ignore"):
        x = (place.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    unit = ((x ^ (x >> np.uint64(31))) >> np.uint64(11)) / float(1 << 53)
    return np.asarray((2.0 * unit - 1.0) * spread, np.float32)


# ------------------------------------------------------------------------------------ one sample
class Met(NamedTuple):
    """One sample's vectors, summed by pair of fields, and which fields are lit: scratch, used over and over.

    Shape   row_sums and column_sums (row fields, column fields, k) float64; row_lit, column_lit bool.
    """

    row_sums: F64
    column_sums: F64
    row_lit: NDArray[np.bool_]
    column_lit: NDArray[np.bool_]


@_kernel
def nothing_met(factors: Factors) -> Met:
    """Scratch for one sample after the other."""
    fields, kinds, size = factors.column_vectors.shape[0], *factors.row_vectors.shape[1:]
    sums = np.empty((fields, kinds, size)), np.empty((fields, kinds, size))
    return Met(*sums, np.empty(fields, np.bool_), np.empty(kinds, np.bool_))


@_kernel
def look_up(factors: Factors, rows: Indexes, columns: Indexes, met: Met) -> None:
    """Note which fields are lit."""
    met.row_lit[:] = False
    met.column_lit[:] = False
    for r in rows:
        if factors.row_fields[r] != NO_FIELD:
            met.row_lit[factors.row_fields[r] - 1] = True
    for c in columns:
        if factors.column_fields[c] != NO_FIELD:
            met.column_lit[factors.column_fields[c] - 1] = True


@_kernel
def meet(factors: Factors, rows: Indexes, columns: Indexes, met: Met) -> float:
    """Sum the vectors of what is lit by pair of fields, and give what their products add to the score.

    Cost    under a microsecond for 16 rows x 6 columns of 4 factors.
    """
    look_up(factors, rows, columns, met)
    met.row_sums[:] = 0.0
    met.column_sums[:] = 0.0
    fields, kinds, size = met.row_sums.shape
    for r in rows:
        field = factors.row_fields[r] - 1
        for kind in range(kinds if field >= 0 else 0):
            for j in range(size if met.column_lit[kind] else 0):
                met.row_sums[field, kind, j] += np.float64(factors.row_vectors[r, kind, j])
    for c in columns:
        kind = factors.column_fields[c] - 1
        for field in range(fields if kind >= 0 else 0):
            for j in range(size if met.row_lit[field] else 0):
                met.column_sums[field, kind, j] += np.float64(factors.column_vectors[field, j, c])
    added = 0.0
    for field in range(fields):
        for kind in range(kinds if met.row_lit[field] else 0):
            for j in range(size):
                added += met.row_sums[field, kind, j] * met.column_sums[field, kind, j]
    return added


@_kernel
def p_of(logit: float) -> float:
    """The probability of a logit, never quite 0 or 1."""
    return ftrl.sigmoid(min(max(logit, -LARGEST_LOGIT), LARGEST_LOGIT))


@_kernel
def rate_of(squares: float, rates: F64) -> float:
    """AdaGrad's rate of one number."""
    rate: float = rates[0] / math.sqrt(rates[1] + squares)
    return rate


@_kernel
def bounded(value: float) -> float:
    """Keep a number of a vector within LARGEST."""
    return min(max(value, -LARGEST), LARGEST)


@_kernel
def stepped(
    vector: float, squares: float, other: float, gradient: float, advance: float, rates: F64
) -> tuple[float, float]:
    """Move one number of a vector by what it was multiplied with, and the squares behind it."""
    squares = max(squares + advance * other * other, 0.0)
    return bounded(vector - rate_of(squares, rates) * gradient * other), squares


@_kernel
def step(
    factors: Factors, rows: Indexes, columns: Indexes, met: Met, gradient: float, advance: float, rates: F64
) -> None:
    """One AdaGrad update of every vector that is lit on both sides, by the sums that `meet` wrote.

    `advance` is that of the matrix (`ftrl.sums_of`): additive, so that an impression and its click learned
    apart advance the squares as both together do; the squares stay at least 0.
    Shape   rates as `rates_of` gives them.
    """
    fields, kinds, size = met.row_sums.shape
    for r in rows:
        field = factors.row_fields[r] - 1
        for kind in range(kinds if field >= 0 else 0):
            for j in range(size if met.column_lit[kind] else 0):
                factors.row_vectors[r, kind, j], factors.row_squares[r, kind, j] = stepped(
                    np.float64(factors.row_vectors[r, kind, j]), factors.row_squares[r, kind, j],
                    met.column_sums[field, kind, j], gradient, advance, rates,
                )  # fmt: skip
    for c in columns:
        kind = factors.column_fields[c] - 1
        for field in range(fields if kind >= 0 else 0):
            for j in range(size if met.row_lit[field] else 0):
                factors.column_vectors[field, j, c], factors.column_squares[field, j, c] = stepped(
                    np.float64(factors.column_vectors[field, j, c]), factors.column_squares[field, j, c],
                    met.row_sums[field, kind, j], gradient, advance, rates,
                )  # fmt: skip


@_kernel
def look_back(
    factors: Factors, rows: Indexes, columns: Indexes, met: Met, gradient: float, rates: F64
) -> None:
    """Turn the sums of now into those before a step: S' = S - aT and T' = T - bS, solved for S and T.

    a and b are the gradient times the sum of the present rates of the rows and of the columns: a step moves
    by the rates after it, so they are still known.
    """
    fields, kinds, size = met.row_sums.shape
    row_rates, column_rates = np.zeros_like(met.row_sums), np.zeros_like(met.row_sums)
    for r in rows:
        field = factors.row_fields[r] - 1
        for kind in range(kinds if field >= 0 else 0):
            for j in range(size):
                row_rates[field, kind, j] += rate_of(factors.row_squares[r, kind, j], rates)
    for c in columns:
        kind = factors.column_fields[c] - 1
        for field in range(fields if kind >= 0 else 0):
            for j in range(size):
                column_rates[field, kind, j] += rate_of(factors.column_squares[field, j, c], rates)
    for field in range(fields):
        for kind in range(kinds if met.row_lit[field] else 0):
            for j in range(size if met.column_lit[kind] else 0):
                a, b = gradient * row_rates[field, kind, j], gradient * column_rates[field, kind, j]
                if a * b < 0.5:  # beyond, one step moved by more than there was: nothing to solve
                    other = met.column_sums[field, kind, j]
                    before = (met.row_sums[field, kind, j] + a * other) / (1.0 - a * b)
                    met.row_sums[field, kind, j] = before
                    met.column_sums[field, kind, j] = other + b * before


@_kernel
def take_back(
    factors: Factors, rows: Indexes, columns: Indexes, gradient: float, advance: float, rates: F64
) -> None:
    """The inverse of `step`: what a sample taught is taken out, up to rounding, while nothing came between.

    Good while the sample is fresh, as un-learning the matrix is; inexact where a number was at its bound.
    """
    met = nothing_met(factors)
    meet(factors, rows, columns, met)
    look_back(factors, rows, columns, met, gradient, rates)
    fields, kinds, size = met.row_sums.shape
    for r in rows:
        field = factors.row_fields[r] - 1
        for kind in range(kinds if field >= 0 else 0):
            for j in range(size if met.column_lit[kind] else 0):
                other, squares = met.column_sums[field, kind, j], factors.row_squares[r, kind, j]
                moved = rate_of(squares, rates) * gradient * other
                factors.row_squares[r, kind, j] = max(squares - advance * other * other, 0.0)
                vector = np.float64(factors.row_vectors[r, kind, j])
                factors.row_vectors[r, kind, j] = bounded(vector + moved)
    for c in columns:
        kind = factors.column_fields[c] - 1
        for field in range(fields if kind >= 0 else 0):
            for j in range(size if met.row_lit[field] else 0):
                other, squares = met.row_sums[field, kind, j], factors.column_squares[field, j, c]
                moved = rate_of(squares, rates) * gradient * other
                factors.column_squares[field, j, c] = max(squares - advance * other * other, 0.0)
                vector = np.float64(factors.column_vectors[field, j, c])
                factors.column_vectors[field, j, c] = bounded(vector + moved)


def rates_of(rates: FactorRates) -> F64:
    """The settings as kernels read them: AdaGrad's rate and its first sum of squares."""
    return np.array([rates.alpha, rates.start])


# ------------------------------------------------------------------------------------ with the matrix
@_kernel
def learn(
    z: F64, n: F64, w: F32, cells: Cells, main_count: int, total: int, factors: Factors, rows: Indexes,
    columns: Indexes, met: Met, prior_logit: float, impressions: float, clicks: float, hyper: F64, rates: F64,
) -> float:  # fmt: skip
    """Learn a sample's cells and vectors with the p that both of them give now; give that p.

    Samples of many impressions are learned in steps of at most one click, expected or counted, as
    `ftrl.learn_large` does.
    """
    first_p, left = -1.0, 1.0
    while left > 0.0:
        logit = ftrl.logit_of(w, cells, total, prior_logit)
        p = p_of(logit + meet(factors, rows, columns, met))
        if first_p < 0.0:
            first_p = p
        expected = max(impressions * p, clicks)
        share = left if impressions <= 1.0 or expected * left <= 1.0 else 1.0 / expected
        gradient, advance = ftrl.sums_of(p, impressions * share, clicks * share)
        step(factors, rows, columns, met, gradient, advance, rates)
        ftrl.step(z, n, w, cells, main_count, total, gradient, advance, hyper)
        left -= share
    return first_p


# ------------------------------------------------------------------------------------ all ads at once
@_kernel
def add_own(sums: F32, one: F32, two: F32, three: F32, four: F32, by: F32) -> None:
    """Add four stretches of one field's vectors, each times a number: counted from 0, to be made wide."""
    a, b, c, d = by[0], by[1], by[2], by[3]
    for i in range(sums.size):
        sums[i] += (a * one[i] + b * two[i]) + (c * three[i] + d * four[i])


@_kernel
def add_shared(
    sums: F32, fields: NDArray[np.int32], one: F32, two: F32, three: F32, four: F32, by: F32
) -> None:
    """The same for columns of differing fields: `by` (4, column fields + 1) has a number for each."""
    for i in range(sums.size):
        k = fields[i]
        sums[i] += (by[0, k] * one[i] + by[1, k] * two[i]) + (by[2, k] * three[i] + by[3, k] * four[i])


@_kernel
def add_factors(
    factors: Factors, rows: Indexes, shared: int, first: int, alive: NDArray[np.uint64], sums: F32
) -> None:
    """Add to each column's sum what its vectors and those of the lit rows give.

    An ad's score is then, as before, the sum over its columns. Behind the shared columns each is an ad's own,
    of one field.
    Shape   rows, shared, first, alive and sums as in `ranking.sum_rows`, which has written the sums.
    Cost    14 fields of 4 numbers over 12,000 columns: about as long as `sum_rows` takes twice.
    """
    kinds, size = factors.row_vectors.shape[1], factors.row_vectors.shape[2]
    by = np.zeros((factors.column_vectors.shape[0], size, kinds + 1), np.float32)
    lit = np.zeros(by.shape[0], np.bool_)
    for r in rows:
        field = factors.row_fields[r] - 1
        if field >= 0:
            lit[field] = True
            for kind in range(kinds):
                for j in range(size):
                    by[field, j, kind + 1] += factors.row_vectors[r, kind, j]
    starts = np.empty(alive.size + 1, dtype=np.int64)
    ends = np.empty(alive.size + 1, dtype=np.int64)
    count = stretches(shared, first, alive, starts, ends)
    own = factors.column_fields[first] if first < factors.column_fields.size else NO_FIELD
    for field in np.flatnonzero(lit):
        vectors = factors.column_vectors[field]
        for j in range(0, size, 4):
            one, two, three, four = vectors[j], vectors[j + 1], vectors[j + 2], vectors[j + 3]
            add_shared(
                sums[:shared], factors.column_fields[:shared], one[:shared], two[:shared], three[:shared],
                four[:shared], by[field, j : j + 4],
            )  # fmt: skip
            times = by[field, j : j + 4, own].copy()
            for k in range(1, count):
                low, high = starts[k], ends[k]
                add_own(sums[low:high], one[low:high], two[low:high], three[low:high], four[low:high], times)


# ------------------------------------------------------------------------------------ logs
@_kernel
def learn_log(
    z: F64, n: F64, w: F32, factors: Factors, rows: NDArray[np.int32], columns: NDArray[np.int32],
    stride: int, main_only_from: int, impressions: F64, clicks: F64, prior_logit: float, hyper: F64,
    rates: F64, out_p: F64,
) -> None:  # fmt: skip
    """Predict, then learn, each sample of a log in order; shapes as in `ftrl.learn_log`."""
    cells, met = np.empty(rows.shape[1] * columns.shape[1], np.int64), nothing_met(factors)
    for k in range(rows.shape[0]):
        row, column = rows[k, : ftrl.lit_count(rows[k])], columns[k, : ftrl.lit_count(columns[k])]
        main_count, total = ftrl.cells_of(row, column, stride, main_only_from, cells)
        out_p[k] = learn(
            z, n, w, cells, main_count, total, factors, row, column, met, prior_logit, impressions[k],
            clicks[k], hyper, rates,
        )  # fmt: skip


@_kernel
def predict_log(
    w: F32, factors: Factors, rows: NDArray[np.int32], columns: NDArray[np.int32], stride: int,
    main_only_from: int, prior_logit: float, out_p: F64,
) -> None:  # fmt: skip
    """Predict each sample of a log, and learn nothing."""
    cells, met = np.empty(rows.shape[1] * columns.shape[1], np.int64), nothing_met(factors)
    for k in range(rows.shape[0]):
        row, column = rows[k, : ftrl.lit_count(rows[k])], columns[k, : ftrl.lit_count(columns[k])]
        _, total = ftrl.cells_of(row, column, stride, main_only_from, cells)
        logit = ftrl.logit_of(w, cells, total, prior_logit)
        out_p[k] = p_of(logit + meet(factors, row, column, met))


@_kernel
def unlearn_log(
    z: F64, n: F64, w: F32, factors: Factors, rows: NDArray[np.int32], columns: NDArray[np.int32],
    stride: int, main_only_from: int, impressions: F64, clicks: F64, learned_p: F64, hyper: F64, rates: F64,
) -> None:  # fmt: skip
    """Take samples back, the last first; learned_p is what `learn_log` gave for them."""
    cells = np.empty(rows.shape[1] * columns.shape[1], np.int64)
    for k in range(rows.shape[0] - 1, -1, -1):
        row, column = rows[k, : ftrl.lit_count(rows[k])], columns[k, : ftrl.lit_count(columns[k])]
        main_count, total = ftrl.cells_of(row, column, stride, main_only_from, cells)
        gradient, advance = ftrl.sums_of(learned_p[k], impressions[k], clicks[k])
        ftrl.unlearn(z, n, w, cells, main_count, total, gradient, advance, hyper)
        take_back(factors, row, column, gradient, advance, rates)
