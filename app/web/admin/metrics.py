"""`GET /metrics`: what the node counts about itself, and its process, in Prometheus' text."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import Response

from app.flows.node import Node


def metrics(node: Node) -> Callable[[Request], Awaitable[Response]]:
    """Make the endpoint over a node's registry.

    Cost    a millisecond or two of the loop for some hundred series.
    """
    process = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=process)

    async def scrape(_request: Request) -> Response:
        body = generate_latest(node.counters.registry) + generate_latest(process)
        return Response(body, headers={"Content-Type": CONTENT_TYPE_LATEST, "Cache-Control": "no-store"})

    return scrape
