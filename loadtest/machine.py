"""What a report says about where and when it was measured: processor, cores, versions, commit, load."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

PROJECT = Path(__file__).parents[1]
SERVER_CORE, LOAD_CORE = 0, 1


def facts(part: str, argv: Sequence[str]) -> str:
    """Write the head of a report: the command and the machine."""
    cores = os.cpu_count() or 1
    load = ", ".join(f"{one:.2f}" for one in os.getloadavg())
    return "\n".join(
        (
            f"$ python -m loadtest {' '.join((part, *argv))}",
            f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, commit {commit()}",
            f"{processor()}, {cores} cores, {memory_mib():,} MiB, {platform.system()} {platform.release()}, "
            f"python {platform.python_version()}; load average before: {load}",
            "",
        )
    )


def processor() -> str:
    """Name the processor as the system does."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


def memory_mib() -> int:
    """Tell how much memory the machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20


def commit() -> str:
    """Name the commit that is checked out, with a + where files differ from it."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--abbrev=10", "--dirty=+"],
            cwd=PROJECT, capture_output=True, text=True, check=True, timeout=10,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return described.stdout.strip()


@contextmanager
def on_core(core: int) -> Iterator[str]:
    """Keep this process on one core, where there are several and the system can; says where it runs."""
    if not hasattr(os, "sched_setaffinity") or (os.cpu_count() or 1) <= core:
        yield "not pinned"
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield f"core {core}"
    finally:
        os.sched_setaffinity(0, before)


def pinned(command: Sequence[str], core: int) -> list[str]:
    """Write a command line that runs on one core."""
    if sys.platform != "linux" or (os.cpu_count() or 1) <= core:
        return list(command)
    return ["taskset", "-c", str(core), *command]


def say(line: str = "") -> None:
    """Print a line of the report at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def target(text: str, met: bool) -> bool:
    """Print a target and whether it was met."""
    say(f"  {'met   ' if met else 'MISSED'}  {text}")
    return met
