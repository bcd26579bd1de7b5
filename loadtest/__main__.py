"""`python -m loadtest [PART|all] [options] [--out FILE]`: the speed and learning reports, as text.

Each part is a module with `run(argv)`: it prints a table and returns 0 when every target is met. `all` runs
them one after the other, with their defaults; FILE is a folder then, and each part has a file of its own.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

PARTS = (
    "kernel",
    "controls",
    "request",
    "latency",
    "overload",
    "size",
    "learning",
    "exploration",
    "experiments",
    "delays",
    "compare",
    "ffm",
    "money",
    "restart",
    "week",
    "caps",
    "invalid",
    "archive",
    "clusters",
    "admission",
    "console",
)
USAGE = f"usage: python -m loadtest [{'|'.join(PARTS)}|all] [options] [--out FILE]"


class _Both(io.TextIOBase):
    """Writes to several places: the terminal and the file."""

    def __init__(self, *places: TextIO) -> None:
        self._places = places

    def write(self, text: str) -> int:
        for place in self._places:
            place.write(text)
            place.flush()
        return len(text)

    def flush(self) -> None:
        for place in self._places:
            place.flush()


def main(argv: Sequence[str]) -> int:
    """Run what is asked for; 0 done, 1 a target was missed, 2 usage."""
    rest = list(argv)
    out: Path | None = None
    if "--out" in rest[:-1]:
        at = rest.index("--out")
        out = Path(rest[at + 1])
        del rest[at : at + 2]
    part = rest.pop(0) if rest and not rest[0].startswith("-") else "all"
    if part not in (*PARTS, "all") or (part == "all" and rest):
        print(USAGE, file=sys.stderr)
        return 0 if rest and rest[0] in {"-h", "--help"} else 2
    if part != "all":
        return _run(part, rest, out)
    return max([_run(one, [], out / f"{one}.txt" if out else None) for one in PARTS])


def _run(part: str, argv: Sequence[str], out: Path | None) -> int:
    """Run one part, its text also to a file; a part that breaks off is a failure, and the next one runs."""
    with contextlib.ExitStack() as stack:
        if out is not None:
            out.parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(out.open("w", encoding="utf-8"))
            stack.enter_context(contextlib.redirect_stdout(_Both(sys.stdout, file)))
        try:
            result: int = importlib.import_module(f"loadtest.{part}").run(argv)
        except Exception as error:
            traceback.print_exc()
            print(f"{part} broke off: {type(error).__name__}: {error}\n")
            return 1
        return result


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are stopped, too
    sys.exit(main(sys.argv[1:]))
