"""The real command, as a test starts and kills it: two seconds from nothing to ready."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.journeys.nursery import COLUMNS, ROOT


class Commanded:
    """A node in a process (and a group) of its own."""

    def __init__(self, data: Path, **settings: Any) -> None:
        named = {f"ADJUDGE_{name.upper()}": str(value) for name, value in settings.items()}
        with Path(f"{data}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "app", "serve", "--data", str(data), "--port", "0",
                 "--admin-port", "0", "--json"],
                cwd=ROOT, stdout=subprocess.PIPE, stderr=log, start_new_session=True,
                env={**os.environ, "ADJUDGE_COLUMNS": str(COLUMNS), **named},
            )  # fmt: skip

    def ready(self) -> dict[str, Any]:
        """Wait until the node is ready; tells its URLs and position."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the node died before it was ready"
        told = json.loads(line)
        return {"public": told["public_url"], "admin": told["admin_url"], "position": told["position"]}

    def kill(self, *, followers: bool = True) -> None:
        """Kill the node at once, alone or with every process that it started."""
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if followers else os.kill)(self.process.pid, signal.SIGKILL)
        self._gone()

    def stop(self) -> int:
        """Ask the node to stop; returns its exit code."""
        self.process.terminate()
        return self._gone()

    def left_behind(self) -> bool:
        """Say whether a process that the node started still lives."""
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def _gone(self) -> int:
        code = self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code
