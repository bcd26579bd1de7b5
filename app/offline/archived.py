"""A node's archive as samples to learn: each counted impression, clicked or not, with what it lit.

Rows and columns are numbered anew, for the archive's own model: rows by the feature schema's numbers, those
of registered placements by the placement, columns by what they are called.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from app.domain.refusals import Refused
from app.journal import archive
from app.rules.features import BLOCKS, MAIN_ONLY_FROM, ROWS, SCHEMA_VERSION
from app.rules.learner import I32, NOTHING, Samples, Space

KEY = ("decision_id", "ad_index")
COUNTED = ("learned", "skipped")
ANY = ("any", "")
LATE_HOURS = 24  # a click is taken for as long after its impression as a click's token lives
_BLOCK = BLOCKS["placement"]
_COLUMNS = (*KEY, "event_id", "placement", "creative", "schema_version", "rows", "column_names", "fate")


@dataclass(frozen=True, slots=True)
class Hour:
    """The samples of an hour, and how many impressions were left out, by why."""

    hour: int
    samples: Samples
    left_out: dict[str, int]


@dataclass(slots=True)
class Universe:
    """Everything that the samples light.

    Shape   row_at (ROWS,): the model's row of each of the schema's; placement_at: that of each placement;
            column_at: the model's column of each name.
    """

    row_at: I32 = field(default_factory=lambda: np.full(ROWS, NOTHING, np.int32))
    placement_at: dict[str, int] = field(default_factory=dict)
    column_at: dict[tuple[str, str], int] = field(default_factory=lambda: {ANY: 0})
    row_numbers: I32 = field(default_factory=lambda: np.zeros(1, np.int32))

    def space(self, prior: float) -> Space:
        """Give the space that a learner of these samples is of."""
        main_only = int((self.row_numbers < MAIN_ONLY_FROM).sum())
        rows, columns = (np.arange(k) > 0 for k in (self.row_numbers.size, len(self.column_at)))
        return Space(rows.astype(np.int32), columns.astype(np.int32), prior, main_only)


class Archived:
    """The archived hours in a span, and what became of their impressions later, as far as is archived.

    Errors  Refused `no_archive` where no hour of the span is archived.
    """

    def __init__(self, folder: Path, from_hour: int | None = None, to_hour: int | None = None) -> None:
        every = archive.hours(folder)
        self.folder = folder
        self.hours = [
            hour
            for hour in every
            if (from_hour is None or hour >= from_hour) and (to_hour is None or hour < to_hour)
        ]
        if not self.hours:
            raise Refused("no_archive", f"{folder} holds no archived hour of that time", "archive")
        self._every = every
        behind = [hour for hour in every if hour >= self.hours[0]]
        self._refunded = self._read(behind, "refunds", ("target_id",)).unique()
        clicks = self._read(
            [hour for hour in behind if hour <= self.hours[-1] + LATE_HOURS],
            "clicks",
            (*KEY, "event_id", "fate"),
        )
        taken_back = pl.col("event_id").is_in(self._refunded["target_id"].implode())
        self._clicks = clicks.select(
            *KEY, (pl.col("fate").is_in(COUNTED) & ~taken_back).alias("good")
        ).unique(KEY)

    def universe(self) -> Universe:
        """Look through all samples for what they light.

        Errors  Refused `too_large` where there are more placements than the feature schema has room for.
        """
        found, numbers, placements = Universe(), {0}, dict[str, None]()
        for hour in self.hours:
            frame, _ = self._impressions(hour)
            lit = frame.select("placement", pl.col("rows")).explode("rows").unique(maintain_order=True)
            for placement, row in lit.iter_rows():
                if _BLOCK.start <= row < _BLOCK.end:
                    placements.setdefault(placement)
                else:
                    numbers.add(row)
            for names in frame["column_names"].unique(maintain_order=True).to_list():
                for name in names:
                    found.column_at.setdefault(_key(name), len(found.column_at))
        if len(placements) > _BLOCK.size:
            raise Refused("too_large", f"more than {_BLOCK.size} registered placements", "archive")
        # In the schema's order, so that rows without crosses stay behind the others.
        behind = sorted(numbers - {0})
        found.placement_at = {name: 1 + at for at, name in enumerate(placements)}
        own = range(_BLOCK.start, _BLOCK.start + len(placements))
        found.row_numbers = np.array([0, *own, *behind], dtype=np.int32)
        first = 1 + len(placements)
        found.row_at[0] = 0
        found.row_at[behind] = np.arange(first, first + len(behind))
        return found

    def samples(self, universe: Universe) -> Iterator[Hour]:
        """Go through the hours; of each its samples in the journal's order, (1, 1) where a click counted."""
        for hour in self.hours:
            frame, left_out = self._impressions(hour)
            yield Hour(hour, _samples(frame, universe), left_out)

    def span(self) -> dict[str, Any]:
        """Tell which of the journal's positions the hours are of, and how to know that journal again.

        Impressions in (after, through]; their clicks up to `clicks_through`. `last_event`: one of them.
        """
        last = [hour for hour in self._every if hour <= self.hours[-1] + LATE_HOURS][-1]
        event: dict[str, Any] | None = None
        for hour in reversed(self.hours):
            frame = self._read([hour], "impressions", ("position", "event_id")).tail(1)
            if frame.height:
                position, event_id = frame.row(0)
                event = {"position": position, "event_id": event_id.hex()}
                break
        return {
            "after_position": archive.facts_of(self.folder, self.hours[0]).after_position,
            "through_position": archive.facts_of(self.folder, self.hours[-1]).through_position,
            "clicks_through_position": archive.facts_of(self.folder, last).through_position,
            "last_event": event,
        }

    def _impressions(self, hour: int) -> tuple[pl.DataFrame, dict[str, int]]:
        """Read an hour's impressions that count, with `good`: whether a click counts, null where none came.

        An impression whose click was invalid or taken back goes with it, as in the fold.
        """
        frame = self._read([hour], "impressions", _COLUMNS)
        if not frame.height:
            frame = frame.with_columns(good=pl.lit(None, pl.Boolean))
        else:
            frame = frame.join(self._clicks, on=KEY, how="left", maintain_order="left")
        reasons: dict[str, pl.Expr] = {
            "not_learned": pl.col("fate") != "learned",
            "refunded": pl.col("event_id").is_in(self._refunded["target_id"].implode()),
            "click_invalid": ~pl.col("good").fill_null(value=True),
            "schema": pl.col("schema_version") != SCHEMA_VERSION,
            "unnamed": pl.col("column_names").is_null(),
        }
        left_out = {}
        for reason, applies in reasons.items():
            before = frame.height
            frame = frame.filter(~applies)
            if frame.height < before:
                left_out[reason] = before - frame.height
        return frame, left_out

    def _read(self, hours: Sequence[int], kind: str, columns: Sequence[str]) -> pl.DataFrame:
        files = archive.files(self.folder, list(hours), kind)
        if not files:
            return pl.DataFrame(schema={name: _TYPES[name] for name in columns})
        return pl.read_parquet(files, columns=list(columns), hive_partitioning=False)


_TYPES: dict[str, pl.DataType | type[pl.DataType]] = {
    "position": pl.Int64, "decision_id": pl.Binary, "ad_index": pl.UInt8, "event_id": pl.Binary,
    "target_id": pl.Binary, "placement": pl.String, "creative": pl.String, "schema_version": pl.Int32,
    "rows": pl.List(pl.UInt16), "column_names": pl.List(pl.String), "fate": pl.String,
}  # fmt: skip


def _samples(frame: pl.DataFrame, universe: Universe) -> Samples:
    rows, count = _matrix(frame["rows"].to_list()), frame.height
    own = np.array([universe.placement_at.get(name, NOTHING) for name in frame["placement"]], dtype=np.int32)
    registered = (rows >= _BLOCK.start) & (rows < _BLOCK.end)
    lit = np.where(rows == NOTHING, NOTHING, universe.row_at[rows])
    lit = np.where(registered, own[:, None], lit).astype(np.int32) if count else lit
    places: dict[tuple[str, ...], list[int]] = {}
    columns = []
    for names in map(tuple, frame["column_names"].to_list()):
        if names not in places:
            places[names] = [universe.column_at[_key(name)] for name in names]
        columns.append(places[names])
    clicks = frame["good"].fill_null(value=False).to_numpy().astype(np.float64)
    return Samples(lit, _matrix(columns), np.ones(count), clicks)


def _matrix(lists: Iterable[Sequence[int]]) -> I32:
    """Put lists side by side, NOTHING behind the shorter ones."""
    lists = list(lists)
    lengths = np.array([len(each) for each in lists], dtype=np.int64)
    width = int(lengths.max()) if lists else 0
    out = np.full((len(lists), width), NOTHING, dtype=np.int32)
    filled: NDArray[np.bool_] = np.arange(width) < lengths[:, None]
    out[filled] = [value for each in lists for value in each]
    return out


def _key(name: str) -> tuple[str, str]:
    kind, _, key = name.partition(":")
    return kind, key
