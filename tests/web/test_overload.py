"""What each door does when there is too much to do, over a real socket and the node's own server."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from app.domain.refusals import Busy
from tests.web.public_port import JSON, TOP, PublicPort, public_port

BID: dict[str, Any] = {"id": "a", "imp": [{"id": "1", "tagid": "plc-1", "banner": {"w": 320, "h": 50}}],
                       "cur": ["KRW"]}  # fmt: skip
BODY = json.dumps({"placements": [TOP]}).encode()


@pytest.fixture
def port(tmp_path: Path) -> Iterator[PublicPort]:
    with public_port(tmp_path) as port:
        yield port


@pytest.fixture
def full(port: PublicPort, monkeypatch: pytest.MonkeyPatch) -> PublicPort:
    """A port whose queue of ad requests has no place left."""
    monkeypatch.setattr(port.node.limiter, "full", lambda: True)
    return port


def counted(port: PublicPort, name: str) -> float:
    """Read a counter, all its labels together."""
    return sum(
        sample.value
        for metric in port.node.counters.registry.collect()
        for sample in metric.samples
        if sample.name == name
    )


class Line:
    """A bare connection: what is sent is sent as it stands."""

    def __init__(self, port: PublicPort) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port.server.port), timeout=60)

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, text: bytes) -> None:
        self.socket.sendall(text)

    def head(self, path: str, length: int, more: str = "", version: str = "1.1") -> None:
        self.send(f"POST {path} HTTP/{version}\r\nHost: x\r\nContent-Length: {length}\r\n{more}\r\n".encode())

    def read(self) -> tuple[int, bytes, bytes]:
        """Read one answer: status, head, body."""
        text = b""
        while b"\r\n\r\n" not in text:
            text += self._some()
        head, _, body = text.partition(b"\r\n\r\n")
        lengths = [line[16:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length: ")]
        while lengths and len(body) < int(lengths[0]):
            body += self._some()
        return int(head[9:12]), head.lower(), body

    def _some(self) -> bytes:
        text = self.socket.recv(65_536)
        assert text, "the server hung up"
        return text


def test_a_shed_request_is_answered_before_its_body_comes(full: PublicPort) -> None:
    with Line(full) as line:
        line.head("/v1/ads", len(BODY))
        status, head, body = line.read()
        assert (status, json.loads(body)["code"]) == (503, "overloaded")
        assert b"retry-after: 1" in head
        assert b"application/problem+json" in head
        line.send(BODY)  # the connection lives on, whatever of the body comes late
        line.head("/v1/ads", len(BODY))
        line.send(BODY)
        assert line.read()[0] == 503
        line.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert line.read()[0] == 200


def test_a_connection_that_was_shed_is_served_afterwards(port: PublicPort) -> None:
    with Line(port) as line:
        original = port.node.limiter.full
        port.node.limiter.full = lambda: True  # type: ignore[method-assign]
        line.head("/v1/ads", len(BODY))
        line.send(BODY)
        assert line.read()[0] == 503
        port.node.limiter.full = original  # type: ignore[method-assign]
        line.head("/v1/ads", len(BODY))
        line.send(BODY)
        status, _, body = line.read()
        assert (status, list(json.loads(body)["decisions"])) == (200, ["top"])
        assert port.node.limiter.wait_s == 0


def test_a_bid_request_gets_no_bid(full: PublicPort) -> None:
    with Line(full) as line:
        for _ in range(2):
            line.head("/openrtb2/bid", 2)
            line.send(b"{}")
            status, head, body = line.read()
            assert (status, body) == (204, b"")
            assert b"x-openrtb-version: 2.6" in head
            assert b"content-length" not in head


#   version  header               why
CLOSING = [
    ("1.0",  "",                  "HTTP/1.0 does not keep"),
    ("1.1",  "Connection: close\r\n", "asked to"),
]  # fmt: skip


@pytest.mark.parametrize(("version", "header", "why"), CLOSING)
def test_a_connection_that_is_not_kept_ends(full: PublicPort, version: str, header: str, why: str) -> None:
    with Line(full) as line:
        line.head("/v1/ads", len(BODY), header, version)
        line.send(BODY)
        status, head, _ = line.read()
        assert (status, b"connection: close" in head) == (503, True), why
        with suppress(ConnectionError):
            assert line.socket.recv(10) == b""


def test_who_waits_to_be_asked_for_the_body_is_not(full: PublicPort) -> None:
    with Line(full) as line:
        line.head("/v1/ads", len(BODY), "Expect: 100-continue\r\n")
        assert line.read()[0] == 503


def test_pipelined_requests_are_answered_in_order(full: PublicPort) -> None:
    with Line(full) as line:
        line.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        line.head("/v1/ads", len(BODY))
        line.send(BODY)
        got = b""
        while got.count(b"HTTP/1.1") < 2:
            got += line.socket.recv(65_536)
        assert got.index(b"HTTP/1.1 200") < got.index(b"HTTP/1.1 503")


def test_other_methods_and_paths_are_not_shed(full: PublicPort) -> None:
    assert full.get("/v1/ads").status == 405
    assert full.post("/v1/adsx", {}).status == 404
    assert full.post("/v1/events", {"events": []}).status == 200


def test_what_is_shed_is_counted(full: PublicPort) -> None:
    for _ in range(3):
        assert full.ads().status == 503
    assert full.post("/openrtb2/bid", BID).status == 204
    assert counted(full, "adjudge_shed_total") == 4


def test_clicks_and_pixels_pass_while_ads_are_shed(port: PublicPort, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = port.ad()["tokens"]
    monkeypatch.setattr(port.node.limiter, "full", lambda: True)
    position = port.position
    assert port.get(f"/i/{tokens['impression']}").status == 200
    assert port.get(f"/c/{tokens['click']}").status == 302
    assert port.position == position + 2


def test_impressions_then_clicks_go_uncounted(port: PublicPort, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens, position = port.ad()["tokens"], port.position
    monkeypatch.setattr(port.node.limiter, "sheds_impressions", lambda: True)
    pixel = port.get(f"/i/{tokens['impression']}")
    assert (pixel.status, pixel.headers["content-type"]) == (200, "image/gif")
    assert port.position == position
    monkeypatch.setattr(port.node.limiter, "sheds_clicks", lambda: True)
    click = port.get(f"/c/{tokens['click']}")
    assert (click.status, click.headers["location"]) == (302, "https://shop.example/")
    assert port.get("/c/forged").status == 400
    assert port.position == position
    assert counted(port, "adjudge_lost_total") == 2


def test_a_full_journal_loses_no_answer(port: PublicPort, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pixel gets its GIF, a click its redirect, a notice its 204; only servers are told to come again."""
    ad = port.ad()
    tokens = ad["tokens"]

    def full(*_: object) -> None:
        raise Busy("journal_full", 1_200)

    monkeypatch.setattr(port.node.journal, "append", full)
    assert port.get(f"/i/{tokens['impression']}").headers["content-type"] == "image/gif"
    click = port.get(f"/c/{tokens['click']}")
    assert (click.status, click.headers["location"]) == (302, "https://shop.example/")
    assert port.get(f"/x/{tokens['dismissal']}").status == 204
    assert counted(port, "adjudge_lost_total") == 3
    events = [{"token": tokens["impression"], "kind": "impression"}]
    answer = port.post("/v1/events", {"events": events})
    assert (answer.status, answer.json()["code"]) == (503, "journal_full")
    assert answer.headers["retry-after"] == "2"
    assert counted(port, "adjudge_lost_total") == 3, "who is told may send it again"
    monkeypatch.undo()
    [result] = port.post("/v1/events", {"events": events}).json()["results"]
    assert result["status"] == "counted"


def slowly(port: PublicPort, path: str, body: bytes, pause_s: float) -> tuple[int, bytes]:
    """Send a request whose last byte comes a while after its first."""
    with Line(port) as line:
        line.head(path, len(body))
        line.send(body[:-1])
        time.sleep(pause_s)
        line.send(body[-1:])
        status, _, answer = line.read()
        return status, answer


#   tmax   pause   code        why
TMAX = [
    (30,    0.08,  "timeout",  "the body took longer than there was"),
    (0,     0.0,   "timeout",  "no time at all"),
    (60_000, 0.08, None,       "enough is left"),
    (None,  0.08,  None,       "nobody waits"),
]  # fmt: skip


@pytest.mark.parametrize(("tmax_ms", "pause_s", "code", "why"), TMAX)
def test_tmax_runs_from_the_first_byte(
    port: PublicPort, tmax_ms: int | None, pause_s: float, code: str | None, why: str
) -> None:
    body = json.dumps({"request_id": "r", "placements": [TOP], "tmax_ms": tmax_ms}).encode()
    records = port.node.decisions
    status, answer = slowly(port, "/v1/ads", body, pause_s)
    told = json.loads(answer)
    assert status == 200
    if code is None:
        assert list(told["decisions"]) == ["top"], why
        return
    assert told.pop("personal") is not None
    assert told == {"request_id": "r", "decisions": {}, "no_ad": {"top": {"code": code, "reasons": {}}}}, why
    records.flush()
    assert records.by_request("r", 10) == [], "nothing was decided"
    assert counted(port, "adjudge_shed_total") == 1


def test_a_late_bid_is_no_bid(port: PublicPort) -> None:
    late = json.dumps({**BID, "tmax": 20}).encode()
    assert slowly(port, "/openrtb2/bid", late, 0.05) == (204, b"")
    tested = json.dumps({**BID, "tmax": 20, "test": 1}).encode()
    status, answer = slowly(port, "/openrtb2/bid", tested, 0.05)
    assert (status, json.loads(answer)["nbr"]) == (200, 15)
    unsaid = json.dumps({**BID, "tmax": 0}).encode()
    assert slowly(port, "/openrtb2/bid", unsaid, 0.02)[0] == 200


def test_a_burst_is_answered_in_turns(port: PublicPort) -> None:
    """Sixty requests at once: each is answered, and nothing is left over."""
    lines = [Line(port) for _ in range(60)]
    for line in lines:
        line.head("/v1/ads", len(BODY), "Content-Type: application/json\r\n")
        line.send(BODY)
    statuses = [line.read()[0] for line in lines]
    for line in lines:
        line.socket.close()
    assert set(statuses) <= {200, 503}
    assert statuses.count(200) >= 10
    assert port.node.limiter.wait_s == 0
    assert port.post("/v1/ads", BODY, JSON).status == 200


def test_a_head_without_end_is_cut_off(port: PublicPort) -> None:
    """A megabyte of header would be kept in memory by the parser, before any door sees the request."""
    with Line(port) as line:
        line.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: ")
        answer = b"HTTP/1.1 431"  # a reset may overtake it
        with suppress(ConnectionError):
            for _ in range(64):
                line.send(b"x" * 16_384)
            answer = line.socket.recv(65_536)
        assert answer.startswith(b"HTTP/1.1 431")
    with Line(port) as line:
        line.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 10_000 + b"\r\n\r\n")
        assert line.read()[0] == 200
