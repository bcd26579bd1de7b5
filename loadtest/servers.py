"""The two servers that are measured, as processes on a core of their own: a real node, and the bare endpoint.

A node is the real command over a temporary directory, its catalogue imported before it starts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

from app.offline.sample import sample_catalogue
from loadtest.machine import PROJECT, SERVER_CORE, pinned

SEED = 7
ADMIN_KEY = "loadtest"
# Rates, since real bid requests are priced in dollars and euros; the rest is as an operator gets it.
NODE_SETTINGS = {
    "ADJUDGE_ADMIN_KEY": ADMIN_KEY,
    "ADJUDGE_RATES": "USD=1350,EUR=1480",
    "ADJUDGE_LOG_LEVEL": "warning",
    "ADJUDGE_INVALID_TRAFFIC": "off",  # the load comes from one robot at one address
}
READY_S = 120
STOP_S = 60


@dataclass(frozen=True, slots=True)
class Server:
    """A running server process."""

    process: subprocess.Popen[bytes]
    host: str
    port: int
    admin_port: int
    data: Path | None = None

    def cpu_s(self) -> float:
        """CPU that all threads of the process have used, user and system."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mib(self) -> tuple[float, float]:
        """Resident memory, now and at its highest."""
        kib = {}
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name in {"VmRSS", "VmHWM"}:
                kib[name] = int(value.split()[0])
        return kib["VmRSS"] / 1024, kib["VmHWM"] / 1024


class Others:
    """How much of the servers' core everything else takes: beside busy neighbours a figure is worth little.

    A node's worker processes are among the others.
    """

    def __init__(self, *servers: Server) -> None:
        self._servers = servers
        self._start = self._read()

    def share(self) -> float:
        """Tell the share of the core that was not the servers', since this was made."""
        clock_s, busy_s, own_s = (now - then for now, then in zip(self._read(), self._start, strict=True))
        return max(0.0, busy_s - own_s) / clock_s

    def _read(self) -> tuple[float, float, float]:
        own_s = sum(server.cpu_s() for server in self._servers)
        lines = (line.split() for line in Path("/proc/stat").read_text().splitlines())
        ticks = next(fields[1:] for fields in lines if fields[0] == f"cpu{SERVER_CORE}")
        idle = int(ticks[3]) + int(ticks[4])  # idle, waiting for a disk
        busy_s = (sum(map(int, ticks[:8])) - idle) / os.sysconf("SC_CLK_TCK")
        return perf_counter(), busy_s, own_s


def catalogue_lines(creatives: int, extra: Iterable[dict[str, Any]] = (), renamed: str = "") -> bytes:
    """Write a sample catalogue as import lines. Budgets are lifted: all its ads stay live.

    `renamed` is added to the creatives' names, so that importing them again changes each.
    """
    lines = [dict(line) for line in (*sample_catalogue(SEED, creatives), *extra)]
    for line in lines:
        line.pop("budget_daily", None)
        if line["type"] == "creative":
            line["name"] = line.get("name", "") + renamed
    return "\n".join(json.dumps(line, ensure_ascii=False) for line in lines).encode()


@contextmanager
def running_node(
    creatives: int, settings: Mapping[str, str] | None = None, extra: Iterable[dict[str, Any]] = ()
) -> Iterator[Server]:
    """Import a catalogue into a fresh directory and serve it.

    Errors  RuntimeError when the import is refused or the node does not get ready.
    """
    environment = {**os.environ, **NODE_SETTINGS, **(settings or {})}
    with tempfile.TemporaryDirectory(prefix="adjudge-load-") as folder:
        data, lines = Path(folder) / "data", Path(folder) / "catalogue.jsonl"
        lines.write_bytes(catalogue_lines(creatives, extra))
        taken = subprocess.run(
            [sys.executable, "-m", "app", "import", str(lines), "--data", str(data)],
            cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=READY_S * 3, check=False,
        )  # fmt: skip
        if taken.returncode:
            raise RuntimeError(f"the import failed: {taken.stderr[-2000:]}")
        command = [sys.executable, "-m", "app", "serve", "--data", str(data), "--json"]
        with _started([*command, "--port", "0", "--admin-port", "0"], environment, data) as node:
            yield node


@contextmanager
def running_bare(ads_bytes: int, bid_bytes: int) -> Iterator[Server]:
    """Serve the bare endpoint; its answers have the given sizes."""
    command = [sys.executable, "-m", "loadtest.bare", str(ads_bytes), str(bid_bytes)]
    with _started(command, dict(os.environ), None) as bare:
        yield bare


@contextmanager
def _started(command: list[str], environment: dict[str, str], data: Path | None) -> Iterator[Server]:
    process = subprocess.Popen(
        pinned(command, SERVER_CORE), cwd=PROJECT, env=environment, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()  # the first line says where it listens; none: it ended
        if not line:
            raise RuntimeError(f"{command[2]} did not get ready")
        urls = json.loads(line)
        public, admin = urlsplit(urls["public_url"]), urlsplit(urls.get("admin_url", "http://127.0.0.1:0"))
        yield Server(process, public.hostname or "", public.port or 0, admin.port or 0, data)
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
