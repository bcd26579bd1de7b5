"""What the model has learned most about: its strongest cells, with names, read in small slices of the loop.

A row lit by a hash has no name of its own. It is named by the values that the catalogue speaks of and that
lately came with requests; which of several that share a row is meant, nobody can tell, so all are named.
"""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from collections.abc import Iterable
from itertools import islice
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from app.domain.catalogue import AdGroup, Placement, Thing
from app.domain.ids import HOUR_MS
from app.rules.features import BLOCKS
from app.rules.intervals import Z_95
from app.rules.strongest import Strongest
from app.state.catalogue import Catalogue
from app.state.model import Model
from app.state.row_names import RowNames

if TYPE_CHECKING:
    from app.flows.node import Node

SLICE_S = 0.001
RECORDS = 1_000  # of the last hour's decisions: about a fifth of a second of a thread's time
COLUMN_KINDS = ("format", "size", "category", "advertiser", "campaign", "creative")
ROW_FIELDS = tuple(name for name in BLOCKS if name != "any")
_HASHED = ("region", "interest", "segment", "site_category")


class StrongCell(Struct, frozen=True, kw_only=True):
    """One cell. `weight` is what it adds to a logit, `n` what it learned from; the interval is 95 %.

    `label` is the column's name for people, where its thing has one.
    """

    row: str
    column: str
    label: str
    weight: float
    low: float
    high: float
    n: float

    @property
    def thin(self) -> bool:
        """Whether it may as well be nothing."""
        return self.low <= 0.0 <= self.high


class StrongCells(Struct, frozen=True, kw_only=True):
    """The strongest cells of row 0 (ads), of column 0 (requests), and of the crosses between."""

    position: int
    rows: list[StrongCell]
    columns: list[StrongCell]
    crosses: list[StrongCell]
    touched_rows: int
    given_columns: int


async def strong_cells(
    node: Node, count: int = 12, *, row_field: str | None = None, column_kind: str | None = None
) -> StrongCells:
    """Find the strongest cells; of crosses, where it is said, those of one field or one kind of columns.

    Exact for each row as it was when it was read: the model learns on meanwhile.
    Cost    some 15 us a touched row, in slices of a millisecond of the loop.
    """
    model = node.state.model
    width = node.state.catalogue.first_ad_column + node.state.catalogue.ads.count
    wanted = None if column_kind is None else _columns_of(node, column_kind)
    rows, columns, crosses = Strongest(count), Strongest(count), Strongest(count)
    inside = range(1, model.w.shape[0])
    if row_field is not None:
        inside = range(BLOCKS[row_field].start, BLOCKS[row_field].end)
    columns.take(0, model.w[0, 1:width], np.arange(1, width))
    across = np.arange(1, width) if wanted is None else wanted
    touched, until = np.flatnonzero(model.touched).tolist(), perf_counter() + SLICE_S
    for row in touched:
        if row:
            rows.take(row, model.w[row, :1])
            if row in inside:
                crosses.take(row, model.w[row, 1:width] if wanted is None else model.w[row, wanted], across)
        if perf_counter() > until:
            await asyncio.sleep(0)
            until = perf_counter() + SLICE_S
    names = RowNames.of_values(_placements(node), await _values(node))
    columns_named = ColumnNames(node.state.catalogue)

    def told(found: Strongest) -> list[StrongCell]:
        return [_cell(model, names, columns_named, row, column) for row, column in found.found()]

    return StrongCells(
        position=node.state.position, rows=told(rows), columns=told(columns), crosses=told(crosses),
        touched_rows=len(touched), given_columns=width,
    )  # fmt: skip


def _cell(model: Model, names: RowNames, columns: ColumnNames, row: int, column: int) -> StrongCell:
    alpha_main, alpha_cross, beta, _, _, l2 = model.hyper.tolist()
    alpha = alpha_main if row == 0 or column == 0 else alpha_cross
    weight, n = float(model.w[row, column]), float(model.n[row, column])
    half = Z_95 / math.sqrt(beta / alpha + l2 + n)  # as `Candidate.variance` of an explained ad has it
    name, label = columns.of(column)
    return StrongCell(
        row=names.of(row), column=name, label=label, weight=weight, low=weight - half, high=weight + half, n=n
    )  # fmt: skip


class ColumnNames:
    """Names columns as `kind:key`, and says what people call the thing."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self._shared: dict[int, Any] = {column: key for key, column in catalogue.columns.by_key.items()}

    def of(self, column: int) -> tuple[str, str]:
        """Name one column."""
        if not column:
            return "any", ""
        catalogue, at = self.catalogue, column - self.catalogue.first_ad_column
        creative = catalogue.ads.creatives[at] if 0 <= at < len(catalogue.ads.creatives) else None
        if creative is not None:
            return f"creative:{creative.id}", _label(catalogue.get("ad_group", creative.ad_group_id))
        key = self._shared.get(column)
        if key is None:  # its ad is gone, and it waits to be given to another
            return f"column:{column}", ""
        kind, which = key
        return f"{kind}:{which}", _label(catalogue.things.get(kind, {}).get(which))


def _columns_of(node: Node, kind: str) -> NDArray[np.int64]:
    catalogue = node.state.catalogue
    if kind == "creative":
        return np.arange(catalogue.first_ad_column, catalogue.first_ad_column + catalogue.ads.count)
    found = [column for key, column in catalogue.columns.by_key.items() if key[0] == kind]  # type: ignore[index]
    return np.array(sorted(found), dtype=np.int64)


def _label(thing: Thing | None) -> str:
    return str(getattr(thing, "name", "") or "")


def _placements(node: Node) -> dict[int, str]:
    rows = node.state.catalogue.rows.by_key
    return {row: str(placement) for placement, row in rows.items()}


async def _values(node: Node) -> dict[str, Iterable[str]]:
    """Gather the values of hashed fields that are known: of the catalogue, and of the latest decisions."""
    catalogue, now_ms = node.state.catalogue, node.now_ms()
    found = await asyncio.to_thread(_values_of_decisions, node, now_ms - HOUR_MS)
    found["publisher"] |= set(catalogue.things["publisher"])
    until = perf_counter() + SLICE_S
    for thing in [*catalogue.things["placement"].values(), *catalogue.things["ad_group"].values()]:
        if isinstance(thing, Placement):
            found["site_category"].update(thing.categories)
        elif isinstance(thing, AdGroup):
            for field in _HASHED:
                rule = getattr(thing.targeting, field)
                found[field].update(str(term) for term in (*rule.include, *rule.exclude))
        if perf_counter() > until:
            await asyncio.sleep(0)
            until = perf_counter() + SLICE_S
    return {field: sorted(values) for field, values in found.items()}


def _values_of_decisions(node: Node, since_ms: int) -> defaultdict[str, set[str]]:
    found: defaultdict[str, set[str]] = defaultdict(set)
    node.decisions.flush()  # a thread writes them a little later than they are taken
    for record in islice(node.decisions.latest(since_ms), RECORDS):
        request, person = record.request, record.request.person
        found["site_category"].update(request.surroundings.site_category)
        found["publisher"].update(ask.publisher_id for ask in request.asks if ask.publisher_id)
        found["unregistered"].update(ask.placement_id for ask in request.asks if ask.unregistered)
        if person is not None:
            found["interest"].update(person.interests)
            found["segment"].update(person.segments)
            if person.region:
                found["region"].add(person.region)
    return found
