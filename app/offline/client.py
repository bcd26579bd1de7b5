"""A small HTTP/1.1 client for load: keep-alive connections, one exchange at a time on each.

It knows nothing of ads. No redirect is followed, no cookie kept, no compression asked for.
"""

import asyncio
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import httptools
from msgspec import Struct

TIMEOUT_S = 5.0


class Reply(Struct, frozen=True):
    """What came back."""

    status: int
    body: bytes


class Connection(asyncio.Protocol):
    """One connection: `exchange` sends a whole request and waits for its whole reply.

    Errors  ConnectionError when the other side hangs up or does not speak HTTP.
    """

    def __init__(self) -> None:
        self.open = False
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[Reply] | None = None

    async def exchange(self, request: bytes) -> Reply:
        if not self.open or self._transport is None:
            raise ConnectionError("the connection is closed")
        assert self._waiting is None, "one exchange at a time"
        self._waiting = asyncio.get_running_loop().create_future()
        self._parser = httptools.HttpResponseParser(self)
        self._body = bytearray()
        self._transport.write(request)
        try:
            return await self._waiting
        finally:
            if not self._waiting.done() or self._waiting.cancelled():
                self.close()  # a late reply would be taken for the next one
            self._waiting = None

    def close(self) -> None:
        self.open = False
        if self._transport is not None:
            self._transport.close()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self.open = transport, True

    def data_received(self, data: bytes) -> None:
        if self._waiting is None:
            return self.close()  # nobody asked
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(ConnectionError(f"not HTTP: {error}"))
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        self._fail(ConnectionError("the other side hung up"))

    def _fail(self, error: ConnectionError) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)

    # What the parser calls.

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        if not self._parser.should_keep_alive():
            self.close()
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(Reply(self._parser.get_status_code(), bytes(self._body)))


class Client:
    """Up to so many connections to one host; a request waits for a free one.

    Closed connections are opened anew when their turn comes, so that a node may restart meanwhile.
    """

    def __init__(self, url: str, connections: int, headers: dict[str, str] | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or parts.hostname is None:
            raise ValueError(f"only plain http URLs with a host, not {url!r}")
        self._host, self._port = parts.hostname, parts.port or 80
        own = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        self._head = f"Host: {parts.netloc}\r\n{own}"
        self._free: asyncio.LifoQueue[Connection] = asyncio.LifoQueue()
        for _ in range(connections):
            self._free.put_nowait(Connection())

    async def get(self, path: str, headers: str = "") -> Reply:
        """Fetch a path (with its query); each of further headers ends with a line's end."""
        return await self._send(f"GET {path} HTTP/1.1\r\n{self._head}{headers}\r\n".encode(), TIMEOUT_S)

    async def post(self, path: str, kind: str, body: bytes, timeout_s: float = TIMEOUT_S) -> Reply:
        """Send a body of a media type.

        Errors  as `get`: ConnectionError and other OSErrors, TimeoutError.
        """
        head = (
            f"POST {path} HTTP/1.1\r\n{self._head}Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return await self._send(head.encode() + body, timeout_s)

    async def _send(self, request: bytes, timeout_s: float) -> Reply:
        connection = await self._free.get()
        try:
            async with asyncio.timeout(timeout_s):
                if not connection.open:
                    loop = asyncio.get_running_loop()
                    _, connection = await loop.create_connection(Connection, self._host, self._port)
                return await connection.exchange(request)
        finally:
            self._free.put_nowait(connection)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while not self._free.empty():
            self._free.get_nowait().close()
