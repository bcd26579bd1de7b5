"""What a node earned, by minute, hour, day or month, with the marks of what changed: the picture of a trend.

The numbers are a report's, made in a worker and kept for a while, so that many who look cost one who asks.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import groupby
from typing import TYPE_CHECKING, Literal
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Struct

from app.domain.ids import DAY_MS, HOUR_MS
from app.domain.money import to_micros
from app.flows.reporting import Asked, report
from app.flows.tallies import MINUTE_MS
from app.state.changes import Change

if TYPE_CHECKING:
    from app.flows.node import Node

By = Literal["minute", "hour", "day", "month"]
# How far back each goes, by which rows of a report, and for how long an answer will do.
_BACK_MS: dict[By, int] = {"minute": HOUR_MS, "hour": 3 * DAY_MS, "day": 90 * DAY_MS, "month": 730 * DAY_MS}
_KEPT_S: dict[By, float] = {"minute": 10.0, "hour": 60.0, "day": 60.0, "month": 300.0}


class Point(Struct, frozen=True):
    """One minute, hour, day or month, by its beginning. Units: ms, micros."""

    at_ms: int
    requests: int = 0
    impressions: int = 0
    clicks: int = 0
    spend_micros: int = 0

    @property
    def ecpm_micros(self) -> float | None:
        """What 1,000 impressions brought."""
        return 1000 * self.spend_micros / self.impressions if self.impressions else None


class Trend(Struct, frozen=True):
    """The points, oldest first, and what changed while they lasted."""

    by: By
    points: list[Point]
    changes: list[Change]


@dataclass(slots=True)
class Trends:
    """The trends made lately: what they say, and when they were made."""

    made: dict[By, tuple[float, list[Point]]] = field(default_factory=dict)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


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
            _start_ms(getattr(row, rows_by), zone), row.requests, row.impressions, row.clicks,
            to_micros(row.spend),
        )
        for row in _read(await report(node, asked)).rows
    ]  # fmt: skip
    return by_month(points, zone) if by == "month" else with_gaps(points, by, zone)


def with_gaps(points: list[Point], by: By, zone: str) -> list[Point]:
    """Put in the minutes, hours or days between in which nothing happened: a picture is not to bridge them.

    >>> [each.at_ms for each in with_gaps([Point(0), Point(180_000)], "minute", "UTC")]
    [0, 60000, 120000, 180000]
    """
    if not points:
        return points
    told = {each.at_ms: each for each in points}
    at_ms = points[0].at_ms
    while at_ms < points[-1].at_ms:
        told.setdefault(at_ms, Point(at_ms))
        if by == "day":  # of 23 to 25 hours
            day = datetime.fromtimestamp(at_ms / 1000, ZoneInfo(zone)).date() + timedelta(days=1)
            at_ms = _start_ms(day.isoformat(), zone)
        else:
            at_ms += HOUR_MS if by == "hour" else MINUTE_MS
    return [told[each] for each in sorted(told)]


def by_month(points: list[Point], zone: str) -> list[Point]:
    """Add days up to months of a zone.

    >>> by_month([Point(0, 1), Point(86_400_000, 2), Point(31 * 86_400_000, 4)], "UTC")
    [Point(at_ms=0, requests=3, impressions=0, clicks=0, spend_micros=0), \
Point(at_ms=2678400000, requests=4, impressions=0, clicks=0, spend_micros=0)]
    """

    def month(point: Point) -> str:
        return datetime.fromtimestamp(point.at_ms / 1000, ZoneInfo(zone)).strftime("%Y-%m-01")

    return [
        Point(
            _start_ms(first, zone),
            **{
                name: sum(getattr(each, name) for each in days)
                for name in ("requests", "impressions", "clicks", "spend_micros")
            },
        )
        for first, days in ((first, list(days)) for first, days in groupby(points, month))
    ]


def _start_ms(label: str, zone: str) -> int:
    """Read a report's label of time: a date is its midnight in the zone."""
    moment = datetime.fromisoformat(label)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(zone))).timestamp() * 1000)
