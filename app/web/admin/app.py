"""Puts the admin port together: who may come in, the doors, and how refusals leave."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.domain.refusals import Busy, FieldError, Refused
from app.flows.counters import Counters
from app.flows.node import Node
from app.web.admin.auth import MAX_BODY_BYTES, AdminAuth, BodyLimit
from app.web.admin.decisions import decisions_router
from app.web.admin.docs import docs_routes, document_of
from app.web.admin.metrics import metrics
from app.web.admin.refunds import refunds_router
from app.web.admin.reports import reports_router
from app.web.catalogue.parsing import path
from app.web.catalogue.routes import catalogue_router
from app.web.health import health_routes
from app.web.problems import problem, refusal

_DESCRIPTION = "Catalogue, decisions, refunds, reports and metrics of an ad server's brain."
_UNLIMITED = frozenset({"/v1/import"})


def admin_app(
    node: Node, *, admin_key_hash: bytes, extra_routes: Sequence[BaseRoute] = (), version: str = "0"
) -> FastAPI:
    """Build the admin port over a node. `extra_routes` are doors that count and limit for themselves."""
    app = FastAPI(
        title="Adjudge, admin port", version=version, description=_DESCRIPTION, docs_url=None,
        redoc_url=None, openapi_url="/openapi.json", redirect_slashes=False,
        middleware=[
            Middleware(AdminAuth, admin_key_hash=admin_key_hash),
            Middleware(Counted, counters=node.counters),
            Middleware(BodyLimit, limit_bytes=MAX_BODY_BYTES, unlimited=_UNLIMITED),
        ],
    )  # fmt: skip
    app.router.routes.extend(extra_routes)
    app.router.routes.extend(
        [*health_routes(node), Route("/metrics", metrics(node), name="metrics"), *docs_routes()]
    )
    app.include_router(catalogue_router(node, node.settings.fold.time_zone))
    for router in (decisions_router(node), refunds_router(node), reports_router(node)):
        app.include_router(router)
    app.openapi = lambda: document_of(app)  # type: ignore[method-assign] # FastAPI's own way to extend it
    _install_refusals(app)
    return app


def _install_refusals(app: FastAPI) -> None:
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(Busy, _refused)
    app.add_exception_handler(RequestValidationError, _misfit)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _bug)


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused | Busy)
    return refusal(error)


async def _misfit(_request: Request, error: Exception) -> Response:
    """Answer what FastAPI itself found wrong with a parameter or a body."""
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    if any(one["type"] == "json_invalid" for one in found):
        return refusal(Refused("not_json", "the body is not JSON"))
    errors = tuple(FieldError(path(one["loc"][1:]), one["type"], one["msg"]) for one in found)
    return refusal(Refused("invalid", f"{errors[0].field}: {errors[0].message}", errors=errors))


async def _http_error(request: Request, error: Exception) -> Response:
    """Answer for the router: nothing there, or not by this method."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        allow = {"Allow": ", ".join(sorted(_methods_at(request)))}
        return problem(405, "method_not_allowed", f"{request.method} is not taken here", allow)
    if error.status_code == 404:
        return problem(404, "not_found", "there is nothing here")
    return problem(error.status_code, "invalid", None, error.headers)


async def _bug(_request: Request, _error: Exception) -> Response:
    return problem(500, "internal", None)  # the server logs what it was


def _methods_at(request: Request) -> set[str]:
    """List every method that some route takes at a path."""
    methods: set[str] = set()
    for route in request.app.router.routes:
        match, _ = route.matches(request.scope)
        if match is not Match.NONE:
            methods |= getattr(route, "methods", None) or set()
    return methods


class Counted:
    """Counts answers by route and status, and their time. Doors mounted as they are count for themselves."""

    def __init__(self, app: ASGIApp, counters: Counters) -> None:
        self.app = app
        self.counters = counters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = perf_counter(), 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, noted)
        finally:
            route = scope.get("route")
            name = getattr(route, "path", None)
            if name is not None:
                self.counters.requests.labels(name, str(status)).inc()
                self.counters.request_seconds.labels(name).observe(perf_counter() - started)
