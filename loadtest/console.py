"""`python -m loadtest console`: how long do the console's pages hold up a node's loop at 10,000 ads?

A node on one core serves a catalogue and has learned from some thousand visits. From the other core
`/healthz` is asked for back to back on one connection, while a page is fetched whole: the slowest of these
answers is how long the loop was held, with a round trip. A page's figure is the median over its turns, beside
that of as long a stretch without a page: single turns tell of the machine's own gaps.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from http.client import HTTPConnection
from statistics import median
from time import perf_counter
from urllib.parse import urlencode

from loadtest.bodies import get
from loadtest.client import Pool, percentile, quiet_collector, run_loop
from loadtest.machine import LOAD_CORE, SERVER_CORE, facts, on_core, say, target
from loadtest.servers import ADMIN_KEY, Server, running_node
from loadtest.traffic import Mix, probe, served, warm_up

HELD_MS = 5.0
PAGES = (
    "/console/overview",
    "/console/overview?span=hour",
    "/console/campaigns",
    "/console/campaigns/cmp-0",
    "/console/placements",
    "/console/placements/plc-0",
    "/console/model",
    "/console/model?part=quality",
    "/console/model?part=cells",
    "/console/why",
    "/console/experiments",
    "/console/invalid-traffic",
    "/console/system",
)
STILL_S = 0.05


def run(argv: Sequence[str]) -> int:
    """Print the report; 0 when no page holds the loop for longer than the target."""
    parser = argparse.ArgumentParser(prog="loadtest console", description=__doc__)
    parser.add_argument("--creatives", type=int, default=10_000)
    parser.add_argument("--turns", type=int, default=15)
    options = parser.parse_args(argv)
    say(facts("console", argv))
    with on_core(LOAD_CORE), running_node(options.creatives) as node, quiet_collector():
        say(f"node on core {SERVER_CORE}, the rest on core {LOAD_CORE}")
        return run_loop(_measure(node, options.creatives, options.turns))


async def _measure(node: Server, creatives: int, turns: int) -> int:
    public = Pool(node.host, node.port, 64)
    mix = await probe(public, creatives)
    await warm_up(public, mix)
    pages = (*PAGES, await _decision(public, mix))
    cookie = log_in(node)
    admin = Pool(node.host, node.admin_port, 1, timeout_s=60.0)
    say(f"\n  {'page':44}{'whole page, ms':>15}{'loop held, ms':>15}{'without, ms':>13}")
    worst = 0.0
    for page in pages:
        request = get(page)[:-2] + f"Cookie: {cookie}\r\n\r\n".encode()
        took, held, without = [], [], []
        for turn in range(turns + 1):
            started = perf_counter()
            fetched = asyncio.create_task(_fetch(admin, request))
            slowest = await _slowest(public, fetched)
            elapsed = perf_counter() - started
            idle = await _slowest(public, asyncio.create_task(asyncio.sleep(max(elapsed, STILL_S))))
            if turn:  # the first one compiles templates and opens files
                took.append(elapsed * 1e3)
                held.append(slowest)
                without.append(idle)
        worst = max(worst, median(held))
        name = page if len(page) < 44 else page[:20] + "…"
        say(f"  {name:44}{median(took):15.1f}{median(held):15.2f}{median(without):13.2f}"
            f"   p90 {percentile(held, 0.9):.1f}")  # fmt: skip
    public.close()
    admin.close()
    return (
        0
        if target(f"no page holds the loop longer than {HELD_MS:g} ms: {worst:.2f}", worst <= HELD_MS)
        else 1
    )


async def _fetch(admin: Pool, request: bytes) -> None:
    reply = await admin.exchange(request)
    if reply.status != 200:
        raise RuntimeError(f"{request[:80]!r} was answered {reply.status}")


async def _slowest(public: Pool, until: asyncio.Task[None]) -> float:
    """Ask for /healthz until a task is done; returns the longest wait in ms."""
    request, longest = get("/healthz"), 0.0
    while not until.done():
        sent = perf_counter()
        await public.exchange(request)
        longest = max(longest, perf_counter() - sent)
    await until
    return longest * 1e3


async def _decision(public: Pool, mix: Mix) -> str:
    """Have an ad chosen, and name the page that says why."""
    for body in mix.native:
        reply = await public.exchange(body.request)
        if served(body.door, reply):
            await asyncio.sleep(0.5)  # the decision is written a moment later
            return "/console/why/" + reply.body.split(b'"decision_id":"', 1)[1].split(b'"', 1)[0].decode()
    raise RuntimeError("no visit gets an ad")


def log_in(node: Server) -> str:
    """Log in to the console with the admin key; returns the session's cookie."""
    connection = HTTPConnection(node.host, node.admin_port, timeout=10)
    origin = f"http://{node.host}:{node.admin_port}"
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Origin": origin}
    connection.request("POST", "/console/login", urlencode({"key": ADMIN_KEY}), headers)
    answer = connection.getresponse()
    cookie = answer.getheader("Set-Cookie", "")
    connection.close()
    if answer.status != 303 or not cookie:
        raise RuntimeError(f"the login was answered {answer.status}")
    return cookie.split(";", 1)[0]
