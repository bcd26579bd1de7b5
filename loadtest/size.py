"""`python -m loadtest size`: what 1,000, 10,000 and 50,000 live ads cost: choosing, a whole request, memory.

`choose` is timed in this process with every ad eligible; CPU and memory are a real node's, with the sample
catalogue of that size, on one core, the load on the other. No targets: the shape of the growth is the result.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import closing
from time import perf_counter
from typing import NamedTuple

from app.state.choose import Chooser
from loadtest.client import Pool, percentile, quiet_collector, run_loop
from loadtest.machine import LOAD_CORE, SERVER_CORE, facts, on_core, say
from loadtest.request import turn
from loadtest.servers import Server, running_node
from loadtest.states import key_of, live_state, request_of
from loadtest.traffic import probe, warm_up

SIZES = (1_000, 10_000, 50_000)
# The default number of columns holds 10,000 creatives with all that is above them; more need more.
COLUMNS_OVER = 12_000
MOST_COLUMNS = 65_535
CHOICES, TURNS, TURN_S = 1_000, 3, 3.0


class Cost(NamedTuple):
    """What a node of one size costs. Units: microseconds of CPU per request, MiB."""

    cpu_us: float
    per_second: float
    memory_mib: float
    highest_mib: float


def run(argv: Sequence[str]) -> int:
    """Print the report; always 0."""
    parser = argparse.ArgumentParser(prog="loadtest size", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    options = parser.parse_args(argv)
    say(facts("size", argv))
    rows = []
    for ads in options.sizes:
        columns = MOST_COLUMNS if ads > COLUMNS_OVER else 16_384
        with on_core(SERVER_CORE):
            middle, high = _choose_us(ads, columns)
        with on_core(LOAD_CORE), running_node(ads, {"ADJUDGE_COLUMNS": str(columns)}) as node:
            rows.append((ads, columns, middle, high, run_loop(_cost(node, ads))))
    say(f"  {'':10}{'':>10}{'choose us, all eligible':>26}{'a whole request':>26}{'memory MiB':>20}")
    say(f"  {'live ads':>10}{'columns':>10}{'median':>16}{'p90':>10}{'CPU us':>16}{'a second':>10}"
        f"{'now':>12}{'highest':>8}")  # fmt: skip
    for ads, columns, middle, high, cost in rows:
        say(f"  {ads:>10,}{columns:>10,}{middle:>16.0f}{high:>10.0f}{cost.cpu_us:>16.0f}"
            f"{cost.per_second:>10,.0f}{cost.memory_mib:>12,.0f}{cost.highest_mib:>8,.0f}")  # fmt: skip
    say()
    return 0


def _choose_us(ads: int, columns: int) -> tuple[float, float]:
    """Time `choose` over a state of its own; median and p90."""
    chooser = Chooser(live_state(ads, columns))
    times = []
    with quiet_collector():
        for number in range(-50, CHOICES):
            request, key = request_of(number + 50), key_of(number + 50)
            started = perf_counter()
            chooser.choose(request, key, 1)
            if number >= 0:
                times.append((perf_counter() - started) * 1e6)
    return percentile(times, 0.5), percentile(times, 0.9)


async def _cost(node: Server, ads: int) -> Cost:
    with closing(Pool(node.host, node.port, 64)) as pool:
        mix = await probe(pool, ads)
        await warm_up(pool, mix)
        with quiet_collector():
            turns = [await turn(node, pool, mix.bodies, TURN_S) for _ in range(TURNS)]
        return Cost(
            percentile([one.cpu_us for one in turns], 0.5),
            percentile([one.per_second for one in turns], 0.5),
            *node.memory_mib(),
        )
