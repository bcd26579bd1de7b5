"""A process that has imported and compiled everything and forks nodes from itself, so that hundreds can be
killed in a minute: a fresh `adjudge serve` takes about two seconds to start, a fork some hundredths.

It starts no thread and, but for its own socket, opens no file. A forked node is wired by `app.main`, real
down to the sockets. Four things differ: it ticks and looks whether a snapshot is due more often than each
second, its workers are threads, its snapshots' followers are forked by the nursery too (the stand-in below
takes the interpreter's place, and hands the arguments over), and they take their share of the processor: on
a machine that is busy for minutes, one that yields to everybody would not get to its end.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).parents[2]
COLUMNS = 1_024
SNAPSHOT_LINES = 60
CHECK_S = 0.03
TICK_S = 0.1
OFTEN_S = 0.2
ORDER_BYTES = 65_536  # more than any order has: it comes in one piece

# What a node takes for its interpreter: asks the nursery for a fork that runs the follower's `main`, and
# hands over the pipe by which a follower sees that its node is gone.
STAND_IN = """#!{python} -SE
import json, os, socket, sys
asked = socket.socket(socket.AF_UNIX)
asked.connect({address!r})
order = {{"do": "follow", "arguments": sys.argv[3:], "group": os.getpgrp()}}
socket.send_fds(asked, [json.dumps(order).encode()], [0])
answer = json.loads(asked.makefile().readline() or '{{"code": 1, "out": "", "err": "the follower died"}}')
sys.stdout.write(answer["out"])
sys.stderr.write(answer["err"])
sys.exit(answer["code"])
"""


class Forked:
    """A forked node: its process (also its group) and, once it is ready, where it answers."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lines = connection.makefile()
        self.pid = int(json.loads(self._lines.readline())["pid"])
        self._over = False

    def ready(self) -> dict[str, Any]:
        """Wait until the node is ready; tells its URLs and position."""
        line = self._lines.readline()
        assert line, "the node died before it was ready"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def kill(self, *, followers: bool = True) -> None:
        """Kill the node at once, alone or with the follower that may be writing a snapshot for it."""
        if self._over:
            return
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if followers else os.kill)(self.pid, signal.SIGKILL)
        self.gone()

    def stop(self) -> None:
        """Ask the node to stop, and wait for it."""
        os.kill(self.pid, signal.SIGTERM)
        self.gone()

    def gone(self) -> None:
        """Wait until the node's process is over: its end of the connection closes with it."""
        self._over = True
        self._connection.settimeout(60)
        while self._lines.read(1):
            pass
        self._lines.close()
        self._connection.close()


class Nursery:
    """The supervisor's side."""

    def __init__(self, address: Path) -> None:
        self._address = str(address)

    def node(
        self,
        data: Path,
        ports: tuple[int, int] = (0, 0),
        played: tuple[int, int] | None = None,
        **settings: Any,
    ) -> Forked:
        """Fork a node on a data directory; `settings` are those of `Settings`.

        `played` is when its clock starts (ms) and how many times as fast as ours it runs; what is done once a
        minute is then done several times a second.
        """
        order = {"do": "node", "data": str(data), "ports": ports, "played": played, "settings": settings}
        return Forked(self._ask(order))

    def settle(self) -> None:
        """Wait until every fork is over, orphaned followers too.

        While one lives, the WAL's index stays as the dead writer left it; without, the next reader makes it
        anew and may find a last commit of which nobody was told.
        """
        with self._ask({"do": "settle"}) as connection:
            connection.recv(1)

    def stop(self) -> None:
        """End the nursery."""
        self._ask({"do": "stop"}).close()

    def _ask(self, order: dict[str, Any]) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(self._address)
        connection.sendall(json.dumps(order).encode())
        return connection


@contextmanager
def nursery() -> Iterator[Nursery]:
    """Start a nursery of one's own, and end it."""
    # Unix sockets have short names: not under pytest's deep directories.
    folder = Path(tempfile.mkdtemp(prefix="nursery-"))
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.journeys.nursery", str(folder)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"ready\n", "the nursery did not start"
        mine = Nursery(folder / "socket")
        yield mine
        mine.stop()
        process.wait(30)
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
        shutil.rmtree(folder, ignore_errors=True)


def raise_nodes(folder: Path) -> int:
    """Import and compile everything, then fork whatever is asked for."""
    import gc

    from app import cli, main  # noqa: F401
    from app.flows.warming import warm

    warm()
    gc.collect()
    gc.freeze()
    address = folder / "socket"
    stand_in = folder / "python"
    stand_in.write_text(STAND_IN.format(python=sys.executable, address=str(address)))
    stand_in.chmod(0o700)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the dead are reaped by the system
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address))
        listener.listen(64)
        print("ready", flush=True)
        while 0 not in select.select([listener.fileno(), 0], [], [])[0]:  # stdin ends with the tests
            connection, _ = listener.accept()
            with connection:
                told, pipes, _, _ = socket.recv_fds(connection, ORDER_BYTES, 1)
                order = json.loads(told or b'{"do": "nothing"}')
                if order["do"] == "stop":
                    break
                if order["do"] == "settle":
                    with contextlib.suppress(ChildProcessError):
                        os.waitpid(-1, 0)
                elif order["do"] != "nothing" and os.fork() == 0:
                    listener.close()
                    for pipe in pipes:
                        os.dup2(pipe, 0)
                    _live(order, connection, stand_in)
                for pipe in pipes:
                    os.close(pipe)
    gc.unfreeze()
    return 0


def _live(order: dict[str, Any], connection: socket.socket, stand_in: Path) -> NoReturn:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        if order["do"] == "node":
            _node(order, connection, stand_in)
        else:
            _follow(order, connection)
        os._exit(0)
    except BaseException:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


def _follow(order: dict[str, Any], connection: socket.socket) -> None:
    from app.flows import snapshotting

    vars(snapshotting)["yield_to_the_node"] = lambda: None
    with contextlib.suppress(OSError):  # the node that asked may be dead already
        os.setpgid(0, order["group"])
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = snapshotting.main(order["arguments"])
    answer = {"code": code, "out": out.getvalue(), "err": err.getvalue()}
    with contextlib.suppress(OSError):
        connection.sendall(json.dumps(answer).encode() + b"\n")


class _Threads(ThreadPoolExecutor):
    """A node's workers: there is no process that would have to be killed when it ends."""

    _processes: Mapping[int, Any] = {}


class _Played:
    """What a node takes for the machine's clock."""

    def __init__(self, start_ms: int, times: int) -> None:
        self._start_ns, self._times = start_ms * 1_000_000, times
        self._began_ns = time.monotonic_ns()

    def time_ns(self) -> int:
        """Tell the time."""
        return self._start_ns + (time.monotonic_ns() - self._began_ns) * self._times


def _node(order: dict[str, Any], connection: socket.socket, stand_in: Path) -> None:
    from app import main as wiring
    from app.cli import _log
    from app.flows import archiving, keeping, snapshotting, ticking, trimming
    from app.settings import Settings

    def tell(**told: Any) -> None:
        connection.sendall(json.dumps(told).encode() + b"\n")

    os.setpgid(0, 0)
    data = Path(order["data"])
    log = os.open(f"{data}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 2)
    tell(pid=os.getpid())
    sys.executable = str(stand_in)
    vars(wiring)["ProcessPoolExecutor"] = lambda *_, **__: _Threads(1)
    snapshotting.CHECK_S, ticking.TICK_S = CHECK_S, TICK_S
    vars(snapshotting)["yield_to_the_node"] = lambda _: None
    if order.get("played"):
        vars(wiring)["time"] = _Played(*order["played"])
        archiving.ARCHIVE_S = keeping.KEEP_S = trimming.TRIM_S = OFTEN_S
    settings = Settings(**{"columns": COLUMNS, "snapshot_every_lines": SNAPSHOT_LINES, **order["settings"]})
    _log(settings)

    def ready(running: wiring.Running) -> None:
        tell(public=running.public_url, admin=running.admin_url, position=running.node.state.position)

    public, admin = order.get("ports", (0, 0))
    wiring.run(settings, data, wiring.Listen(port=public, admin_port=admin), ready)


if __name__ == "__main__":
    sys.exit(raise_nodes(Path(sys.argv[1])))
