"""Who may come in: one layer before every route of the admin port, and a limit to what they may carry.

Without a key every path answers 401, known or not, so that nobody can map the house from outside. The layer
is plain ASGI: it holds no body and starts no task.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from hmac import compare_digest
from ipaddress import ip_address

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.domain.keys import EVERYONE, Caller
from app.domain.refusals import Refused
from app.flows.keys import caller_of
from app.flows.node import Node
from app.web.access import set_caller
from app.web.admin.rights import demand_right
from app.web.problems import problem, refusal

MAX_BODY_BYTES = 1 << 20
OPEN_PATHS = frozenset(
    {"/healthz", "/readyz", "/docs", "/openapi.json", "/openapi-public.json", "/console/login"}
)
OPEN_FOLDERS = ("/docs/", "/console/static/")
CONSOLE = "/console"  # has a guard of its own, which asks for a session in place of a key
LOOPBACK_PATHS = frozenset({"/metrics"})
# A proxy on this machine stands before somebody else, whatever address it speaks from.
_FORWARDED = (b"forwarded", b"x-forwarded-for", b"x-real-ip")


def key_hash(key: str) -> bytes:
    """Hash an admin key; the node keeps nothing else of it."""
    return sha256(key.encode()).digest()


class AdminAuth:
    """Lets requests through whose key has the route's scope, and those that need no key.

    The admin key comes as a bearer token; keys made at `/v1/keys` as that or as X-API-Key.
    """

    def __init__(self, app: ASGIApp, admin_key_hash: bytes, node: Node | None = None) -> None:
        self.app = app
        self.admin_key_hash = admin_key_hash
        self.node = node

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or is_open(scope):
            await self.app(scope, receive, send)
            return
        caller = self._caller(scope)
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif caller is None:
            answer = problem(401, "unauthorized", "send a key as a bearer token", _CHALLENGE)
            await answer(scope, receive, send)
        else:
            await self._enter(caller, scope, receive, send)

    async def _enter(self, caller: Caller, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if self.node is not None:
                demand_right(self.node, caller, scope["method"], scope["path"])
        except Refused as refused:
            await refusal(refused)(scope, receive, send)
            return
        set_caller(scope, caller)
        await self.app(scope, receive, send)

    def _caller(self, scope: Scope) -> Caller | None:
        """Find out who sends the one key of a request; two keys are none."""
        bearers = [value for name, value in scope["headers"] if name == b"authorization"]
        partners = [value for name, value in scope["headers"] if name == b"x-api-key"]
        if len(bearers) + len(partners) != 1:
            return None
        if partners:
            return self._made(partners[0])
        scheme, _, key = bearers[0].partition(b" ")
        if scheme.lower() != b"bearer":
            return None
        key = key.strip(b" ")
        # Always hashed and compared whole, so that the time taken says nothing about the key.
        if compare_digest(sha256(key).digest(), self.admin_key_hash):
            return EVERYONE
        return self._made(key)

    def _made(self, key: bytes) -> Caller | None:
        return caller_of(self.node, key, admin_door=True) if self.node is not None else None


_CHALLENGE = {"WWW-Authenticate": "Bearer"}


def is_open(scope: Scope) -> bool:
    """Say whether a request needs no key.

    >>> is_open({"type": "http", "path": "/v1/reports", "headers": [], "client": ("127.0.0.1", 5)})
    False
    >>> is_open({"type": "http", "path": "/metrics", "headers": [], "client": ("127.0.0.1", 5)})
    True
    """
    if scope["type"] != "http":
        return False
    path: str = scope["path"]
    guarded = path == CONSOLE or path.startswith(f"{CONSOLE}/")
    return guarded or _is_public(path) or (path in LOOPBACK_PATHS and _is_local(scope))


def is_stateless(path: str) -> bool:
    """Say whether a path answers without the node's state, so before the node is ready."""
    return _is_public(path) or path in LOOPBACK_PATHS


def _is_public(path: str) -> bool:
    return path in OPEN_PATHS or path.startswith(OPEN_FOLDERS)


def _is_local(scope: Scope) -> bool:
    client = scope.get("client")
    if client is None or any(name in _FORWARDED for name, _ in scope["headers"]):
        return False
    try:
        address = ip_address(client[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


class BodyLimit:
    """Refuses a body beyond a limit as soon as it is known, wherever it is read. `unlimited` paths differ."""

    def __init__(self, app: ASGIApp, limit_bytes: int, unlimited: Callable[[str], bool]) -> None:
        self.app = app
        self.limit_bytes = limit_bytes
        self.unlimited = unlimited  # their doors have limits of their own

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self.unlimited(scope["path"]):
            await self.app(scope, receive, send)
            return
        announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if announced.isdigit() and int(announced) > self.limit_bytes:
            await refusal(self._too_large())(scope, receive, send)
            return
        taken = 0

        async def limited() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self.limit_bytes:
                raise self._too_large()
            return message

        await self.app(scope, limited, send)

    def _too_large(self) -> Refused:
        return Refused("too_large", f"a body is at most {self.limit_bytes} bytes")
