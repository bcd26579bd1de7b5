"""`GET /v1/campaigns/{id}/funnel`: what kept a campaign's ads from winning, in the trade's loss codes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request

from app.domain.decisions import LOSS_CODES, REASONS
from app.domain.ids import ID_PATTERN
from app.domain.refusals import Refused
from app.flows.funnels import funnel
from app.flows.node import Node
from app.web.access import caller_in
from app.web.admin.reports import read_query
from app.web.admin.schemas import FUNNEL, answers

_TIME: dict[str, Any] = {"format": "date-time"}
_FROM = "RFC 3339, or a date; default: 24 hours before `to`"
_TO = "RFC 3339, or a date, exclusive; default: now"
Text = str | None


def funnel_router(node: Node) -> APIRouter:
    """Make the route over a node."""
    router = APIRouter(tags=["reports"])

    @router.get(
        "/v1/campaigns/{id}/funnel", response_model=None, responses=answers(FUNNEL, 200, 404, 422, 503)
    )
    async def get_funnel(
        request: Request,
        identity: Annotated[str, Path(alias="id", pattern=f"^{ID_PATTERN.pattern}$")],
        start: Annotated[Text, Query(alias="from", description=_FROM, json_schema_extra=_TIME)] = None,
        end: Annotated[Text, Query(alias="to", description=_TO, json_schema_extra=_TIME)] = None,
    ) -> dict[str, Any]:
        """Count every ad of the campaign that lost an auction, by what kept it from winning."""
        campaign = node.state.catalogue.get("campaign", identity)
        caller = caller_in(request.scope)
        if campaign is None or not caller.sees(campaign.advertiser_id):  # type: ignore[union-attr] # by its kind
            raise Refused("not_found", f"there is no campaign {identity}")
        asked = read_query(start, end, None, "json", node.now_ms(), node.settings.fold.time_zone)
        losses = await funnel(node, identity, asked.from_ms, asked.to_ms)
        return {
            "campaign_id": identity,
            "from": _written(asked.from_ms),
            "to": _written(asked.to_ms),
            "losses": [
                {"reason": reason, "loss_code": LOSS_CODES.get(reason, 500), "count": count,
                 "why": REASONS.get(reason, "")}
                for reason, count in sorted(losses.items(), key=lambda loss: (-loss[1], loss[0]))
            ],
        }  # fmt: skip

    return router


def _written(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")
