"""What a node earned, as points on a line of time: values, and how they are spaced."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from typing import Literal
from zoneinfo import ZoneInfo

from msgspec import Struct

from app.domain.ids import HOUR_MS
from app.flows.tallies import MINUTE_MS

By = Literal["minute", "hour", "day", "month"]


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


@dataclass(slots=True)
class Trends:
    """The trends made lately: what they say, and when they were made."""

    made: dict[By, tuple[float, list[Point]]] = field(default_factory=dict)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


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
            at_ms = start_ms(day.isoformat(), zone)
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
            start_ms(first, zone),
            **{
                name: sum(getattr(each, name) for each in days)
                for name in ("requests", "impressions", "clicks", "spend_micros")
            },
        )
        for first, days in ((first, list(days)) for first, days in groupby(points, month))
    ]


def start_ms(label: str, zone: str) -> int:
    """Read a report's label of time: a date is its midnight in the zone."""
    moment = datetime.fromisoformat(label)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(zone))).timestamp() * 1000)
