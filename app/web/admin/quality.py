"""`GET /v1/creatives/{id}/quality`: what audiences thought of a creative, and its index."""

from __future__ import annotations

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from app.domain.dismissals import DISMISSALS
from app.domain.refusals import Refused
from app.flows.node import Node
from app.rules.intervals import wilson
from app.web.access import caller_in
from app.web.admin.schemas import answers


class RatesOut(BaseModel):
    """Counts of one creative, or of all. Complaints weigh by their reason, so a rate may pass 1."""

    impressions: int = Field(ge=0)
    complaints: int = Field(ge=0, description="dismissals after an impression, by the weight of their reason")
    complaint_rate: float | None
    clicks: int = Field(ge=0)
    accidental_clicks: int = Field(ge=0)
    accidental_rate: float | None
    accidental_low: float | None = Field(description="95 % interval")
    accidental_high: float | None


class QualityOut(BaseModel):
    """The index multiplies the creative's score in ranking and price; 1 is the mean of all creatives."""

    creative_id: str
    quality: float = Field(ge=0.5, le=2)
    dismissals: dict[str, int] = Field(description="by reason: " + ", ".join(DISMISSALS))
    own: RatesOut
    all: RatesOut | None = Field(description="of all creatives together; null to a key bound to advertisers")


def _rates(counts: dict[str, int]) -> RatesOut:
    clicks, accidents = counts["clicks"], counts["accidental_clicks"]
    low, high = wilson(accidents, clicks)
    shown = counts["impressions"]
    return RatesOut(
        **counts, complaint_rate=counts["complaints"] / shown if shown else None,
        accidental_rate=accidents / clicks if clicks else None, accidental_low=low, accidental_high=high,
    )  # fmt: skip


def quality_router(node: Node) -> APIRouter:
    """Make the route over a node."""
    router = APIRouter(tags=["reports"])

    @router.get("/v1/creatives/{creative_id}/quality", responses=answers(None, 404))
    async def get_quality(request: Request, creative_id: str) -> QualityOut:
        """Tell dismissals by reason, complaint and accidental-click rates, and the index of the last tick."""
        known = node.state.quality.of(creative_id)
        if known is None:
            raise Refused("not_found", "there is no such creative, or none that was ever live")
        bound = caller_in(request.scope).advertiser_ids is not None
        return QualityOut(
            creative_id=creative_id, quality=known["quality"], dismissals=known["dismissals"],
            own=_rates(known["own"]), all=None if bound else _rates(known["all"]),
        )  # fmt: skip

    return router
