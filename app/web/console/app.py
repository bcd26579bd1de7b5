"""Puts the console together: the guard, the pages, the files, and how refusals look to people."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from app.domain.refusals import Busy, Refused
from app.flows.node import Node
from app.web.ads import AdsDoor
from app.web.console.campaign import campaign, set_status
from app.web.console.campaigns import campaigns
from app.web.console.editing import edit, make
from app.web.console.experiments import experiment, experiments
from app.web.console.frame import HERE, Frame, page, refused_page
from app.web.console.guard import Guard
from app.web.console.invalid import give_back, invalid
from app.web.console.later import Later
from app.web.console.login import login_routes
from app.web.console.model import model
from app.web.console.overview import overview, trend
from app.web.console.pages import ROOT
from app.web.console.placements import placement, placements
from app.web.console.sessions import Sessions
from app.web.console.system import system
from app.web.console.why import decision, why, why_tried

_BOTH = ["GET", "POST"]
Endpoint = Callable[[Request], Awaitable[Response]]


def console_app(
    node: Node, admin_key_hash: bytes, secret: bytes, ads_door: AdsDoor | None = None
) -> Starlette:
    """Build the console over a node; sessions are signed with `secret`, `ads_door` answers tried requests."""
    sessions = Sessions(node, admin_key_hash, secret)
    app = Starlette(
        routes=[*login_routes(node, sessions), *_page_routes(), _files()],
        middleware=[Middleware(Guard, sessions=sessions)],
        exception_handlers={
            Refused: _refused,
            Busy: _refused,
            404: _not_found,
            405: _not_found,
            500: _bug,
        },
    )
    app.router.redirect_slashes = False
    app.state.frame, app.state.ads_door = Frame(node), ads_door
    app.state.later = Later()
    return app


def _page_routes() -> list[BaseRoute]:
    return [
        Route(f"{ROOT}/overview", overview),
        Route(f"{ROOT}/overview/trend", trend),
        Route(f"{ROOT}/campaigns", campaigns),
        Route(f"{ROOT}/campaigns/~new", make, methods=_BOTH),
        Route(f"{ROOT}/campaigns/{{id}}", campaign),
        Route(f"{ROOT}/campaigns/{{id}}/edit", edit, methods=_BOTH),
        Route(f"{ROOT}/campaigns/{{id}}/status", set_status, methods=["POST"]),
        Route(f"{ROOT}/campaigns/{{id}}/{{folder}}/~new", make, methods=_BOTH),
        Route(f"{ROOT}/campaigns/{{id}}/{{folder}}/{{which}}", edit, methods=_BOTH),
        Route(f"{ROOT}/placements", placements),
        Route(f"{ROOT}/placements/{{id}}", placement),
        Route(f"{ROOT}/model", model),
        Route(f"{ROOT}/why", why),
        Route(f"{ROOT}/why/try", why_tried, methods=["POST"]),
        Route(f"{ROOT}/why/{{id}}", decision),
        Route(f"{ROOT}/why/{{id}}/replay", decision, methods=["POST"]),
        Route(f"{ROOT}/experiments", experiments),
        Route(f"{ROOT}/experiments/{{id}}", experiment, methods=["GET", "POST"]),
        Route(f"{ROOT}/invalid-traffic", invalid),
        Route(f"{ROOT}/invalid-traffic/refund", give_back, methods=["POST"]),
        Route(f"{ROOT}/system", system),
    ]


class _Files(StaticFiles):
    """The console's own files. They are asked for by their content (`static`), so they never go stale."""

    def file_response(
        self, full_path: object, stat_result: object, scope: Scope, status_code: int = 200
    ) -> Response:
        answer: Response = super().file_response(full_path, stat_result, scope, status_code)  # type: ignore[arg-type]
        kept = b"v=" in scope["query_string"]
        answer.headers["Cache-Control"] = "public, max-age=31536000, immutable" if kept else "no-cache"
        return answer


def _files() -> Mount:
    return Mount(f"{ROOT}/static", _Files(directory=HERE / "static"))


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused | Busy)
    return refused_page(request, error)


async def _not_found(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        return page(
            request, "refused.html", status=405, title="Method Not Allowed", code="method_not_allowed",
            told=f"{request.method} is not taken here.",
        )  # fmt: skip
    return refused_page(request, Refused("not_found", "There is nothing here."))


async def _bug(request: Request, _error: Exception) -> Response:
    """Say that it is our fault, and no more; the log has it."""
    return page(
        request, "refused.html", status=500, title="Something went wrong", code="internal",
        told="This is a fault of the node, not of yours. Its log has it under this answer's X-Request-ID.",
    )  # fmt: skip
