"""A node: state, journal, stores and clock, put together once by `app/main.py` and handed to every flow.

The event loop's thread alone touches `state` and `chooser`.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path

from msgspec import Struct

from app.domain.lines import FoldSettings, Line
from app.flows.clients import Clients
from app.flows.counters import Counters
from app.flows.decision_times import DecisionTimes
from app.flows.follow import Follow
from app.flows.geo import Geo
from app.flows.just_served import JustServed
from app.flows.limiter import Limiter
from app.flows.lists import Lists
from app.flows.place_names import PlaceNames
from app.flows.points import Trends
from app.flows.randomness import Randomness
from app.flows.request_log import RequestLog
from app.flows.spans import Spans
from app.flows.telemetry import Telemetry
from app.flows.user_keys import UserKeys
from app.journal.decisions import DecisionStore
from app.journal.sqlite import SqliteJournal
from app.state.apply import Receipt
from app.state.choose import Chooser
from app.state.state import State


class Setting(Struct, frozen=True):
    """A setting as the node was started with; a secret is told as set or not, never as what it is."""

    name: str
    value: str
    default: str
    meaning: str

    @property
    def changed(self) -> bool:
        """Whether it is another than the default."""
        return self.value != self.default


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """What flows and doors need of the settings."""

    data: Path
    columns: int
    fold: FoldSettings
    currency: str = "KRW"
    public_url: str = "http://127.0.0.1:8000"
    open_doors: bool = True
    schain: str = "ignore"
    schain_blocked: frozenset[str] = frozenset()
    inventory: str = "any"
    max_waiting: int = 1_000
    max_wait_ms: int = 50
    read_s: int = 30
    trace_hours: int = 24
    k_anonymity: int = 50
    retention_days: int = 30
    archive: bool = True
    journal_days: int = 2  # 0: for ever
    attribution_days: int = 7  # 0: off
    clusters: int = 64  # 0: none
    placement_clusters: int = 32
    clusters_every_s: int = 600
    clusters_most_changed: float = 0.01
    snapshots: int = 3
    snapshot_every_s: int = 600
    snapshot_every_lines: int = 100_000
    told: tuple[Setting, ...] = ()  # all settings as people read them


@dataclass(slots=True)
class Gathered:
    """What decisions since the last tick will bring to the fold with the next one. Units: micros."""

    requests: dict[str, list[int]] = field(default_factory=dict)
    in_flight: dict[str, float] = field(default_factory=dict)
    wins: dict[str, int] = field(default_factory=dict)
    explored: list[int] = field(default_factory=lambda: [0, 0])  # as in a tick line, as is the rest
    explored_by_variant: dict[int, list[int]] = field(default_factory=dict)
    explored_by_campaign: dict[str, int] = field(default_factory=dict)
    exposed: dict[int, list[int]] = field(default_factory=dict)
    shadowed: dict[int, list[int]] = field(default_factory=dict)
    admitted: set[int] = field(default_factory=set)


@dataclass(slots=True)
class Node:
    """Everything that a flow may need."""

    settings: NodeSettings
    state: State
    chooser: Chooser
    journal: SqliteJournal
    decisions: DecisionStore
    follow: Follow
    counters: Counters
    clock_ms: Callable[[], int]
    workers: Executor
    archivers: Executor | None = None  # None: the workers do it
    catalogue_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    gathered: Gathered = field(default_factory=Gathered)
    missing: set[str] = field(default_factory=set)  # what readiness still waits for
    stopping: bool = False  # not ready any more; what comes all the same is answered
    limiter: Limiter = field(default_factory=Limiter)
    random_bytes: Callable[[int], bytes] = field(default_factory=Randomness)
    user_keys: UserKeys = field(default_factory=UserKeys.fresh)
    lists: Lists = field(default_factory=Lists)
    lists_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    models_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    clients: Clients = field(default_factory=Clients)
    just_served: JustServed = field(default_factory=JustServed)
    geo: Geo = field(default_factory=Geo)
    request_log: RequestLog = field(default_factory=RequestLog)
    spans: Spans | None = None
    recalling: asyncio.Task[None] | None = None  # what is to be taken back and only the archive has
    past_sought: set[int] = field(default_factory=set)  # of those, which were looked for already
    place_names: PlaceNames = field(default_factory=PlaceNames)
    decision_times: DecisionTimes = field(default_factory=DecisionTimes)
    telemetry: Telemetry = field(default_factory=Telemetry)
    trends: Trends = field(default_factory=Trends)

    def now_ms(self) -> int:
        """The node's time: the wall clock, but never before the state's last tick."""
        return max(self.clock_ms(), self.state.clock_ms)

    def fresh_id(self) -> str:
        """Make an id for a thing that came without one."""
        return secrets.token_hex(8)

    async def submit(self, line: Line) -> Receipt | None:
        """Append a line; done when it is durable and applied.

        Errors  Busy when the journal cannot take it now.
        """
        ticket: asyncio.Future[Receipt | None] = asyncio.get_running_loop().create_future()
        self.journal.append(line, ticket)
        return await ticket

    async def submit_many(self, lines: Sequence[Line]) -> list[Receipt | None]:
        """Append lines in order; done when all are durable and applied."""
        loop = asyncio.get_running_loop()
        tickets: list[asyncio.Future[Receipt | None]] = []
        for line in lines:
            ticket: asyncio.Future[Receipt | None] = loop.create_future()
            self.journal.append(line, ticket)
            tickets.append(ticket)
        return await asyncio.gather(*tickets)
