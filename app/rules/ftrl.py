"""The learning kernels: FTRL-Proximal over the cells of one matrix, compiled.

A model is three flat arrays of the same length: z and n (float64 sums) and w (float32 weights, always
what (z, n) give). A cell is a place in them: row * stride + column. Row 0 means any request, column 0 any
ad; cells of either are *main* cells, all others *crosses*, and each sort has its own rate and L1.

This file knows arrays and numbers only: no clock, no chance, no events. `ftrl_plain` is its slow twin.
Kernels hold no lock, use no fastmath and no threads of their own: the same calls in the same order give
the same bits. Pass counts as floats (an int compiles a second variant, on the caller's time); `warm` once.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

F64 = NDArray[np.float64]
F32 = NDArray[np.float32]
Cells = NDArray[np.int64]
Indexes = NDArray[np.int32] | NDArray[np.uint16]
_Function = TypeVar("_Function", bound=Callable[..., object])

NO_MAIN_ONLY = 2**31 - 1  # a `main_only_from` above every row: all rows have crosses

# Taking an event back is sound while at most so many events came after it (`python -m loadtest learning`,
# planted truth). At 1,000, with 5 % false clicks in, NE is within 0.0002 of a model that never saw them
# (0.001 where false clicks are twice the true ones). After a burst on one creative the model has soon
# corrected itself: leaving it costs 0.003, taking it back 0.0001 at 1,000 but 0.017 at 5,000, 0.1 at 20,000.
UNLEARN_HORIZON_EVENTS = 1_000


def _kernel(function: _Function) -> _Function:
    """Compile without the GIL; "numpy" errors: a division never raises (no kernel here divides by zero)."""
    return cast(_Function, njit(nogil=True, cache=True, error_model="numpy")(function))


@dataclass(frozen=True, slots=True)
class Rates:
    """The learner's settings; the array form is what kernels read.

    >>> Rates(alpha_main=0.1, alpha_cross=0.02).array()
    array([0.1 , 0.02, 1.  , 0.  , 0.  , 1.  ])
    """

    alpha_main: float = 0.1
    alpha_cross: float = 0.02
    beta: float = 1.0
    l1_main: float = 0.0
    l1_cross: float = 0.0
    l2: float = 1.0

    def array(self) -> F64:
        """alpha_main, alpha_cross, beta, l1_main, l1_cross, l2, in this order."""
        settings = [self.alpha_main, self.alpha_cross, self.beta, self.l1_main, self.l1_cross, self.l2]
        return np.array(settings, dtype=np.float64)


@_kernel
def sigmoid(logit: float) -> float:
    """The probability of a logit, without overflow at either end."""
    if logit >= 0.0:
        return 1.0 / (1.0 + math.exp(-logit))
    grown = math.exp(logit)
    return grown / (1.0 + grown)


@_kernel
def sums_of(p: float, impressions: float, clicks: float) -> tuple[float, float]:
    """The gradient and the advance of n of an aggregated sample predicted with p.

    They are additive: those of (1, 0) and of (0, 1) sum to those of (1, 1). The advance of (0, 1) is
    1 - 2p and may be negative.
    Source  McMahan et al. 2013, 4.5.
    """
    gradient = impressions * p - clicks
    advance = clicks * (1.0 - p) * (1.0 - p) + (impressions - clicks) * p * p
    return gradient, advance


@_kernel
def weight_of(z: float, n: float, alpha: float, beta: float, l1: float, l2: float) -> float:
    """The weight of one cell: 0 while |z| <= l1, else the closed form.

    Source  McMahan et al. 2013, algorithm 1.
    """
    slope = (beta + math.sqrt(n)) / alpha + l2
    if abs(z) <= l1 or slope <= 0.0:  # no slope: beta and l2 are 0 and nothing was learned yet
        return 0.0
    return -(z - math.copysign(l1, z)) / slope


@_kernel
def cells_of(
    rows: Indexes, columns: Indexes, stride: int, main_only_from: int, out: Cells
) -> tuple[int, int]:
    """Write the flat cells where the lit rows meet the lit columns, main cells first.

    Shape   out holds at least len(rows) * len(columns) cells; gives (how many are main, how many in all).
    Cost    two passes over rows x columns, no allocation.
    Ties    within main cells and within crosses, rows in the order given, then columns.
    Errors  ValueError when out is too short. A row >= main_only_from meets column 0 alone.
    """
    if out.size < rows.size * columns.size:
        raise ValueError("out is shorter than rows x columns")
    count = 0
    for i in range(rows.size):
        row = np.int64(rows[i])
        for j in range(columns.size):
            column = np.int64(columns[j])
            if column == 0 or (row == 0 and row < main_only_from):
                out[count] = row * stride + column
                count += 1
    main_count = count
    for i in range(rows.size):
        row = np.int64(rows[i])
        if row == 0 or row >= main_only_from:
            continue
        for j in range(columns.size):
            column = np.int64(columns[j])
            if column != 0:
                out[count] = row * stride + column
                count += 1
    return main_count, count


@_kernel
def logit_of(w: F32, cells: Cells, total: int, prior_logit: float) -> float:
    """The score of a sample: prior logit + its cells' weights, summed in float64 in the cells' order."""
    logit = prior_logit
    for k in range(total):
        logit += np.float64(w[cells[k]])
    return logit


@_kernel
def _step_range(
    z: F64, n: F64, w: F32, cells: Cells, first: int, last: int, gradient: float, advance: float,
    alpha: float, beta: float, l1: float, l2: float,
) -> None:  # fmt: skip
    for k in range(first, last):
        cell = cells[k]
        n_before = n[cell]
        n_after = max(n_before + advance, 0.0)
        z_after = z[cell] + gradient - (math.sqrt(n_after) - math.sqrt(n_before)) / alpha * w[cell]
        z[cell] = z_after
        n[cell] = n_after
        w[cell] = weight_of(z_after, n_after, alpha, beta, l1, l2)


@_kernel
def step(
    z: F64, n: F64, w: F32, cells: Cells, main_count: int, total: int, gradient: float, advance: float,
    hyper: F64,
) -> None:  # fmt: skip
    """One FTRL-Proximal update of every cell; each weight is derived again right after.

    `advance` may be negative (a click after its impression); n stays at least 0.
    Shape   cells[:main_count] are main cells, cells[main_count:total] crosses; no cell twice.
    Cost    about 50 ns a cell, memory bound.
    """
    _step_range(z, n, w, cells, 0, main_count, gradient, advance, hyper[0], hyper[2], hyper[3], hyper[5])
    _step_range(z, n, w, cells, main_count, total, gradient, advance, hyper[1], hyper[2], hyper[4], hyper[5])


@_kernel
def learn(
    z: F64, n: F64, w: F32, cells: Cells, main_count: int, total: int, prior_logit: float,
    impressions: float, clicks: float, hyper: F64,
) -> float:  # fmt: skip
    """Learn a sample with the p of this moment, and give that p.

    (1, 0) is an impression, (0, 1) a click alone, (1, 1) both joined. For samples of many impressions
    see `learn_large`.
    """
    p = sigmoid(logit_of(w, cells, total, prior_logit))
    gradient, advance = sums_of(p, impressions, clicks)
    step(z, n, w, cells, main_count, total, gradient, advance, hyper)
    return p


@_kernel
def learn_large(
    z: F64, n: F64, w: F32, cells: Cells, main_count: int, total: int, prior_logit: float,
    impressions: float, clicks: float, hyper: F64,
) -> float:  # fmt: skip
    """Learn an aggregated sample in steps of at most one click, expected or counted; give the first p.

    One step for all would throw a fresh model to p = 10^-22 on 100,000 impressions. Each step takes the
    same mix of impressions and clicks, so their order cannot matter.
    Cost    about max(clicks, predicted clicks) + 1 steps.
    """
    first_p = sigmoid(logit_of(w, cells, total, prior_logit))
    p = first_p
    left = 1.0
    while left > 0.0:
        expected = max(impressions * p, clicks)
        share = left if expected * left <= 1.0 else 1.0 / expected
        gradient, advance = sums_of(p, impressions * share, clicks * share)
        step(z, n, w, cells, main_count, total, gradient, advance, hyper)
        left -= share
        p = sigmoid(logit_of(w, cells, total, prior_logit))
    return first_p


@_kernel
def _unlearn_range(
    z: F64, n: F64, w: F32, cells: Cells, first: int, last: int, gradient: float, advance: float,
    alpha: float, beta: float, l1: float, l2: float,
) -> None:  # fmt: skip
    for k in range(first, last):
        cell = cells[k]
        n_after = n[cell]
        n_before = max(n_after - advance, 0.0)
        s = (math.sqrt(n_after) - math.sqrt(n_before)) / alpha
        slope = (beta + math.sqrt(n_before)) / alpha + l2
        z_before = z[cell] - gradient
        if abs(z_before) > l1 and slope + s > 0.0:
            solved = (z_before + s * math.copysign(l1, z_before) / slope) / (1.0 + s / slope)
            # The step used the weight as stored, in float32: take the same one, and the inverse is exact.
            z_before += s * np.float32(weight_of(solved, n_before, alpha, beta, l1, l2))
        z[cell] = z_before
        n[cell] = n_before
        w[cell] = weight_of(z_before, n_before, alpha, beta, l1, l2)


@_kernel
def unlearn(
    z: F64, n: F64, w: F32, cells: Cells, main_count: int, total: int, gradient: float, advance: float,
    hyper: F64,
) -> None:  # fmt: skip
    """The inverse of `step`: take back an update by the gradient and advance it was made with.

    Exact where nothing came between (and n was not cut at 0); good while the event is fresh, harmful when
    old, since the model has corrected itself by then. Take back the newest first.
    """
    _unlearn_range(z, n, w, cells, 0, main_count, gradient, advance, hyper[0], hyper[2], hyper[3], hyper[5])
    _unlearn_range(
        z, n, w, cells, main_count, total, gradient, advance, hyper[1], hyper[2], hyper[4], hyper[5]
    )


@_kernel
def derive_weights(z: F64, n: F64, w: F32, first_row: int, first_column: int, hyper: F64) -> None:
    """Rebuild w from (z, n) for a 2-D block of the matrix, bit for bit what `step` leaves there.

    Shape   three equal 2-D blocks (views will do); first_row and first_column say where the block lies.
    """
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            main = first_row + i == 0 or first_column + j == 0
            alpha = hyper[0] if main else hyper[1]
            l1 = hyper[3] if main else hyper[4]
            w[i, j] = weight_of(z[i, j], n[i, j], alpha, hyper[2], l1, hyper[5])


@_kernel
def lit_count(places: NDArray[np.int32]) -> int:
    """How many places of a sample are lit: those before the first negative one."""
    count = 0
    while count < places.size and places[count] >= 0:
        count += 1
    return count


@_kernel
def learn_log(
    z: F64, n: F64, w: F32, rows: NDArray[np.int32], columns: NDArray[np.int32], stride: int,
    main_only_from: int, impressions: F64, clicks: F64, prior_logit: float, hyper: F64, out_p: F64,
) -> None:  # fmt: skip
    """Predict, then learn, each sample of a log in order; out_p holds the predictions made before learning.

    Shape   rows (k, R), columns (k, C), negative behind what is lit; the rest (k,). main_only_from=1 learns
            main cells alone.
    Cost    96 cells a sample: under 10 us.
    """
    cells = np.empty(rows.shape[1] * columns.shape[1], np.int64)
    for k in range(rows.shape[0]):
        row, column = rows[k, : lit_count(rows[k])], columns[k, : lit_count(columns[k])]
        main_count, total = cells_of(row, column, stride, main_only_from, cells)
        if impressions[k] <= 1.0:
            out_p[k] = learn(z, n, w, cells, main_count, total, prior_logit, impressions[k], clicks[k], hyper)
        else:
            out_p[k] = learn_large(
                z, n, w, cells, main_count, total, prior_logit, impressions[k], clicks[k], hyper
            )


@_kernel
def predict_log(
    w: F32, rows: NDArray[np.int32], columns: NDArray[np.int32], stride: int, main_only_from: int,
    prior_logit: float, out_p: F64,
) -> None:  # fmt: skip
    """Predict each sample of a log, and learn nothing. Shapes as in `learn_log`."""
    cells = np.empty(rows.shape[1] * columns.shape[1], np.int64)
    for k in range(rows.shape[0]):
        row, column = rows[k, : lit_count(rows[k])], columns[k, : lit_count(columns[k])]
        _, total = cells_of(row, column, stride, main_only_from, cells)
        out_p[k] = sigmoid(logit_of(w, cells, total, prior_logit))


@_kernel
def unlearn_log(
    z: F64, n: F64, w: F32, rows: NDArray[np.int32], columns: NDArray[np.int32], stride: int,
    main_only_from: int, impressions: F64, clicks: F64, learned_p: F64, hyper: F64,
) -> None:  # fmt: skip
    """Take samples back, the last first; learned_p is what `learn_log` gave for them.

    Samples of many impressions were learned in steps whose p is not kept: they are taken back in one.
    """
    cells = np.empty(rows.shape[1] * columns.shape[1], np.int64)
    for k in range(rows.shape[0] - 1, -1, -1):
        row, column = rows[k, : lit_count(rows[k])], columns[k, : lit_count(columns[k])]
        main_count, total = cells_of(row, column, stride, main_only_from, cells)
        gradient, advance = sums_of(learned_p[k], impressions[k], clicks[k])
        unlearn(z, n, w, cells, main_count, total, gradient, advance, hyper)


def warm() -> None:
    """Compile (or load) every kernel for the types the project uses, before anything waits for one."""
    z, n, w = np.zeros(4), np.zeros(4), np.zeros(4, np.float32)
    out, hyper = np.zeros(4, np.int64), Rates().array()
    lit = np.array([0, 1], np.int32)
    main_count, total = cells_of(lit, lit, 2, NO_MAIN_ONLY, out)
    short = lit.astype(np.uint16)
    sealed = np.frombuffer(short.tobytes(), np.uint16)  # as a token or a line carries them: read-only
    for rows, columns in ((short, short), (lit, short), (short, lit), (sealed, sealed), (sealed, short)):
        cells_of(rows, columns, 2, NO_MAIN_ONLY, out)
    p = learn(z, n, w, out, main_count, total, -4.0, 1.0, 0.0, hyper)
    learn_large(z, n, w, out, main_count, total, -4.0, 2.0, 1.0, hyper)
    gradient, advance = sums_of(p, 1.0, 0.0)
    step(z, n, w, out, main_count, total, gradient, advance, hyper)
    unlearn(z, n, w, out, main_count, total, gradient, advance, hyper)
    sigmoid(logit_of(w, out, total, -4.0))
    weight_of(1.0, 1.0, 0.1, 1.0, 0.0, 1.0)
    derive_weights(z.reshape(2, 2), n.reshape(2, 2), w.reshape(2, 2), 0, 0, hyper)
    one = np.ones(1)
    learn_log(z, n, w, lit[None, :], lit[None, :], 2, NO_MAIN_ONLY, one, one, -4.0, hyper, np.empty(1))
