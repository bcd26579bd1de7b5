"""From a report's row to the cells of a table: rates with their intervals, money in micros, what is thin."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from app.domain.money import MICROS
from app.web.console.figures import Interval

# A rate of fewer than these is shown, and greyed out: at 1 % its interval is as wide as itself.
THIN_IMPRESSIONS = 1_000
WHY_THIN = f"under {THIN_IMPRESSIONS:,} impressions: the rates may be anything in their intervals"
Row = Mapping[str, Any]
Line = Sequence[tuple[int, float]]


def rate(row: Row | None, name: str) -> Interval | None:
    """Read a rate with its 95 % interval (`ctr`, `cvr`); None where nothing was tried.

    >>> rate({"ctr": Decimal("0.5"), "ctr_low": 0.2, "ctr_high": 0.8}, "ctr")
    Interval(value=0.5, low=0.2, high=0.8)
    """
    if row is None or row[name] is None:
        return None
    return Interval(float(row[name]), float(row[f"{name}_low"]), float(row[f"{name}_high"]))


def micros(amount: Decimal | int | None) -> int | None:
    """Turn a report's amount back into micros.

    >>> micros(Decimal("1.5")), micros(None)
    (1500000, None)
    """
    return None if amount is None else int(Decimal(amount) * MICROS)


def share(part: int, whole: int | None) -> float | None:
    """Tell a share, where there is a whole.

    >>> share(1, 4), share(1, 0), share(1, None)
    (0.25, None, None)
    """
    return part / whole if whole else None


def is_thin(row: Row | None) -> bool:
    """Say whether a row's rates rest on too little."""
    return row is None or row["impressions"] < THIN_IMPRESSIONS


def aligned(lines: Mapping[str, Line]) -> tuple[list[float], dict[str, Sequence[float | None]]]:
    """Put lines with points of their own over one axis: between two of its points a line is straight.

    Units   points are (ms, micros); the axis is in seconds, values in the account currency.

    >>> aligned({"a": [(0, 0), (2_000, 2_000_000)], "b": [(1_000, 5_000_000)]})
    ([0.0, 1.0, 2.0], {'a': [0.0, 1.0, 2.0], 'b': [None, 5.0, None]})
    """
    times = sorted({at_ms for line in lines.values() for at_ms, _ in line})
    return [at_ms / 1000 for at_ms in times], {
        name: [_at(line, at_ms) for at_ms in times] for name, line in lines.items()
    }


def _at(line: Line, at_ms: int) -> float | None:
    if not line or not line[0][0] <= at_ms <= line[-1][0]:
        return None
    after = bisect_right(line, at_ms, key=lambda point: point[0])
    (began_ms, low), (end_ms, high) = line[after - 1], line[min(after, len(line) - 1)]
    gone = (at_ms - began_ms) / (end_ms - began_ms) if end_ms > began_ms else 0.0
    return (low + (high - low) * gone) / MICROS
