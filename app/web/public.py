"""The public port: ads, bids, tracking, events and health; everything else is 404. It knows no admin key."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from app.flows.node import Node
from app.web.access import partner_guard
from app.web.ads import AdsDoor
from app.web.asgi import AdDoor, Door, Front
from app.web.bids import BidsDoor, refuse_bare
from app.web.events import EventsDoor
from app.web.health import health_routes
from app.web.links import Links
from app.web.problems import problem
from app.web.telling import Told
from app.web.tokens import Tokens
from app.web.tracking import Tracking

GET, POST = ("GET", "HEAD"), ("POST",)


def public_app(node: Node, tokens: Tokens, links: Links) -> Front:
    """Build the public application: the doors in front, health and refusals in a Starlette behind them."""
    tracking = Tracking(node, tokens, links)
    ads, events = partner_guard(node, "ads"), partner_guard(node, "events")
    bids = BidsDoor(node, links, tokens)
    exact = {
        "/v1/ads": AdDoor("/v1/ads", AdsDoor(node, links, tokens), node, guard=ads),
        "/v1/events": Door("/v1/events", POST, EventsDoor(node, tokens), node, guard=events),
        "/openrtb2/bid": AdDoor("/openrtb2/bid", bids, node, refuse_bare, ads),
    }
    handlers = {"/c/": tracking.click}
    handlers |= dict.fromkeys(("/i/", "/b/"), tracking.impression)
    handlers["/r/"] = tracking.returned
    handlers |= dict.fromkeys(("/w/", "/l/", "/x/"), tracking.notice)
    by_token = {start: Door(start[:2], GET, handler, node) for start, handler in handlers.items()}
    app = Starlette(
        routes=health_routes(node),
        exception_handlers={404: _not_found, 405: _wrong_method, Exception: _bug},
    )
    app.router.redirect_slashes = False
    return Front(Told(app, node), exact, by_token)


async def _not_found(request: Request, error: Exception) -> Response:
    return problem(404, "not_found", "there is nothing here")


async def _wrong_method(request: Request, error: Exception) -> Response:
    allow = {"Allow": "GET, HEAD"}
    return problem(405, "method_not_allowed", f"{request.method} is not taken here", allow)


async def _bug(request: Request, error: Exception) -> Response:
    return problem(500, "internal")  # the server logs what it was
