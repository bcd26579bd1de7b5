"""Puts the admin port together: who may come in, the doors, and how refusals leave."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from time import perf_counter

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import __version__
from app.domain.refusals import Busy, FieldError, Refused
from app.flows.counters import Counters
from app.flows.limiter import RETRY_MS
from app.flows.node import Node
from app.web.admin.attribution import attribution_router
from app.web.admin.audiences import audiences_router
from app.web.admin.auth import MAX_BODY_BYTES, AdminAuth, BodyLimit, is_stateless
from app.web.admin.decisions import decisions_router
from app.web.admin.delivery import delivery_router
from app.web.admin.docs import docs_routes, document_of
from app.web.admin.experiments import experiments_router
from app.web.admin.forecast import forecast_router
from app.web.admin.funnel import funnel_router
from app.web.admin.keys import keys_router
from app.web.admin.memory import memory_router
from app.web.admin.metrics import metrics
from app.web.admin.models import models_router
from app.web.admin.quality import quality_router
from app.web.admin.queries import close_queries
from app.web.admin.refunds import refunds_router
from app.web.admin.reliability import reliability_router
from app.web.admin.reports import reports_router
from app.web.admin.users import users_router
from app.web.ads import AdsDoor
from app.web.asgi import Answer, Asked, Door
from app.web.catalogue.parsing import path
from app.web.catalogue.routes import catalogue_router
from app.web.console import console_app
from app.web.console.pages import ROOT
from app.web.explain import explain
from app.web.health import health_routes
from app.web.problems import problem, refusal
from app.web.telling import Told

_DESCRIPTION = "Catalogue, decisions, refunds, reports and metrics of an ad server's brain."
_UNLIMITED = frozenset({"/v1/import", "/v1/users", "/v1/models"})
_MEMBERS = re.compile(r"/v1/audiences/[^/]+/members")


def admin_app(
    node: Node,
    *,
    admin_key_hash: bytes,
    ads_door: AdsDoor | None = None,
    extra_routes: Sequence[BaseRoute] = (),
    console_secret: bytes | None = None,
) -> FastAPI:
    """Build the admin port over a node.

    `ads_door` answers /v1/ads with `explain` and `at`; `extra_routes` are doors that count for themselves;
    `console_secret` signs the console's sessions, which end with the node where there is none.
    """
    app = FastAPI(
        title="Adjudge, admin port", version=__version__, description=_DESCRIPTION, docs_url=None,
        redoc_url=None, openapi_url="/openapi.json", redirect_slashes=False,
        middleware=[
            Middleware(Told, node=node),
            Middleware(AdminAuth, admin_key_hash=admin_key_hash, node=node),
            Middleware(Ready, node=node),
            Middleware(Counted, counters=node.counters),
            Middleware(BodyLimit, limit_bytes=MAX_BODY_BYTES, unlimited=_is_unlimited),
        ],
    )  # fmt: skip
    app.router.routes.extend([*_ads_routes(node, ads_door), *extra_routes])
    app.router.routes.extend(
        [*health_routes(node), Route("/metrics", metrics(node), name="metrics"), *docs_routes()]
    )
    console = console_app(node, admin_key_hash, console_secret or secrets.token_bytes(32), ads_door)
    app.router.routes.extend([Route(ROOT, console), Route(ROOT + "/{page:path}", console)])
    zone = node.settings.fold.time_zone
    routers = (
        catalogue_router(node, zone),
        decisions_router(node),
        refunds_router(node),
        reports_router(node),
        delivery_router(node),
        forecast_router(node),
        funnel_router(node),
        reliability_router(node),
        memory_router(node),
        experiments_router(node),
        keys_router(node),
        users_router(node),
        quality_router(node),
        audiences_router(node),
        models_router(node),
        attribution_router(node),
    )
    for router in routers:
        close_queries(router.routes)
        app.router.routes.extend(router.routes)  # flat, so that a 405 can tell every method of its path
    app.openapi = lambda: document_of(app)  # type: ignore[method-assign] # FastAPI's own way to extend it
    _install_refusals(app)
    return app


def _is_unlimited(path: str) -> bool:
    return path in _UNLIMITED or _MEMBERS.fullmatch(path) is not None


def _ads_routes(node: Node, ads_door: AdsDoor | None) -> list[Route]:
    if ads_door is None:
        return []
    ads_door.explain = ads_door.explain or explain

    async def answer(asked: Asked) -> Answer:
        return ads_door(asked)

    return [Route("/v1/ads", Door("/v1/ads", ("POST",), answer, node), methods=["POST"])]


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
    errors = tuple(FieldError(path(one["loc"][1:]), _code_of(one["type"]), one["msg"]) for one in found)
    return refusal(Refused("invalid", f"{errors[0].field}: {errors[0].message}", errors=errors))


def _code_of(kind: str) -> str:
    return "required" if kind == "missing" else kind


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


class Ready:
    """Answers 503 to everything that needs the state, until the node has followed its journal.

    When there is too much to do, operators' work is the first to be put off.
    """

    def __init__(self, app: ASGIApp, node: Node) -> None:
        self.app = app
        self.node = node

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or is_stateless(scope["path"]):
            await self.app(scope, receive, send)
        elif self.node.missing:
            await refusal(Busy("not_ready", 1000))(scope, receive, send)
        elif self.node.limiter.sheds_admin():
            self.node.counters.shed.labels("admin").inc()
            await refusal(Busy("overloaded", RETRY_MS))(scope, receive, send)
        else:
            await self.app(scope, receive, send)


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
