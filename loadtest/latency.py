"""`python -m loadtest latency`: how long answers take at half of the peak, how soon events are seen.

Requests arrive at random at a fixed rate, whatever became of those before, and are timed from when they were
due. Every answer sends its impression, 2 % a click. The bare endpoint gets the same traffic by turns with a
quiet node; then a node is measured while an import of all creatives, reports, traces and snapshots run on it.
The server and its worker processes have one core to themselves, the load the other.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from time import perf_counter

from loadtest.admin import WORKS, Operator, bucket_quantile
from loadtest.bodies import get
from loadtest.client import Pool, closed_loop, open_loop, percentile, quiet_collector, run_loop
from loadtest.machine import LOAD_CORE, facts, on_core, say, target
from loadtest.probing import PROBE_LINES, Probe
from loadtest.servers import Others, Server, running_bare, running_node
from loadtest.traffic import CLICK_SHARE, Mix, probe, report_events, served, warm_up

PEAK_S, PEAK_CONNECTIONS = 5.0, 64  # more would be refused
ADS_CONNECTIONS, PIXEL_CONNECTIONS = 512, 4_096
CLICK_AFTER_S = (0.2, 1.0)
BARE_TOKEN = "x" * 224  # as long as a real one
OVER_BARE_MS, VISIBLE_MS, SLOW_MS, IN_TIME = 5.0, 100.0, 100.0, 0.999
# The node of the busy phase snapshots this often instead of every ten minutes.
BUSY_SETTINGS = {"ADJUDGE_SNAPSHOT_EVERY_S": "10"}


@dataclass
class Phase:
    """What one server did with the traffic. Units: milliseconds, from when a request was due."""

    name: str
    ads_ms: list[float] = field(default_factory=list)
    impressions_ms: list[float] = field(default_factory=list)
    odd: int = 0  # answers that were errors, or no answers
    visible_ms: list[float] = field(default_factory=list)
    unseen: int = 0
    metric_p99_s: float = float("nan")

    def row(self) -> str:
        late = sum(one > SLOW_MS for one in self.ads_ms)
        cells = [percentile(self.ads_ms, share) for share in (0.5, 0.99, 0.999)]
        figures = "".join(f"{one:>9.2f}" for one in (*cells, max(self.ads_ms)))
        events = f"{percentile(self.impressions_ms, 0.99):>12.2f}" if self.impressions_ms else f"{'':>12}"
        return f"  {self.name:16}{len(self.ads_ms):>8,}{figures}{late:>9}{self.odd:>7}{events}"


def run(argv: Sequence[str]) -> int:
    """Print the report; 0 when every target is met."""
    options = _options(argv)
    say(facts("latency", argv))
    with on_core(LOAD_CORE) as core:
        say(f"{options.creatives:,} live ads; load on {core}, open loop, random arrivals")
        with running_node(options.creatives, extra=PROBE_LINES) as node:
            mix, rate, quiet = run_loop(_quiet(node, options))
        settings = BUSY_SETTINGS if "snapshot" in options.works else {}
        with running_node(options.creatives, settings, PROBE_LINES) as node:
            busy = run_loop(_busy(node, mix, rate, options))
    return _judged([*quiet, busy])


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="loadtest latency", description=__doc__)
    parser.add_argument("--creatives", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=15.0, help="length of a turn")
    parser.add_argument("--rounds", type=int, default=2, help="turns of node and bare endpoint")
    parser.add_argument("--rate", type=float, help="ad requests a second; default: half of the peak")
    parser.add_argument("--works", nargs="*", choices=(*WORKS, "snapshot"), default=(*WORKS, "snapshot"),
                        help="what runs in the busy phase")  # fmt: skip
    return parser.parse_args(argv)


async def _quiet(node: Server, options: argparse.Namespace) -> tuple[Mix, float, list[Phase]]:
    """Find the peak, then measure bare endpoint and node by turns; phases of the same server are joined."""
    with closing(Pool(node.host, node.port, ADS_CONNECTIONS)) as pool:
        mix = await probe(pool, options.creatives)
        await warm_up(pool, mix)
        peak = await _peak(pool, mix)
        rate = options.rate or peak / 2
        say(f"peak: {peak:,.0f} ad requests/s, each with its impression, {CLICK_SHARE:.0%} clicked; "
            f"rate: {rate:,.0f}/s\n")  # fmt: skip
        bare, quiet = Phase("bare endpoint"), Phase("node")
        operator = Operator(node, pool, options.creatives, PROBE_LINES)
        before = await operator.visible_buckets()
        with running_bare(mix.ads_bytes, mix.bid_bytes) as other:
            others = Others(node, other)
            for turn in range(options.rounds):
                await _phase(bare, other, mix, rate, options.seconds, turn)
                await _phase(quiet, node, mix, rate, options.seconds, turn)
            say(f"quiet phases: others took {others.share():.0%} of the servers' core")
        quiet.metric_p99_s = bucket_quantile(before, await operator.visible_buckets(), 0.99)
        operator.pool.close()
    return mix, rate, [bare, quiet]


async def _busy(node: Server, mix: Mix, rate: float, options: argparse.Namespace) -> Phase:
    """Measure a node on which an operator works; snapshots come by themselves, every ten seconds."""
    busy, seconds = Phase("node, busy"), options.seconds * options.rounds
    with closing(Pool(node.host, node.port, ADS_CONNECTIONS)) as pool:
        await warm_up(pool, mix)
        operator = Operator(node, pool, options.creatives, PROBE_LINES)
        with closing(operator.pool):
            before, ends = await operator.visible_buckets(), perf_counter() + seconds
            working = asyncio.create_task(
                operator.work(mix.native[0].request, lambda: perf_counter() < ends, options.works)
            )
            await _phase(busy, node, mix, rate, seconds, 99)
            done = await working
            busy.metric_p99_s = bucket_quantile(before, await operator.visible_buckets(), 0.99)
    assert node.data is not None
    counts = " ".join(f"{count:,} {name}" for name, count in done.import_counts.items() if count)
    say(f"busy: import in {done.import_s:.1f} s ({counts}); {done.reports} reports, the slowest "
        f"{done.slowest_report_s:.1f} s; {done.traces} traces, {done.disagreements} disagree; "
        f"{_snapshots(node.data)} snapshots\n")  # fmt: skip
    return busy


def _snapshots(data: Path) -> int:
    return len(list((data / "snapshots").glob("*/"))) if (data / "snapshots").is_dir() else 0


async def _peak(pool: Pool, mix: Mix) -> float:
    """Ask as fast as the node answers, events included; ad requests a second that were not refused."""
    random, answered = Random(2), 0

    async def visit(number: int) -> None:
        nonlocal answered
        body = mix.bodies[number % len(mix.bodies)]
        reply = await pool.exchange(body.request)
        answered += reply.status in {200, 204}
        await report_events(pool, served(body.door, reply), random)

    await closed_loop(visit, PEAK_CONNECTIONS, seconds=1.0)
    answered = 0
    _, took = await closed_loop(visit, PEAK_CONNECTIONS, seconds=PEAK_S)
    return answered / took


async def _phase(phase: Phase, server: Server, mix: Mix, rate: float, seconds: float, seed: int) -> None:
    """Send traffic for a while; a second before it counts, and a probe of visibility beside (not on bare)."""
    # Pages' pixels have connections of their own, as on a real page: no ad request waits behind them.
    pool = Pool(server.host, server.port, ADS_CONNECTIONS)
    pixels = Pool(server.host, server.port, PIXEL_CONNECTIONS)
    random, prober, bare = Random(seed), Probe(pool), server.data is None

    async def visit(number: int, due: float) -> None:
        body = mix.bodies[(number + 7919 * seed) % len(mix.bodies)]
        try:
            reply = await pool.exchange(body.request)
            phase.ads_ms.append((perf_counter() - due) * 1e3)
            phase.odd += reply.status not in {200, 204}
            ads = [(f"/i/{BARE_TOKEN}", f"/c/{BARE_TOKEN}")] if bare else served(body.door, reply)
            for impression, click in ads:
                started = perf_counter()
                await pixels.exchange(get(impression))
                phase.impressions_ms.append((perf_counter() - started) * 1e3)
                if click is not None and random.random() < CLICK_SHARE * (1 if bare else 2):
                    await asyncio.sleep(random.uniform(*CLICK_AFTER_S))
                    await pixels.exchange(get(click))
        except (OSError, TimeoutError):
            phase.odd += 1

    settled = len(phase.ads_ms), len(phase.impressions_ms)
    await open_loop(visit, rate, 1.0, seed)
    del phase.ads_ms[settled[0] :], phase.impressions_ms[settled[1] :]
    with quiet_collector():
        probing = None if bare else asyncio.create_task(prober.run())
        await open_loop(visit, rate, seconds, seed + 1)
        if probing is not None:
            probing.cancel()
            with suppress(asyncio.CancelledError):
                await probing
    pool.close()
    pixels.close()
    phase.visible_ms += prober.visible_ms
    phase.unseen += prober.unseen


def _judged(phases: list[Phase]) -> int:
    """Print the table and the targets."""
    say(f"  {'ad answers, ms':16}{'count':>8}{'p50':>9}{'p99':>9}{'p99.9':>9}{'max':>9}{'>100 ms':>9}"
        f"{'odd':>7}{'pixel p99':>12}")  # fmt: skip
    for phase in phases:
        say(phase.row())
    say(
        f"\n  {'event to visible':16}{'probes':>8}{'p50 ms':>9}{'p99 ms':>9}{'max':>9}{'unseen':>9}"
        f"{'metric p99':>14}"
    )
    for phase in phases[1:]:
        cells = [percentile(phase.visible_ms, share) for share in (0.5, 0.99, 1.0)]
        figures = "".join(f"{one:>9.1f}" for one in cells)
        edge = f"<= {phase.metric_p99_s * 1e3:.1f} ms"
        say(f"  {phase.name:16}{len(phase.visible_ms):>8}{figures}{phase.unseen:>9}{edge:>14}")
    say()
    bare = percentile(phases[0].ads_ms, 0.99)
    met = [one for phase in phases[1:] for one in _targets(phase, bare)]
    return 0 if all(met) else 1


def _targets(phase: Phase, bare_p99_ms: float) -> list[bool]:
    over = percentile(phase.ads_ms, 0.99) - bare_p99_ms
    in_time = sum(one <= SLOW_MS for one in phase.ads_ms) / (len(phase.ads_ms) + phase.odd)
    visible = max(percentile(phase.visible_ms, 0.99), phase.metric_p99_s * 1e3)
    return [
        target(f"{phase.name}: {text}", met)
        for text, met in (
            (
                f"p99 at most the bare endpoint's + {OVER_BARE_MS:.0f} ms: {over:+.2f} ms",
                over <= OVER_BARE_MS,
            ),
            (f"{IN_TIME:.1%} of answers within {SLOW_MS:.0f} ms: {in_time:.3%}", in_time >= IN_TIME),
            (
                f"event to visible, p99 at most {VISIBLE_MS:.0f} ms: {visible:.1f} ms",
                visible <= VISIBLE_MS and not phase.unseen,
            ),
        )
    ]
