"""The demo's audience side: fill a node with the sample catalogue, send people to it, show what happens.

It talks to the node over HTTP alone, from a process of its own, so that neither's figures suffer from the
other: `watch_demo` starts that process beside a node, `run_demo` is what it runs.
"""

import asyncio
import json
import os
import signal
import sys
import threading
import time
from asyncio.subprocess import PIPE
from collections.abc import Callable
from contextlib import nullcontext, suppress

import msgspec
from msgspec import Struct
from rich.console import Console
from rich.live import Live

from app.domain.refusals import Refused
from app.offline.audience import Audience
from app.offline.client import Client
from app.offline.drive import Driver
from app.offline.live import closing_lines, dashboard, plain_line
from app.offline.sample import Line, sample_catalogue
from app.offline.tally import Figure, summary

READY_WITHIN_S = 120.0
IMPORT_WITHIN_S = 300.0
FAREWELL_S = 10.0
SWITCH_INTERVAL_S = 0.0005  # how soon the driver gets the interpreter back from the thread that draws
_encoder = msgspec.json.Encoder()


class DemoPlan(Struct, frozen=True):
    """Where the node is and what to do with it. Units: duration in seconds, rate in requests a second."""

    public_url: str
    admin_url: str
    admin_key: str
    duration: float | None = None
    rate: float = 200.0
    seed: int = 1
    json_out: bool = False


async def watch_demo(plan: DemoPlan, stop: Callable[[], None]) -> None:
    """Run the audience in a process of its own beside a node; when it ends, `stop` the node.

    The process ends when its input does, so that it never outlives the node. The plan goes to it by that
    input too: a command line, with the key in it, could be read by anyone.

    Errors  Refused `demo_failed` with the last thing that the process said.
    """
    # The same modules as here, whatever stands in the working directory (-P).
    command = (sys.executable, "-P", "-m", "app.offline.demo")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stderr=PIPE, env=environment)
    assert process.stdin is not None
    assert process.stderr is not None
    said = b""
    try:
        process.stdin.write(_encoder.encode(plan) + b"\n")
        said = await process.stderr.read()
        await process.wait()
    finally:
        process.stdin.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL_S):
                await process.wait()
        if process.returncode is None:
            process.kill()
        stop()
    if process.returncode not in (0, -signal.SIGINT):
        lines = said.decode(errors="replace").strip().splitlines()
        raise Refused("demo_failed", lines[-1] if lines else f"it ended with {process.returncode}")


def run_demo(
    public_url: str,
    admin_url: str,
    admin_key: str,
    duration: float | None = None,
    rate: float = 200.0,
    seed: int = 1,
    json_out: bool = False,
) -> dict[str, Figure]:
    """Import the sample, drive the audience, and return what `demo --json` prints.

    Without a duration it runs until interrupted (Ctrl-C), and returns what it has by then. With
    `json_out` nothing is shown on the way.

    Units   duration in seconds, rate in requests a second.
    Errors  Refused `not_ready`, `import_failed`.
    """
    catalogue = list(sample_catalogue(seed))
    driver = Driver(Audience(seed, catalogue), public_url, rate)
    with suppress(KeyboardInterrupt):
        asyncio.run(_demo(driver, admin_url, admin_key, catalogue, duration, json_out))
    return summary(driver.ledger, driver.elapsed_s)


async def _demo(
    driver: Driver, admin_url: str, admin_key: str, catalogue: list[Line], duration: float | None, quiet: bool
) -> None:
    async with Client(admin_url, 1, {"Authorization": f"Bearer {admin_key}"}) as admin:
        await wait_until_ready(admin)
        await import_catalogue(admin, catalogue)
    watching = asyncio.create_task(_watch(driver, quiet))
    try:
        await driver.run(duration)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def wait_until_ready(admin: Client, within_s: float = READY_WITHIN_S) -> None:
    """Ask `/readyz` until it says yes.

    Errors  Refused `not_ready` when that takes too long.
    """
    give_up_s = time.monotonic() + within_s
    while time.monotonic() < give_up_s:
        with suppress(OSError, TimeoutError):  # not listening yet
            if (await admin.get("/readyz")).status == 200:
                return
        await asyncio.sleep(0.1)
    raise Refused("not_ready", f"the node was not ready within {within_s:.0f} s")


async def import_catalogue(admin: Client, catalogue: list[Line]) -> None:
    """Send a catalogue through `POST /v1/import`. Safe to send again.

    Errors  Refused `import_failed`, with the first line that was refused.
    """
    body = b"".join(_encoder.encode(line) + b"\n" for line in catalogue)
    reply = await admin.post("/v1/import?quiet=true", "application/x-ndjson", body, IMPORT_WITHIN_S)
    if reply.status != 200:
        raise Refused("import_failed", f"the import was answered {reply.status}: {reply.body[:300]!r}")
    result = msgspec.json.decode(reply.body)
    if result["counts"]["refused"]:
        raise Refused("import_failed", f"the first line refused: {result['lines'][0]}")


async def _watch(driver: Driver, quiet: bool) -> None:
    """Show the ledger each second until cancelled, and once more then."""
    console = Console()
    picture = Live(console=console, auto_refresh=False) if console.is_terminal and not quiet else None
    with picture or nullcontext():
        try:
            while True:
                await asyncio.sleep(1.0)
                if picture is not None:
                    # Drawing takes some 15 ms, which would show up in the latencies if the loop did it.
                    panel = dashboard(driver.ledger, driver.elapsed_s)
                    await asyncio.to_thread(picture.update, panel, refresh=True)
                elif not quiet:
                    print(plain_line(driver.ledger, driver.elapsed_s), flush=True)
        finally:
            if picture is not None:
                picture.update(dashboard(driver.ledger, driver.elapsed_s), refresh=True)


def main() -> int:
    """Read a plan from standard input, run it, print its figures; end early when the input ends."""
    plan = msgspec.json.decode(sys.stdin.readline(), type=DemoPlan)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    threading.Thread(target=_interrupt_at_end_of_input, daemon=True).start()
    try:
        figures = run_demo(**{name: getattr(plan, name) for name in plan.__struct_fields__})
    except Refused as refusal:
        print(f"{refusal.code}: {refusal.message}", file=sys.stderr)
        return 1
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C and the end of input may both come
    if plan.json_out:
        print(json.dumps(figures))
    elif figures["requests"]:
        print(closing_lines(figures))
    return 0


def _interrupt_at_end_of_input() -> None:
    # Not sys.stdin: a thread that waits inside its lock would make the interpreter's end fail.
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGINT)


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # the thread that waits for the input's end must not wake in a dying interpreter
