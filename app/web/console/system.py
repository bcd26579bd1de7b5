"""`/console/system`: the journal, snapshots, memory, settings and keys of this node."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from app.web.console.frame import page


async def system(request: Request) -> Response:
    """Show what an operator looks for first."""
    return page(request, "system.html")
