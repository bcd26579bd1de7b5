"""`GET /v1/experiments/{id}/results`: each arm's figures beside the control's, valid whenever one looks."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from app.flows.experiments import LATENCY, METRICS, ArmFigures, ShadowFigures, findings
from app.flows.node import Node
from app.rules.sequential import ALPHA
from app.web.admin.decisions import time_of
from app.web.admin.schemas import answers
from app.web.catalogue.schemas import Schema
from app.web.explain import number

_TEXT: Schema = {"type": "string"}
_NUMBER: Schema = {"type": "number"}
_COUNT: Schema = {"type": "integer"}
_MAYBE: Schema = {"anyOf": [_NUMBER, {"type": "null"}]}
_SHARES: Schema = {"type": "object", "additionalProperties": _NUMBER}


def _object(**fields: Schema) -> Schema:
    return {"type": "object", "required": sorted(fields), "properties": fields}


_FIGURE = _object(
    value=_MAYBE, low=_MAYBE, high=_MAYBE, difference=_MAYBE, difference_low=_MAYBE, difference_high=_MAYBE,
    lift=_MAYBE, verdict={"enum": ["higher", "lower", "undecided", None]},
)  # fmt: skip
_MODEL: Schema = {
    "anyOf": [
        _object(
            impressions=_COUNT, predicted_clicks=_NUMBER, default_predicted_clicks=_NUMBER, log_loss=_MAYBE,
            default_log_loss=_MAYBE, difference=_FIGURE,
        ),
        {"type": "null"},
    ]
}  # fmt: skip
_EXPLORATION: Schema = {
    "anyOf": [
        _object(
            scale=_NUMBER, factor={**_NUMBER, "description": "1; less while it costs more than the ceiling"},
            cost={**_NUMBER, "description": "Lately, of what greedy choices were expected to bring"},
        ),
        {"type": "null"},
    ]
}  # fmt: skip
_ARM = _object(
    name=_TEXT, share=_NUMBER, numbers={"type": "array", "items": _COUNT}, decisions=_COUNT, filled=_COUNT,
    impressions=_COUNT, clicks=_COUNT, conversions=_COUNT, revenue=_NUMBER,
    metrics=_object(**dict.fromkeys((*METRICS, LATENCY), _FIGURE)), model=_MODEL,
    exploration=_EXPLORATION,
)  # fmt: skip
_SHADOW = _object(
    name=_TEXT, share=_NUMBER, decisions=_COUNT, differing=_FIGURE, served_ecpm=_MAYBE, would_be_ecpm=_MAYBE,
    model=_MODEL,
)  # fmt: skip
RESULTS = _object(
    experiment_id=_TEXT, phase={"enum": ["forming", "serving", "stopped", "promoted"]},
    promoted={"anyOf": [_TEXT, {"type": "null"}]}, isolated={"type": "boolean"}, note=_TEXT,
    alpha={**_NUMBER, "description": "How often all looks together may find what is not there"},
    stages={"type": "array", "items": _object(begun_at=_TEXT, shares=_SHARES)},
    arms={"type": "array", "items": _ARM}, shadows={"type": "array", "items": _SHADOW},
)  # fmt: skip
_ID: Schema = {"name": "id", "in": "path", "required": True, "schema": _TEXT}


def experiments_router(node: Node) -> APIRouter:
    """Make the route over a node."""
    router = APIRouter(tags=["reports"])

    @router.get(
        "/v1/experiments/{id}/results", response_model=None, responses=answers(RESULTS, 200, 404),
        openapi_extra={"parameters": [_ID]},
    )  # fmt: skip
    async def get_results(request: Request) -> Response:
        """Tell what came of an experiment. Look as often as you like: the intervals hold at every look."""
        found = findings(node, request.path_params["id"])
        zone, experiment = node.settings.fold.time_zone, found.experiment
        answer = {
            "experiment_id": experiment.id,
            "phase": found.phase,
            "promoted": experiment.promoted,
            "isolated": experiment.isolated,
            "note": found.note,
            "alpha": ALPHA,
            "stages": [
                {
                    "begun_at": time_of(stage.begun_at_ms, zone),
                    "shares": dict(zip(stage.names, stage.shares, strict=False)),
                }
                for stage in found.stages
            ],
            "arms": [_arm(arm) for arm in found.arms],
            "shadows": [_shadow(shadow) for shadow in found.shadows],
        }
        return Response(msgspec.json.encode(answer), media_type="application/json")

    return router


def _arm(arm: ArmFigures) -> dict[str, Any]:
    sums = {name: round(value) for name, value in arm.sums.items()}
    revenue = number(sums.pop("revenue_micros"))
    return {
        "name": arm.name,
        "share": arm.share,
        "numbers": arm.seats,
        **sums,
        "revenue": revenue,
        "metrics": arm.metrics,
        "model": arm.model,
        "exploration": arm.exploration,
    }


def _shadow(shadow: ShadowFigures) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.structs.asdict(shadow)
    return found
