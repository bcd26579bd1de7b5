"""One process at a time writes in a folder, and one that is killed lets go of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from threading import Event, Thread

import numpy as np

from app.journal import snapshots
from app.journal.folders import sole_writer

HOLDER = """
import sys, time
from pathlib import Path
from app.journal.folders import sole_writer
with sole_writer(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""
WRITER = """
import sys
from pathlib import Path
import numpy as np
from app.journal import snapshots
parts = {f"part_{number}": np.full(50_000, number) for number in range(20)}
for _ in range(int(sys.argv[2])):
    snapshots.write(Path(sys.argv[1]), 7, parts, {})
"""


def test_a_writer_waits_for_the_other_and_gets_the_folder_when_that_is_killed(tmp_path: Path) -> None:
    folder, got = tmp_path / "new", Event()

    def write() -> None:
        with sole_writer(folder):
            got.set()

    with subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        waiting = Thread(target=write)
        waiting.start()
        assert not got.wait(0.2)
        holder.kill()
        assert got.wait(20)
        waiting.join()


def test_two_processes_that_write_the_same_snapshot_leave_it_whole(tmp_path: Path) -> None:
    """A follower that outlives its killed node by a moment, and the next node's follower."""
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), "6"]) for _ in range(2)]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    found, damaged = snapshots.latest(tmp_path)
    assert damaged == []
    assert found is not None
    assert np.array_equal(found.parts["part_19"], np.full(50_000, 19))
    assert [path.name for path in tmp_path.iterdir()] == ["snapshot-0000000000000007"]
