"""What Prometheus is told. Goal: the configuration is one that Prometheus takes, and fits the compose file.

Method: Prometheus' own checker, promtool, on a copy whose secret lies where it can be found.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / "deploy" / "prometheus" / "prometheus.yml"
SECRET = "/run/secrets/adjudge_admin_key"


def promtool() -> str:
    """Find promtool; without it CI fails and a person's run skips."""
    found = shutil.which("promtool")
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail("promtool is missing, and CI has to have it")
        pytest.skip("promtool is not installed (it comes with Prometheus)")
    return found


def check_config(path: Path) -> subprocess.CompletedProcess[str]:
    command = [promtool(), "check", "config", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def copy_with_secret(folder: Path, text: str) -> Path:
    """Copy the configuration beside a key of its own: promtool looks whether the named file is there."""
    (folder / "key").write_text("k", encoding="utf-8")
    (folder / "prometheus.yml").write_text(text.replace(SECRET, "key"), encoding="utf-8")
    return folder / "prometheus.yml"


def test_prometheus_takes_the_configuration(tmp_path: Path) -> None:
    done = check_config(copy_with_secret(tmp_path, CONFIG.read_text(encoding="utf-8")))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_checker_can_say_no(tmp_path: Path) -> None:
    text = CONFIG.read_text(encoding="utf-8").replace("scrape_timeout: 4s", "scrape_timeout: 40s")
    assert check_config(copy_with_secret(tmp_path, text)).returncode != 0


def test_the_scrape_fits_the_compose_file() -> None:
    [job, _itself] = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["scrape_configs"]
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    service, port = job["static_configs"][0]["targets"][0].split(":")
    assert f"127.0.0.1:{port}:{port}" in compose["services"][service]["ports"]

    prometheus = compose["services"]["prometheus"]
    [granted] = prometheus["secrets"]
    assert job["authorization"] == {"type": "Bearer", "credentials_file": SECRET}
    assert f"/run/secrets/{granted['source']}" == SECRET
    variable = compose["secrets"][granted["source"]]["environment"]
    assert variable in compose["services"][service]["environment"], "the node and Prometheus share one key"
    source = prometheus["volumes"][0].split(":")[0]
    assert ROOT / source == CONFIG
