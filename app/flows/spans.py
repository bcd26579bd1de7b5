"""Spans for OpenTelemetry (extra `otel`): of a share of requests, from the first byte to the answer.

Drawn once an answer is there, from the times that were taken anyway: an untraced request costs one random
number. A caller's `traceparent` becomes the parent. Spans leave in batches on a thread of the library's.
"""

from __future__ import annotations

from random import random
from time import perf_counter, time_ns
from typing import TYPE_CHECKING, Any

from app import __version__
from app.domain.refusals import Refused

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

STARTED = "adjudge.started_s"  # in a scope: when its turn came, on perf_counter


class Spans:
    """Sends the spans of a share of requests by a provider of OpenTelemetry's."""

    def __init__(self, provider: TracerProvider, share: float) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer("adjudge", __version__)
        self._parent = TraceContextTextMapPropagator()
        self.share = share

    def wants(self) -> bool:
        """Say whether this request is one of the share."""
        return random() < self.share

    def send(self, scope: Any, route: str, first_byte_s: float, facts: dict[str, Any]) -> None:
        """Send a request's span, and in it that of its turn. Units: seconds of perf_counter."""
        from opentelemetry import trace

        now_s, now_ns = perf_counter(), time_ns()

        def at_ns(moment_s: float) -> int:
            return now_ns - int((now_s - moment_s) * 1e9)

        given = next((value for name, value in scope["headers"] if name == b"traceparent"), b"")
        parent = self._parent.extract({"traceparent": given.decode("latin-1")})
        span = self._tracer.start_span(
            f"{scope.get('method', 'POST')} {route}", context=parent, kind=trace.SpanKind.SERVER,
            attributes={"http.route": route, **facts}, start_time=at_ns(first_byte_s),
        )  # fmt: skip
        if STARTED in scope:
            inner = trace.set_span_in_context(span)
            turn = self._tracer.start_span("turn", context=inner, start_time=at_ns(scope[STARTED]))
            turn.end(now_ns)
        span.end(now_ns)

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()


def spans_to(url: str, share: float) -> Spans | None:
    """Send spans to an address; None where there is none.

    Errors  Refused("otel_missing") when the extra is not installed.
    """
    if not url:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise Refused("otel_missing", "ADJUDGE_OTEL_URL needs: pip install 'adjudge[otel]'") from error
    resource = Resource.create({"service.name": "adjudge", "service.version": __version__})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=url, timeout=5)))
    return Spans(provider, share)
