"""Rooms import only rooms on lower floors. Goal: the contract of pyproject.toml holds, and can fail.

Method: import-linter itself, once over the real tree, then with the same contract over small made trees that
each break one rule.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LINT = "from importlinter.cli import lint_imports_command as main; main()"
ROOMS = ("web", "offline", "flows", "journal", "state", "rules", "domain")
FILES = ("cli", "main", "settings")


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter at a root with that root's own `app`, not the installed one."""
    return subprocess.run(
        [sys.executable, "-c", LINT, "--no-logo", "--no-cache"],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


def made_tree(root: Path, files: dict[str, str]) -> Path:
    """Lay out empty rooms under the real contract, then put the given modules in."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    contract = text[text.index("[tool.importlinter]") :]
    (root / "pyproject.toml").write_text(contract, encoding="utf-8")
    empty = ["__init__.py", *(f"{room}/__init__.py" for room in ROOMS), *(f"{name}.py" for name in FILES)]
    for name, body in {**dict.fromkeys(empty, ""), **files}.items():
        path = root / "app" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(body, encoding="utf-8")
    return root


def test_the_house_keeps_its_floors() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 kept, 0 broken" in done.stdout


#    module               its import                 holds   why
CASES = [
    ("web/ads.py",        "import app.flows",         True,  "a door calls the flow below it"),
    ("web/ads.py",        "import app.domain",        True,  "floors may be skipped on the way down"),
    ("cli.py",            "import app.main",          True,  "commands start nodes"),
    ("__main__.py",       "import app.cli",           True,  "the entrance stands outside the floors"),
    ("domain/money.py",   "import app.rules",         False, "upwards"),
    ("state/fold.py",     "import app.journal",       False, "what we know never asks what happened"),
    ("journal/line.py",   "import app.state",         False, "nor the other way round"),
    ("offline/replay.py", "import app.web",           False, "neighbours on one floor"),
    ("web/ads.py",        "import app.offline",       False, "neighbours on one floor"),
    ("rules/ftrl.py",     "def f():\n    import app.state", False, "inside a function it is still an import"),
    ("flows/serve.py",    "import app.settings",      False, "settings come in as arguments"),
    ("cellar/__init__.py", "",                        False, "a room that no floor lists"),
    ("attic.py",          "",                         False, "nor a file beside the rooms"),
]  # fmt: skip


@pytest.mark.parametrize(("module", "body", "holds", "why"), CASES)
def test_the_contract_can_fail(tmp_path: Path, module: str, body: str, holds: bool, why: str) -> None:
    done = lint(made_tree(tmp_path, {module: body}))
    assert (done.returncode == 0) == holds, f"{why}\n{done.stdout}{done.stderr}"
    if not holds:
        assert Path(module).parts[0].removesuffix(".py") in done.stdout, "it names the culprit"


@pytest.mark.parametrize(
    "first", ["app.web.console", "app.web.admin.rights", "app.state.boosts", "app.flows.node"]
)
def test_a_room_can_be_entered_by_any_door(first: str) -> None:
    """No circle of imports that holds only as long as another module comes first."""
    done = subprocess.run(
        [sys.executable, "-c", f"import {first}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
