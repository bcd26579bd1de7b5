"""`/console/overview`: is it well, and what does it bring? Answers by itself every two seconds.

`/console/overview/trend` is its picture: eCPM by minute, hour, day or month, with what changed marked.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from app.domain.money import MICROS
from app.domain.refusals import Refused
from app.flows.points import By
from app.flows.telemetry import Stretch
from app.flows.trend import Trend, trend_of
from app.web.console.figures import Chart, Column, Mark, Table
from app.web.console.frame import node_of, page

STEP_S = 5
NOW_S = 60
LATELY_S = 900
FEW_IMPRESSIONS = 1_000  # of fewer, an eCPM says little
AIM_MS, MOST_MS = 40.0, 100.0
_SHARES = (("p50", 0.5), ("p99", 0.99))
BY: tuple[tuple[By, str], ...] = (
    ("minute", "Last hour"), ("hour", "Last 3 days"), ("day", "Last 90 days"), ("month", "By month"),
)  # fmt: skip


async def overview(request: Request) -> Response:
    """Show the node's last minutes."""
    telemetry = node_of(request).telemetry
    return page(
        request, "overview.html", live="now", charts=_charts(telemetry.steps(STEP_S)),
        now=telemetry.lately(NOW_S), lately=telemetry.lately(LATELY_S), aim_ms=AIM_MS, most_ms=MOST_MS,
        few=FEW_IMPRESSIONS, silent=sorted(node_of(request).state.silence.silent()),
    )  # fmt: skip


async def trend(request: Request) -> Response:
    """Show what the node earned, and what changed meanwhile."""
    by = request.query_params.get("by", "hour")
    found = next((name for name, _ in BY if name == by), None)
    if found is None:
        raise Refused("invalid", "by is minute, hour, day or month", "by")
    told = await trend_of(node_of(request), found)
    currency = node_of(request).settings.currency
    return page(
        request, "trend.html", live="picture", by=found, choices=BY, charts=_pictures(told, currency),
        numbers=_numbers(told), changes=_changes(told), few=FEW_IMPRESSIONS,
    )  # fmt: skip


def _charts(steps: list[Stretch]) -> list[Chart]:
    """Draw the last quarter of an hour."""
    x = [step.at_ms / 1000 for step in steps]
    return [
        Chart(
            id="rate", title="Ad requests", unit="a second", x=x,
            series={
                "requests": [step.requests_per_s for step in steps],
                "with an ad": [step.filled / step.took_s for step in steps],
            },
        ),
        Chart(
            id="latency", title="Time to answer ad requests", unit="ms", x=x,
            series={name: [step.answered_ms(share) for step in steps] for name, share in _SHARES},
            limits={"40 ms": AIM_MS, "100 ms": MOST_MS},
        ),
        Chart(
            id="visible", title="From an event to its effect on decisions", unit="ms", x=x,
            series={name: [step.visible_ms(share) for step in steps] for name, share in _SHARES},
            limits={"100 ms": MOST_MS},
        ),
        Chart(
            id="invalid", title="Invalid traffic", unit="% of events", x=x,
            series={"invalid": [100 * step.invalid / step.events if step.events else None for step in steps]},
        ),
    ]  # fmt: skip


def _pictures(told: Trend, currency: str) -> list[Chart]:
    """Draw eCPM with the marks of what changed, and revenue under it."""
    x = [point.at_ms / 1000 for point in told.points]
    marks = [Mark(change.at_ms / 1000, change.label) for change in told.changes]
    ecpm = [None if point.ecpm_micros is None else point.ecpm_micros / MICROS for point in told.points]
    return [
        Chart(id="ecpm", title="eCPM", unit=currency, x=x, series={"eCPM": ecpm}, marks=marks),
        Chart(
            id="revenue", title="Revenue", unit=f"{currency} per {told.by}", x=x, style="bars",
            series={"revenue": [point.spend_micros / MICROS for point in told.points]},
        ),
    ]  # fmt: skip


def _numbers(told: Trend) -> Table:
    """Tell the same as rows, newest first."""
    points = told.points[::-1]
    return Table(
        id="trend", title="In numbers",
        columns=[
            Column(f"{told.by} from", "time"), Column("requests", "number"), Column("impressions", "number"),
            Column("clicks", "number"), Column("revenue", "money"), Column("eCPM", "money"),
        ],
        rows=[
            [each.at_ms, each.requests, each.impressions, each.clicks, each.spend_micros, each.ecpm_micros]
            for each in points
        ],
        thin=frozenset(at for at, each in enumerate(points) if each.impressions < FEW_IMPRESSIONS),
        why_thin=f"Fewer than {FEW_IMPRESSIONS:,} impressions: its eCPM says little",
    )  # fmt: skip


def _changes(told: Trend) -> Table:
    """List what changed, newest first."""
    return Table(
        id="changes", title="What changed", columns=[Column("at", "time"), Column("what")],
        rows=[[change.at_ms, change.label] for change in told.changes[::-1]],
        empty="Nothing changed in this time.",
    )  # fmt: skip
