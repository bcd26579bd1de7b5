"""What a node earned, by minute, hour, day or month, with the marks of what changed: the picture of a trend.

The numbers are a report's, made in a worker and kept for a while, so that many who look cost one who asks.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec
from msgspec import Struct

from app.domain.ids import DAY_MS, HOUR_MS
from app.domain.money import to_micros
from app.flows.node import Node
from app.flows.points import By, Point, by_month, start_ms, with_gaps
from app.flows.reporting import Asked, report
from app.state.changes import Change

# How far back each goes, by which rows of a report, and for how long an answer will do.
_BACK_MS: dict[By, int] = {"minute": HOUR_MS, "hour": 3 * DAY_MS, "day": 90 * DAY_MS, "month": 730 * DAY_MS}
_KEPT_S: dict[By, float] = {"minute": 10.0, "hour": 60.0, "day": 60.0, "month": 300.0}


class Trend(Struct, frozen=True):
    """The points, oldest first, and what changed while they lasted."""

    by: By
    points: list[Point]
    changes: list[Change]


class _Row(Struct):
    requests: int
    impressions: int
    clicks: int
    spend: Decimal
    minute: str = ""
    hour: str = ""
    day: str = ""


class _Report(Struct):
    rows: list[_Row]


_read = msgspec.json.Decoder(_Report).decode


async def trend_of(node: Node, by: By) -> Trend:
    """Tell what the node earned, up to now or a little before.

    Cost    of a report, in a worker, at most once in 10 s to 5 minutes.
    Errors  Busy, as a report.
    """
    trends, now_ms = node.trends, node.now_ms()
    async with trends.lock:
        made = trends.made.get(by)
        if made is None or not 0 <= now_ms / 1000 - made[0] < _KEPT_S[by]:
            made = trends.made[by] = (now_ms / 1000, await _points(node, by, now_ms))
    points = made[1]
    first_ms = points[0].at_ms if points else now_ms
    return Trend(by, points, [one for one in node.state.changes.kept if one.at_ms >= first_ms])


async def _points(node: Node, by: By, now_ms: int) -> list[Point]:
    rows_by = "day" if by == "month" else by
    zone = node.settings.fold.time_zone
    asked = Asked(from_ms=max(0, now_ms - _BACK_MS[by]), to_ms=now_ms + 1, by=(rows_by,), zone=zone)
    points = [
        Point(
            start_ms(getattr(row, rows_by), zone), row.requests, row.impressions, row.clicks,
            to_micros(row.spend),
        )
        for row in _read(await report(node, asked)).rows
    ]  # fmt: skip
    return by_month(points, zone) if by == "month" else with_gaps(points, by, zone)
