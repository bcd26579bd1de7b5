"""`GET /v1/attribution`: which touches earned the archived conversions, by several rules side by side."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response

from app.domain.ids import DAY_MS
from app.flows.attributing import AttributionAsked, attribution
from app.flows.node import Node
from app.rules.attribution import HALF_LIFE_H
from app.web.access import caller_in
from app.web.admin.reports import read_query
from app.web.admin.schemas import ATTRIBUTION, answers

SPAN_MS = 30 * DAY_MS
_FROM = "RFC 3339, or a date; default: 30 days before `to`"
_TO = "RFC 3339, or a date, exclusive; default: now"
_TIME: dict[str, Any] = {"format": "date-time"}


def attribution_router(node: Node) -> APIRouter:
    """Make the route over a node."""
    router = APIRouter(tags=["reports"])

    @router.get("/v1/attribution", response_model=None, responses=answers(ATTRIBUTION, 200, 422, 503))
    async def get_attribution(
        request: Request,
        start: Annotated[str | None, Query(alias="from", description=_FROM, json_schema_extra=_TIME)] = None,
        end: Annotated[str | None, Query(alias="to", description=_TO, json_schema_extra=_TIME)] = None,
        by: Annotated[Literal["campaign", "creative"], Query()] = "campaign",
        touches: Annotated[
            Literal["all", "clicks"], Query(description="clicks: views count where nothing was clicked")
        ] = "all",
        half_life_h: Annotated[float, Query(gt=0, le=8_760, description="Of `time_decay`")] = HALF_LIFE_H,
    ) -> Response:
        """Share each archived conversion out among the touches before it. Credits sum to the conversions."""
        span = read_query(start, end, None, "json", node.now_ms(), node.settings.fold.time_zone)
        bound = caller_in(request.scope).advertiser_ids
        asked = AttributionAsked(
            from_ms=span.from_ms if start is not None else max(0, span.to_ms - SPAN_MS),
            to_ms=span.to_ms,
            by=by,
            touches=touches,
            half_life_h=half_life_h,
            advertisers=None if bound is None else tuple(sorted(bound)),
        )
        return Response(await attribution(node, asked), media_type="application/json")

    return router
