"""`GET /v1/memory`: cells in use by kind of row, and what is kept of people."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter

from app.flows.memory import memory_of
from app.flows.node import Node
from app.web.admin.schemas import MEMORY, answers


def memory_router(node: Node) -> APIRouter:
    """Make the route over a node."""
    router = APIRouter(tags=["reports"])

    @router.get("/v1/memory", response_model=None, responses=answers(MEMORY, 200))
    async def get_memory() -> dict[str, Any]:
        """Tell how many cells of the model are in use, by kind of row, and what is kept of people."""
        told: dict[str, Any] = msgspec.to_builtins(await memory_of(node))
        return told

    return router
