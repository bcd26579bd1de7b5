"""`adjudge demo` as people start it, in a process group of its own, on ports of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[4]
READY_WITHIN_S = 180.0  # a machine that has never compiled the kernels takes half a minute
LIVE_AFTER_REQUESTS = 100


class Demo:
    """A demo node: where its ports are, its key, and the admin port's API by `ask`."""

    def __init__(self, data: Path, rate: float = 40.0) -> None:
        public, admin = _free_ports(2)
        self.public_url, self.url = f"http://127.0.0.1:{public}", f"http://127.0.0.1:{admin}"
        self._log = Path(f"{data}.log")
        command = [sys.executable, "-m", "app", "demo", "--data", str(data), "--rate", str(rate)]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*command, "--port", str(public), "--admin-port", str(admin)],
                cwd=ROOT, stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, "ADJUDGE_ADMIN_KEY": ""},
            )  # fmt: skip
        try:
            self._wait(lambda: (data / "admin.key").exists() and self._ready())
            self.key = (data / "admin.key").read_text().strip()
            self._api = httpx.Client(
                base_url=self.url, headers={"Authorization": f"Bearer {self.key}"}, timeout=30
            )
            self._wait(lambda: self._served() > LIVE_AFTER_REQUESTS)
        except BaseException:
            self.stop()
            raise

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Ask the admin API for JSON; anything but a success is a fault of the test."""
        answer = self._api.request(method, path, json=body, headers=headers)
        assert answer.is_success, (method, path, answer.status_code, answer.text)
        return answer.json() if answer.content else None

    def stop(self) -> None:
        """End the node and its audience at once: what they know is thrown away."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(30)

    def _ready(self) -> bool:
        with suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200
        return False

    def _served(self) -> float:
        """Count the ad requests so far."""
        lines = self._api.get("/metrics").text.splitlines()
        return sum(
            float(line.rsplit(" ", 1)[1])
            for line in lines
            if line.startswith("adjudge_requests_total{") and 'route="/v1/ads"' in line
        )

    def _wait(self, reached: Any) -> None:
        give_up_s = time.monotonic() + READY_WITHIN_S
        while not reached():
            assert self._process.poll() is None, f"the demo ended:\n{self._said()}"
            assert time.monotonic() < give_up_s, f"the demo is not ready:\n{self._said()}"
            time.sleep(0.1)

    def _said(self) -> str:
        return self._log.read_text(errors="replace")[-3_000:]


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        held = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in held]
