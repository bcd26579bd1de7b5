"""`/console/placements`: what each placement was asked for and showed; one's prices and creatives.

Fill is impressions per request. What auctions paid comes from the latest kept decisions.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from app.domain.decisions import REASONS
from app.flows.campaigns import Row
from app.flows.catalogue import find
from app.flows.placements import PlacementDay, PlacementRow, placement_day, placement_list
from app.rules.intervals import wilson
from app.web.console.campaign import later_of
from app.web.console.figures import Cell, Chart, Column, Interval, Link, Table
from app.web.console.frame import caller_of, node_of, page
from app.web.console.later import WAIT_S
from app.web.console.measures import WHY_THIN, is_thin, micros, rate, share
from app.web.console.pages import ROOT

PATH = f"{ROOT}/placements"
SPANS = (("24", "24 hours"), ("168", "7 days"))
MOST_ROWS = 1_000


async def placements(request: Request) -> Response:
    """List placements, those with most impressions first."""
    node, caller = node_of(request), caller_of(request)
    hours, text = hours_of(request), request.query_params.get("q", "")[:100]
    table = None
    if caller.may("reports"):
        rows = await later_of(request).get(
            ("placements", caller.advertiser_ids, hours, text),
            lambda: placement_list(node, caller, hours, text),
            wait_of(request, "list"),
        )
        table = list_table(rows) if rows is not None else None
    return page(
        request, "placements.html", live="list", table=table, text=text, hours=str(hours), spans=SPANS,
        reads=caller.may("reports"), bound=caller.advertiser_ids is not None,
    )  # fmt: skip


async def placement(request: Request) -> Response:
    """Show one placement."""
    node, caller, identity = node_of(request), caller_of(request), request.path_params["id"]
    stored, hours, reads = find(node, "placement", identity, caller), hours_of(request), caller.may("reports")
    day: PlacementDay | None = None
    if reads:
        day = await later_of(request).get(
            ("placement", identity, hours), lambda: placement_day(node, caller, identity, hours),
            wait_of(request, "day"),
        )  # fmt: skip
    values: dict[str, Any] = {"charts": [], "creatives": None, "unfilled": None}
    if day is not None:
        zone = node.settings.fold.time_zone
        values["charts"] = [
            prices_chart(day, node.settings.currency),
            fill_chart(day, zone),
            invalid_chart(day, zone),
        ]
        values |= {"creatives": creatives_table(day), "unfilled": unfilled_table(day)}
    return page(
        request, "placement.html", live="day", placement=stored.thing, revision=stored.revision, day=day,
        reads=reads, hours=str(hours), spans=SPANS, **values, figures=figures_of(day) if day else {},
    )  # fmt: skip


def hours_of(request: Request) -> int:
    """Read how far back a page looks."""
    asked = request.query_params.get("hours", "24")
    return int(asked) if asked in dict(SPANS) else 24


def wait_of(request: Request, part: str) -> float | None:
    """Say how long to wait for a part of a page; for what was asked for by itself, as long as it takes."""
    query = request.query_params
    whole = "csv" in query or "table" in query or query.get("part") == part
    return None if whole else WAIT_S


def list_table(rows: list[PlacementRow]) -> Table:
    """Lay out the list."""
    columns = [
        Column("placement"), Column("id"), Column("publisher"), Column("requests", "number"),
        Column("impressions", "number"), Column("fill", "percent"), Column("CTR", "percent"),
        Column("floor CPM", "money"), Column("eCPM", "money"), Column("spend", "money"),
        Column("invalid", "percent"),
    ]  # fmt: skip
    return Table(
        id="placements", title="Placements", columns=columns,
        rows=[_list_row(row) for row in rows[:MOST_ROWS]],
        thin=frozenset(at for at, row in enumerate(rows) if is_thin(row.measures)), why_thin=WHY_THIN,
        empty="No placement fits.",
    )  # fmt: skip


def _list_row(row: PlacementRow) -> list[Cell]:
    own, told = row.placement, row.measures
    name: Cell = row.id if own is None else Link(own.name or own.id, f"{PATH}/{own.id}")
    floor = own.floor_micros if own is not None else None
    if told is None:
        return [name, row.id, row.publisher, 0, 0, None, None, floor, None, 0, None]
    return [
        name, row.id, row.publisher, told["requests"], told["impressions"],
        share(told["impressions"], told["requests"]), rate(told, "ctr"), floor, micros(told["ecpm"]),
        micros(told["spend"]), invalid_share(told),
    ]  # fmt: skip


def invalid_share(row: Row) -> float | None:
    """Tell which share of all events of a report's row was found invalid."""
    gross = sum(row[f"gross_{kind}"] for kind in ("impressions", "clicks", "conversions"))
    net = sum(row[f"net_{kind}"] for kind in ("impressions", "clicks", "conversions"))
    return share(gross - net, gross)


def figures_of(day: PlacementDay) -> dict[str, Any]:
    """Gather the numbers of the first look; what was answered comes with its interval."""
    prices, total = day.prices, day.total
    low, high = wilson(prices.filled, prices.asked)
    answered = share(prices.filled, prices.asked)
    return {
        "fill": share(total["impressions"], total["requests"]), "answered": answered,
        "low": low, "high": high,
        "at_floor": share(prices.at_floor, prices.wins), "ecpm": micros(total["ecpm"]),
        "invalid": invalid_share(total), "ctr": rate(total, "ctr"), "spend": micros(total["spend"]),
    }  # fmt: skip


def prices_chart(day: PlacementDay, currency: str) -> Chart:
    """Draw what winners paid against the floor: the middle of the prices, and where most of them lie."""
    paid = day.prices.paid
    return Chart(
        id="prices", title="Prices paid and the floor", unit=f"{currency} per 1,000",
        x=[each.at_ms / 1000 for each in paid],
        series={
            "median paid": [each.median / 1e6 for each in paid],
            "tenth percentile": [each.low / 1e6 for each in paid],
            "ninetieth percentile": [each.high / 1e6 for each in paid],
            "floor": [each.floor / 1e6 for each in paid],
        },
        bands=[("tenth percentile", "ninetieth percentile")], dashed=["floor"], decimals=0,
    )  # fmt: skip


def fill_chart(day: PlacementDay, zone: str) -> Chart:
    """Draw impressions and requests by the hour."""
    return Chart(
        id="fill", title="Requests and impressions by the hour", unit="", x=hours_axis(day.hours),
        series={
            "requests": [row["requests"] for row in day.hours],
            "impressions": [row["impressions"] for row in day.hours],
        },
        style="steps", zone=zone, decimals=0,
    )  # fmt: skip


def invalid_chart(day: PlacementDay, zone: str) -> Chart:
    """Draw which share of its events was invalid, by the hour."""
    shares = [invalid_share(row) for row in day.hours]
    return Chart(
        id="invalid", title="Invalid events by the hour", unit="%", x=hours_axis(day.hours),
        series={"invalid": [None if each is None else each * 100 for each in shares]}, style="steps",
        zone=zone, decimals=1,
    )  # fmt: skip


def hours_axis(rows: list[Row]) -> list[float]:
    """Read a report's hours as an axis, in seconds."""
    return [datetime.fromisoformat(row["hour"]).timestamp() for row in rows]


def creatives_table(day: PlacementDay) -> Table:
    """Lay out what each creative did here."""
    columns = [
        Column("creative"), Column("known as"), Column("impressions", "number"),
        Column("clicks", "number"), Column("CTR", "percent"),
        Column("predicted / actual clicks", "number", "", 2), Column("eCPM", "money"),
        Column("spend", "money"),
    ]  # fmt: skip
    rows: list[list[Cell]] = [
        [
            *_creative(row["creative"], day.known), row["impressions"], row["clicks"], rate(row, "ctr"),
            None if row["calibration"] is None else float(row["calibration"]), micros(row["ecpm"]),
            micros(row["spend"]),
        ]
        for row in day.creatives
    ]  # fmt: skip
    return Table(
        id="creatives", title="CTR by creative", columns=columns, rows=rows, why_thin=WHY_THIN,
        thin=frozenset(at for at, row in enumerate(day.creatives) if is_thin(row)),
        empty="No ad was shown here.",
    )  # fmt: skip


def _creative(identity: str, known: dict[str, tuple[str, str]]) -> list[Cell]:
    if identity not in known:
        return [identity, ""]
    name, campaign = known[identity]
    return [Link(identity, f"{ROOT}/campaigns/{campaign}/creatives/{identity}"), name]


def unfilled_table(day: PlacementDay) -> Table:
    """Lay out why requests went without an ad."""
    rows: list[list[Cell]] = []
    for code, count in day.prices.none.items():
        low, high = wilson(count, day.prices.asked)
        assert low is not None
        assert high is not None
        told = REASONS.get(code, "the placement is not known" if code == "unknown_placement" else "")
        rows.append([code, told, count, Interval(count / day.prices.asked, low, high)])
    columns = [
        Column("reason"),
        Column("what it means"),
        Column("decisions", "number"),
        Column("share", "percent"),
    ]
    return Table(
        id="unfilled",
        title="Why there was no ad",
        columns=columns,
        rows=rows,
        empty="Every request got an ad.",
    )
