"""The commands. Each says one clear line on stderr when it is refused (exit 1); usage errors are exit 2."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, TypeVar

import apsw
import msgspec
import typer
from rich.console import Console

from app import __version__
from app.domain.refusals import Busy, Refused
from app.flows import logs
from app.flows.node import Node
from app.offline.commands import (
    attribution_command,
    compare_command,
    fit_command,
    off_policy_command,
    replay_command,
    simulate_command,
    train_command,
)
from app.offline.operating import (
    DEFAULT_DATA,
    AsJson,
    Data,
    backup_command,
    doctor_findings,
    load_command,
    print_findings,
    print_rows,
    require_data,
    rotate_app,
)
from app.settings import Settings, read_settings
from app.web.catalogue import transfer

Result = TypeVar("Result")

app = typer.Typer(
    name="adjudge", no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False,
    help="An ad server's brain: exact eCPM selection, second price, online learning.",
)  # fmt: skip
snapshot_app = typer.Typer(no_args_is_help=True, help="Snapshots on disk, and whether they are sound.")
app.add_typer(snapshot_app, name="snapshot")
app.add_typer(rotate_app, name="rotate")
app.command("fit")(fit_command)
app.command("replay")(replay_command)
app.command("compare")(compare_command)
app.command("off-policy")(off_policy_command)
app.command("simulate")(simulate_command)
app.command("backup")(backup_command)
app.command("load")(load_command)
app.command("train")(train_command)
app.command("attribution")(attribution_command)

Port = Annotated[int, typer.Option(help="Public port (0: any free one).", min=0, max=65535)]
AdminPort = Annotated[int, typer.Option(help="Admin port (0: any free one).", min=0, max=65535)]
Host = Annotated[str, typer.Option(help="Address of the public port.")]
AdminHost = Annotated[str, typer.Option(help="Address of the admin port.")]
OfflineData = Annotated[Path | None, typer.Option(help="Or the data of a node that is not running.")]


def _settings_text() -> str:
    """List every setting, for `serve --help`."""
    rows = [
        f"ADJUDGE_{name.upper()} [{field.default!r}]: {field.description}"
        for name, field in Settings.model_fields.items()
    ]
    return "Settings (environment, default in brackets):\n\n" + "\n\n".join(rows)


@app.command(epilog=_settings_text())
def serve(
    data: Data = DEFAULT_DATA,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    admin_host: AdminHost = "127.0.0.1",
    admin_port: AdminPort = 8001,
    as_json: AsJson = False,
) -> None:
    """Run a node with everything embedded under the data directory."""
    from app import main as wiring

    settings = read_settings()
    _log(settings)

    def ready(running: wiring.Running) -> None:
        urls = {
            "public_url": running.public_url,
            "admin_url": running.admin_url,
            "docs": running.admin_url + "/docs",
            "admin_key": "ADJUDGE_ADMIN_KEY" if settings.admin_key else str(data / "admin.key"),
            "position": running.node.state.position,
        }
        text = json.dumps(urls) if as_json else "\n".join(f"{key:11} {value}" for key, value in urls.items())
        print(text, flush=True)

    wiring.run(settings, data, wiring.Listen(host, port, admin_host, admin_port), ready)


@app.command()
def demo(
    data: Annotated[
        Path | None, typer.Option(help="Data directory; default: one that is thrown away.")
    ] = None,
    port: Port = 8000,
    admin_port: AdminPort = 8001,
    duration: Annotated[float | None, typer.Option(help="Seconds; default: until stopped.", min=1)] = None,
    rate: Annotated[float, typer.Option(help="Ad requests a second.", min=1, max=5000)] = 200,
    seed: Annotated[int, typer.Option(help="Seed of catalogue and audiences.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Run a node with a sample catalogue and simulated audiences that click by a hidden truth."""
    from app import main as wiring
    from app.offline.demo import DemoPlan, watch_demo

    own = read_settings()
    demo_only = {
        "click_window_s": 5, "log_level": "warning",
        # People of the demo name their addresses, come as often in a minute as others in a week, and decide
        # soon. Whoever tries the tracking URLs by hand comes with a robot's user agent: it is told, no more.
        "invalid_traffic": "off" if own.invalid_traffic == "off" else "mark",
        "trusted_proxies": "127.0.0.0/8", "traffic_limits": "", "double_click_s": 2, "accidental_click_ms": 0,
    }  # fmt: skip
    settings = own.model_copy(update=demo_only)
    _log(settings)
    with ExitStack() as stack:
        folder = data or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="adjudge-demo-")))
        watched: list[Any] = []

        def ready(running: wiring.Running) -> None:
            key = running.admin_key or (folder / "admin.key").read_text().strip()
            if not as_json:  # the key of a node that plays, to paste into the console and into $KEY
                print(f"console     {running.admin_url}/console\nadmin key   {key}\n", flush=True)
            plan = DemoPlan(running.public_url, running.admin_url, key, duration, rate, seed, as_json)
            watched.append(asyncio.ensure_future(watch_demo(plan, running.stop)))

        wiring.run(settings, folder, wiring.Listen(port=port, admin_port=admin_port), ready)
        if watched and watched[0].done() and not watched[0].cancelled():
            watched[0].result()


@app.command("import")
def import_command(
    file: Annotated[Path, typer.Argument(help="Catalogue as JSON lines, parents first; - is stdin.")],
    url: Annotated[str | None, typer.Option(help="A running node's admin port.")] = None,
    key: Annotated[str | None, typer.Option(help="Its admin key.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="Or the data directory of a node that is not running.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Create or replace what each line says."""
    body = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    if url is not None:
        report = transfer.post_import(url, _key(key), body)
    else:
        report = _offline(data, lambda node: transfer.import_into(node, body))
    if as_json:
        print(json.dumps(report))
    else:
        print(" ".join(f"{name} {count}" for name, count in report["counts"].items()))
        for line in report["lines"]:
            print(
                f"line {line['line']}: {line['code']}: {line['field'] or ''} {line['message']}",
                file=sys.stderr,
            )
    if report["counts"]["refused"]:
        raise typer.Exit(1)


@app.command("load-model")
def load_model_command(
    file: Annotated[Path, typer.Argument(metavar="MODEL", help="A file that `adjudge train` wrote.")],
    url: Annotated[str | None, typer.Option(help="A running node's admin port.")] = None,
    key: Annotated[str | None, typer.Option(help="Its admin key.")] = None,
    data: OfflineData = None,
    as_json: AsJson = False,
) -> None:
    """Put a trained model into the place of the one that a node has learned so far."""
    from app.flows.loading import load_model
    from app.web.admin.models import model_document

    content = file.read_bytes()
    if url is not None:
        loaded = transfer.post_model(url, _key(key), content)
    else:
        found = _offline(data, lambda node: load_model(node, content))
        loaded = model_document(found)
    print(json.dumps(loaded) if as_json else " ".join(f"{name} {told}" for name, told in loaded.items()))


@app.command("export")
def export_command(
    out: Annotated[Path | None, typer.Option(help="File; default: stdout.")] = None,
    url: Annotated[str | None, typer.Option(help="A running node's admin port.")] = None,
    key: Annotated[str | None, typer.Option(help="Its admin key.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="Or the data directory of a node that is not running.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the catalogue as JSON lines, parents first."""
    body = transfer.get_export(url, _key(key)) if url else _offline(data, transfer.export_from)
    if out is None:
        sys.stdout.buffer.write(body)
        return
    out.write_bytes(body)
    lines = body.count(b"\n")
    print(json.dumps({"lines": lines, "out": str(out)}) if as_json else f"{lines} lines written to {out}")


@app.command()
def trace(
    decision_id: Annotated[str | None, typer.Argument(help="A decision's id.")] = None,
    sample: Annotated[int | None, typer.Option(help="Trace so many kept decisions instead.", min=1)] = None,
    data: Data = DEFAULT_DATA,
    seed: Annotated[int, typer.Option(help="Which sample.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Decide again at a decision's journal position, and say whether both agree."""
    from app.domain.ids import from_text
    from app.flows.tracing import retrace_sample, retrace_stored

    if (decision_id is None) == (sample is None):
        raise typer.BadParameter("give a decision id, or --sample N")
    columns = read_settings().columns
    require_data(data)
    if sample is not None:
        traced = retrace_sample(data, columns, sample, seed)
        differing = [one.decision_id for one in traced if not one.agrees]
        result = {"traced": len(traced), "agree": len(traced) - len(differing), "differing": differing[:20]}
        print(json.dumps(result) if as_json else f"{result['agree']} of {result['traced']} decisions agree")
        if differing or not traced:
            raise Refused("differs" if differing else "no_decisions", f"{differing[:20] or 'none is kept'}")
        return
    assert decision_id is not None
    try:
        one = retrace_stored(data, columns, from_text(decision_id))
    except ValueError as error:
        raise Refused("unknown_decision", "that is not a decision's id") from error
    document = {"agrees": one.agrees, "then": _named(one.then), "now": _named(one.now)}
    print(json.dumps(document, indent=None if as_json else 2))
    if not one.agrees:
        raise typer.Exit(1)


@snapshot_app.command("ls")
def snapshot_ls(data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    """List the snapshots."""
    from app.journal.snapshots import listing

    require_data(data)
    rows = [
        {
            "name": one.path.name,
            "position": one.position,
            "bytes": one.size,
            "state_version": one.facts.get("state_version"),
            "damaged": one.reason,
        }
        for one in listing(data / "snapshots")
    ]
    print_rows(rows, as_json)


@snapshot_app.command("verify")
def snapshot_verify(data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    """Read every snapshot and check each byte against its manifest."""
    from app.journal.snapshots import Damaged, listing, read

    require_data(data)
    rows: list[dict[str, Any]] = []
    for one in listing(data / "snapshots"):
        try:
            read(one.path)
            rows.append({"name": one.path.name, "sound": True, "reason": None})
        except Damaged as error:
            rows.append({"name": one.path.name, "sound": False, "reason": str(error)})
    print_rows(rows, as_json)
    if not all(row["sound"] for row in rows):
        raise typer.Exit(1)


@snapshot_app.command("make")
def snapshot_make(data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    """Fold the journal of a node that is not running, and snapshot where it arrives."""
    from app import main as wiring
    from app.flows.snapshotting import fold_and_save

    require_data(data)
    with wiring.locked(data):
        print_rows([fold_and_save(data, read_settings().columns)], as_json)


@app.command()
def restore(
    source: Annotated[Path, typer.Argument(help="A folder that `adjudge backup` wrote.")],
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Make a data directory out of a backup, checking every byte, and fold its journal to the end."""
    from app.flows.backing_up import bring_back

    print_rows([bring_back(source, data, read_settings().columns)], as_json)


@app.command()
def doctor(data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    """Examine the machine's fitness, the settings, and whether what the data directory holds is sound."""
    settings = read_settings()  # a wrong one is refused by name before anything is examined
    if not print_findings(doctor_findings(data, settings.columns), as_json):
        raise typer.Exit(1)


def _named(value: Any) -> Any:
    """Write structs with the names of their fields, ids as text."""
    if isinstance(value, msgspec.Struct):
        return {name: _named(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, tuple | list):
        return [_named(one) for one in value]
    return value.hex() if isinstance(value, bytes) else value


def _key(key: str | None) -> str:
    if not key:
        raise typer.BadParameter("--url needs --key")
    return key


def _offline(data: Path | None, work: Callable[[Node], Awaitable[Result]]) -> Result:
    """Do something with the node of a data directory that no node is running on."""
    from app import main as wiring

    if data is None:
        raise typer.BadParameter("give --url and --key, or --data")
    settings = read_settings().model_copy(update={"log_level": "warning"})
    _log(settings)

    async def run() -> Result:
        with wiring.locked(data):
            async with wiring.open_node(settings, data, "http://127.0.0.1", loopback=True) as node:
                await wiring.make_ready(node)
                return await work(node)

    return asyncio.run(run())


def _log(settings: Settings) -> None:
    logs.configure(settings.log_level)


def _version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False,
) -> None:
    """Names the program; every command stands on its own."""


def main() -> None:
    """Run the command line."""
    try:
        app()
    except (Refused, Busy) as error:
        message = f"{error.code}: {error.message}" if isinstance(error, Refused) else error.code
        Console(stderr=True, soft_wrap=True, highlight=False).print(message, markup=False)
        sys.exit(1)
    except (OSError, apsw.Error) as error:
        print(f"failed: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
