"""How good predictions were, over time and by placement: the report's own rows, with an interval."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from app.domain.ids import HOUR_MS
from app.flows.reporting import Asked, report

if TYPE_CHECKING:
    from app.flows.node import Node

LEAST_CLICKS = 30.0  # fewer than that, seen and predicted, say little about a calibration
# What one may look at: hours, and by which part of the time.
SPANS: dict[str, tuple[int, str]] = {
    "hour": (1, "minute"), "day": (24, "hour"), "week": (7 * 24, "hour"),
}  # fmt: skip


class Quality(Struct, frozen=True, kw_only=True):
    """One row. `calibration` is predicted over actual clicks, with its 95 % interval; NE 1 is no skill."""

    name: str
    impressions: int
    clicks: int
    predicted_clicks: float
    calibration: float | None
    calibration_low: float | None
    calibration_high: float | None
    log_loss: float | None
    ne: float | None

    @property
    def thin(self) -> bool:
        """Whether it rests on too few clicks."""
        return self.clicks < LEAST_CLICKS

    @property
    def at_s(self) -> float:
        """The begin of a row of time."""
        return datetime.fromisoformat(self.name).timestamp()


class Qualities(Struct, frozen=True, kw_only=True):
    """Rows in the order of their names, and all of them together."""

    rows: list[Quality]
    whole: Quality


async def qualities(node: Node, by: str, hours: int) -> Qualities:
    """Ask the report for the last hours.

    Cost    of a worker, about six microseconds for each event of the journal.
    Errors  Busy as for a report.
    """
    now_ms = node.now_ms()
    asked = Asked(
        from_ms=now_ms - hours * HOUR_MS, to_ms=now_ms + 1, by=(by,), zone=node.settings.fold.time_zone
    )
    told = msgspec.json.decode(await report(node, asked))
    rows = [quality_of(str(row[by]), row) for row in told["rows"] if row["impressions"]]
    return Qualities(rows=rows, whole=quality_of("", told["totals"]))


def quality_of(name: str, row: dict[str, Any]) -> Quality:
    """Read a report's row; the interval of the calibration is that of the click rate, turned round.

    >>> row = {"impressions": 1000, "clicks": 10, "predicted_clicks": 12.0, "calibration": 1.2,
    ...        "ctr_low": 0.005, "ctr_high": 0.02, "log_loss": 0.05, "ne": 0.9}
    >>> found = quality_of("a", row)
    >>> found.calibration_low, found.calibration_high, found.thin
    (0.6, 2.4, True)
    """
    shown, predicted = row["impressions"], row["predicted_clicks"]
    low, high = row["ctr_low"], row["ctr_high"]
    return Quality(
        name=name, impressions=shown, clicks=row["clicks"], predicted_clicks=predicted,
        calibration=row["calibration"], calibration_low=predicted / (high * shown) if high else None,
        calibration_high=predicted / (low * shown) if low else None, log_loss=row["log_loss"], ne=row["ne"],
    )  # fmt: skip
