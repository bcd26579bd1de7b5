"""Spans over the wire. Goal: what `ADJUDGE_OTEL_URL` names gets them; nothing is needed where it is empty.

Method: a collector that is a plain HTTP server; the extra's own exporter.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from time import perf_counter

import pytest

from app.domain.refusals import Refused
from app.flows.spans import spans_to

Posted = list[tuple[str, bytes]]


@pytest.fixture
def collector() -> Iterator[tuple[str, Posted]]:
    posted: Posted = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1/traces", posted
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_collector_gets_the_spans(collector: tuple[str, Posted]) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    url, posted = collector
    spans = spans_to(url, 1.0)
    assert spans is not None
    assert spans.wants()
    spans.send({"headers": [], "method": "POST"}, "/v1/ads", perf_counter(), {"adjudge.outcome": "filled"})
    spans.close()
    [(path, body)] = posted
    assert path == "/v1/traces"
    assert b"POST /v1/ads" in body
    assert b"adjudge.outcome" in body


def test_without_an_address_nothing_is_loaded() -> None:
    assert spans_to("", 0.01) is None


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(Refused, match=r"adjudge\[otel\]"):
        spans_to("http://127.0.0.1:4318/v1/traces", 0.01)
