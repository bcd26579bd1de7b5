"""`GET /v1/reliability`: what was predicted and what came of it, bucket by bucket, and the curve between."""

from __future__ import annotations

import math
from typing import Annotated, Any

from fastapi import APIRouter, Query

from app.domain.ids import ID_PATTERN
from app.domain.refusals import Refused
from app.flows.node import Node
from app.rules.calibration import KNOTS, LOWEST, STEP, calibrated_plain
from app.state.calibration import WHOLE
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
        state = node.state
        if placement_id is not None and state.catalogue.get("placement", placement_id) is None:
            raise Refused("not_found", f"there is no placement {placement_id}", "placement_id")
        row = WHOLE if placement_id is None else state.row_of(placement_id)
        arms = {arm.name: arm for arm in state.experiments.arms}
        if variant is not None and variant not in arms:
            raise Refused("not_found", f"no experiment runs with a variant {variant}", "variant")
        calibration = state.calibration if variant is None else arms[variant].calibration
        curve, (clicks, predicted) = calibration.curve(row), calibration.counts[row].tolist()
        return {
            "placement_id": placement_id,
            "variant": variant,
            "memory_clicks": calibration.memory_clicks,
            "in_use": bool(curve.size),
            "clicks": sum(clicks),
            "predicted_clicks": sum(predicted),
            "buckets": [
                {
                    "raw_pctr": _rate(LOWEST + STEP * k),
                    "calibrated_pctr": _rate(calibrated_plain(LOWEST + STEP * k, curve)),
                    "clicks": clicks[k],
                    "predicted_clicks": predicted[k],
                }
                for k in range(KNOTS)
            ],
        }

    return router


def _rate(logit: float) -> float:
    return 1.0 / (1.0 + math.exp(-logit))
