"""Ad requests that the server answers by itself get what the application would have answered.

Method: the same request twice over a bare connection, the second time waiting to be asked for its body, which
takes the long way. Answers are compared whole, but for the order of headers and what no two answers share.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPResponse
from typing import Any

import pytest

from app.web import server
from app.web.asgi import MAX_BODY
from tests.web.public_port import TOP, PublicPort, packed, public_port
from tests.web.test_overload import BID, Line

ADS, BIDS = "/v1/ads", "/openrtb2/bid"
BODY = json.dumps({"request_id": "r", "placements": [TOP]}).encode()
NOTHING = json.dumps({"request_id": "r", "placements": [{**TOP, "sizes": ["1x1"]}]}).encode()
GZIP, TAKES_GZIP = "Content-Encoding: gzip\r\n", "Accept-Encoding: gzip\r\n"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PublicPort]:
    with public_port(tmp_path_factory.mktemp("port")) as port:
        yield port


#   path  body                    headers      status  why
TABLE = [
    (ADS,  NOTHING,               "",          200,    "no ad"),
    (ADS,  packed(NOTHING),       GZIP,        200,    "packed"),
    (ADS,  b"",                   "",          400,    "nothing at all"),
    (ADS,  b"{}",                 "",          422,    "a field is missing"),
    (ADS,  b"not gzip",           GZIP,        400,    "not packed"),
    (ADS,  b"x",                  "Content-Encoding: br\r\n", 415, "packed otherwise"),
    (ADS,  b"x" * (MAX_BODY + 1), "",          413,    "too large"),
    (ADS,  packed(b" " * (MAX_BODY + 1)), GZIP, 413,   "too large unpacked"),
    (ADS,  NOTHING,               "Connection: close\r\n", 200, "the last one"),
    (BIDS, b"{}",                 "",          400,    "malformed"),
    (BIDS, json.dumps({**BID, "cur": ["EUR"]}).encode(), "", 204, "no bid"),
    (BIDS, json.dumps({**BID, "cur": ["EUR"], "test": 1}).encode(), "", 200, "no bid, and why"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body", "headers", "status", "why"), TABLE, ids=[row[-1] for row in TABLE])
def test_both_ways_answer_the_same(
    port: PublicPort, path: str, body: bytes, headers: str, status: int, why: str
) -> None:
    named = headers + "X-Request-ID: same-1\r\n"  # it comes back, by either way
    short, long = ask(port, path, body, named), ask(port, path, body, named + "Expect: 100-continue\r\n")
    assert short == long, why
    assert ("x-request-id", "same-1") in short[1]
    assert short[0] == status, why


def test_both_ways_pack_what_is_large(port: PublicPort) -> None:
    for more in ("", "Expect: 100-continue\r\n"):
        many = json.dumps({"placements": [{"name": str(n), "placement_id": "plc-1"} for n in range(5)]})
        status, headers, _ = ask(port, ADS, many.encode(), TAKES_GZIP + more)
        assert status == 200
        assert {("content-encoding", "gzip"), ("vary", "accept-encoding")} <= set(headers)


def test_a_body_may_come_in_parts_and_chunks(port: PublicPort) -> None:
    with Line(port) as line:
        line.head(ADS, len(BODY))
        for at in range(0, len(BODY), 7):
            line.send(BODY[at : at + 7])
            time.sleep(0.001)
        assert list(json.loads(line.read()[2])["decisions"]) == ["top"]
        line.send(f"POST {ADS} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        for part in (BODY[:9], BODY[9:]):
            line.send(b"%x\r\n%s\r\n" % (len(part), part))
        line.send(b"0\r\n\r\n")
        assert list(json.loads(line.read()[2])["decisions"]) == ["top"]


def test_requests_behind_each_other_are_answered_in_order(port: PublicPort) -> None:
    """Some at once, some waiting for their turn, the rest through the application."""
    names = [f"n{number}" for number in range(40)]
    bodies = [json.dumps({"request_id": name, "placements": [TOP]}).encode() for name in names]
    with Line(port) as line:
        for body in bodies:
            line.head(ADS, len(body))
            line.send(body)
        text = b""
        while text.count(b'"request_id"') < len(names):
            text += line.socket.recv(65_536)
    assert [found.decode() for found in re.findall(rb'"request_id":"(n\d+)"', text)] == names


def test_a_large_body_is_refused_before_it_is_all_there(port: PublicPort) -> None:
    with Line(port) as line:
        line.head(ADS, 4 * MAX_BODY)
        line.send(b" " * (MAX_BODY + 1))
        assert line.read()[0] == 413
        line.send(b" " * (3 * MAX_BODY - 1))  # the connection lives on, deaf to the rest
        line.head(ADS, len(BODY))
        line.send(BODY)
        assert line.read()[0] == 200


def test_who_does_not_read_is_not_answered_on_and_on(
    port: PublicPort, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While answers pile up, requests take the long way, which waits for the connection to be read."""
    made: list[int] = []
    original = server.AdCycle.__init__

    def noted(self: Any, *given: Any) -> None:
        made.append(1)
        original(self, *given)

    monkeypatch.setattr(server.AdCycle, "__init__", noted)
    many = json.dumps({"placements": [{"name": str(n), "placement_id": "plc-1"} for n in range(20)]}).encode()
    assert port.ads().status == 200  # the first one may wait for kernels; no later one does
    made.clear()
    with Line(port) as line:
        line.socket.settimeout(1)
        with suppress(TimeoutError):
            for _ in range(1_000):
                line.head(ADS, len(many))
                line.send(many)
        wait_until(lambda: made)
        assert len(made) < 1_000
    assert port.ads().status == 200


def test_who_has_hung_up_costs_no_decision(port: PublicPort, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting: list[Any] = []
    monkeypatch.setattr(port.node.limiter, "take", waiting.append)
    with Line(port) as line:
        line.head(ADS, len(BODY))
        line.send(BODY)
        wait_until(lambda: len(waiting) == 1)
        [protocol] = [work.__self__.protocol for work in waiting]
    wait_until(protocol.transport.is_closing)
    port.node.decisions.flush()
    before = port.node.decisions.count()
    waiting[0]()
    port.node.decisions.flush()
    assert port.node.decisions.count() == before


def ask(port: PublicPort, path: str, body: bytes, headers: str) -> tuple[int, list[tuple[str, str]], bytes]:
    """Send a request on a connection of its own; the answer's headers in order of name, but for the date."""
    with Line(port) as line:
        line.head(path, len(body), headers)
        with suppress(ConnectionError):  # refused before all of it was sent
            line.send(body)
        response = HTTPResponse(line.socket, method="POST")  # it passes over the word to go on
        response.begin()
        told = sorted((name.lower(), value) for name, value in response.getheaders() if name != "date")
        return response.status, told, response.read()


def wait_until(there: Any) -> None:
    for _ in range(500):
        if there():
            return
        time.sleep(0.01)
    raise AssertionError("it never came")
