"""`python -m loadtest overload`: twice as many ad requests as the node can answer, at random times.

First the peak, closed loop. Then requests arrive at a multiple of it whatever became of those before, timed
from when they were due, each with a tmax. Counted are: answers in time (goodput), answers after their tmax
(there must be none), requests answered with `timeout`, and refusals with how long they took. What a refusal
costs is what the process used beyond its answers' share. Server and load have a core each.
"""

from __future__ import annotations

import argparse
import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from random import Random
from time import perf_counter
from typing import Any

import msgspec

from loadtest.bodies import ADS, encode, post
from loadtest.client import Pool, closed_loop, percentile, quiet_collector, run_loop
from loadtest.machine import LOAD_CORE, facts, on_core, say, target
from loadtest.servers import Others, Server, running_node
from loadtest.traffic import probe, warm_up

PEAK_CONNECTIONS = 64
MOST_CONNECTIONS = 1_500
SETTLE_S = 1.0
GOODPUT, REFUSAL_SHARE, REFUSAL_P99_MS = 0.75, 1 / 6, 10.0
_decode = msgspec.json.Decoder().decode


@dataclass
class Outcome:
    """What became of the requests. Units: milliseconds from when one was due; one list an outcome."""

    answered_ms: list[float] = field(default_factory=list)
    timeouts_ms: list[float] = field(default_factory=list)
    refused_ms: list[float] = field(default_factory=list)
    odd: int = 0
    unsent: int = 0
    behind_ms: list[float] = field(default_factory=list)  # how late the load itself was


class _Lane(asyncio.Protocol):
    """One kept connection of the load: a request under way, timed from when it was due.

    As lean as can be: the load must be able to ask several times faster than the node answers.
    """

    def __init__(self, load: _Load) -> None:
        self.load = load
        self.due_s = 0.0
        self.buffer = b""
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        at = self.buffer.find(b"content-length: ", 0, end)
        length = int(self.buffer[at + 16 : self.buffer.find(b"\r\n", at)]) if at >= 0 else 0
        if len(self.buffer) < end + 4 + length:
            return
        text, self.buffer = self.buffer, b""
        self.load.ended(self, text, perf_counter())

    def connection_lost(self, exc: Exception | None) -> None:
        if self.due_s:
            self.load.outcome.odd += 1
        self.transport = None


class _Load:
    """Sends requests at random times over as many connections as it takes."""

    def __init__(self, server: Server, requests: Sequence[bytes]) -> None:
        self.server, self.requests = server, requests
        self.free: deque[_Lane] = deque()
        self.outcome = Outcome()

    async def connect(self, count: int) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(count):
            _, lane = await loop.create_connection(lambda: _Lane(self), self.server.host, self.server.port)
            self.free.append(lane)

    async def run(self, rate: float, seconds: float, seed: int) -> None:
        random, number = Random(seed), 0
        due_s = started_s = perf_counter() + 0.01
        while due_s < started_s + seconds:
            now_s = perf_counter()
            if due_s > now_s:
                await asyncio.sleep(due_s - now_s)
                continue
            for _ in range(8):  # then look at what has come
                if due_s > now_s or due_s >= started_s + seconds:
                    break
                self._send(number, due_s, now_s)
                number += 1
                due_s += random.expovariate(rate)
            await asyncio.sleep(0)
        await asyncio.sleep(0.5)

    def _send(self, number: int, due_s: float, now_s: float) -> None:
        while self.free:
            lane = self.free.pop()
            if lane.transport is not None:
                lane.due_s = due_s
                lane.transport.write(self.requests[number % len(self.requests)])
                self.outcome.behind_ms.append((now_s - due_s) * 1e3)
                return
        self.outcome.unsent += 1

    def ended(self, lane: _Lane, text: bytes, now_s: float) -> None:
        took_ms, lane.due_s = (now_s - lane.due_s) * 1e3, 0.0
        self.free.append(lane)
        status = text[9:12]
        if status == b"503":
            self.outcome.refused_ms.append(took_ms)
        elif status != b"200":
            self.outcome.odd += 1
        elif b'"code":"timeout"' in text:
            self.outcome.timeouts_ms.append(took_ms)
        else:
            self.outcome.answered_ms.append(took_ms)

    def close(self) -> None:
        for lane in self.free:
            if lane.transport is not None:
                lane.transport.abort()


def run(argv: Sequence[str]) -> int:
    """Print the report; 0 when every target is met."""
    options = _options(argv)
    say(facts("overload", argv))
    with on_core(LOAD_CORE) as core:
        say(f"{options.creatives:,} live ads; load on {core}, tmax {options.tmax} ms")
        with running_node(options.creatives) as node:
            return run_loop(_measure(node, options))


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="loadtest overload", description=__doc__)
    parser.add_argument("--creatives", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--times", type=float, default=2.0, help="how many times the peak arrives")
    parser.add_argument("--tmax", type=int, default=100, help="each request's tmax, ms")
    return parser.parse_args(argv)


async def _measure(node: Server, options: argparse.Namespace) -> int:
    with closing(Pool(node.host, node.port, PEAK_CONNECTIONS)) as pool:
        mix = await probe(pool, options.creatives)
        await warm_up(pool, mix)
        requests = [_timed(body.request, options.tmax) for body in mix.native]

        async def ask(number: int) -> None:
            await pool.exchange(requests[number % len(requests)])

        with quiet_collector():
            before_s = node.cpu_s()
            count, took_s = await closed_loop(ask, PEAK_CONNECTIONS, seconds=options.seconds / 2)
    peak, answer_us = count / took_s, (node.cpu_s() - before_s) / count * 1e6
    rate = peak * options.times
    say(f"peak {peak:,.0f} answers/s, {answer_us:.0f} us of CPU each; arriving: {rate:,.0f}/s")

    load = _Load(node, requests)
    with closing(load), quiet_collector():
        await load.connect(MOST_CONNECTIONS)
        await load.run(rate, SETTLE_S, 1)
        load.outcome, others, before_s = Outcome(), Others(node), node.cpu_s()
        await load.run(rate, options.seconds, 2)
        used_s, share = node.cpu_s() - before_s, others.share()
    say(f"others took {share:.0%} of the server's core; the load was behind by p99 "
        f"{percentile(load.outcome.behind_ms, 0.99):.1f} ms, {load.outcome.unsent} not sent")  # fmt: skip
    return _judged(load.outcome, options, peak, answer_us, used_s)


def _timed(request: bytes, tmax_ms: int) -> bytes:
    """Give a request for ads a tmax."""
    body = _decode(request.partition(b"\r\n\r\n")[2])
    return post(ADS, encode({**body, "tmax_ms": tmax_ms}))


def _judged(
    outcome: Outcome, options: argparse.Namespace, peak: float, answer_us: float, used_s: float
) -> int:
    in_time = sum(took <= options.tmax for took in outcome.answered_ms)
    late = len(outcome.answered_ms) - in_time
    goodput = in_time / options.seconds / peak
    refused, timeouts = len(outcome.refused_ms), len(outcome.timeouts_ms)
    rest_us = (used_s * 1e6 - len(outcome.answered_ms) * answer_us) / max(1, refused + timeouts)
    say(f"\n  {'':10}{'count':>9}{'p50 ms':>9}{'p99':>9}{'max':>9}")
    for name, times in (("answered", outcome.answered_ms), ("timeout", outcome.timeouts_ms),
                        ("refused", outcome.refused_ms)):  # fmt: skip
        cells = [percentile(times, share) for share in (0.5, 0.99, 1.0)] if times else []
        say(f"  {name:10}{len(times):>9,}" + "".join(f"{cell:>9.1f}" for cell in cells))
    say(f"  odd {outcome.odd}; CPU of a refusal: {rest_us:.0f} us, of an answer {answer_us:.0f}\n")
    p99_ms = percentile(outcome.refused_ms, 0.99) if outcome.refused_ms else 0.0
    met = [
        target(f"goodput at least {GOODPUT:.0%} of the peak: {goodput:.0%}", goodput >= GOODPUT),
        target(f"no answer after its tmax: {late}", late == 0),
        target(f"refusals, p99 at most {REFUSAL_P99_MS:.0f} ms: {p99_ms:.1f} ms", p99_ms <= REFUSAL_P99_MS),
        target(f"a refusal at most a sixth of an answer's CPU: {rest_us / answer_us:.2f}",
               rest_us <= answer_us * REFUSAL_SHARE),
    ]  # fmt: skip
    return 0 if all(met) else 1
