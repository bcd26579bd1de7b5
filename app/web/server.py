"""The HTTP server's part in ads: it answers ad requests by itself, and refuses cheaply under overload.

An ad request costs no task, no ASGI messages and no events: its body is gathered, the door is called when
its turn has come, and the answer is written, head and body at once. What finds the queue full is refused as
soon as its headers are read. Requests that are out of the ordinary (another method, one behind another on the
same connection, one that waits to be asked for its body, or that the door would not let in) go the long way
through the application, which answers the same. So does everything else.

A request that does not arrive in its time is given up (408). Nothing is armed for that per request: once a
second somebody looks at all connections.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

import uvicorn
from prometheus_client import Counter
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from app.domain.refusals import Busy
from app.flows.limiter import Limiter
from app.flows.node import Node
from app.web.asgi import FIRST_BYTE, MAX_BODY, AdDoor, Answer, Front, packed

# A connection that stays silent for so long while the node stops is closed without a last answer.
SILENT_S = 1.0
LINGER_S = 0.2
KEEP_ALIVE_S = 300
MOST_HEAD_BYTES = 65_536  # beside what comes in one piece: the parser itself would take any number
_LONG_HEAD = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
DRAIN_S = 10
# A request has `read_s` to arrive, and a second more for each so many bytes of it that are there.
LEAST_BYTES_PER_S = 16_384
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
SWEPT_AT_ONCE = 2_000  # connections: well under a millisecond


class Server(uvicorn.Server):
    """A uvicorn server that leaves signals to the node: two of them share one loop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second; once a second, give up the requests that do not arrive."""
        if counter % 10 == 0:
            await self.sweep()
        return await super().on_tick(counter)

    async def sweep(self) -> None:
        """Look at every connection, a few at a time."""
        for place, connection in enumerate(list(self.server_state.connections), 1):
            if isinstance(connection, Protocol):
                connection.give_up_if_slow()
            if place % SWEPT_AT_ONCE == 0:
                await asyncio.sleep(0)


class _Event:
    def set(self) -> None:
        """Nobody waits for an event of an ad request."""


class AdCycle:
    """An ad request from its headers to its answer. It stands in the place of uvicorn's cycle."""

    message_event = _Event()

    def __init__(self, protocol: Protocol, door: AdDoor) -> None:
        self.protocol = protocol
        self.door = door
        self.scope: Any = protocol.scope
        parser = protocol.parser
        keeps = parser.should_keep_alive() and parser.get_http_version() == "1.1"
        self.keep_alive = keeps and not protocol.limiter.draining
        self.response_started = self.response_complete = self.disconnected = False  # as uvicorn calls them
        self._whole = False
        self._parts: list[bytes] = []
        self._size = 0

    def take(self, part: bytes) -> None:
        """Take a part of the body. One that is too large is answered at once, and the rest of it dropped."""
        if self.response_complete:
            return
        self._parts.append(part)
        self._size += len(part)
        if self._size > MAX_BODY:
            self._answer()

    def complete(self) -> None:
        """Have the request answered in its turn: its body is whole."""
        self._whole = True
        try:
            if not self.response_complete:
                self.door.limiter.take(self._answer)
        except Busy:
            self.refuse()

    def refuse(self) -> None:
        """Answer that it is too much."""
        self._write(self.door.shed(self.scope))

    def _answer(self) -> None:
        parts, self._parts = self._parts, []
        if self.protocol.transport.is_closing():  # whoever asked has hung up
            return
        answer = self.door.answer(self.scope, parts[0] if len(parts) == 1 else b"".join(parts))
        self._write(answer)
        self.door.done(self.scope, answer, self.scope[FIRST_BYTE])

    def _write(self, answer: Answer) -> None:
        protocol, transport = self.protocol, self.protocol.transport
        headers, body = packed(answer, self.scope)
        lines = [b"%s: %s\r\n" % header for header in (*protocol.server_state.default_headers, *headers)]
        if not self.keep_alive:
            lines.append(b"connection: close\r\n")
        transport.write(b"".join((STATUS_LINE[answer.status], *lines, b"\r\n", body)))
        self.response_started = self.response_complete = True
        if not self.keep_alive:
            # With the body still on its way a close is a reset, which may overtake the answer.
            protocol.loop.call_later(0 if self._whole else LINGER_S, transport.close)
        protocol.on_response_complete()


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol, with the time of the first byte, and a short way for ads; made by `protocol_of`.

    `doors` are those on the short way, by path; `_ad` is the request whose body is being read. `read_s` is
    how long a request may take to arrive, and `slow` counts those that took longer.
    """

    limiter: ClassVar[Limiter]
    doors: ClassVar[Mapping[bytes, AdDoor]]
    read_s: ClassVar[float]
    slow: ClassVar[Counter]
    cycle: RequestResponseCycle | AdCycle | None  # type: ignore[assignment] # none before the first request
    _ad: AdCycle | None = None
    _began_s = 0.0
    _in_head, _come_bytes = False, 0  # of the request on its way, behind the piece that it began in
    _piece_bytes, _first_bytes = 0, 0
    _since_s = 0.0  # when the request that is on its way began; while there is none, not above 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's
        self._since_s = -self.limiter.clock_s()
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self._began_s = self.limiter.clock_s()
        self._piece_bytes = size = len(data)
        self._come_bytes += size
        if self._in_head and self._come_bytes > MOST_HEAD_BYTES:
            self.transport.write(_LONG_HEAD)
            self.transport.close()
            return
        super().data_received(data)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._come_bytes = True, 0
        self._first_bytes = self._piece_bytes
        self._since_s = self._began_s
        scope: Any = self.scope
        scope[FIRST_BYTE] = self._began_s

    def on_headers_complete(self) -> None:
        self._in_head = False
        scope: Any = self.scope
        door = self.doors.get(self.url)
        if door is None or not self._is_plain_post():
            super().on_headers_complete()
        elif self.limiter.full():
            self.cycle = AdCycle(self, door)
            self.cycle.refuse()
        elif door.lets_in(scope):
            self.cycle = self._ad = AdCycle(self, door)
        else:
            super().on_headers_complete()
        if self.limiter.draining and self.cycle is not None:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        if self._ad is not None:
            self._ad.take(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._since_s = 0.0
        ad, self._ad = self._ad, None
        if ad is not None:
            ad.complete()
        else:
            super().on_message_complete()

    def give_up_if_slow(self) -> None:
        """Close the connection if its request has not arrived in its time, or none ever came."""
        now_s, cycle = self.limiter.clock_s(), self.cycle
        if self._since_s <= 0:
            if self._since_s < 0 and now_s + self._since_s > KEEP_ALIVE_S:
                self.transport.close()
            return
        answering = cycle is not None and not cycle.response_complete
        if self.flow.read_paused or (self._in_head and answering):
            self._since_s = now_s  # it waits for us: for room, or for the answer before it
            return
        earned_s = (self._first_bytes + self._come_bytes) / LEAST_BYTES_PER_S
        if now_s - self._since_s > self.read_s + earned_s:
            self.slow.inc()
            if self._in_head or (cycle is not None and not cycle.response_started):
                self.transport.write(_TOO_SLOW)
            self.transport.close()

    def shutdown(self) -> None:
        """Stop after the next answer: one that is under way, or that a request on its way here gets."""
        if self.cycle is None or self.cycle.response_complete:
            self.loop.call_later(SILENT_S, super().shutdown)
        else:
            self.cycle.keep_alive = False

    def _is_plain_post(self) -> bool:
        """Say whether a request may be answered as soon as its body is there: nothing stands before it."""
        cycle = self.cycle
        idle = (cycle is None or cycle.response_complete) and not self.flow.write_paused
        return idle and not self.expect_100_continue and self.parser.get_method() == b"POST"


def protocol_of(node: Node, doors: Mapping[str, AdDoor]) -> type[Protocol]:
    """Make the protocol of a node's server, with the doors at which it answers by itself."""

    class NodeProtocol(Protocol):
        pass

    NodeProtocol.limiter = node.limiter
    NodeProtocol.read_s = node.settings.read_s
    NodeProtocol.slow = node.counters.shed.labels("slow")
    NodeProtocol.doors = {path.encode(): door for path, door in doors.items()}
    return NodeProtocol


def server_of(app: object, node: Node | None = None) -> Server:
    """Make a server for one port; one of a node stamps requests, and answers ads by itself."""
    http: type[Protocol] | Literal["httptools"] = "httptools"
    if node is not None:
        http = protocol_of(node, app.ad_doors if isinstance(app, Front) else {})
    config = uvicorn.Config(
        app,  # type: ignore[arg-type]
        http=http, ws="none", lifespan="off", access_log=False, log_config=None,
        timeout_keep_alive=KEEP_ALIVE_S, timeout_graceful_shutdown=DRAIN_S, proxy_headers=False,
        server_header=False, backlog=2048,
    )  # fmt: skip
    return Server(config)
