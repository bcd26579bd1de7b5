"""The operator's commands on a data directory: backup, new secrets, the doctor's words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from app.domain.refusals import Refused

Data = Annotated[Path, typer.Option("--data", help="Data directory.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DEFAULT_DATA = Path("data")

rotate_app = typer.Typer(no_args_is_help=True, help="New secrets: of tokens, of the admin port.")


def backup_command(
    target: Annotated[Path, typer.Argument(help="A folder that is not there yet, or empty.")],
    data: Data = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Copy a data directory, also that of a running node. The copy holds its keys."""
    from app.flows.backing_up import back_up

    print_rows([back_up(data, target)], as_json)


@rotate_app.command("tokens")
def rotate_tokens_command(
    data: Data = DEFAULT_DATA,
    drop_old: Annotated[
        bool, typer.Option("--drop-old", help="Accept no token of the former secrets any more.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Draw a new secret for tokens; those given out stay good. In force when the node starts again."""
    from app.flows.rotating import rotate_tokens

    require_data(data)
    print_rows([{"secrets": rotate_tokens(data, drop_old=drop_old)}], as_json)


@rotate_app.command("admin")
def rotate_admin_command(data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    """Draw a new admin key; the former one opens nothing once the node has started again."""
    from app.flows.rotating import rotate_admin

    require_data(data)
    print_rows([{"admin_key": str(rotate_admin(data))}], as_json)


def load_command(
    url: Annotated[str, typer.Option(help="The node's public port.")] = "http://127.0.0.1:8000",
    users: Annotated[int, typer.Option(help="Visitors at once.", min=1, max=5_000)] = 50,
    duration: Annotated[int, typer.Option(help="Seconds.", min=1)] = 30,
    report: Annotated[Path, typer.Option(help="The page that is written.")] = Path("load.html"),
    placements: Annotated[
        str, typer.Option(help="Whose ads, by commas; default: the node's own, or the demo's.")
    ] = "",
    admin_url: Annotated[str, typer.Option(help="Its admin port, to ask for its placements.")] = "",
    key: Annotated[str, typer.Option(help="The admin port's key.")] = "",
    api_key: Annotated[str, typer.Option(help="A partner's key, where the doors want one.")] = "",
    as_json: AsJson = False,
) -> None:
    """Send visitors to a node (extra `load`). They charge and teach: not for one whose money matters."""
    from app.offline.load import LoadPlan, placements_of, run_load

    wanted = tuple(filter(None, placements.split(",")))
    if not wanted and admin_url:
        wanted = placements_of(admin_url.rstrip("/"), key)
    plan = LoadPlan(url.rstrip("/"), users, duration, report, wanted, api_key or None)
    told = run_load(plan)
    print_rows([told], as_json)
    if told["failures"] or not told["ads"]:
        raise typer.Exit(1)


def doctor_findings(data: Path, columns: int) -> list[dict[str, Any]]:
    """Examine machine and data; whoever asks has read the settings."""
    from app.flows.examining import examine

    settings = {"what": "settings", "found": "read, and each fits", "ok": True, "advice": None}
    return [settings, *examine(data, columns)]


def print_findings(findings: list[dict[str, Any]], as_json: bool) -> bool:
    """Print what a doctor found; says whether all is well."""
    if as_json:
        print(json.dumps(findings))
    else:
        for one in findings:
            print(f"{'ok   ' if one['ok'] else 'WRONG'}  {one['what']:14} {one['found']}")
            if not one["ok"]:
                print(f"       {'':14} -> {one['advice']}")
    return all(one["ok"] for one in findings)


def print_rows(rows: list[dict[str, Any]], as_json: bool) -> None:
    """Print rows, as JSON or one a line."""
    if as_json:
        print(json.dumps(rows))
        return
    for row in rows:
        print("  ".join(f"{key}={value}" for key, value in row.items() if value is not None))


def require_data(data: Path) -> None:
    """Refuse a directory without a journal."""
    if not (data / "journal.db").exists():
        raise Refused("no_data", f"{data} holds no journal")
