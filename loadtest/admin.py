"""What an operator does while ads are served: an import, reports, traces; and reading the metrics."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import msgspec

from loadtest.bodies import post
from loadtest.client import Pool
from loadtest.servers import ADMIN_KEY, Server, catalogue_lines

_AUTHORIZATION = f"Authorization: Bearer {ADMIN_KEY}\r\n"
_BUCKET = re.compile(r'^adjudge_event_visible_seconds_bucket\{le="([^"]+)"\} ([0-9.e+]+)$', re.MULTILINE)
IMPORT_TIMEOUT_S = 120.0
BETWEEN_S = 0.25

_decode = msgspec.json.Decoder().decode


WORKS = ("import", "report", "trace")


@dataclass(slots=True)
class Done:
    """What was done during a phase. Units: seconds."""

    import_counts: dict[str, int] = field(default_factory=dict)
    import_s: float = 0.0
    reports: int = 0
    slowest_report_s: float = 0.0
    traces: int = 0
    disagreements: int = 0


class Operator:
    """Works on the admin port until the phase is over."""

    def __init__(self, node: Server, public: Pool, creatives: int, extra: Iterable[dict[str, Any]]) -> None:
        self.pool = Pool(node.host, node.admin_port, 8, timeout_s=IMPORT_TIMEOUT_S)
        self.public = public
        # Every creative changes: its name gets a letter more.
        self.lines = catalogue_lines(creatives, extra, renamed=" *")
        self.ask = b""

    async def work(self, ask: bytes, still: Callable[[], bool], works: Sequence[str] = WORKS) -> Done:
        """Import the whole catalogue anew; meanwhile and after, reports and traces one after the other."""
        self.ask, done = ask, Done()
        importing = asyncio.create_task(self._import(done)) if "import" in works else None
        while still():
            if "report" in works:
                started = perf_counter()
                await self._get("/v1/reports?by=hour,campaign")
                done.slowest_report_s = max(done.slowest_report_s, perf_counter() - started)
                done.reports += 1
            if "trace" in works and (agrees := await self._trace()) is not None:
                done.traces, done.disagreements = done.traces + 1, done.disagreements + (not agrees)
            await asyncio.sleep(BETWEEN_S)
        if importing is not None:
            await importing
        return done

    async def _import(self, done: Done) -> None:
        started = perf_counter()
        request = post("/v1/import?quiet=true", self.lines, _AUTHORIZATION)
        reply = await self.pool.exchange(request)
        if reply.status != 200:
            raise RuntimeError(f"the import was answered {reply.status}: {reply.body[:500]!r}")
        done.import_counts, done.import_s = _decode(reply.body)["counts"], perf_counter() - started

    async def _trace(self) -> bool | None:
        """Have a fresh decision taken again; None when it cannot be traced (yet)."""
        answer = _decode((await self.public.exchange(self.ask)).body)
        placed = next(iter(answer["decisions"].values()), None)
        if placed is None:
            return None
        await asyncio.sleep(BETWEEN_S)  # the decision is written a moment later
        path = f"/v1/decisions/{placed[0]['decision_id']}/replay"
        reply = await self.pool.exchange(post(path, b"", _AUTHORIZATION))
        return bool(_decode(reply.body)["agrees"]) if reply.status == 200 else None

    async def _get(self, path: str) -> bytes:
        head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{_AUTHORIZATION}\r\n"
        reply = await self.pool.exchange(head.encode())
        if reply.status != 200:
            raise RuntimeError(f"{path} was answered {reply.status}: {reply.body[:500]!r}")
        return reply.body

    async def visible_buckets(self) -> dict[float, float]:
        """Read the histogram of `adjudge_event_visible_seconds`: count up to each edge."""
        text = (await self._get("/metrics")).decode()
        return {float(edge): float(count) for edge, count in _BUCKET.findall(text)}


def bucket_quantile(before: dict[float, float], after: dict[float, float], share: float) -> float:
    """Find the edge of the bucket that a quantile of what came between lies in. Units: seconds.

    >>> bucket_quantile({0.01: 5.0, 0.1: 5.0}, {0.01: 95.0, 0.1: 105.0}, 0.9)
    0.01
    >>> bucket_quantile({0.01: 5.0, 0.1: 5.0}, {0.01: 95.0, 0.1: 105.0}, 0.99)
    0.1
    """
    counts = {edge: count - before.get(edge, 0.0) for edge, count in after.items()}
    total = max(counts.values(), default=0.0)
    return min((edge for edge, count in counts.items() if count >= share * total), default=float("nan"))
