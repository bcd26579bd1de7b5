"""Who may come into the console: a session for every page, and a token for everything that changes something.

Plain ASGI, before every route. A form is read here, checked, and handed on in the scope: no page can forget
it. Rights are the API's (`pages.api_path`).
"""

from __future__ import annotations

import hmac
from http.cookies import CookieError, SimpleCookie
from urllib.parse import SplitResult, parse_qsl, quote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.domain.refusals import Refused
from app.web.access import set_caller
from app.web.admin.rights import demand_right
from app.web.console.frame import SENT, Form, refused_page
from app.web.console.pages import ROOT, api_path
from app.web.console.sessions import COOKIE, LIFE_S, VISITOR, Sessions, Visitor

LOGIN = f"{ROOT}/login"
STATIC = f"{ROOT}/static/"
FORM = "application/x-www-form-urlencoded"
_READING = frozenset({"GET", "HEAD"})
_SAME = frozenset({"same-origin", "none"})
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class Guard:
    """Lets visitors through, sends strangers to the login, and refuses forms that are not its own."""

    def __init__(self, app: ASGIApp, sessions: Sessions) -> None:
        self.app = app
        self.sessions = sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        request = Request(scope, receive)
        visitor = self._visitor(request)
        if visitor is not None:
            scope[VISITOR] = visitor
            set_caller(scope, visitor.caller)

        async def headed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
                if visitor is not None and "set-cookie" not in headers:
                    self._renew(request, visitor, headers)
            await send(message)

        try:
            answer = await self._stop(request, visitor)
        except Refused as refused:
            answer = refused_page(request, refused)
        await (answer or self.app)(scope, receive, headed)

    async def _stop(self, request: Request, visitor: Visitor | None) -> Response | None:
        """Say what keeps a request out, if anything does.

        Errors  Refused, in this order: `forbidden` (not the console's own form), `out_of_scope`, `not_found`.
        """
        path = request.url.path
        if path.startswith(STATIC):
            return None
        if request.method not in _READING:
            _demand_own(request)
            request.scope[SENT] = await read_form(request)
        if path == LOGIN:
            return None
        if visitor is None:
            return _to_login(request)
        if request.method not in _READING:
            _demand_token(request, visitor)
        if path not in {ROOT, f"{ROOT}/logout"}:
            demand_right(self.sessions.node, visitor.caller, request.method, api_path(path))
        return None

    def _visitor(self, request: Request) -> Visitor | None:
        try:
            morsel = SimpleCookie(request.headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return None
        return self.sessions.read(morsel.value) if morsel is not None else None

    def _renew(self, request: Request, visitor: Visitor, headers: MutableHeaders) -> None:
        """Keep a session from falling asleep; a page that refreshes by itself does not."""
        cookie = None if "live" in request.query_params else self.sessions.renewed(visitor.session)
        if cookie is not None:
            headers.append("set-cookie", cookie_header(request, cookie))


async def read_form(request: Request) -> Form:
    """Read the fields of a form; a body of another kind is refused.

    Errors  Refused `unsupported_media_type`, `malformed`.
    """
    kind = request.headers.get("content-type", FORM).partition(";")[0].strip().lower()
    if kind != FORM:
        raise Refused("unsupported_media_type", f"a form is sent as {FORM}")
    try:
        return Form(parse_qsl((await request.body()).decode(), keep_blank_values=True, errors="strict"))
    except ValueError as error:
        raise Refused("malformed", "the form cannot be read") from error


def cookie_header(request: Request, value: str, life_s: int = LIFE_S) -> str:
    """Write a session's cookie; it is for the console alone, and for TLS alone where that is how one came."""
    secure = request.headers.get("x-forwarded-proto", request.url.scheme) == "https"
    return f"{COOKIE}={value}; Path={ROOT}; HttpOnly; SameSite=Strict; Max-Age={life_s}" + (
        "; Secure" if secure else ""
    )


def _to_login(request: Request) -> Response:
    """Send a stranger to the login, and back to the page afterwards."""
    came_for = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    wanted = request.method in _READING and request.url.path != ROOT
    target = f"{LOGIN}?next={quote(came_for)}" if wanted else LOGIN
    if "hx-request" in request.headers:
        shown = _parts_of(request.headers.get("hx-current-url", ""))
        back = shown.path + (f"?{shown.query}" if shown.query else "")
        return Response(status_code=200, headers={"HX-Redirect": f"{LOGIN}?next={quote(back)}"})
    return RedirectResponse(target, 303)


def _demand_own(request: Request) -> None:
    """Refuse what a browser says comes from elsewhere. Errors: Refused `forbidden`."""
    headers: Headers = request.headers
    origin = headers.get("origin")
    foreign = origin is not None and _parts_of(origin).netloc != headers.get("host", "")
    if foreign or headers.get("sec-fetch-site", "none") not in _SAME:
        raise Refused("forbidden", "this form was not sent from the console")


def _parts_of(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:  # it is none
        return urlsplit("")


def _demand_token(request: Request, visitor: Visitor) -> None:
    form: Form = request.scope[SENT]
    sent = request.headers.get("x-csrf-token") or form.get("csrf") or ""
    if not hmac.compare_digest(sent.encode(), visitor.csrf.encode()):
        raise Refused("forbidden", "this form was not sent from this session: go back, reload and try again")
