"""The canonical line and the request's id. Goal: one line a request, always for refusals, and about nobody.

Method: both ports over real sockets, structlog's own capture; for what is on disk a real node's own log.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from app.flows import logs
from app.flows.request_log import RequestLog
from app.web.admin.app import admin_app
from tests.node import Server, serving, small_catalogue
from tests.web.public_port import JSON, PublicPort, public_port

KEY = "k" * 20
FACTS = {
    "event",
    "log_level",
    "request_id",
    "ms",
    "method",
    "route",
    "status",
    "outcome",
    "bytes",
    "position",
}
ASK = {"placements": [{"name": "top", "placement_id": "plc-1"}], "user": {"id": "raw-user-77"}}


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PublicPort]:
    with public_port(tmp_path_factory.mktemp("port")) as port:
        yield port


@pytest.fixture(scope="module")
def admin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    digest = hashlib.sha256(KEY.encode()).digest()
    headers = {"authorization": f"Bearer {KEY}"}
    with serving(
        tmp_path_factory.mktemp("admin"), lambda node: admin_app(node, admin_key_hash=digest), headers,
        things=small_catalogue(),
    ) as server:  # fmt: skip
        yield server


def settle(server: Server) -> None:
    """Wait for what a node does behind its answer."""
    server.run(asyncio.sleep(0))


def lines(captured: Any) -> list[dict[str, Any]]:
    return [line for line in captured if line["event"] == "request"]


#   method  path                   body        route            status outcome               why
TABLE = [
    ("POST", "/v1/ads",            b"{}",      "/v1/ads",       422, "invalid",            "a refusal"),
    ("POST", "/openrtb2/bid",      b"{}",      "/openrtb2/bid", 400, "malformed",          "without a body"),
    ("POST", "/v1/events",         b"no",      "/v1/events",    400, "not_json",           "by the long way"),
    ("GET",  "/v1/ads",            None,       "/v1/ads",       405, "method_not_allowed", "another method"),
    ("GET",  "/c/raw-token-78",    None,       "/c",            400, "forged",             "no token told"),
    ("GET",  "/raw/raw-path-79",   None,       "none",          404, "not_found",          "nor is a path"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "body", "route", "status", "outcome", "why"), TABLE)
def test_a_refusal_is_always_told_of_in_one_line(
    port: PublicPort,
    method: str,
    path: str,
    body: bytes | None,
    route: str,
    status: int,
    outcome: str,
    why: str,
) -> None:
    with capture_logs() as captured:
        answer = port.server.ask(method, path, body, {**JSON, "x-request-id": "r:1"})
        settle(port.server)
    [line] = lines(captured)
    assert line.keys() == FACTS, why
    told = (line["route"], line["status"], line["outcome"], line["request_id"])
    assert told == (route, answer.status, outcome, "r:1"), why
    assert answer.status == status
    assert answer.headers["x-request-id"] == "r:1"
    assert "raw-" not in json.dumps(captured)


def test_answered_ads_are_told_of_by_a_share(port: PublicPort) -> None:
    for share, told in ((0.0, 0), (1.0, 5)):
        port.node.request_log.share = share
        with capture_logs() as captured:
            answers = [port.post("/v1/ads", ASK) for _ in range(5)]
            settle(port.server)
        assert len(lines(captured)) == told
        assert [line["request_id"] for line in lines(captured)] == [
            answer.headers["x-request-id"] for answer in answers[:told]
        ]
        assert {line["outcome"] for line in lines(captured)} <= {"filled"}
        assert "raw-user-77" not in json.dumps(captured)
        assert len({answer.headers["x-request-id"] for answer in answers}) == 5


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "jane@example.com", "a\u00e9"])
def test_what_is_no_id_is_replaced(port: PublicPort, given: str) -> None:
    told = port.get("/healthz", {"x-request-id": given}).headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{16}", told)


def test_the_admin_port_tells_of_everything_but_probes(admin: Server) -> None:
    with capture_logs() as captured:
        for path in ("/healthz", "/readyz", "/metrics"):
            assert admin.get(path).status == 200
        asked = admin.get("/v1/campaigns/c-1", {**admin.headers, "x-request-id": "op-1"})
        assert asked.headers["x-request-id"] == "op-1"
        admin.get("/v1/campaigns/raw-id-80")
        admin.get("/v1/campaigns", {})
        admin.ask("POST", "/v1/refunds", b"{")
        settle(admin)
    told = [(line["route"], line["status"], line["outcome"]) for line in lines(captured)]
    assert told == [
        ("/v1/campaigns/{id}", 200, "ok"), ("/v1/campaigns/{id}", 404, "not_found"),
        ("none", 401, "unauthorized"), ("/v1/refunds", 400, "not_json"),
    ]  # fmt: skip
    assert "raw-" not in json.dumps(captured)


def test_a_flood_of_refusals_is_counted_and_not_told() -> None:
    now = [0.0]
    log = RequestLog(most_a_second=3, clock_s=lambda: now[0])
    with capture_logs() as captured:
        for second in (0.0, 1.0):
            now[0] = second
            for _ in range(10):
                log.tell(b"r", 0.0)
    assert [line.get("untold") for line in captured] == [None, None, None, 7, None, None]


def test_a_bug_is_told_with_its_places_and_without_its_words(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before, handlers = structlog.get_config(), logging.getLogger().handlers[:]
    monkeypatch.setattr(logging.getLogger(), "level", logging.getLogger().level)
    try:
        logs.configure("info")
        for log in (structlog.get_logger(), logging.getLogger("uvicorn.error")):
            try:
                dict[str, str]()["raw-user-81"]
            except KeyError:
                log.exception("bug")
    finally:
        structlog.configure(**before)
        logging.getLogger().handlers[:] = handlers
    ours, theirs = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    for line in (ours, theirs):
        assert (line["event"], line["level"], line["exception"]) == ("bug", "error", "KeyError")
        assert __file__ in line["frames"][-1]
        assert "raw-user-81" not in json.dumps(line)


def test_spans_are_of_a_share_and_carry_the_callers_trace(tmp_path: Path) -> None:
    exporting = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    from app.flows.spans import Spans

    kept = exporting.InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    with public_port(tmp_path, spans=Spans(provider, 1.0)) as traced:
        trace_id = "0af7651916cd43dd8448eb211c80319c"
        headers = {**JSON, "traceparent": f"00-{trace_id}-b7ad6b7169203331-01"}
        assert traced.post("/v1/ads", ASK, headers).status == 200
        settle(traced.server)
        turn, span = kept.get_finished_spans()
        assert (span.name, turn.name) == ("POST /v1/ads", "turn")
        assert turn.parent.span_id == span.context.span_id
        assert f"{span.context.trace_id:032x}" == trace_id
        assert span.attributes["adjudge.outcome"] == "filled"
        assert span.start_time <= turn.start_time <= turn.end_time <= span.end_time
        assert "raw-user-77" not in span.to_json()
        assert traced.node.spans is not None
        traced.node.spans.share = 0.0
        traced.post("/v1/ads", ASK)
        settle(traced.server)
        assert len(kept.get_finished_spans()) == 2
