"""A whole node in a temporary directory, and one served over a real socket: for tests of flows and doors.

Everything is real but the workers, which are threads here (a pool of processes takes seconds to start; the
tests that are about crossing over to a process make one). `app/main.py` wires the same parts.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import Any, NamedTuple, TypeVar

from starlette.types import ASGIApp

from app.domain.catalogue import (
    AdGroup,
    Advertiser,
    Campaign,
    Creative,
    Placement,
    Pricing,
    Publisher,
    Thing,
)  # fmt: skip
from app.domain.decisions import Choice, ServedAd
from app.domain.lines import Catalogued, Configured, Entry, FoldSettings, Line
from app.domain.requests import AdRequest, Ask, Person
from app.flows.counters import Counters
from app.flows.feedback import line_of, take_event
from app.flows.follow import Follow
from app.flows.just_served import JustServed
from app.flows.node import Node, NodeSettings
from app.flows.people import enrich
from app.flows.serve import serve, served_ads
from app.flows.snapshotting import load
from app.flows.ticking import tick_line
from app.journal.decisions import DecisionStore
from app.journal.sqlite import SqliteJournal
from app.state.apply import Outcome, Receipt
from app.state.choose import Chooser
from app.web.server import Server as HttpServer
from app.web.server import server_of

Result = TypeVar("Result")
COLUMNS = 512
# No lots: a decision's id is drawn by chance, and the winner is not to be.
FOLD = FoldSettings(time_zone="Asia/Seoul", uniform_share=0.0)


def now_ms() -> int:
    """Read the wall clock."""
    return int(time() * 1000)


async def make_node(
    tmp_path: Path,
    *,
    clock_ms: Callable[[], int] = now_ms,
    fold: FoldSettings = FOLD,
    columns: int = COLUMNS,
    workers: Executor | None = None,
    things: Iterable[Thing] = (),
) -> Node:
    """Assemble a node over a directory: restored, caught up with its journal, configured, and a tick on.

    Call it on the loop that is to own the node, and `close_node` when done.
    """
    settings = NodeSettings(data=tmp_path, columns=columns, fold=fold)
    state, counters = load(tmp_path / "snapshots", columns)[0], Counters()
    journal = SqliteJournal(tmp_path / "journal.db", on_commit_seconds=counters.commit_seconds.observe)
    just_served = JustServed()

    def applied(entry: Entry, outcome: Outcome) -> None:
        counters.applied(state, entry, outcome)
        just_served.applied(entry.line)

    follow = Follow(state, journal, applied)
    node = Node(
        settings=settings, state=state, chooser=Chooser(state), journal=journal,
        decisions=DecisionStore(tmp_path / "decisions.db"), follow=follow, counters=counters,
        clock_ms=clock_ms, workers=workers or ThreadPoolExecutor(2), just_served=just_served,
    )  # fmt: skip
    await follow.catch_up()
    await node.submit(Configured(at_ms=node.now_ms(), settings=fold))
    await node.submit(tick_line(node))
    await register(node, things)
    return node


async def close_node(node: Node) -> None:
    """Write what waits and rest."""
    await asyncio.to_thread(node.journal.close)
    await asyncio.to_thread(node.decisions.close)
    node.workers.shutdown(wait=True, cancel_futures=True)


@asynccontextmanager
async def running_node(tmp_path: Path, **options: Any) -> AsyncIterator[Node]:
    """Make a node and close it afterwards; options as of `make_node`."""
    node = await make_node(tmp_path, **options)
    try:
        yield node
    finally:
        await close_node(node)


async def register(node: Node, things: Iterable[Thing]) -> None:
    """Bring things into force, parents first."""
    lines: list[Line] = [Catalogued(at_ms=node.now_ms(), thing=thing) for thing in things]
    await node.submit_many(lines)


def small_catalogue(
    groups: int = 3, creatives: int = 2, budget_daily_micros: int | None = None
) -> list[Thing]:
    """Two publishers' placements (plc-1, plc-2) and one campaign of `groups` ad groups, bids 2,000 and less.

    Group g-2 pays per 1,000 impressions, the others per click.
    """
    things: list[Thing] = [
        Publisher(id="pub-1", name="News"),
        Placement(id="plc-1", publisher_id="pub-1", sizes=((320, 50),), formats=("banner",)),
        Placement(id="plc-2", publisher_id="pub-1", sizes=((320, 50),), formats=("banner",)),
        Advertiser(id="adv-1", name="Shop", domain="shop.example", category="IAB20"),
        Campaign(id="c-1", advertiser_id="adv-1", budget_daily_micros=budget_daily_micros),
    ]
    for number in range(1, groups + 1):
        cpm = number == 2
        bid_micros = (19_500 - number if cpm else 2_000 - 50 * number) * 1_000_000
        pricing = Pricing(kind="cpm" if cpm else "cpc", bid_micros=bid_micros)
        things.append(AdGroup(id=f"g-{number}", campaign_id="c-1", pricing=pricing))
        things += [
            Creative(
                id=f"cr-{number}-{place}", ad_group_id=f"g-{number}", format="banner", width=320, height=50,
                landing_url="https://shop.example/", markup="<b>ad</b>",
            )
            for place in range(1, creatives + 1)
        ]  # fmt: skip
    return things


def ask_for(
    *placement_ids: str, count: int = 1, request_id: str = "r-1", person: Person | None = None
) -> AdRequest:
    """Write a request for banners."""
    asks = tuple(Ask(name=f"slot-{key}", placement_id=key, count=count) for key in placement_ids)
    return AdRequest(request_id=request_id, asks=asks, person=person)


class Served(NamedTuple):
    """A decision and what the tokens of its ads would seal, all placements in order."""

    choice: Choice
    ads: list[ServedAd]


def decide(node: Node, request: AdRequest) -> Served:
    """Have the node decide on a request."""
    request = enrich(node, request)
    choice = serve(node, request)
    return Served(
        choice, [ad for placed in choice.placed for ad in served_ads(choice, placed, request.person)]
    )


async def send(node: Node, kind: str, ad: ServedAd, **noted: Any) -> Receipt:
    """Report an event of an ad."""
    return await take_event(node, line_of(kind, ad, node.now_ms(), **noted))


async def tick(node: Node) -> None:
    """Let a second pass in the journal."""
    await node.submit(tick_line(node))


class Answer(NamedTuple):
    """What came back over HTTP; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Server:
    """A node behind a socket. `run` does something on its loop, `get` and `ask` go over HTTP."""

    node: Node
    port: int
    loop: asyncio.AbstractEventLoop
    headers: dict[str, str]

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine on the node's loop and wait for its result."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout=60)

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        """Send a request; a body that is not bytes is sent as JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        sent = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        try:
            connection.request(method, path, sent, self.headers if headers is None else headers)
            response = connection.getresponse()
            answered = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, answered, response.read())
        finally:
            connection.close()

    def get(self, path: str, headers: dict[str, str] | None = None) -> Answer:
        """Send a GET."""
        return self.ask("GET", path, None, headers)


@contextmanager
def serving(
    tmp_path: Path,
    make_app: Callable[[Node], ASGIApp],
    headers: dict[str, str] | None = None,
    **options: Any,
) -> Iterator[Server]:
    """Serve an application over a node on a free loopback port, on a thread with a loop of its own."""
    ready: threading.Event = threading.Event()
    made: list[tuple[Node, asyncio.AbstractEventLoop, HttpServer]] = []
    failed: list[BaseException] = []
    listener = socket.create_server(("127.0.0.1", 0))

    async def main() -> None:
        async with running_node(tmp_path, **options) as node:
            server = server_of(make_app(node), node)
            made.append((node, asyncio.get_running_loop(), server))
            ready.set()
            await server.serve(sockets=[listener])

    def run() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:
            failed.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=run, name="served-node")
    thread.start()
    ready.wait(timeout=60)
    if failed:
        thread.join()
        raise failed[0]
    node, loop, server = made[0]
    try:
        yield Server(node, listener.getsockname()[1], loop, headers or {})
    finally:
        server.should_exit = True
        thread.join(timeout=60)
        listener.close()
