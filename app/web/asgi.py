"""A hot route as a bare ASGI callable: read the body, call the handler, send the answer, count it.

Starlette routes to it and does nothing else, so that a request costs no Request and Response objects. What
is asked most, ads, needs not even the messages and the task of ASGI: `AdDoor.answer` is all of it but the
reading and the writing, for a server that does these itself (`app/web/server.py`).
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from time import perf_counter
from typing import Any, NamedTuple

import structlog
from starlette.types import ASGIApp

from app.domain.keys import Caller
from app.domain.refusals import Busy, Refused
from app.flows.limiter import RETRY_MS
from app.flows.node import Node
from app.flows.spans import STARTED
from app.web.access import Guard, Scope, caller_in
from app.web.problems import PROBLEM_JSON, body_of, headers_of, problem_of
from app.web.telling import TOLD, request_id_of

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = Sequence[tuple[bytes, bytes]]

LOG = structlog.get_logger()
MAX_BODY = 1 << 20
PROBLEM = (b"content-type", PROBLEM_JSON.encode())
JSON = (b"content-type", b"application/json")
NO_STORE = (b"cache-control", b"no-store, private")
FIRST_BYTE = "adjudge.first_byte_s"  # in a scope: when the request's first byte was read, on perf_counter
LAP = "adjudge.lap_s"  # in a scope: how long the loop was lately away from its sockets
LATE_MS = 5.0
_GZIP_WORTH = 1_400  # under a packet there is nothing to gain


class Answer(NamedTuple):
    """A response: status, body, headers, and the outcome that the metrics count it under."""

    status: int
    body: bytes
    headers: Headers
    outcome: str = "ok"


class Asked(NamedTuple):
    """A request as a handler sees it. Header names are lower-case bytes."""

    scope: Scope
    body: bytes

    def header(self, name: bytes) -> bytes | None:
        """Find the first header of a name."""
        for key, value in self.scope["headers"]:
            if key == name:
                found: bytes = value
                return found
        return None

    @property
    def caller(self) -> Caller:
        """Who asks, as the guard found."""
        return caller_in(self.scope)

    def late(self, tmax_ms: int | None) -> bool:
        """Say whether an answer would come after its time, counted from the request's first byte.

        What stands before and behind us takes some of the time: LATE_MS, and as long as the loop was lately
        away from its sockets, when nobody could see a first byte; at most half of the whole.
        """
        if tmax_ms is None:
            return False
        waited_ms = (perf_counter() - self.scope[FIRST_BYTE]) * 1e3
        unseen_ms = LATE_MS + self.scope[LAP] * 1e3
        late: bool = waited_ms + min(unseen_ms, tmax_ms / 2) >= tmax_ms
        return late

    @property
    def token(self) -> str:
        """The last path segment of a tracking route."""
        found: str = self.scope["path_params"]["token"]
        return found


Handler = Callable[[Asked], Awaitable[Answer]]


class Door:
    """One route. `refuse` turns refusals into answers where the trade wants other than problem+json.

    `guard` says who may come in, before the body is read.
    """

    def __init__(
        self,
        route: str,
        methods: tuple[str, ...],
        handler: Handler,
        node: Node,
        refuse: Callable[[Refused | Busy], Answer] | None = None,
        guard: Guard | None = None,
    ) -> None:
        self.methods = methods
        self.handler = handler
        self.refuse = refuse or problem_answer
        self.guard = guard
        self.limiter = node.limiter
        self._outcomes: dict[str, Any] = {}
        self._missing, counters = node.missing, node.counters
        self._requests, self._route = counters.requests, route
        self._seconds = counters.request_seconds.labels(route)
        self._shed = counters.shed
        self._log, self._spans, self._state = node.request_log, node.spans, node.state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = self._began(scope)
        if scope["method"] not in self.methods:
            refused = problem_answer(Refused("method_not_allowed", f"{scope['method']} is not taken here"))
            allow = (b"allow", ", ".join(self.methods).encode())
            refused = refused._replace(headers=[*refused.headers, allow])
            await _send(send, refused, scope)
            self._tell(scope, refused, perf_counter() - started)
            return
        if self._missing:
            refused = self.refuse(Busy("not_ready", 1000))
            await _send(send, refused, scope)
            self._tell(scope, refused, perf_counter() - started)
            return
        try:
            if self.guard is not None:
                self.guard(scope)
            answer = await self._answer(scope, receive)
        except Exception as error:
            answer = self.failed(scope, error)
        await _send(send, answer, scope)
        self.done(scope, answer, started)

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        body = await read_body(scope, receive) if scope["method"] == "POST" else b""
        return await self.handler(Asked(scope, body))

    def _began(self, scope: Scope) -> float:
        """Note how long the request waited for the loop; tells when its first byte came."""
        now_s = perf_counter()
        first_byte_s: float = scope.setdefault(FIRST_BYTE, now_s)
        scope[LAP] = self.limiter.lap_s
        self.limiter.began(now_s - first_byte_s)
        return first_byte_s

    def failed(self, scope: Scope, error: Exception) -> Answer:
        """Answer for what was raised instead of an answer: a refusal, else a bug of ours."""
        if isinstance(error, Busy):
            self._shed.labels(error.code).inc()
        if isinstance(error, Refused | Busy):
            return self.refuse(error)
        LOG.error("bug", request_id=request_id_of(scope).decode(), route=self._route, exc_info=error)
        return Answer(500, body_of(500, "internal", None), [PROBLEM], "internal")

    def done(self, scope: Scope, answer: Answer, first_byte_s: float) -> None:
        """Count an answer, and its time; tell the log, and send a span, where it is one of their shares."""
        seconds, outcome = perf_counter() - first_byte_s, answer.outcome
        counter = self._outcomes.get(outcome)
        if counter is None:
            counter = self._outcomes[outcome] = self._requests.labels(self._route, outcome)
        counter.inc()
        self._seconds.observe(seconds)
        scope[TOLD] = True
        if self._log.wants(outcome):
            self._tell(scope, answer, seconds)
        if self._spans is not None and self._spans.wants():
            facts = {"http.response.status_code": answer.status, "adjudge.outcome": outcome}
            facts["adjudge.request_id"] = request_id_of(scope).decode()
            self._spans.send(scope, self._route, first_byte_s, facts)

    def _tell(self, scope: Scope, answer: Answer, seconds: float) -> None:
        """Write the canonical line. A server that goes through by itself notes no method: it is a POST."""
        scope[TOLD] = True
        self._log.tell(
            request_id_of(scope), seconds, method=scope.get("method", "POST"), route=self._route,
            status=answer.status, outcome=answer.outcome, bytes=len(answer.body),
            position=self._state.position,
        )  # fmt: skip


class AdDoor(Door):
    """A door that takes turns, and refuses when the queue is full. Its handler waits for nothing."""

    def __init__(
        self,
        route: str,
        handler: Callable[[Asked], Answer],
        node: Node,
        refuse: Callable[[Refused | Busy], Answer] | None = None,
        guard: Guard | None = None,
    ) -> None:
        async def as_any(asked: Asked) -> Answer:
            return handler(asked)

        super().__init__(route, ("POST",), as_any, node, refuse, guard)
        self.handle = handler
        self._overloaded = self.refuse(Busy("overloaded", RETRY_MS))

    def lets_in(self, scope: Scope) -> bool:
        """Say whether a POST may come in now; who may not is told why by the long way."""
        try:
            if self.guard is not None:
                self.guard(scope)
        except Refused:
            return False
        return not self._missing

    def shed(self, scope: Scope) -> Answer:
        """Refuse a request that finds the queue full, and count it."""
        self._shed.labels("overloaded").inc()
        self._requests.labels(self._route, "overloaded").inc()
        self._tell(scope, self._overloaded, perf_counter() - scope[FIRST_BYTE])
        return self._overloaded

    def answer(self, scope: Scope, body: bytes) -> Answer:
        """Answer a request that was let in, its body as it came, now that it is its turn."""
        scope[LAP] = self.limiter.lap_s
        try:
            return self._timed(Asked(scope, unpacked(scope, body)))
        except Exception as error:
            return self.failed(scope, error)

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        if self.limiter.full():
            raise Busy("overloaded", RETRY_MS)
        body = await read_body(scope, receive)
        await self.limiter.turn()
        return self._timed(Asked(scope, body))

    def _timed(self, asked: Asked) -> Answer:
        started = asked.scope[STARTED] = perf_counter()
        answer = self.handle(asked)
        self.limiter.answered(perf_counter() - started)
        return answer


class Front:
    """Hands the hot routes to their doors by path, before any router; all else to the application behind.

    `exact` are whole paths, `tokens` the starts of paths that end in a token; `ad_doors` are those of the
    exact ones that a server may go through by itself.
    """

    def __init__(self, behind: ASGIApp, exact: Mapping[str, Door], tokens: Mapping[str, Door]) -> None:
        self.behind = behind
        self.exact = exact
        self.tokens = tokens
        self.ad_doors = {path: door for path, door in exact.items() if isinstance(door, AdDoor)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path: str = scope["path"]
            door = self.exact.get(path)
            if door is None and (door := self.tokens.get(path[:3])) is not None:
                token = path[3:]
                scope["path_params"] = {"token": token}
                if not token or "/" in token:
                    door = None
            if door is not None:
                await door(scope, receive, send)
                return
        await self.behind(scope, receive, send)


def problem_answer(error: Refused | Busy) -> Answer:
    """Answer a refusal as RFC 9457 problem details."""
    status, body = problem_of(error)
    more = [(name.lower().encode(), value.encode()) for name, value in headers_of(error).items()]
    return Answer(status, body, [PROBLEM, *more], error.code)


async def read_body(scope: Scope, receive: Receive, limit: int = MAX_BODY) -> bytes:
    """Read a whole body, unpacked.

    Errors  Refused: `malformed` when the caller is gone before the end, `too_large` beyond the limit (as
            sent or unpacked), `unsupported_media_type`, `not_gzip`.
    """
    message = await receive()
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        parts, size = [body], len(body)
        while message.get("more_body"):
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Refused("malformed", "the body was cut short")
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > limit:
                raise Refused("too_large", f"a body is at most {limit} bytes")
        body = b"".join(parts)
    return unpacked(scope, body, limit)


def unpacked(scope: Scope, body: bytes, limit: int = MAX_BODY) -> bytes:
    """Unpack a body as its headers say.

    Errors  as `read_body`.
    """
    if len(body) > limit:
        raise Refused("too_large", f"a body is at most {limit} bytes")
    encoding = next((value for key, value in scope["headers"] if key == b"content-encoding"), b"identity")
    match encoding.strip().lower():
        case b"identity" | b"":
            return body
        case b"gzip":
            return unpack(body, limit)
        case _:
            raise Refused("unsupported_media_type", "the body may be plain or gzip", "content-encoding")


def unpack(body: bytes, limit: int) -> bytes:
    """Unpack gzip up to a limit: a small body may hold a very large one."""
    unpacker = zlib.decompressobj(wbits=31)
    try:
        text = unpacker.decompress(body, limit + 1)
    except zlib.error as error:
        raise Refused("not_gzip", "the body is not gzip", "content-encoding") from error
    if len(text) > limit:
        raise Refused("too_large", f"a body is at most {limit} bytes unpacked")
    if not unpacker.eof:
        raise Refused("not_gzip", "the gzip body is cut short", "content-encoding")
    return text


def packed(answer: Answer, scope: Scope) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Make the headers and the body of an answer as they are sent, packed where the caller takes it."""
    body, headers = answer.body, list(answer.headers)
    if len(body) > _GZIP_WORTH and _accepts_gzip(scope):
        body = gzip.compress(body, compresslevel=1, mtime=0)
        headers += [(b"content-encoding", b"gzip"), (b"vary", b"accept-encoding")]
    headers.append((b"x-request-id", request_id_of(scope)))
    if answer.status not in {204, 304}:
        headers.append((b"content-length", b"%d" % len(body)))
    return headers, body


async def _send(send: Send, answer: Answer, scope: Scope) -> None:
    headers, body = packed(answer, scope)
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


def _accepts_gzip(scope: Scope) -> bool:
    for key, value in scope["headers"]:
        if key == b"accept-encoding":
            return any(
                part.split(b";")[0].strip() == b"gzip" and b"q=0" not in part.replace(b"q=0.", b"")
                for part in value.lower().split(b",")
            )
    return False
