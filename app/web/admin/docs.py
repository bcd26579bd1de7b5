"""`/docs`, with every file it loads from this node, and the two documents that it shows.

What a node does, by subject, is in `reference.md` beside this file; the admin port's document tells it by
tag.
"""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from app.web.public_openapi import PUBLIC_OPENAPI

# What both ports have: described once, by hand, in the public document.
SHARED_PATHS = ("/v1/ads",)
_FILES = "/docs/files"
_BEARER = {
    "type": "http",
    "scheme": "bearer",
    "description": "The admin key (DIR/admin.key), or one made at /v1/keys",
}


def docs_routes() -> list[Route | Mount]:
    """Make `/docs` (this port), `/docs/public` (the other) and the public document."""

    async def admin_page(_request: Request) -> Response:
        return _page("/openapi.json", "Adjudge, admin port")

    async def public_page(_request: Request) -> Response:
        return _page("/openapi-public.json", "Adjudge, public port")

    async def public_document(_request: Request) -> Response:
        return JSONResponse(PUBLIC_OPENAPI)

    return [
        Route("/docs", admin_page),
        Route("/docs/public", public_page),
        Route("/openapi-public.json", public_document),
        Mount(_FILES, StaticFiles(directory=str(files("fastapi_offline") / "static"))),
    ]


def _page(document_url: str, title: str) -> Response:
    return get_swagger_ui_html(
        openapi_url=document_url,
        title=title,
        swagger_js_url=f"{_FILES}/swagger-ui-bundle.js",
        swagger_css_url=f"{_FILES}/swagger-ui.css",
        swagger_favicon_url=f"{_FILES}/favicon.png",
    )


def document_of(app: FastAPI) -> dict[str, Any]:
    """Write the admin port's document once: FastAPI's, the key, and the paths that both ports have."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes,
            tags=reference(),
        )  # fmt: skip
        components = document.setdefault("components", {})
        components.setdefault("securitySchemes", {})["adminKey"] = _BEARER
        document["security"] = [{"adminKey": []}]
        _share(document)
        app.openapi_schema = document
    return app.openapi_schema


def reference() -> list[dict[str, str]]:
    """Take the reference apart by its first headings, which are the document's tags.

    >>> [chapter["name"] for chapter in reference()][:3]
    ['ads', 'catalogue', 'audiences']
    """
    text = (files("app.web.admin") / "reference.md").read_text(encoding="utf-8")
    _, *parts = re.split(r"^# (\w+)\n", text, flags=re.M)
    return [
        {"name": name, "description": told.strip()}
        for name, told in zip(parts[::2], parts[1::2], strict=True)
    ]


def _share(document: dict[str, Any]) -> None:
    for path in SHARED_PATHS:
        if path in PUBLIC_OPENAPI.get("paths", {}):
            document["paths"].setdefault(path, PUBLIC_OPENAPI["paths"][path])
    components = document["components"]
    for kind, named in PUBLIC_OPENAPI.get("components", {}).items():
        if kind != "securitySchemes":
            components[kind] = {**named, **components.get(kind, {})}
