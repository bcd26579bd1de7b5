"""`/v1/models`: trained models brought to a running node, and which one it goes on learning from."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from app.flows.loading import load_model
from app.flows.node import Node
from app.state.prepared import Loading
from app.web.admin.schemas import MODEL, MODELS, answers
from app.web.catalogue.bulk import read_body
from app.web.catalogue.schemas import body

MAX_MODEL_BYTES = 1 << 30
_FILE: dict[str, Any] = {"type": "string", "format": "binary", "description": "A file of `adjudge train`"}
_encode = msgspec.json.Encoder().encode


def models_router(node: Node) -> APIRouter:
    """Make the routes over a node."""
    router = APIRouter(tags=["models"])

    @router.post(
        "/v1/models", response_model=None, responses=answers(MODEL, 200, 413, 422, 503),
        openapi_extra={"requestBody": body(_FILE, "application/octet-stream")},
    )  # fmt: skip
    async def post_model(request: Request) -> Response:
        """Put a trained model into the place of the one learned so far. In force when answered.

        Before, it learns what happened since its archive ended (`impressions_since`, `clicks_since`), if that
        was of this node; the journal's last positions before it may be missed.
        """
        loading = await load_model(node, await read_body(request, MAX_MODEL_BYTES))
        return Response(_encode(model_document(loading)), media_type="application/json")

    @router.get("/v1/models", response_model=None, responses=answers(MODELS, 200))
    async def get_models() -> Response:
        """List the models that were loaded, the latest first: that is the one in use."""
        items = [model_document(one) for one in reversed(node.state.loadings)]
        return Response(_encode({"items": items}), media_type="application/json")

    return router


def model_document(one: Loading) -> dict[str, Any]:
    """Tell of a loading. `positions_missed` is null where the model is not of this node's journal."""
    at = datetime.fromtimestamp(one.at_ms / 1000, UTC)
    return {
        "sha256": one.of or one.name,
        "position": one.position,
        "loaded_at": at.isoformat(timespec="milliseconds"),
        "cells_unknown": one.homeless,
        "impressions_since": one.impressions,
        "clicks_since": one.clicks,
        "positions_missed": one.position - 1 - one.through if one.through else None,
    }
