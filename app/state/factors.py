"""The vectors over a node's matrix: which of its rows and columns have fields, what is kept and forgotten.

They are there while the setting `learner` is `ffm`, and begin anew when it becomes that.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.rules import features, ffm
from app.rules.ffm import FactorRates, Factors
from app.state.columns import OWN_COLUMN_FIELD

# The fields of rows, in the order in which their vectors lie; appended to, never moved. Blocks named together
# are one field. Left out: `gender_age`, itself a cross, and `views`, which one ad alone lights.
ROW_FIELDS: tuple[tuple[str, ...], ...] = (
    ("placement", "unregistered"), ("publisher",), ("hour",), ("weekday",), ("device",), ("os",),
    ("region",), ("age_band",), ("gender",), ("interest",), ("segment",), ("site_category",), ("cluster",),
    ("placement_cluster",),
)  # fmt: skip
_NO_VECTORS, _NO_SQUARES = np.zeros((0, 0, 0), np.float32), np.zeros((0, 0, 0))
_NO_FIELDS = np.zeros(0, np.int32)
NO_FACTORS = Factors(_NO_VECTORS, _NO_VECTORS, _NO_SQUARES, _NO_SQUARES, _NO_FIELDS, _NO_FIELDS)


def row_fields() -> NDArray[np.int32]:
    """Number the field of each row of the schema.

    >>> fields = row_fields()
    >>> fields[[0, features.BLOCKS["unregistered"].start, features.BLOCKS["hour"].start]].tolist()
    [0, 1, 3]
    """
    fields = np.full(features.ROWS, ffm.NO_FIELD, np.int32)
    for number, names in enumerate(ROW_FIELDS, start=1):
        for name in names:
            block = features.BLOCKS[name]
            fields[block.start : block.end] = number
    return fields


def no_factors(column_fields: NDArray[np.int32]) -> Factors:
    """Vectors of a node that have learned nothing; `column_fields` is the catalogue's own, which changes."""
    return ffm.fresh(row_fields(), column_fields, len(ROW_FIELDS), OWN_COLUMN_FIELD)


def clear_row(factors: Factors, row: int) -> None:
    """Forget a row: its vectors begin anew."""
    if factors.row_fields[row] != ffm.NO_FIELD:
        factors.row_vectors[row] = _first(np.array([row]))[0]
        factors.row_squares[row] = 0.0


def copy_row(factors: Factors, other: Factors, row: int) -> None:
    """Take over another's vectors of a row; with row 0 those of all columns. Cost: some 5 ms, that once."""
    factors.row_vectors[row], factors.row_squares[row] = other.row_vectors[row], other.row_squares[row]
    if row == 0:
        factors.column_vectors[:], factors.column_squares[:] = other.column_vectors, other.column_squares


def clear_column(factors: Factors, column: int) -> None:
    """Forget a column."""
    factors.column_vectors[:, :, column] = 0.0
    factors.column_squares[:, :, column] = 0.0


def parts(factors: Factors, rows: NDArray[np.intp], width: int) -> dict[str, NDArray[Any]]:
    """Copy what was learned: of these rows, and of the first columns."""
    return {
        "row_vectors": factors.row_vectors[rows],
        "row_squares": factors.row_squares[rows],
        "column_vectors": factors.column_vectors[:, :, :width].copy(),
        "column_squares": factors.column_squares[:, :, :width].copy(),
    }


def restore(factors: Factors, part: dict[str, NDArray[Any]]) -> None:
    """Take back what `parts` copied, into vectors that have learned nothing."""
    rows, width = part["rows"], part["column_vectors"].shape[2]
    factors.row_vectors[rows] = part["row_vectors"]
    factors.row_squares[rows] = part["row_squares"]
    factors.column_vectors[:, :, :width] = part["column_vectors"]
    factors.column_squares[:, :, :width] = part["column_squares"]


def check(factors: Factors, touched: NDArray[np.bool_]) -> None:
    """Numbers are within their bound, squares not negative; who never learned holds what it began with."""
    for vectors, squares in (
        (factors.row_vectors, factors.row_squares), (factors.column_vectors, factors.column_squares)
    ):  # fmt: skip
        assert (np.abs(vectors) <= ffm.LARGEST).all()  # false for nan, too
        assert (squares >= 0.0).all()
    rows = np.flatnonzero(~touched & (factors.row_fields != ffm.NO_FIELD))
    assert np.array_equal(factors.row_vectors[rows], _first(rows)), "a row moved that was never lit"
    assert not factors.row_vectors[factors.row_fields == ffm.NO_FIELD].any()
    assert not factors.column_vectors[:, :, factors.column_fields == ffm.NO_FIELD].any()


def rates_of(alpha: float) -> NDArray[np.float64]:
    """The settings as the kernels read them."""
    return ffm.rates_of(FactorRates(alpha=alpha))


def _first(rows: NDArray[np.intp]) -> NDArray[np.float32]:
    return ffm.first_vectors(rows, OWN_COLUMN_FIELD, ffm.FACTORS, ffm.SPREAD)
