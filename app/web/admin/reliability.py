"""`GET /v1/reliability`: what was predicted and what came of it, bucket by bucket, and the curve between."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query

from app.domain.ids import ID_PATTERN
from app.flows.node import Node
from app.flows.reliability import reliability_of
from app.web.admin.schemas import RELIABILITY, answers


def reliability_router(node: Node) -> APIRouter:
    """Make the route over a node."""
    router = APIRouter(tags=["reports"])

    @router.get("/v1/reliability", response_model=None, responses=answers(RELIABILITY, 200, 404, 422))
    async def get_reliability(
        placement_id: Annotated[
            str | None, Query(pattern=f"^{ID_PATTERN.pattern}$", description="Default: all placements")
        ] = None,
        variant: Annotated[
            str | None, Query(description="An arm of the experiment that runs, by name, or `control`")
        ] = None,
    ) -> dict[str, Any]:
        """Tell the decayed predictions and clicks by raw rate, and the rates that they stand for now."""
        told: dict[str, Any] = msgspec.to_builtins(reliability_of(node, placement_id, variant))
        return told

    return router
