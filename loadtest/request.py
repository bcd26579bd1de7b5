"""`python -m loadtest request`: the CPU of an ad request, beside a bare endpoint on the same kind of server.

A node with 10,000 live ads and the bare endpoint (`loadtest/bare.py`) stand on one core, the load on another.
They are measured by turns, A B A B; the CPU is what the system counted for all threads of the process, by
the number of requests answered. The target is at most 3 x the bare endpoint, the aim 2 x, each as fast as it
can (closed loop). Beside it both at one and the same rate: a server that is not full polls more often for
fewer requests, so that the bare endpoint's request costs more than at its own peak.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import closing
from statistics import median
from typing import NamedTuple

from loadtest.bodies import Body
from loadtest.client import Pool, closed_loop, open_loop, quiet_collector, run_loop
from loadtest.machine import LOAD_CORE, facts, on_core, say, target
from loadtest.servers import Others, Server, running_bare, running_node
from loadtest.traffic import probe, warm_up

CONNECTIONS = 8
RATE = 1_000.0  # requests a second, where both get the same
LIMIT, AIM = 3.0, 2.0


class Turn(NamedTuple):
    """One measurement of one server. Units: microseconds of CPU per request, requests per second."""

    cpu_us: float
    per_second: float


def run(argv: Sequence[str]) -> int:
    """Print the report; 0 when the target is met."""
    options = _options(argv)
    say(facts("request", argv))
    with on_core(LOAD_CORE) as core:
        say(f"{options.creatives:,} live ads; load on {core}, {CONNECTIONS} connections, closed loop")
        with running_node(options.creatives) as node:
            ratio = run_loop(_compare(node, options.creatives, options.rounds, options.seconds))
    met = target(f"CPU per ad request at most {LIMIT} x the bare endpoint's: {ratio:.2f} x", ratio <= LIMIT)
    target(f"aim: {AIM} x", ratio <= AIM)
    return 0 if met else 1


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="loadtest request", description=__doc__)
    parser.add_argument("--creatives", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each server")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of a turn")
    return parser.parse_args(argv)


async def _compare(node: Server, creatives: int, rounds: int, seconds: float) -> float:
    with closing(Pool(node.host, node.port, 64)) as pool:
        mix = await probe(pool, creatives)
        await warm_up(pool, mix)
        with (
            running_bare(mix.ads_bytes, mix.bid_bytes) as bare,
            closing(Pool(bare.host, bare.port, 64)) as other,
        ):
            ratio, others = 0.0, Others(node, bare)
            for name, bodies in (("native", mix.native), ("OpenRTB", mix.bids), ("mixed", mix.bodies)):
                ratio = await _door(name, bodies, ((node, pool), (bare, other)), rounds, seconds)
            await _same_rate(mix.bodies, ((node, pool), (bare, other)), rounds, seconds)
            say(f"meanwhile others took {others.share():.0%} of the servers' core\n")
    return ratio


async def _same_rate(
    bodies: Sequence[Body], servers: Sequence[tuple[Server, Pool]], rounds: int, seconds: float
) -> None:
    """Measure both servers by turns at a fixed rate of random arrivals, and print that."""
    cpu_us: list[list[float]] = [[], []]
    with quiet_collector():
        for number in range(rounds):
            for at, (server, pool) in enumerate(servers):
                asked = 0

                async def ask(number: int, due: float, pool: Pool = pool) -> None:
                    nonlocal asked
                    asked += 1
                    await pool.exchange(bodies[number % len(bodies)].request)

                before = server.cpu_s()
                await open_loop(ask, RATE, seconds, number)
                cpu_us[at].append((server.cpu_s() - before) / asked * 1e6)
    node, bare = (median(side) for side in cpu_us)
    say(f"mixed, both at {RATE:,.0f}/s: CPU us per request, medians of {rounds} turns")
    say(f"  node {node:.0f}, bare {bare:.0f}, ratio {node / bare:.2f}\n")


async def _door(
    name: str, bodies: Sequence[Body], servers: Sequence[tuple[Server, Pool]], rounds: int, seconds: float
) -> float:
    """Measure both servers by turns with the same bodies, print the table, return the ratio of medians."""
    turns: list[list[Turn]] = [[], []]
    with quiet_collector():
        for _ in range(rounds):
            for at, (server, pool) in enumerate(servers):
                await turn(server, pool, bodies, 0.5)
                turns[at].append(await turn(server, pool, bodies, seconds))
    node, bare = (median(one.cpu_us for one in side) for side in turns)
    say(f"{name}: CPU us per request, {rounds} turns each")
    for title, side, middle in (("node", turns[0], node), ("bare", turns[1], bare)):
        listed = " ".join(f"{one.cpu_us:6.0f}" for one in side)
        say(f"  {title:6}{listed}   median {middle:6.0f}, {median(one.per_second for one in side):7,.0f}/s")
    say(f"  ratio {node / bare:.2f}\n")
    return node / bare


async def turn(server: Server, pool: Pool, bodies: Sequence[Body], seconds: float) -> Turn:
    """Ask one server for a while, closed loop.

    Errors  RuntimeError when it answers with anything but 200 or 204.
    """
    odd: list[int] = []

    async def ask(number: int) -> None:
        reply = await pool.exchange(bodies[number % len(bodies)].request)
        if reply.status not in {200, 204}:
            odd.append(reply.status)

    before = server.cpu_s()
    count, took = await closed_loop(ask, CONNECTIONS, seconds=seconds)
    if odd:
        raise RuntimeError(f"{len(odd)} of {count} answers were {sorted(set(odd))}")
    return Turn((server.cpu_s() - before) / count * 1e6, count / took)
