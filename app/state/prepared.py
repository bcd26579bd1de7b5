"""A trained model laid out as a matrix of a node's own, beside the one in use: touches nothing of a state."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from app.domain.refusals import Refused
from app.rules.features import BLOCKS
from app.rules.ftrl import F64, Rates
from app.rules.learner import I32, NOTHING
from app.rules.trained import Trained, place_cells
from app.state.model import Model


@dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """All that a state says to a trained model: where its cells belong, its settings, its priors.

    Shape   row_at, column_at: places in the matrix, negative where there is none; shift (rows,): by how much
            the main cell of each row moves, so that predictions stay beside the state's own priors.
    """

    row_at: I32
    column_at: I32
    shift: F64
    hyper: F64
    learner: str
    factor_alpha: float
    column_fields: I32  # the catalogue's own

    def same_as(self, other: Terms) -> bool:
        """Whether both lead to the same matrix."""
        return (
            np.array_equal(self.row_at, other.row_at)
            and np.array_equal(self.column_at, other.column_at)
            and np.array_equal(self.shift, other.shift)
            and np.array_equal(self.hyper, other.hyper)
            and (self.learner, self.factor_alpha) == (other.learner, other.factor_alpha)
        )


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A matrix with a trained model's cells in it; how many of them have no place here."""

    name: str
    terms: Terms
    model: Model
    homeless: int


class Loading(Struct, frozen=True, array_like=True):
    """Which file was taken over, where and when; how many of its cells had no place.

    The others as in its line: what it was made of, and what it was told of the journal on the way.
    """

    name: str
    position: int
    at_ms: int
    homeless: int = 0
    of: str = ""
    after: int = 0
    through: int = 0
    impressions: int = 0
    clicks: int = 0


class Homes(Struct, frozen=True):
    """Where a node keeps what is known of each placement and ad: copied, so that another process can tell.

    Shape   placements: the row of each; columns: the column of each (kind, key), creatives among them.
    """

    placements: dict[str, int]
    columns: dict[tuple[str, str], int]

    def rows_of(self, trained: Trained) -> I32:
        """Find the place of each of a trained model's rows, NOTHING where there is none."""
        rows = trained.row_numbers.copy()
        for at, placement in trained.placements.items():
            rows[at] = self.placements.get(placement, NOTHING)
        return rows

    def columns_of(self, trained: Trained) -> I32:
        """Find the place of each of a trained model's columns."""
        return np.array([self.columns.get(name, NOTHING) for name in trained.columns], dtype=np.int32)


def prepare(name: str, trained: Trained, terms: Terms, columns: int) -> Prepared:
    """Lay a trained model out in a new matrix of so many columns; vectors over it begin anew.

    Cost    some 20 ns a cell, almost all of it without the interpreter.
    """
    model = Model(columns)
    model.hyper = terms.hyper
    model.take_learner(terms.learner, terms.factor_alpha, terms.column_fields)
    homeless = place_cells(
        model.z.reshape(-1), model.n.reshape(-1), model.w.reshape(-1), model.stride, terms.row_at,
        terms.column_at, trained.row, trained.column, trained.z, trained.n, trained.rates.array(),
        terms.hyper,
    )  # fmt: skip
    lit: NDArray[np.int32] = terms.row_at[terms.row_at >= 0]
    model.touched[lit] = True
    for row, by in zip(terms.row_at.tolist(), terms.shift.tolist(), strict=True):
        if row >= 0 and model.n[row, 0] > 0:
            model.shift_main(row, by)
    model.doubt_all()
    return Prepared(name, terms, model, int(homeless))


def taken_out(model: Model, homes: Homes, prior_logit: float, rates: Rates) -> Trained:
    """Name a matrix' cells by what they mean: the inverse of `prepare` where that changes no weight.

    What belongs to nobody any more is left out.
    Cost    one pass over the touched rows.
    """
    block = BLOCKS["placement"]
    placement_of = {row: name for name, row in homes.placements.items()}
    names = sorted((column, name) for name, column in homes.columns.items())
    columns = np.full(model.stride, NOTHING, dtype=np.int64)
    columns[[column for column, _ in names]] = np.arange(len(names))
    lit = np.flatnonzero(model.touched).tolist()
    lit = [0, *(row for row in lit if row and (row in placement_of or not block.start <= row < block.end))]
    found: list[tuple[int, NDArray[np.int64]]] = []
    for at, row in enumerate(lit):
        cells = np.flatnonzero((model.n[row] != 0.0) | (model.z[row] != 0.0))
        found.append((at, cells[columns[cells] >= 0]))
    return Trained(
        prior_logit, rates, np.array(lit, dtype=np.int32),
        {at: placement_of[row] for at, row in enumerate(lit) if row in placement_of},
        tuple(name for _, name in names),
        np.concatenate([np.full(cells.size, at, np.uint16) for at, cells in found]),
        np.concatenate([columns[cells] for _, cells in found]).astype(np.uint32),
        np.concatenate([model.z[lit[at], cells] for at, cells in found]),
        np.concatenate([model.n[lit[at], cells] for at, cells in found]),
    )  # fmt: skip


def unreadable(name: str) -> Trained:
    """Stand in where nobody gave a state a way to read files."""
    raise Refused("model_missing", f"nobody can read the model {name} that the journal names")
