"""The real command, as a test starts and kills it: two seconds from nothing to ready."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.journeys.nursery import COLUMNS, ROOT

# Puts the descriptors where a supervisor's stand, and becomes the node: LISTEN_PID must be the node's own.
_HAND_OVER = """
import fcntl, os, sys
given = [int(one) for one in sys.argv[1].split(",")]
high = [fcntl.fcntl(one, fcntl.F_DUPFD, 64) for one in given]  # out of each other's way
for at, one in enumerate(high):
    os.dup2(one, 3 + at)
    os.close(one)
names = ":".join(("public", "admin")[: len(given)])
told = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(given)), "LISTEN_FDNAMES": names}
os.execve(sys.executable, [sys.executable, *sys.argv[2:]], {**os.environ, **told})
"""


class Commanded:
    """A node in a process (and a group) of its own.

    `sockets` (public, admin) are handed over as a supervisor does: as descriptors from 3 on.
    """

    def __init__(self, data: Path, sockets: Sequence[socket.socket] = (), **settings: Any) -> None:
        named = {f"ADJUDGE_{name.upper()}": str(value) for name, value in settings.items()}
        with Path(f"{data}.log").open("ab") as log:
            serve = ["-m", "app", "serve", "--data", str(data), "--json"]
            arguments = [*serve, "--port", "0", "--admin-port", "0"]
            given = [one.fileno() for one in sockets]
            if given:
                arguments = ["-SEc", _HAND_OVER, ",".join(map(str, given)), *arguments]
            self.process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=ROOT, stdout=subprocess.PIPE, stderr=log, start_new_session=True, pass_fds=given,
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
