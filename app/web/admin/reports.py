"""`GET /v1/reports`: what a stretch of time brought, by hour, day and entity."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Query, Response

from app.domain.ids import DAY_MS
from app.domain.refusals import FieldError
from app.flows.node import Node
from app.flows.reporting import Asked, report
from app.flows.tallies import DIMENSIONS
from app.web.admin.schemas import REPORT, answers
from app.web.catalogue.parsing import refused

_TYPES: dict[str, str] = {"json": "application/json", "csv": "text/csv; charset=utf-8; header=present"}
_EARLIEST, _LATEST = 1970, 2200
Text = str | None


def reports_router(node: Node) -> APIRouter:
    """Make the route over a node."""
    router = APIRouter(tags=["reports"])
    described = answers(REPORT, 200, 422, 503)
    described[200]["content"]["text/csv"] = {"schema": {"type": "string"}}

    @router.get("/v1/reports", response_model=None, responses=described)
    async def get_report(
        start: Annotated[Text, Query(alias="from", description="RFC 3339; default: 24 hours ago")] = None,
        end: Annotated[Text, Query(alias="to", description="RFC 3339, exclusive; default: now")] = None,
        by: Annotated[Text, Query(description="Any of " + ", ".join(DIMENSIONS))] = None,
        form: Annotated[str, Query(alias="format", description="json or csv")] = "json",
    ) -> Response:
        """Add up impressions, clicks, conversions and money, as the fold judged every event."""
        asked = read_query(start, end, by, form, node.now_ms(), node.settings.fold.time_zone)
        return Response(await report(node, asked), headers={"Content-Type": _TYPES[asked.form]})

    return router


def read_query(start: Text, end: Text, by: Text, form: str, now_ms: int, zone: str) -> Asked:
    """Read what is asked. A date alone is its midnight in the node's zone, as is a time without offset.

    Errors  Refused `invalid` with every wrong field.

    >>> asked = read_query("2026-01-01", "2026-01-02T00:00:00+09:00", "day,campaign", "csv", 0, "Asia/Seoul")
    >>> asked.to_ms - asked.from_ms, asked.by
    (86400000, ('day', 'campaign'))
    """
    wrong: list[FieldError] = []
    to_ms = _time("to", end, zone, wrong) if end is not None else now_ms + 1
    from_ms = _time("from", start, zone, wrong) if start is not None else to_ms - DAY_MS
    names = tuple(dict.fromkeys(name.strip() for name in by.split(","))) if by else ()
    unknown = [name for name in names if name not in DIMENSIONS]
    if unknown:
        message = f"{', '.join(unknown)[:100]}: must be any of {', '.join(DIMENSIONS)}"
        wrong.append(FieldError("by", "not_one_of", message))
    kind: Literal["json", "csv"] = "csv" if form == "csv" else "json"
    if form != kind:
        wrong.append(FieldError("format", "not_one_of", "must be json or csv"))
    if not wrong and from_ms > to_ms:
        wrong.append(FieldError("from", "out_of_range", "must not lie after `to`"))
    if wrong:
        raise refused(wrong)
    return Asked(from_ms=from_ms, to_ms=to_ms, by=names, form=kind, zone=zone)


def _time(name: str, text: str, zone: str, wrong: list[FieldError]) -> int:
    # A plus sign in a query is a space when nobody escaped it; no RFC 3339 time has one after its `T`.
    written = text.replace(" ", "+") if "T" in text else text
    try:
        moment: datetime | None = datetime.fromisoformat(written)
    except ValueError:
        moment = None
    if moment is None or not _EARLIEST < moment.year < _LATEST:
        wrong.append(FieldError(name, "not_a_time", f"must be RFC 3339, after {_EARLIEST}, before {_LATEST}"))
        return 0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=ZoneInfo(zone))
    return int(moment.timestamp() * 1000)
