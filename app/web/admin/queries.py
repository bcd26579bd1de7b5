"""Queries of the admin port: a parameter that an operation does not know is refused, not ignored.

A misspelt `from` would otherwise answer with another time than was asked about. What an operation knows is
what its part of the OpenAPI document says: one truth, read here once, for every route alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import parse_qsl

from fastapi.routing import APIRoute
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from app.domain.refusals import FieldError
from app.web.admin.schemas import answers
from app.web.catalogue.parsing import path, refused


def close_queries(routes: Iterable[BaseRoute]) -> None:
    """Have every documented route refuse the parameters that its document does not name (422)."""
    for route in routes:
        if isinstance(route, APIRoute):
            route.app = KnownQuery(route.app, names_of(route))
            route.responses = {**answers(None, 422), **route.responses}


def names_of(route: APIRoute) -> frozenset[str]:
    """List the query parameters of a route, told by its arguments or written into its document."""
    told = (parameter.alias for parameter in route.dependant.query_params)
    written = (route.openapi_extra or {}).get("parameters", ())
    return frozenset([*told, *(one["name"] for one in written if one["in"] == "query")])


class KnownQuery:
    """Stands before a route and refuses what its query may not hold."""

    def __init__(self, app: ASGIApp, names: frozenset[str]) -> None:
        self.app = app
        self.names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        query: bytes = scope.get("query_string", b"")
        if query:
            sent = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
            unknown = dict.fromkeys(name for name, _ in sent if name not in self.names)
            if unknown:
                message = "is no parameter here; known: " + (", ".join(sorted(self.names)) or "none")
                raise refused([FieldError(path((name,)), "unknown_parameter", message) for name in unknown])
        await self.app(scope, receive, send)
