"""A model learned offline, as nodes take it over: its cells are named by what they mean, not by their places.

A node gives its rows and columns out as things are registered, so a cell's place is one node's own affair.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.rules.ftrl import F32, F64, Rates, weight_of
from app.rules.learner import I32

LEARNER = "ftrl"


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """The cells of a matrix, each of one of its own rows and columns; what those are called; how it learned.

    Shape   row, column, z, n (cells,); row_numbers (rows,): each row's number in the feature schema, but for
            those in `placements`, which belong to a registered placement; columns: what lights each, as
            (kind, key), `("any", "")` the first.
    """

    prior_logit: float
    rates: Rates
    row_numbers: I32
    placements: Mapping[int, str]
    columns: tuple[tuple[str, str], ...]
    row: NDArray[np.uint16]
    column: NDArray[np.uint32]
    z: F64
    n: F64


@njit(nogil=True, cache=True, error_model="numpy")
def sound_cells(  # type: ignore[no-untyped-def]
    z: F64, n: F64, row: NDArray[np.uint16], column: NDArray[np.uint32], rows: int, columns: int
):
    """Say whether all cells lie within so many rows and columns and hold what a learner can come to."""
    for k in range(row.size):
        inside = row[k] < rows and column[k] < columns
        if not (inside and np.isfinite(z[k]) and np.isfinite(n[k]) and n[k] >= 0.0):
            return False
    return True


@njit(nogil=True, cache=True, error_model="numpy")
def place_cells(  # type: ignore[no-untyped-def]
    z: F64, n: F64, w: F32, stride: int, row_at: I32, column_at: I32, row: NDArray[np.uint16],
    column: NDArray[np.uint32], from_z: F64, from_n: F64, taught: F64, hyper: F64,
):  # fmt: skip
    """Write cells to their places in a matrix, and derive their weights; returns how many have no place.

    Shape   z, n, w flat; row_at, column_at: the place of each row and column, negative where there is none;
            taught and hyper: settings (`Rates.array`) of the model that learned, and of the matrix. Where
            they differ the weights stay, and z is what gives them.
    """
    same, homeless = True, 0
    for k in range(hyper.size):
        same = same and taught[k] == hyper[k]
    for k in range(row.size):
        at_row, at_column = np.int64(row_at[row[k]]), np.int64(column_at[column[k]])
        if at_row < 0 or at_column < 0:
            homeless += 1
            continue
        rate, l1 = (0, 3) if at_row == 0 or at_column == 0 else (1, 4)
        found = from_z[k]
        if not same:
            was_main = row[k] == 0 or column[k] == 0
            target = weight_of(
                found, from_n[k], taught[0 if was_main else 1], taught[2], taught[3 if was_main else 4],
                taught[5],
            )  # fmt: skip
            slope = (hyper[2] + np.sqrt(from_n[k])) / hyper[rate] + hyper[5]
            found = -target * slope - np.sign(target) * hyper[l1]
        cell = at_row * stride + at_column
        z[cell] = found
        n[cell] = from_n[k]
        w[cell] = weight_of(found, from_n[k], hyper[rate], hyper[2], hyper[l1], hyper[5])
    return homeless
