"""Model: how good its predictions are, what it has learned, and what finding out costs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from app.domain.ids import ID_PATTERN
from app.flows.experiments import ArmFigures, Findings, findings
from app.flows.exploring import Explored, Exploring, exploring_of
from app.flows.model_quality import SPANS, Qualities, Quality, qualities
from app.flows.node import Node
from app.flows.reliability import Bucket, Reliability, reliability_of
from app.flows.strongest import COLUMN_KINDS, ROW_FIELDS, StrongCell, strong_cells
from app.web.console.figures import Chart, Column, Interval, Link, Mark, Table
from app.web.console.frame import node_of, page
from app.web.console.pages import ROOT

MODEL = f"{ROOT}/model"
THIN_CLICKS = 5.0  # of a bucket: less than that, predicted and seen, is greyed out
PLACEMENTS_SHOWN = 25
CLICKS_OF_A_POINT = 10


async def model(request: Request) -> Response:
    """Show everything; `?part` asks for one of the parts that take a worker or a while."""
    node, query = node_of(request), request.query_params
    part = query.get("part", "") if query.get("part") in {"quality", "cells"} else ""
    span = query.get("span", "day") if query.get("span") in SPANS else "day"
    told = reliability_of(node, _id(query.get("placement_id")), query.get("variant") or None)
    values: dict[str, Any] = {"over": None, "places": None, "cells": None, "quality": None}
    if part == "quality":
        values |= await _quality(node, span)
    cells_of = query.get("row_field", ""), query.get("column_kind", "")
    if part == "cells":
        values |= await _cells(node, *cells_of)
    compared = _variants(node)
    explored = exploring_of(node)
    return page(
        request, "model.html", live=part or None, part=part, span=span,
        spans=[("hour", "1 hour"), ("day", "24 hours"), ("week", "7 days")], told=told,
        diagram=_diagram(told), counts=_buckets(told), arms=_arms(node),
        variants=[table for _, table in compared], running=[each for each, _ in compared],
        explored=explored, campaigns=_costly(explored), exploring=_explorers(explored),
        loadings=_loadings(node), learner=node.state.settings.learner, row_field=cells_of[0],
        column_kind=cells_of[1], row_fields=[("", "any"), *((each, each) for each in ROW_FIELDS)],
        column_kinds=[("", "any"), *((each, each) for each in COLUMN_KINDS)], **values,
    )  # fmt: skip


def _arms(node: Node) -> list[tuple[str, str]]:
    names = [arm.name for arm in node.state.experiments.arms]
    return [("", "all"), *((name, name) for name in names)] if names else []


def _id(text: str | None) -> str | None:
    return text if text and ID_PATTERN.fullmatch(text) else None


# Reliability.


def _used(told: Reliability) -> list[Bucket]:
    return [bucket for bucket in told.buckets if bucket.predicted_clicks > 0.0]


def _diagram(told: Reliability) -> Chart:
    """Draw what was predicted against what came of it; on the diagonal both are the same."""
    used = _used(told)
    seen = [bucket.observed for bucket in used]
    clear = [bucket.predicted_clicks >= THIN_CLICKS or bucket.clicks >= THIN_CLICKS for bucket in used]
    x = [100.0 * bucket.raw_pctr for bucket in used]

    def of(values: Iterable[float | None]) -> list[float | None]:
        return [100.0 * value if value is not None else None for value in values]

    return Chart(
        id="reliability", title="Reliability", unit="%", x_name="raw pCTR, %", x=x,
        series={
            "clicked": of(rate if ok else None for (rate, _, _), ok in zip(seen, clear, strict=True)),
            "thin": of(None if ok else rate for (rate, _, _), ok in zip(seen, clear, strict=True)),
            "low": of(low for _, low, _ in seen), "high": of(high for _, _, high in seen),
            "calibrated": of(bucket.calibrated_pctr for bucket in used), "as predicted": x,
        },
        bands=[("low", "high")], dashed=["as predicted", "calibrated"], style="points",
    )  # fmt: skip


def _buckets(told: Reliability) -> Table:
    columns = [
        Column("raw pCTR", "percent", "", 3), Column("calibrated", "percent", "", 3),
        Column("clicked", "percent", "", 3), Column("predicted clicks", "number", "", 1),
        Column("clicks", "number", "", 1),
    ]  # fmt: skip
    used, rows = _used(told), []
    for bucket in used:
        rate, low, high = bucket.observed
        clicked = None if rate is None or low is None or high is None else Interval(rate, low, high)
        rows.append(
            [bucket.raw_pctr, bucket.calibrated_pctr, clicked, bucket.predicted_clicks, bucket.clicks]
        )
    thin = frozenset(
        at for at, bucket in enumerate(used) if max(bucket.clicks, bucket.predicted_clicks) < THIN_CLICKS
    )
    return Table(
        id="buckets", title="Predicted and clicked, by raw pCTR", columns=columns, rows=rows, thin=thin,
        why_thin=f"fewer than {THIN_CLICKS:g} clicks",
    )  # fmt: skip


# Quality over time and by placement.


async def _quality(node: Node, span: str) -> dict[str, Any]:
    hours, by = SPANS[span]
    over = await qualities(node, by, hours)
    places = await qualities(node, "placement", hours)
    return {"over": _over(node, over), "places": _places(places), "quality": over.whole}


def _over(node: Node, over: Qualities) -> list[Chart]:
    x = [row.at_s for row in over.rows]
    marks = _marks(node, x[0]) if x else []
    enough = [row.clicks >= CLICKS_OF_A_POINT for row in over.rows]
    loss = [row.log_loss if ok else None for row, ok in zip(over.rows, enough, strict=True)]
    ne = [row.ne if ok else None for row, ok in zip(over.rows, enough, strict=True)]
    calibration = [row.calibration if ok else None for row, ok in zip(over.rows, enough, strict=True)]
    low = [row.calibration_low if ok else None for row, ok in zip(over.rows, enough, strict=True)]
    high = [row.calibration_high if ok else None for row, ok in zip(over.rows, enough, strict=True)]
    return [
        Chart(id="log-loss", title="Log loss", unit="nats an impression", x=x, series={"log loss": loss},
              marks=marks, decimals=4),
        Chart(id="ne", title="Normalised entropy", unit="1 is no skill", x=x, series={"NE": ne}, marks=marks,
              limits={"no skill": 1.0}, decimals=3),
        Chart(id="calibration", title="Calibration", unit="predicted / actual clicks", x=x,
              series={"calibration": calibration, "low": low, "high": high}, bands=[("low", "high")],
              marks=marks, limits={"as predicted": 1.0}, decimals=2),
    ]  # fmt: skip


def _marks(node: Node, from_s: float) -> list[Mark]:
    """Tell what changed the predictions: models loaded, and the stages of experiments."""
    marks = [Mark(each.at_ms / 1000, f"model {each.name[:8]}") for each in node.state.loadings]
    marks += [
        Mark(stage.begun_at_ms / 1000, f"experiment {stage.experiment_id}")
        for stage in node.state.experiments.results.stages
    ]
    return sorted((mark for mark in marks if mark.at_s >= from_s), key=lambda mark: mark.at_s)


def _places(places: Qualities) -> Table:
    """List placements, those farthest from calibrated first among those with enough clicks to tell."""
    columns = [
        Column("placement"), Column("impressions", "number"), Column("predicted clicks", "number", "", 1),
        Column("clicks", "number"), Column("predicted / actual", "number", "", 2),
        Column("log loss", "number", "", 4), Column("NE", "number", "", 3),
    ]  # fmt: skip
    rows = sorted(places.rows, key=lambda row: (row.thin, -_distance(row), row.name))[:PLACEMENTS_SHOWN]
    cells: list[list[Any]] = [
        [
            _place(row.name), row.impressions, row.predicted_clicks, row.clicks, _interval(row),
            row.log_loss, row.ne,
        ]
        for row in rows
    ]  # fmt: skip
    return Table(
        id="placements", title="Calibration by placement, the farthest off first", columns=columns,
        rows=cells, thin=frozenset(at for at, row in enumerate(rows) if row.thin),
        why_thin="fewer than 30 clicks",
    )  # fmt: skip


def _place(name: str) -> Link | str:
    return Link(name, f"{MODEL}?placement_id={name}") if ID_PATTERN.fullmatch(name) else name


def _distance(row: Quality) -> float:
    """Say how far a calibration lies from 1, in either direction."""
    return max(row.calibration, 1.0 / row.calibration) if row.calibration else 0.0


def _interval(row: Quality) -> Interval | float | None:
    low, high = row.calibration_low, row.calibration_high
    if row.calibration is None or low is None or high is None:
        return row.calibration
    return Interval(row.calibration, low, high)


# What was learned.


async def _cells(node: Node, row_field: str, column_kind: str) -> dict[str, Any]:
    field = row_field if row_field in ROW_FIELDS else None
    kind = column_kind if column_kind in COLUMN_KINDS else None
    found = await strong_cells(node, row_field=field, column_kind=kind)
    return {
        "cells": [
            _strong("rows", "Of the request alone", found.rows),
            _strong("columns", "Of the ad alone", found.columns),
            _strong("crosses", "Where both meet", found.crosses),
        ]
    }


def _strong(key: str, title: str, cells: list[StrongCell]) -> Table:
    columns = [Column("weight", "number", "", 3), Column("learned from", "number", "", 1)]
    named: list[Column] = []
    if key != "columns":
        named.append(Column("request"))
    if key != "rows":
        named += [Column("ad"), Column("known as")]
    rows: list[list[Any]] = []
    for cell in cells:
        name: list[Any] = [] if key == "columns" else [cell.row]
        name += [] if key == "rows" else [cell.column, cell.label]
        rows.append([*name, Interval(cell.weight, cell.low, cell.high), cell.n])
    return Table(
        id=f"strongest-{key}", title=title, columns=[*named, *columns], rows=rows,
        thin=frozenset(at for at, cell in enumerate(cells) if cell.thin), why_thin="its interval holds 0",
        empty="Nothing learned yet.",
    )  # fmt: skip


def _loadings(node: Node) -> Table:
    columns = [Column("loaded", "time"), Column("model"), Column("position", "number")]
    rows: list[list[Any]] = [
        [one.at_ms, one.name[:16], one.position] for one in reversed(node.state.loadings)
    ]
    return Table(id="models", title="Models loaded", columns=columns, rows=rows, empty="No model was loaded.")


# Variants and exploration.


def _variants(node: Node) -> list[tuple[Findings, Table]]:
    """Compare the arms of the experiments that run."""
    things = node.state.catalogue.things["experiment"].values()
    found = [findings(node, each.id) for each in things if getattr(each, "runs", False)]
    return [(each, _variant_table(each)) for each in found]


def _variant_table(found: Findings) -> Table:
    columns = [
        Column("arm"), Column("impressions", "number"), Column("log loss", "number", "", 4),
        Column("against control", "number", "", 5), Column("predicted / actual", "number", "", 3),
        Column("own model against default's", "number", "", 5), Column("verdict"),
    ]  # fmt: skip
    rows = [_variant(arm) for arm in found.arms]
    return Table(
        id=f"variants-{found.experiment.id}", title=f"Experiment {found.experiment.id}", columns=columns,
        rows=rows,
    )  # fmt: skip


def _variant(arm: ArmFigures) -> list[Any]:
    def told(value: float | None, low: float | None, high: float | None) -> Interval | float | None:
        return value if value is None or low is None or high is None else Interval(value, low, high)

    loss, calibration = arm.metrics["log_loss"], arm.metrics["calibration"]
    own = arm.model.difference if arm.model else None
    return [
        arm.name, round(arm.sums["impressions"]), told(loss.value, loss.low, loss.high),
        told(loss.difference, loss.difference_low, loss.difference_high),
        told(calibration.value, calibration.low, calibration.high),
        told(own.value, own.low, own.high) if own else None,
        _better((own.verdict if own else loss.verdict) or ""),
    ]  # fmt: skip


def _better(verdict: str) -> str:
    return {"lower": "better", "higher": "worse"}.get(verdict, verdict)


def _explorers(explored: Exploring) -> Table:
    return _explored_table("exploring", "The node, and arms that explore by themselves",
                           [explored.node, *explored.arms])  # fmt: skip


def _costly(explored: Exploring) -> Table:
    return _explored_table("exploring-campaigns", "The campaigns whose exploring costs most",
                           explored.campaigns)  # fmt: skip


def _explored_table(key: str, title: str, rows: list[Explored]) -> Table:
    columns = [
        Column("whose"), Column("cost", "percent", "", 2), Column("ceiling", "percent"),
        Column("turned down to", "percent"), Column("scale", "number"),
    ]  # fmt: skip
    cells: list[list[Any]] = [[row.name, row.cost, row.ceiling, row.factor, row.scale] for row in rows]
    return Table(
        id=key, title=title, columns=columns, rows=cells, empty="No campaign's exploring costs anything."
    )
