"""`/console/login` and `/console/logout`: a key opens a session, and the button ends it."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from app.flows.node import Node
from app.web.console.frame import caller_of, form_of, page
from app.web.console.guard import LOGIN, cookie_header
from app.web.console.pages import ROOT, pages_for
from app.web.console.sessions import Sessions
from app.web.console.slowing import Slowing


def login_routes(node: Node, sessions: Sessions) -> list[Route]:
    """Make the way in and the way out."""
    slowing = Slowing()

    async def login(request: Request) -> Response:
        """Show the form, or open a session with the key that came with it."""
        if request.method != "POST":
            return page(request, "login.html", next=_next(request.query_params.get("next", "")), wrong=False)
        form = form_of(request)
        target = _next(str(form.get("next", "")))
        who = request.client.host if request.client else ""
        await asyncio.sleep(slowing.wait_s(who))
        cookie = sessions.open(str(form.get("key", "")).strip())
        if cookie is None:
            slowing.failed(who)
            return page(request, "login.html", status=401, next=target, wrong=True)
        slowing.forget(who)
        answer = RedirectResponse(target or ROOT, 303)
        answer.headers["set-cookie"] = cookie_header(request, cookie)
        return answer

    async def logout(request: Request) -> Response:
        """Forget the session here; the cookie that another copy of it may be in lives on until it is old."""
        answer = RedirectResponse(LOGIN, 303)
        answer.headers["set-cookie"] = cookie_header(request, "", 0)
        return answer

    async def first(request: Request) -> Response:
        """Go to the first page that a visitor may see."""
        open_pages = pages_for(node, caller_of(request))
        if open_pages:
            return RedirectResponse(open_pages[0].path, 303)
        return page(
            request, "refused.html", status=403, title="Nothing to see", code="out_of_scope",
            told="This key opens no page. Log in with one that has scope reports or catalogue:read.",
        )  # fmt: skip

    return [
        Route(LOGIN, login, methods=["GET", "POST"]),
        Route(f"{ROOT}/logout", logout, methods=["POST"]),
        Route(ROOT, first),
    ]


def _next(path: str) -> str:
    """Keep where somebody wanted to go, where that is in the console.

    >>> _next("/console/system?x=1"), _next("//evil.example/console"), _next("/console/../v1")
    ('/console/system?x=1', '', '')
    """
    inside = path.startswith(f"{ROOT}/") and ".." not in path and "\\" not in path
    return path if inside and path.isprintable() else ""
