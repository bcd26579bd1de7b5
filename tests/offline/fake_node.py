"""A stand-in for a node: real sockets and HTTP, answers from a function, and a list of what was asked."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Answer = tuple[int, bytes]
HANG_UP: Answer = (0, b"")


@dataclass
class FakeNode:
    """Answers each (method, path, body); HANG_UP closes the connection instead."""

    answer: Callable[[str, str, bytes], Answer]
    keep_alive: bool = True
    url: str = ""
    asked: list[tuple[str, str]] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    connections: int = 0

    def count(self, start: str) -> int:
        """Count the requests to paths that start so."""
        return sum(path.startswith(start) for _, path in self.asked)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while await self._exchange(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the client, or the test, has had enough
        finally:
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, path, _ = head.split(" ", 2)
        length = next(
            (line for line in head.lower().splitlines() if line.startswith("content-length:")), ":0"
        )
        body = await reader.readexactly(int(length.split(":")[1]))
        self.asked.append((method, path))
        self.heads.append(head)
        status, content = self.answer(method, path, body)
        if (status, content) == HANG_UP:
            return False
        keep = "keep-alive" if self.keep_alive else "close"
        top = f"HTTP/1.1 {status} X\r\ncontent-length: {len(content)}\r\nconnection: {keep}\r\n"
        whole = (top + "location: https://landing.example/\r\n\r\n").encode() + content
        writer.write(whole[:7])  # in two pieces, as networks do
        await writer.drain()
        await asyncio.sleep(0)
        writer.write(whole[7:])
        await writer.drain()
        return self.keep_alive


@asynccontextmanager
async def fake_node(
    answer: Callable[[str, str, bytes], Answer], keep_alive: bool = True
) -> AsyncIterator[FakeNode]:
    """Run a fake node on a free port of the loopback."""
    node = FakeNode(answer, keep_alive)
    server = await asyncio.start_server(node.serve, "127.0.0.1", 0)
    node.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield node
    finally:
        server.close()


def one_ad(creative_id: str, kind: str = "cpc") -> Callable[[str, str, bytes], Answer]:
    """Answer as a node that has one ad for every placement, and numbers its tokens."""
    count = 0

    def answer(method: str, path: str, body: bytes) -> Answer:
        nonlocal count
        if path == "/v1/ads":
            count += 1
            ad = {
                "creative_id": creative_id,
                "pctr": 0.02,
                "impression_url": f"http://named.otherwise.example/i/{count}",
                "click_url": f"http://named.otherwise.example/c/{count}",
                "pricing": {"kind": kind, "bid": 1000, "price": 800, "ecpm": 20000, "currency": "KRW"},
            }
            names = [placement["name"] for placement in json.loads(body)["placements"]]
            return 200, json.dumps({"decisions": {name: [ad] for name in names}, "no_ad": {}}).encode()
        return (302, b"") if path.startswith("/c/") else (200, b"GIF89a")

    return answer
