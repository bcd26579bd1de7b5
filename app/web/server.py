"""The HTTP server's end of overload: it stamps each request's first byte, and refuses cheaply.

An ad request that finds the queue full is refused as soon as its headers are read: no task, no request
object, no body. That costs a tenth of an answer; through the application it would cost a fifth.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Literal

import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from app.domain.refusals import Busy
from app.flows.limiter import RETRY_MS, Limiter
from app.flows.node import Node
from app.web.asgi import COMING, FIRST_BYTE, Answer, problem_answer
from app.web.bids import refuse_bare

# A connection that stays silent for so long while the node stops is closed without a last answer.
SILENT_S = 1.0
LINGER_S = 0.2
KEEP_ALIVE_S = 300
MOST_HEAD_BYTES = 65_536  # beside what comes in one piece: the parser itself would take any number
_LONG_HEAD = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
DRAIN_S = 10


class Server(uvicorn.Server):
    """A uvicorn server that leaves signals to the node: two of them share one loop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Event:
    def set(self) -> None:
        """Nobody waits for the body of a refused request."""


class _Refused:
    """What stands in a cycle's place when its request was refused: answered, and deaf to its body."""

    response_complete = True
    message_event = _Event()
    keep_alive = True


_REFUSED: Any = _Refused()


class Refusal:
    """A finished answer for a door that is shed, and whom to tell."""

    def __init__(self, answer: Answer, count: Callable[[], None]) -> None:
        lines = [STATUS_LINE[answer.status], *(b"%s: %s\r\n" % header for header in answer.headers)]
        if answer.status != 204:
            lines.append(b"content-length: %d\r\n" % len(answer.body))
        head = b"".join(lines)
        self.kept = head + b"\r\n" + answer.body
        self.closed = head + b"connection: close\r\n\r\n" + answer.body
        self.count = count


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol, with the time of the first byte, and refusals before anything is built.

    `refusals` are by path (POST alone); made by `protocol_of`.
    """

    limiter: ClassVar[Limiter]
    refusals: ClassVar[Mapping[bytes, Refusal]]
    _began_s = 0.0
    _in_head, _head_bytes = False, 0

    def data_received(self, data: bytes) -> None:
        self._began_s = self.limiter.clock_s()
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MOST_HEAD_BYTES:
                self.transport.write(_LONG_HEAD)
                self.transport.close()
                return
        super().data_received(data)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0  # what came with the first byte is counted with the next
        scope: Any = self.scope
        scope[FIRST_BYTE] = self._began_s

    def on_headers_complete(self) -> None:
        self._in_head = False
        refusal = self.refusals.get(self.url)
        # A request behind another on the same connection, or one that waits to be asked for its body,
        # takes the long way: the application refuses it.
        if refusal is None or not self._is_idle() or self.expect_100_continue:
            super().on_headers_complete()
        elif self.limiter.full() and self.parser.get_method() == b"POST":
            self._refuse(refusal)
        else:
            self.limiter.coming += 1
            scope: Any = self.scope
            scope[COMING] = True
            super().on_headers_complete()
        if self.limiter.draining and not self._is_idle():
            self.cycle.keep_alive = False

    def shutdown(self) -> None:
        """Stop after the next answer: one that is under way, or that a request on its way here gets."""
        if self._is_idle():
            self.loop.call_later(SILENT_S, super().shutdown)
        else:
            self.cycle.keep_alive = False

    def _is_idle(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle  # there is none before the first request
        return cycle is None or cycle.response_complete

    def _refuse(self, refusal: Refusal) -> None:
        self.cycle = _REFUSED
        refusal.count()
        keep = self.parser.get_http_version() == "1.1" and self.parser.should_keep_alive()
        if keep and not self.limiter.draining:
            self.transport.write(refusal.kept)
        else:
            self.transport.write(refusal.closed)
            # With the body still on its way a close is a reset, which may overtake the answer.
            self.loop.call_later(LINGER_S, self.transport.close)
        self.on_response_complete()


def protocol_of(node: Node) -> type[Protocol]:
    """Make the protocol of a node's servers."""

    class NodeProtocol(Protocol):
        limiter = node.limiter
        refusals: ClassVar[Mapping[bytes, Refusal]] = {
            route.encode(): Refusal(refuse(Busy("overloaded", RETRY_MS)), _counting(node, route))
            for route, refuse in (("/v1/ads", problem_answer), ("/openrtb2/bid", refuse_bare))
        }

    return NodeProtocol


def _counting(node: Node, route: str) -> Callable[[], None]:
    counters = node.counters
    requests, shed = counters.requests.labels(route, "overloaded"), counters.shed.labels("overloaded")

    def count() -> None:
        requests.inc()
        shed.inc()

    return count


def server_of(app: object, protocol: type[Protocol] | Literal["httptools"] = "httptools") -> Server:
    """Make a server for one port."""
    config = uvicorn.Config(
        app,  # type: ignore[arg-type]
        http=protocol, ws="none", lifespan="off", access_log=False, log_level="warning",
        timeout_keep_alive=KEEP_ALIVE_S, timeout_graceful_shutdown=DRAIN_S, proxy_headers=False,
        server_header=False, backlog=2048,
    )  # fmt: skip
    return Server(config)
