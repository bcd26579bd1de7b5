"""The documents name every setting, metric, alert and code. `python -m tests.test_docs` writes them anew.

The tables stand between markers; the test compares them with what the code says today.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from app.cli import app as cli
from app.flows.counters import Counters
from app.rules.invalid_traffic import REASONS
from app.settings import Settings
from app.web.problems import STATUSES

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"


def settings_table() -> str:
    """One line for each setting."""
    rows = [
        f"| `ADJUDGE_{name.upper()}` | `{field.default!s}` | {field.description} |"
        if field.default != ""
        else f"| `ADJUDGE_{name.upper()}` | | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    return "\n".join(["| setting | default | meaning |", "|---|---|---|", *rows])


def metrics_table() -> str:
    """One line for each metric of the node's own."""
    rows = []
    for metric in Counters().registry.collect():
        name = metric.name + ("_total" if metric.type == "counter" else "")
        rows.append(f"| `{name}` | {metric.type} | {metric.documentation} |")
    return "\n".join(["| metric | kind | meaning |", "|---|---|---|", *sorted(rows)])


def refusals_table() -> str:
    """The codes by status."""
    by_status: dict[int, list[str]] = {}
    for code, status in STATUSES.items():
        by_status.setdefault(status, []).append(f"`{code}`")
    rows = [f"| {status} | {', '.join(codes)} |" for status, codes in sorted(by_status.items())]
    return "\n".join(["| status | codes |", "|---|---|", *rows])


def invalid_table() -> str:
    """One line for each reason for which an event is invalid."""
    rows = [f"| `{code}` | {told} |" for code, told in REASONS.items()]
    return "\n".join(["| reason | meaning |", "|---|---|", *rows])


def alerts_table() -> str:
    """One line for each alert: whom it wakes, and where that somebody looks first."""
    groups = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text(encoding="utf-8"))["groups"]
    rows = [
        f"| `{rule['alert']}` | {rule['labels']['severity']} | {rule['annotations']['look']} |"
        for group in groups
        for rule in group["rules"]
    ]
    return "\n".join(["| alert | severity | look first at |", "|---|---|---|", *rows])


TABLES = {
    "README.md": {"alerts": alerts_table, "settings": settings_table, "refusals": refusals_table},
    "deploy/README.md": {"metrics": metrics_table},
    "app/web/admin/reference.md": {"invalid": invalid_table},
}


def written_into(text: str, tables: dict[str, Callable[[], str]]) -> str:
    """Write every table into a document's text."""
    for name, table in tables.items():
        pattern = re.compile(f"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        found = pattern.search(text)
        assert found is not None
        text = text[: found.start()] + f"{found[1]}{table()}\n{found[2]}" + text[found.end() :]
    return text


@pytest.mark.skipif(not README.exists(), reason="the README is not shipped with the package")
@pytest.mark.parametrize("name", TABLES)
def test_a_document_says_what_the_code_says(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert text == written_into(text, TABLES[name]), "run: python -m tests.test_docs"


@pytest.mark.skipif(not README.exists(), reason="the README is not shipped with the package")
def test_the_readme_names_every_command_and_no_other() -> None:
    root: Any = typer.main.get_command(cli)
    known = set(root.commands)
    for name, command in root.commands.items():
        known |= {f"{name} {inner}" for inner in getattr(command, "commands", ())}
    told = set(re.findall(r"(?:`(?:adjudge )?|adjudge )([a-z-]+(?: [a-z-]+)?)", README.read_text()))
    told |= {each.split()[0] for each in told}
    assert sorted(known - told) == []
    asked = set(re.findall(r"`adjudge ([a-z-]+)", README.read_text()))
    assert sorted(asked - known) == []


def test_every_refusal_code_raised_has_a_status() -> None:
    """A code that stands in the code but not in the table would be answered by a default."""
    raised: set[str] = set()
    for path in [*(ROOT / "app/web").rglob("*.py"), *(ROOT / "app/flows").rglob("*.py")]:
        raised |= set(re.findall(r"(?:Refused|Busy)\(\s*\"([a-z_]+)\"", path.read_text()))
    command_line_only = {"journal_trimmed", "unreachable", "port_taken", "sockets", "otel_missing"}
    command_line_only |= {"backup_damaged", "backup_failed", "no_backup", "no_data", "not_empty"}
    assert raised - command_line_only - set(STATUSES) == set()


if __name__ == "__main__":
    for document, tables in TABLES.items():
        at = ROOT / document
        at.write_text(written_into(at.read_text(encoding="utf-8"), tables), encoding="utf-8")
    sys.stdout.write("written\n")
