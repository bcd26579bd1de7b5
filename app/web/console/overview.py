"""`/console/overview`: is it well, and what does it bring? Answers by itself every two seconds."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from app.web.console.frame import page


async def overview(request: Request) -> Response:
    """Show the node's last minutes."""
    return page(request, "overview.html", live="now")
