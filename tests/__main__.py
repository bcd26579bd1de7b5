"""The one check command: `python -m tests` (from the repository's root).

Format, lint, types, floors, kernels, then doctests and tests, in that order; the first step that fails ends
the run with its exit code. What README tells people to run and CI calls; it knows nothing of what the steps
check.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Step:
    """One check: what people call it and the command that makes it."""

    name: str
    command: tuple[str, ...]


def steps(*, fast: bool = False, workers: int = 2, more: Sequence[str] = ()) -> list[Step]:
    """List the checks in the order in which they run; `more` goes to pytest as it stands.

    >>> [step.name for step in steps()]
    ['format', 'lint', 'types', 'floors', 'kernels', 'tests']
    >>> steps(fast=True, workers=1)[-1].command[1:]
    ('-m', 'pytest', '--durations=10', '-m', 'not slow')
    """
    python = sys.executable
    spread = ("-n", str(workers), "--dist", "worksteal") if workers > 1 else ()
    chosen = ("-m", "not slow") if fast else ()
    floors = "from importlinter.cli import lint_imports_command as main; main()"
    return [
        Step("format", (python, "-m", "ruff", "format", "--check")),
        Step("lint", (python, "-m", "ruff", "check")),
        Step("types", (python, "-m", "mypy")),
        # Not the `lint-imports` script: it need not be on PATH, this interpreter's package is enough.
        Step("floors", (python, "-c", floors, "--no-logo")),
        # Compiled once, for all workers: the first test that needs one does not wait half a minute for it.
        Step("kernels", (python, "-c", "from app.flows.warming import warm; warm()")),
        Step("tests", (python, "-m", "pytest", "--durations=10", *spread, *chosen, *more)),
    ]


def run(command: Sequence[str]) -> int:
    """Run one command at the root, its output going straight to ours; return its exit code."""
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def check(todo: Sequence[Step], call: Callable[[Sequence[str]], int] = run) -> int:
    """Run the steps until one fails, say what each took, and return the exit code of the last one run."""
    took: list[str] = []
    code = 0
    for step in todo:
        print(f"== {step.name}", flush=True)
        started = time.monotonic()
        code = call(step.command)
        verdict = "ok" if code == 0 else f"failed ({code})"
        took.append(f"{step.name:8} {time.monotonic() - started:7.1f} s  {verdict}")
        if code != 0:
            break
    print("\n".join(["== took", *took]), flush=True)
    return code


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line, run the steps and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests", description="Check everything.")
    parser.add_argument("--fast", action="store_true", help="leave out the tests marked slow")
    parser.add_argument("--workers", type=int, default=2, help="pytest processes (1: none beside this one)")
    parser.add_argument("more", nargs="*", help="handed to pytest, after --")
    known = parser.parse_args(arguments)
    return check(steps(fast=known.fast, workers=known.workers, more=known.more))


if __name__ == "__main__":
    sys.exit(main())
