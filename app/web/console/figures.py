"""Charts and tables as values: the same numbers become a picture, a table and CSV. No HTTP, no HTML here."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

import msgspec
from msgspec import Struct

from app.domain.money import to_decimal
from app.flows.reporting import plain_cell

Kind = Literal["text", "number", "money", "percent", "time"]
INLINE_ROWS = 60  # a longer table of a chart is fetched when it is opened


class Link(Struct, frozen=True):
    """A cell that leads somewhere."""

    text: str
    href: str


class Interval(Struct, frozen=True):
    """A cell with its 95 % interval, all three in the column's kind. Table: `1.5 % (1.2-1.8)`; CSV: three."""

    value: float
    low: float
    high: float


Cell = str | float | int | None | Link | Interval


class Column(Struct, frozen=True):
    """A column: what it is called, what it holds, and in which unit.

    Units   money in micros, percent as a share of 1, time in ms since 1970.
    """

    name: str
    kind: Kind = "text"
    unit: str = ""
    decimals: int | None = None


class Table(Struct, frozen=True, kw_only=True):
    """Rows under columns. `thin` are the numbers of rows that rest on too little data, `why_thin` says so."""

    id: str
    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    thin: frozenset[int] = frozenset()
    why_thin: str = "thin data"
    empty: str = "Nothing yet."

    def csv(self) -> bytes:
        """Write CSV (RFC 4180): amounts in the account currency, shares of 1, times in UTC.

        >>> columns = [Column("day"), Column("spend", "money")]
        >>> Table(id="spend", title="Spend", columns=columns, rows=[["1", 1_500_000]]).csv()
        b'day,spend\\r\\n1,1.5\\r\\n'
        """
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        ranged = [any(isinstance(row[at], Interval) for row in self.rows) for at in range(len(self.columns))]
        writer.writerow([name for at, each in enumerate(self.columns) for name in _names(each, ranged[at])])
        for row in self.rows:
            cells = zip(row, self.columns, ranged, strict=True)
            writer.writerow([out for cell, column, wide in cells for out in _plain(cell, column, wide)])
        return text.getvalue().encode()


class Mark(Struct, frozen=True):
    """Something that happened at a time (seconds since 1970), drawn as a line through a chart."""

    at_s: float
    label: str


class Chart(Struct, frozen=True, kw_only=True):
    """Series over time, or over another number (`x_name` says which then).

    Shape   every series has the length of `x`; None leaves a gap.
    Units   `x` in seconds since 1970 where `x_name` is "time"; series in `unit`.
    """

    id: str
    title: str
    unit: str
    x: Sequence[float]
    series: dict[str, Sequence[float | None]]
    x_name: str = "time"
    marks: Sequence[Mark] = ()
    limits: dict[str, float] = {}  # horizontal lines, by what they mean
    bands: Sequence[tuple[str, str]] = ()  # pairs of series (low, high) with the room between them tinted
    style: Literal["line", "bars", "points", "steps"] = "line"
    dashed: Sequence[str] = ()  # series that are plans, not facts
    zone: str | None = None  # None: the viewer's
    decimals: int | None = None

    @property
    def is_long(self) -> bool:
        """Say whether its table is fetched only when somebody opens it."""
        return len(self.x) > INLINE_ROWS

    def json(self) -> str:
        """Write it for the script that draws it."""
        return msgspec.json.encode(self).decode()

    def table(self) -> Table:
        """Tell the same numbers as rows, newest last, with what was marked between two rows."""
        of_time = self.x_name == "time"
        columns = [Column(self.x_name, "time" if of_time else "number")]
        columns += [Column(name, "number", self.unit, self.decimals) for name in self.series]
        rows: list[list[Cell]] = [
            [x * 1000 if of_time else x, *cells]
            for x, *cells in zip(self.x, *self.series.values(), strict=True)
        ]
        if self.marks:
            columns.append(Column("what changed"))
            for at, row in enumerate(rows):
                until = self.x[at + 1] if at + 1 < len(self.x) else float("inf")
                row.append("; ".join(each.label for each in self.marks if self.x[at] <= each.at_s < until))
        return Table(id=self.id, title=self.title, columns=columns, rows=rows)


def _names(column: Column, ranged: bool) -> list[str]:
    return [column.name, f"{column.name}_low", f"{column.name}_high"] if ranged else [column.name]


def _plain(cell: Cell, column: Column, ranged: bool) -> list[str | float | int]:
    if isinstance(cell, Interval):
        return [_one(part, column) for part in (cell.value, cell.low, cell.high)]
    if isinstance(cell, Link):
        cell = cell.text
    return [_one(cell, column), *(["", ""] if ranged else [])]


def _one(cell: str | float | None, column: Column) -> str | float | int:
    if cell is None:
        return ""
    if isinstance(cell, str):
        return plain_cell(cell)
    match column.kind:
        case "money":
            return str(to_decimal(round(cell)))
        case "time":
            return datetime.fromtimestamp(cell / 1000, UTC).isoformat(timespec="seconds")
        case _:
            return cell
