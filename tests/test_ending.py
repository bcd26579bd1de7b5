"""A node that has ended is gone: nothing that worked for it keeps its process waiting."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from app.main import _end

ROOT = Path(__file__).parents[1]


def test_a_worker_ends_with_its_node_in_the_middle_of_its_work() -> None:
    workers = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
    workers.submit(time.sleep, 600)
    (worker,) = workers._processes.values()
    _end(workers)
    deadline = time.monotonic() + 60
    while worker.exitcode is None and time.monotonic() < deadline:
        time.sleep(0.01)  # the pool's own thread may be the one that hears of its end
    assert worker.exitcode == -signal.SIGKILL


@pytest.mark.slow
def test_a_process_that_was_a_node_ends_without_a_word(tmp_path: Path) -> None:
    """No library that it had loaded complains of what was left to it."""
    command = [sys.executable, "-m", "app", "export", "--data", str(tmp_path / "data")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=120)
    assert (done.stdout, done.stderr) == (b"", b"")
