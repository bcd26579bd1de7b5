"""A node that has ended is gone: nothing that worked for it keeps its process waiting."""

from __future__ import annotations

import signal
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from app.main import _end


def test_a_worker_ends_with_its_node_in_the_middle_of_its_work() -> None:
    workers = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
    workers.submit(time.sleep, 600)
    (worker,) = workers._processes.values()
    _end(workers)
    worker.join(60)
    assert worker.exitcode == -signal.SIGKILL
