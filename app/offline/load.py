"""`adjudge load`: visitors of `visitors.py` against any node, and a page that says how it did.

Locust (extra `load`) runs in a process of its own: it takes over sockets and threads as it is imported.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

from app.domain.refusals import Refused

# What Locust is given: it looks for classes in a file.
SCENARIO = "from app.offline.visitors import visitor_class\n\nVisitor = visitor_class()\n"
PAGE = 500  # placements asked for at a time
MOST_PLACEMENTS = 2_000  # they go by the environment
MARGIN_S = 60  # beyond the run, for Locust to start and to end


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """Whom to visit, with how many people for how long. `placements` none: the sample catalogue's."""

    url: str
    users: int = 50
    seconds: int = 30
    report: Path = Path("load.html")
    placements: tuple[str, ...] = ()
    api_key: str | None = None


def run_load(plan: LoadPlan) -> dict[str, Any]:
    """Visit a node; returns the sums of what was answered and where the page lies.

    Units   milliseconds.
    Errors  Refused: `load_missing` without the extra, `unreachable`, `load_failed` where Locust ended badly.
    """
    if find_spec("locust") is None:
        raise Refused("load_missing", "adjudge load needs: pip install 'adjudge[load]'")
    _reach(plan.url)
    environment = dict(os.environ)
    if plan.placements:
        environment["PLACEMENTS"] = ",".join(plan.placements)
    if plan.api_key:
        environment["API_KEY"] = plan.api_key
    arguments = [
        "--host", plan.url, "--headless", "--json", "--skip-log-setup", "-u", str(plan.users),
        "-r", str(max(1, plan.users // 5)), "-t", f"{plan.seconds}s", "--html", str(plan.report),
        "--exit-code-on-error", "0",
    ]  # fmt: skip
    with TemporaryDirectory() as folder:
        scenario = Path(folder) / "locustfile.py"
        scenario.write_text(SCENARIO)
        done = subprocess.run(
            [sys.executable, "-m", "locust", "-f", str(scenario), *arguments],
            env=environment, capture_output=True, text=True, check=False, timeout=plan.seconds + MARGIN_S,
        )  # fmt: skip
    try:
        rows = json.loads(done.stdout[done.stdout.index("[") :])
    except ValueError as error:
        raise Refused("load_failed", (done.stderr.strip().splitlines() or ["no report"])[-1]) from error
    return {**summed(rows), "report": str(plan.report)}


def placements_of(admin_url: str, key: str) -> tuple[str, ...]:
    """Ask a node for its active placements.

    Errors  Refused("unreachable").
    """
    found: list[str] = []
    cursor = ""
    while len(found) < MOST_PLACEMENTS:
        path = f"{admin_url}/v1/placements?limit={PAGE}" + (f"&cursor={cursor}" if cursor else "")
        try:
            with urlopen(Request(path, headers={"Authorization": f"Bearer {key}"}), timeout=10) as answer:
                told = json.load(answer)
        except (URLError, ValueError) as error:
            raise Refused("unreachable", f"{admin_url}: {error}") from error
        found += [each["id"] for each in told["items"] if each["status"] == "active"]
        cursor = told.get("next") or ""
        if not cursor:
            break
    return tuple(found[:MOST_PLACEMENTS])


def summed(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Sum Locust's rows up: all requests, and the times of ad requests.

    >>> row = {"name": "/v1/ads", "num_requests": 4, "num_failures": 1, "start_time": 0.0,
    ...        "last_request_timestamp": 2.0, "response_times": {"1": 2, "5": 1, "9": 1}}
    >>> summed([row])
    {'requests': 4, 'failures': 1, 'requests_per_s': 2.0, 'ads': 4, 'p50_ms': 1.0, 'p99_ms': 9.0}
    """
    requests = sum(row["num_requests"] for row in rows)
    times = {
        float(ms): count
        for row in rows
        if row["name"] == "/v1/ads"
        for ms, count in row["response_times"].items()
    }
    began = min((row["start_time"] for row in rows), default=0.0)
    ended = max((row["last_request_timestamp"] or began for row in rows), default=began)
    return {
        "requests": requests,
        "failures": sum(row["num_failures"] for row in rows),
        "requests_per_s": round(requests / max(ended - began, 1e-3), 1),
        "ads": sum(times.values()),
        "p50_ms": _quantile(times, 0.5),
        "p99_ms": _quantile(times, 0.99),
    }


def _quantile(times: dict[float, int], share: float) -> float | None:
    left = share * sum(times.values())
    for ms in sorted(times):
        left -= times[ms]
        if left <= 0:
            return ms
    return None


def _reach(url: str) -> None:
    try:
        with urlopen(f"{url}/readyz", timeout=10):
            pass
    except (URLError, ValueError) as error:
        raise Refused("unreachable", f"{url}: {error}") from error
