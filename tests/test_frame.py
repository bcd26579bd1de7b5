"""The frame around the code: lock, container, commands. Goal: the same things said in two places agree.

Method: read the files as their tools do (TOML, YAML, a Dockerfile's instructions) and compare what they say.
"""

import os
import re
import subprocess
import tomllib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.__main__ import Step, check, main, steps

ROOT = Path(__file__).resolve().parent.parent
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")


@cache
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def locked() -> dict[str, list[str]]:
    """Read the lock: canonical name → requirement line and its hashes."""
    entries: dict[str, list[str]] = {}
    for block in re.sub(r"^\s*#.*\n", "", LOCK, flags=re.M).replace("\\\n", " ").splitlines():
        words = block.split(" --hash=")
        entries[canonicalize_name(Requirement(words[0]).name)] = [word.strip() for word in words]
    return entries


def readme_block(marker: str) -> str:
    """Take the fenced block that follows a marker comment in the README."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(rf"^<!-- {marker} -->\n+```\w*\n(.*?)^```", text, flags=re.M | re.S)
    assert found, f"README.md has no fenced block after <!-- {marker} -->"
    return found.group(1).strip()


def commands_of(shell: str) -> list[str]:
    """Split a shell text into its commands: joined lines, then at newlines and `&&`."""
    return [part.strip() for part in re.split(r"\n|&&", shell.replace("\\\n", " ")) if part.strip()]


def instructions(name: str) -> list[str]:
    """List the arguments of one kind of Dockerfile instruction, in order, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.M)
    return re.findall(rf"^{name} (.*)$", text.replace("\\\n", " "), flags=re.M)


# --- the lock


@pytest.mark.parametrize("wanted", project()["project"]["dependencies"])
def test_the_lock_pins_every_dependency_within_its_range(wanted: str) -> None:
    requirement = Requirement(wanted)
    pinned = Requirement(locked()[canonicalize_name(requirement.name)][0])
    [only] = pinned.specifier
    assert only.operator == "=="
    assert requirement.specifier.contains(only.version)


def test_every_locked_package_is_pinned_and_hashed() -> None:
    for line, *hashes in locked().values():
        assert re.fullmatch(r"[a-z0-9-]+==[\w.]+( ; .+)?", line)
        assert hashes, f"{line} has no hash"
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", value) for value in hashes)


def test_the_lock_names_no_address() -> None:
    assert not re.search(r"://|--?(extra-)?index|--find-links|--trusted-host|@ ", LOCK)


# --- the package

APP = ROOT / "app"


def files_of_app() -> list[Path]:
    return [path for path in APP.rglob("*") if path.is_file() and "__pycache__" not in path.parts]


def test_every_folder_with_code_is_a_package() -> None:
    """Without `__init__.py` a folder works in a clone and is missing from what pip installs."""
    folders = {path.parent for path in files_of_app() if path.suffix == ".py"}
    assert APP in folders
    assert [
        str(folder.relative_to(ROOT)) for folder in folders if not (folder / "__init__.py").exists()
    ] == []


def test_every_file_beside_the_code_is_installed_with_it() -> None:
    data = project()["tool"]["setuptools"]["package-data"]["app"]
    taken = {path for pattern in data for path in APP.glob(pattern)}
    assert APP / "py.typed" in taken
    rest = {path for path in files_of_app() if path.suffix != ".py"}
    assert sorted(str(path.relative_to(ROOT)) for path in rest - taken) == []


# --- the container


def test_the_dockerfile_installs_as_the_readme_does() -> None:
    told = [line for line in commands_of(readme_block("start-command")) if not line.endswith(" demo")]
    assert len(told) == 3, "environment, lock, package"
    done = [command for run in instructions("RUN") for command in commands_of(run)]
    assert [command for command in done if "venv" in command] == told


def test_the_container_runs_as_nobody_in_particular_and_writes_to_its_volume_only() -> None:
    assert instructions("USER")[-1] == "10001:10001"
    assert instructions("VOLUME") == ["/data"]
    assert any("NUMBA_CACHE_DIR=/data/" in line for line in instructions("ENV"))
    assert "urlopen('http://127.0.0.1:8000/healthz'" in instructions("HEALTHCHECK")[0]
    [entry] = instructions("ENTRYPOINT")
    assert entry == '["adjudge", "serve", "--data", "/data", "--host", "0.0.0.0", "--admin-host", "0.0.0.0"]'


def test_the_image_gets_what_it_copies_and_nothing_else() -> None:
    kept = {
        line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").split() if line[0] == "!"
    }
    copies = [line.split()[:-1] for line in instructions("COPY") if not line.startswith("--from")]
    assert {name for names in copies for name in names} == kept
    assert all((ROOT / name).exists() for name in kept)


def test_the_compose_file_holds_a_node_and_prometheus_under_a_profile() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    node, prometheus = compose["services"]["node"], compose["services"]["prometheus"]
    assert node["read_only"] is True
    assert node["volumes"] == ["data:/data"]
    assert node["environment"]["ADJUDGE_OPEN_DOORS"] == "${ADJUDGE_OPEN_DOORS:-true}"
    assert node["ports"] == ["8000:8000", "127.0.0.1:8001:8001"], "the admin port stays on this machine"
    assert "profiles" not in node
    assert prometheus["profiles"] == compose["services"]["grafana"]["profiles"] == ["monitoring"]
    assert all(port.startswith("127.0.0.1:") for port in compose["services"]["grafana"]["ports"])
    assert set(compose["volumes"]) == {"data", "grafana", "prometheus"}


# --- the commands


def test_the_readme_ends_in_the_two_commands() -> None:
    assert commands_of(readme_block("start-command"))[-1] == ".venv/bin/adjudge demo"
    assert commands_of(readme_block("test-command"))[-1] == ".venv/bin/python -m tests"


def test_ci_runs_what_the_readme_says() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    text = script.read_text(encoding="utf-8")
    assert "<!-- test-command -->" in text
    assert "-m tests" not in text, "the command stands in the README alone"


def test_the_changelog_tells_of_this_version() -> None:
    assert f"## {project()['project']['version']}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


#    codes of the steps   run  code  why
RUNS = [
    ([0, 0, 0],           3,   0,    "all is well"),
    ([0, 3, 0],           2,   3,    "the first that fails ends it, with its own code"),
    ([1, 2, 0],           1,   1,    "and not the code of a later one"),
    ([],                  0,   0,    "nothing to do"),
]  # fmt: skip


@pytest.mark.parametrize(("codes", "run", "code", "why"), RUNS)
def test_the_check_stops_at_the_first_failure(
    codes: list[int], run: int, code: int, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    called: list[Sequence[str]] = []

    def call(command: Sequence[str]) -> int:
        called.append(command)
        return codes[len(called) - 1]

    assert check([Step(f"step{i}", (str(i),)) for i in range(len(codes))], call) == code, why
    assert called == [(str(i),) for i in range(run)], why
    took = capsys.readouterr().out.split("== took")[1].strip().splitlines()
    assert [line.split()[0] for line in took] == [f"step{i}" for i in range(run)], "and says what each took"


def test_fast_leaves_out_what_is_marked_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Sequence[Step]] = []

    def note(todo: Sequence[Step]) -> int:
        seen.append(todo)
        return 0

    monkeypatch.setattr("tests.__main__.check", note)
    assert main(["--fast"]) == 0
    assert main([]) == 0
    assert seen == [steps(fast=True), steps()]
    assert "not slow" in seen[0][-1].command
    assert "not slow" not in seen[1][-1].command
    assert any(line.startswith("slow:") for line in project()["tool"]["pytest"]["ini_options"]["markers"])
