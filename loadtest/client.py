"""A small load client: keep-alive connections over raw sockets, requests encoded beforehand.

`Pool.exchange` takes a whole HTTP request and returns the reply. `closed_loop` keeps so many requests
under way; `open_loop` sends at times fixed in advance and measures from those times, so that a server that
stalls is charged for every request that had to wait (no coordinated omission).
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from random import Random
from time import perf_counter
from typing import Any, NamedTuple, TypeVar, cast

import uvloop

Result = TypeVar("Result")
TIMEOUT_S = 10.0


class Reply(NamedTuple):
    """What came back."""

    status: int
    body: bytes


class _Connection(asyncio.Protocol):
    """One connection, one request at a time. Replies tell their length, come in chunks, or are 204 or 304."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.waiting: asyncio.Future[Reply] | None = None
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's own class is none of asyncio's

    def data_received(self, data: bytes) -> None:
        self.buffer = self.buffer + data if self.buffer else data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        status, head = int(self.buffer[9:12]), self.buffer[:end].lower()
        if b"transfer-encoding: chunked" in head:
            if not self.buffer.endswith(b"0\r\n\r\n"):
                return
            body = _unchunked(self.buffer[end + 4 :])
        else:
            length = 0 if status in {204, 304} else _length(head)
            if len(self.buffer) < end + 4 + length:
                return
            body = self.buffer[end + 4 : end + 4 + length]
        self.buffer = b""
        waiting, self.waiting = self.waiting, None
        if waiting is not None and not waiting.done():
            waiting.set_result(Reply(status, body))

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_exception(ConnectionError("the server hung up"))


def _length(head: bytes) -> int:
    at = head.find(b"content-length:")
    return int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0


def _unchunked(text: bytes) -> bytes:
    """Join chunks.

    >>> _unchunked(b"3\\r\\nabc\\r\\n1\\r\\nd\\r\\n0\\r\\n\\r\\n")
    b'abcd'
    """
    parts, at = [], 0
    while size := int(text[at : (start := text.index(b"\r\n", at) + 2)], 16):
        parts.append(text[start : start + size])
        at = start + size + 2
    return b"".join(parts)


class Pool:
    """Up to `most` connections to one server; a request beyond them waits for a free one."""

    def __init__(self, host: str, port: int, most: int, timeout_s: float = TIMEOUT_S) -> None:
        self._host, self._port, self._timeout_s = host, port, timeout_s
        self._free: list[_Connection] = []
        self._slots = asyncio.Semaphore(most)

    async def exchange(self, request: bytes) -> Reply:
        """Send a request, wait for its reply.

        Errors  ConnectionError, TimeoutError.
        """
        async with self._slots:
            connection = await self._take()
            assert connection.transport is not None
            loop = asyncio.get_running_loop()
            waiting = connection.waiting = loop.create_future()
            connection.transport.write(request)
            late = loop.call_later(self._timeout_s, _give_up, connection)
            try:
                reply: Reply = await waiting
            finally:
                late.cancel()
            self._free.append(connection)
            return reply

    async def _take(self) -> _Connection:
        while self._free:
            connection = self._free.pop()
            if connection.transport is not None:
                return connection
        _, made = await asyncio.get_running_loop().create_connection(_Connection, self._host, self._port)
        return made

    def close(self) -> None:
        """Hang up."""
        for connection in self._free:
            if connection.transport is not None:
                connection.transport.close()


def _give_up(connection: _Connection) -> None:
    if connection.waiting is not None and not connection.waiting.done():
        connection.waiting.set_exception(TimeoutError("no reply in time"))
    if connection.transport is not None:
        connection.transport.abort()


async def closed_loop(
    work: Callable[[int], Awaitable[None]], workers: int, *, count: int | None = None, seconds: float = 3600
) -> tuple[int, float]:
    """Call `work` with 0, 1, 2 ... keeping so many under way; returns how many were done, and the seconds."""
    started, taken = perf_counter(), 0

    async def one() -> None:
        nonlocal taken
        while (count is None or taken < count) and perf_counter() - started < seconds:
            number, taken = taken, taken + 1
            await work(number)

    await asyncio.gather(*(one() for _ in range(workers)))
    return taken, perf_counter() - started


async def open_loop(
    work: Callable[[int, float], Coroutine[Any, Any, None]], rate: float, seconds: float, seed: int
) -> None:
    """Start `work(number, due)` at random (Poisson) times of a rate, whatever became of those before.

    `due` is the intended time on `perf_counter`; latency is measured from it.
    """
    random, under_way = Random(seed), set[asyncio.Task[None]]()
    due = started = perf_counter() + 0.05
    number = 0
    while due < started + seconds:
        if (wait := due - perf_counter()) > 0:
            await asyncio.sleep(wait)
        task = asyncio.create_task(work(number, due))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
        number += 1
        due += random.expovariate(rate)
    if under_way:
        await asyncio.wait(under_way, timeout=TIMEOUT_S)


def percentile(values: Sequence[float], share: float) -> float:
    """Find the value that so large a share of the values does not exceed; nearest rank.

    >>> percentile([4, 1, 3, 2], 0.5), percentile([4, 1, 3, 2], 0.999)
    (2, 4)
    """
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))]


@contextmanager
def quiet_collector() -> Iterator[None]:
    """Keep the collector out of a measurement: the client's own pauses are not the server's."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def run_loop(work: Coroutine[Any, Any, Result]) -> Result:
    """Run on the loop that servers of this kind use."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)
