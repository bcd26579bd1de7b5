"""Callers who let a request trickle in: given up in time, and nobody else with them.

Method: real connections in every state of a request, the node's clock put forward, one sweep of the server's
own. That a sweep has passed is seen by a connection that it closes: nothing here waits for a time.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter

import pytest

from app.web.server import Protocol
from tests.web.public_port import TOP, PublicPort, public_port
from tests.web.test_overload import BODY, Line, counted

HEAD = b"POST /v1/ads HTTP/1.1\r\nHost: x\r\nContent-Le"
Opener = Callable[[], Line]
LONG_BODY = json.dumps({"placements": [TOP], "padding": "x" * 300_000}).encode()
LONG = HEAD + b"ngth: %d\r\n\r\n" % len(LONG_BODY) + LONG_BODY


class Ahead:
    """The clock of connections, and what it was put forward by."""

    seconds = 0.0

    def __call__(self) -> float:
        return perf_counter() + self.seconds


@pytest.fixture
def ahead(port: PublicPort) -> Ahead:
    clock = Ahead()
    port.node.limiter.clock_s = clock
    return clock


@pytest.fixture
def port(tmp_path: Path) -> Iterator[PublicPort]:
    with public_port(tmp_path) as port:
        yield port


@pytest.fixture
def line(port: PublicPort) -> Iterator[Opener]:
    """A way to open connections that are closed in the end."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(Line(port))


def ended(one: Line) -> bytes:
    """Read until the server hangs up, and return what it said before."""
    text = b""
    try:
        while some := one.socket.recv(65_536):
            text += some
    except ConnectionResetError:
        pass
    return text


def test_a_request_that_trickles_in_is_given_up(port: PublicPort, ahead: Ahead, line: Opener) -> None:
    in_head, in_body, at_start, pixel = (line() for _ in range(4))
    in_head.send(HEAD)
    in_body.head("/v1/ads", len(BODY))
    in_body.send(BODY[:10])
    at_start.head("/openrtb2/bid", 100)
    pixel.send(b"GET /i/")
    fast = line()
    fast.head("/v1/ads", len(BODY))
    fast.send(BODY)
    assert fast.read()[0] == 200
    ahead.seconds = 31
    for one in (in_head, in_body, at_start, pixel):
        answer = ended(one)
        assert answer.startswith(b"HTTP/1.1 408 "), answer
        assert b"connection: close" in answer
    assert counted(port, "adjudge_shed_total") == 4
    fast.head("/v1/ads", len(BODY))
    fast.send(BODY)
    assert fast.read()[0] == 200, "a kept connection may rest as long as it likes"


def test_each_byte_in_time_does_not_help(port: PublicPort, ahead: Ahead, line: Opener) -> None:
    one = line()
    one.send(HEAD)
    one.socket.settimeout(0.05)
    for _ in range(200):
        ahead.seconds += 1
        try:
            one.send(b"x")
            if answer := one.socket.recv(1_000):
                break
        except TimeoutError:
            continue
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert ahead.seconds >= 28, "a real second or two may have passed, too"


def test_a_large_body_gets_the_time_it_needs(
    port: PublicPort, ahead: Ahead, line: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quarter of a MiB has come, so 16 s more are its."""
    come, take = threading.Event(), Protocol.data_received

    def taken(self: Protocol, data: bytes) -> None:
        take(self, data)
        if self._first_bytes + self._come_bytes >= 262_144:
            come.set()

    monkeypatch.setattr(Protocol, "data_received", taken)
    slow, large = line(), line()
    slow.send(HEAD)
    large.send(LONG[:262_144])
    assert come.wait(60)
    assert port.get("/healthz").status == 200, "by then both have begun"
    ahead.seconds = 40
    assert ended(slow).startswith(b"HTTP/1.1 408 ")
    large.send(LONG[262_144:])
    assert large.read()[0] == 200


def test_a_body_that_nobody_waits_for_is_given_up_without_a_second_answer(
    tmp_path: Path,
) -> None:
    with public_port(tmp_path, open_doors=False) as port, Line(port) as one:
        clock = port.node.limiter.clock_s = Ahead()
        one.head("/v1/ads", len(BODY))
        one.send(BODY[:10])
        assert one.read()[0] == 401, "before the body is read"
        clock.seconds = 31
        assert ended(one) == b""


def test_what_waits_for_us_is_not_slow(port: PublicPort, ahead: Ahead, line: Opener) -> None:
    """One answer takes its time; the next request on that connection has begun meanwhile."""
    limiter, waiting = port.node.limiter, list[Callable[[], None]]()
    take, limiter.take = limiter.take, waiting.append  # type: ignore[method-assign,assignment]
    busy, slow = line(), line()
    busy.head("/v1/ads", len(BODY))
    busy.send(BODY + HEAD)
    slow.send(HEAD)
    assert port.get("/healthz").status == 200, "by then it has begun"
    ahead.seconds = 31
    assert ended(slow).startswith(b"HTTP/1.1 408 ")

    async def go() -> None:
        limiter.take = take  # type: ignore[method-assign]
        for work in waiting:
            work()

    port.server.run(go())
    assert busy.read()[0] == 200
    busy.send(b"ngth: %d\r\n\r\n" % len(BODY) + BODY)
    assert busy.read()[0] == 200


def test_a_connection_that_never_asks_is_closed_in_the_end(
    port: PublicPort, ahead: Ahead, line: Opener
) -> None:
    silent = line()
    port.ad()  # by then it was accepted
    ahead.seconds = 31
    slow = line()
    slow.send(HEAD)
    port.ad()
    ahead.seconds = 62
    assert ended(slow).startswith(b"HTTP/1.1 408 ")
    silent.socket.settimeout(0.05)
    with pytest.raises(TimeoutError):
        silent.socket.recv(1)
    silent.socket.settimeout(60)
    ahead.seconds = 400
    assert ended(silent) == b""


@pytest.mark.parametrize(("path", "body", "outcomes"), [
    ("/v1/ads", BODY, {}),
    ("/v1/events", b'{"events": []}', {"malformed": 1.0}),
])  # fmt: skip
def test_a_body_cut_short_is_no_request(
    port: PublicPort, path: str, body: bytes, outcomes: dict[str, float]
) -> None:
    """JSON that is whole, in a body that was to be longer: its caller is gone, so nothing is done."""
    with Line(port) as one:
        one.head(path, len(body) + 5)
        one.send(body)
        assert port.get("/healthz").status == 200
        one.socket.shutdown(socket.SHUT_RDWR)
    for _ in range(3):  # by then the loop has seen that it is gone, and told whoever waited
        assert port.get("/healthz").status == 200
    answers = {
        sample.labels["outcome"]: sample.value
        for metric in port.node.counters.registry.collect()
        for sample in metric.samples
        if sample.name == "adjudge_requests_total" and sample.labels["route"] == path and sample.value
    }
    assert answers == outcomes
