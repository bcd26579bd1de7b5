"""`GET /v1/reports`: what a stretch of time brought, by hour, day and entity."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Query, Request, Response

from app.domain.ids import DAY_MS
from app.domain.refusals import FieldError
from app.flows.node import Node
from app.flows.reporting import Asked, report
from app.flows.tallies import DIMENSIONS
from app.web.access import caller_in
from app.web.admin.schemas import REPORT, answers
from app.web.admin.times import HOW, read_time
from app.web.catalogue.parsing import refused

_TYPES: dict[str, str] = {"json": "application/json", "csv": "text/csv; charset=utf-8; header=present"}
Text = str | None
_FROM = "RFC 3339, or a date; default: 24 hours before `to`"
_TO = "RFC 3339, or a date, exclusive; default: now"
_BY = "Any of " + ", ".join(DIMENSIONS)
_ONE = "(" + "|".join(DIMENSIONS) + ")"
# What a value must look like is told here and checked below, so that a refusal names its field our way.
_TIME: dict[str, Any] = {"format": "date-time"}
_NAMES: dict[str, Any] = {"pattern": f"^({_ONE}(,{_ONE})*)?$"}


def reports_router(node: Node) -> APIRouter:
    """Make the route over a node."""
    router = APIRouter(tags=["reports"])
    described = answers(REPORT, 200, 422, 503)
    described[200]["content"]["text/csv"] = {"schema": {"type": "string"}}

    @router.get("/v1/reports", response_model=None, responses=described)
    async def get_report(
        request: Request,
        start: Annotated[Text, Query(alias="from", description=_FROM, json_schema_extra=_TIME)] = None,
        end: Annotated[Text, Query(alias="to", description=_TO, json_schema_extra=_TIME)] = None,
        by: Annotated[Text, Query(description=_BY, json_schema_extra=_NAMES)] = None,
        form: Annotated[str, Query(alias="format", json_schema_extra={"enum": ["json", "csv"]})] = "json",
    ) -> Response:
        """Add up impressions, clicks, conversions and money, as the fold judged every event."""
        asked = read_query(start, end, by, form, node.now_ms(), node.settings.fold.time_zone)
        bound = caller_in(request.scope).advertiser_ids
        if bound is not None:
            asked = msgspec.structs.replace(asked, advertisers=tuple(sorted(bound)))
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
    try:
        return read_time(text, zone)
    except ValueError:
        wrong.append(FieldError(name, "not_a_time", HOW))
        return 0
