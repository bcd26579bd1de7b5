"""Is the node alive, and is it ready? The same two endpoints stand on both ports."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.flows.node import Node

Endpoint = Callable[[Request], Awaitable[Response]]
_JSON = "application/json"
_FRESH = {"Cache-Control": "no-store"}


def healthz(_node: Node) -> Endpoint:
    """Make the endpoint that says that the loop is alive: it answers."""

    async def alive(_request: Request) -> Response:
        return Response(b'{"alive":true}', 200, _FRESH, _JSON)

    return alive


def readyz(node: Node) -> Endpoint:
    """Make the endpoint that says whether the node is ready, and what is missing while it is not."""

    async def ready(_request: Request) -> Response:
        missing = sorted({*node.missing, "stopping"} if node.stopping else node.missing)
        if not missing:
            return Response(b'{"ready":true}', 200, _FRESH, _JSON)
        body = msgspec.json.encode({"ready": False, "missing": missing})
        return Response(body, 503, {**_FRESH, "Retry-After": "1"}, _JSON)

    return ready


def health_routes(node: Node) -> list[Route]:
    """Make `/healthz` and `/readyz` over a node."""
    return [
        Route("/healthz", healthz(node), methods=["GET"]),
        Route("/readyz", readyz(node), methods=["GET"]),
    ]
