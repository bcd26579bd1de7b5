"""Wires a node: files, state, journal, doors, servers and signals. Decides nothing about ads."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import gc
import hashlib
import hmac
import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.connection import wait
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from typing import Any

import apsw
import structlog
import uvloop

from app import __version__
from app.domain.lines import Configured, Entry
from app.domain.refusals import Refused
from app.flows.archiving import archive_forever
from app.flows.audiences import refresh
from app.flows.clustering import cluster_forever
from app.flows.counters import Counters
from app.flows.follow import Follow
from app.flows.just_served import JustServed
from app.flows.keeping import keep_forever
from app.flows.limiter import Limiter
from app.flows.node import Node
from app.flows.recalling import recall_just_served
from app.flows.request_log import RequestLog
from app.flows.rotating import write_secret
from app.flows.snapshotting import load, snapshot_forever, snapshot_now, yield_to_the_node
from app.flows.spans import spans_to
from app.flows.ticking import lost_lines, tick_forever, tick_line
from app.flows.trimming import trim_forever
from app.flows.user_keys import SECRET_BYTES, Period, UserKeys, read_periods, write_periods
from app.flows.warming import warm
from app.journal.decisions import DecisionStore
from app.journal.sqlite import SqliteJournal
from app.settings import Settings
from app.state.apply import Outcome
from app.state.choose import Chooser
from app.web.admin.app import admin_app
from app.web.ads import AdsDoor
from app.web.explain import explain
from app.web.links import Links
from app.web.listening import NAMES, bound, handed_over, is_loopback, url_of
from app.web.public import public_app
from app.web.server import Server, server_of
from app.web.tokens import Tokens

LOG = structlog.get_logger()
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
SWITCH_INTERVAL_S = 0.0005  # how soon the loop gets the interpreter back from other threads


@dataclass(frozen=True, slots=True)
class Listen:
    """Where a node listens; port 0 takes a free one."""

    host: str = "127.0.0.1"
    port: int = 8000
    admin_host: str = "127.0.0.1"
    admin_port: int = 8001


@dataclass(frozen=True, slots=True)
class Running:
    """A node that answers, and where."""

    node: Node
    public_url: str
    admin_url: str
    admin_key: str | None  # only when it was made or given just now
    stop: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Port:
    """A server and the socket it answers on; `handed` over by a supervisor, or bound by the node."""

    server: Server
    socket: socket.socket
    handed: bool

    def answer(self) -> asyncio.Task[None]:
        """Begin to answer."""
        return asyncio.create_task(self.server.serve(sockets=[self.socket]))


@contextlib.contextmanager
def locked(data: Path) -> Iterator[None]:
    """Hold a data directory; a second node or an import beside a running one is refused.

    Errors  Refused("data_locked"), Refused("data_unusable").
    """
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)  # money and people's keys are nobody else's
        handle = (data / "lock").open("w")
    except OSError as error:
        raise Refused("data_unusable", f"{data}: {error.strerror}") from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Refused("data_locked", f"{data} belongs to a running node") from error
        try:
            yield
        except (apsw.FullError, apsw.ReadOnlyError, apsw.IOError) as error:
            raise Refused("data_unusable", f"{data}: {error}") from error
        except OSError as error:
            if error.errno not in DISK_ERRORS:
                raise
            raise Refused("data_unusable", f"{error.filename or data}: {error.strerror}") from error


@contextlib.asynccontextmanager
async def open_node(
    settings: Settings, data: Path, public_url: str, *, loopback: bool
) -> AsyncIterator[Node]:
    """Open a node on its data directory (held by the caller): restored, not yet caught up.

    Errors  Refused("journal_trimmed") when neither a snapshot nor the journal reaches back far enough.
    """
    state, damaged = load(data / "snapshots", settings.columns)
    for reason in damaged:
        LOG.error("snapshot_refused", reason=reason)
    counters = Counters()
    counters.build_info.labels(__version__).set(1)
    journal = SqliteJournal(data / "journal.db", on_commit_seconds=counters.commit_seconds.observe)
    if state.position < journal.trimmed_through:
        journal.close()
        raise _nothing_to_start_from(data, journal.trimmed_through, damaged)
    decisions = DecisionStore(data / "decisions.db", max_bytes=settings.decisions_mib << 20)
    just_served = JustServed(settings.just_served_s * 1000)

    def applied(entry: Entry, outcome: Outcome) -> None:
        counters.applied(state, entry, outcome)
        just_served.applied(entry.line)

    workers = ProcessPoolExecutor(1, mp_context=_CalmContext(), initializer=_calm_worker)
    # A process of its own, for an hour at a time: reports and imports do not wait for it, nor does it stay.
    archivers = ProcessPoolExecutor(
        1, mp_context=_CalmContext(), initializer=_calm_worker, max_tasks_per_child=1
    )
    node = Node(
        settings=settings.node(data, public_url, loopback=loopback),
        state=state,
        chooser=Chooser(state),
        journal=journal,
        decisions=decisions,
        follow=Follow(state, journal, applied),
        just_served=just_served,
        counters=counters,
        clock_ms=lambda: time.time_ns() // 1_000_000,
        workers=workers,
        archivers=archivers,
        missing={"kernels", "journal"},
        limiter=Limiter(settings.max_waiting, settings.max_wait_ms / 1000),
        user_keys=user_keys(settings, data),
        clients=settings.clients(),
        geo=settings.geo(),
        request_log=RequestLog(settings.log_share),
        spans=spans_to(settings.otel_url, settings.otel_share),
    )
    try:
        yield node
    finally:
        gc.unfreeze()  # what is frozen is not taken down at the end, and DuckDB's modules complain of that
        await asyncio.to_thread(journal.close)
        await asyncio.to_thread(decisions.close)
        for pool in (workers, archivers):
            _end(pool)
        if node.spans is not None:
            await asyncio.to_thread(node.spans.close)


def _nothing_to_start_from(data: Path, trimmed: int, damaged: list[str]) -> Refused:
    return Refused(
        "journal_trimmed",
        f"{data}: the journal's lines up to {trimmed} are trimmed, and no sound snapshot of this build "
        f"reaches them ({'; '.join(damaged) or 'there is none'}): "
        f"bring back {data / 'snapshots'}, or the build before",
    )


async def make_ready(node: Node) -> None:
    """Warm the kernels, catch up with the journal, and tell the fold settings and time."""
    await asyncio.to_thread(warm)
    await asyncio.to_thread(node.clients.flaw, None, "Mozilla/5.0")  # its first look reads the list of robots
    node.missing.discard("kernels")
    lines = await node.follow.catch_up()
    if node.state.position == 0 or node.state.experiments.given != node.settings.fold:
        await node.submit(Configured(at_ms=node.now_ms(), settings=node.settings.fold))
    await node.submit(tick_line(node))
    await refresh(node)
    recalled = await recall_just_served(node)
    LOG.info("caught_up", lines=lines, position=node.state.position, just_served=recalled)
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    node.missing.discard("journal")


async def serve(settings: Settings, data: Path, listen: Listen, on_ready: Callable[[Running], None]) -> None:
    """Run a node until it is told to stop, by a signal or by `Running.stop`.

    Errors  Refused: `data_locked`, `port_taken`, `data_unusable`, `sockets`.
    """
    handed = handed_over(os.environ, os.getpid())
    with (
        locked(data),
        bound(listen.host, listen.port, handed.get("public")) as public,
        bound(listen.admin_host, listen.admin_port, handed.get("admin")) as admin,
    ):
        host, admin_host = (
            one.getsockname()[0] if name in handed else given
            for name, one, given in (("public", public, listen.host), ("admin", admin, listen.admin_host))
        )
        public_url, admin_url = url_of(host, public), url_of(admin_host, admin)
        key, key_hash = admin_key(settings, data)
        async with open_node(settings, data, public_url, loopback=is_loopback(host)) as node:
            masters = token_masters(data)
            tokens = Tokens(masters, settings.lives_s(), secrets.token_bytes(8))
            links = Links(node.settings.public_url, tokens)
            ads = AdsDoor(node, links, tokens, admin=True, explain=explain)
            admin_port = admin_app(
                node, admin_key_hash=key_hash, ads_door=ads, console_secret=console_secret(masters)
            )
            servers = [server_of(app, node) for app in (public_app(node, tokens, links), admin_port)]
            stopping = asyncio.Event()
            for one in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(one, stopping.set)
            running = Running(node, public_url, admin_url, key, stopping.set)
            names = (name in handed for name in NAMES)
            ports = [Port(*each) for each in zip(servers, (public, admin), names, strict=True)]
            await _run(node, ports, stopping, lambda: on_ready(running))


async def _run(
    node: Node,
    ports: list[Port],
    stopping: asyncio.Event,
    on_ready: Callable[[], None],
) -> None:
    # At a socket that was handed over, callers wait in the kernel's queue until the node is ready for them.
    answering = [port.answer() for port in ports if not port.handed]
    working: list[asyncio.Task[None]] = []
    ended = asyncio.ensure_future(stopping.wait())
    starting = asyncio.create_task(make_ready(node))
    await asyncio.wait({ended, starting, *answering}, return_when=asyncio.FIRST_COMPLETED)
    try:
        if starting.done():
            starting.result()
            hearts = [tick_forever(node), snapshot_forever(node), keep_forever(node), cluster_forever(node)]
            if node.settings.archive:
                hearts += [archive_forever(node), trim_forever(node)]
            working = [asyncio.create_task(each) for each in hearts]
            answering += [port.answer() for port in ports if port.handed]
            on_ready()
            assert node.follow.failed is not None
            needed: list[asyncio.Future[None]] = [*working, node.follow.failed]
            waiting: list[asyncio.Future[Any]] = [ended, *answering, *needed]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in needed:
                if task.done():
                    task.result()  # a heart that stopped is an error, not a way to end
    finally:
        node.stopping = node.limiter.draining = True
        ended.cancel()
        for port in ports:
            port.server.should_exit = True
        await asyncio.gather(*answering, return_exceptions=True)
        for task in (*working, starting):
            task.cancel()
        if working and node.follow.failed is not None and not node.follow.failed.done():
            await _last_snapshot(node)


async def _last_snapshot(node: Node) -> None:
    try:
        await node.submit_many(lost_lines(node))
        LOG.info("snapshot", **await snapshot_now(node, idle=False))
    except Exception as error:
        LOG.error("snapshot_failed", error=str(error))  # noqa: TRY400


def run(settings: Settings, data: Path, listen: Listen, on_ready: Callable[[Running], None]) -> None:
    """Run a node on an event loop of its own."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings, data, listen, on_ready))


def admin_key(settings: Settings, data: Path) -> tuple[str | None, bytes]:
    """Find the admin key's hash; the key itself only when it was given or is made now.

    Made at first start, written to DIR/admin.key (0600), otherwise kept only as a hash.
    """
    if settings.admin_key:
        return settings.admin_key, hashlib.sha256(settings.admin_key.encode()).digest()
    hashed = data / "admin.key.sha256"
    if hashed.exists():
        return None, bytes.fromhex(hashed.read_text().strip())
    key = "adj_" + secrets.token_urlsafe(32)
    write_secret(data / "admin.key", key + "\n")
    digest = hashlib.sha256(key.encode()).digest()
    write_secret(hashed, digest.hex() + "\n")
    return key, digest


def token_masters(data: Path) -> list[bytes]:
    """Read the token masters, newest first, making one at first start (DIR/token.key, 0600)."""
    path = data / "token.key"
    if not path.exists():
        write_secret(path, secrets.token_hex(32) + "\n")
    return [bytes.fromhex(line) for line in path.read_text().split()]


def console_secret(masters: list[bytes]) -> bytes:
    """Derive what signs the console's sessions, which thus outlive a restart, from the newest master."""
    return hmac.digest(masters[0], b"adjudge console sessions", "sha256")


def user_keys(settings: Settings, data: Path) -> UserKeys:
    """Read the secrets of users' keys, drawing the first at first start (DIR/user.key, 0600)."""
    path, now_ms = data / "user.key", time.time_ns() // 1_000_000
    if not path.exists():
        write_secret(path, write_periods([Period(now_ms, secrets.token_bytes(SECRET_BYTES))]))
    keys = UserKeys(
        read_periods(path.read_text()),
        period_days=settings.user_key_days,
        keep_days=settings.retention_days,
        save=lambda periods: write_secret(path, write_periods(periods)),
    )
    keys.renew(now_ms)
    return keys


def _end(workers: ProcessPoolExecutor) -> None:
    """Kill what works for a node that has ended.

    The interpreter joins workers as it ends; they run when nobody else wants the processor, and took a minute
    to get there on a busy machine.
    """
    working = list((workers._processes or {}).values())  # public only since 3.14: terminate_workers
    workers.shutdown(wait=False, cancel_futures=True)
    for process in working:
        process.kill()


class _CalmProcess(SpawnProcess):
    """A worker that gives way to the loop from its first import on."""

    def start(self) -> None:
        super().start()
        assert self.pid is not None
        yield_to_the_node(self.pid)


class _CalmContext(SpawnContext):
    Process = _CalmProcess


def _calm_worker() -> None:
    """Workers leave Ctrl-C to the node."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_the_node, daemon=True).start()


def _die_with_the_node() -> None:
    """End a worker whose node was killed: it holds both ends of its queue, and would wait for ever."""
    node = parent_process()
    assert node is not None
    wait([node.sentinel])
    os._exit(1)
