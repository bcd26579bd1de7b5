"""What Prometheus is told. Goal: configuration and alerts are ones that it takes, each alert has a case that
fires it and one that does not, and all fits the compose file.

Method: Prometheus' own checker, promtool, on a copy of the configuration whose secret lies where it is found.
"""

import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.programs import program

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "prometheus"
CONFIG, ALERTS, TESTS = (FOLDER / name for name in ("prometheus.yml", "alerts.yml", "alerts.test.yml"))
SECRET = "/run/secrets/adjudge_admin_key"


def check_config(path: Path) -> subprocess.CompletedProcess[str]:
    command = [program("promtool"), "check", "config", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def copy_with_secret(folder: Path, text: str) -> Path:
    """Copy the configuration beside a key of its own: promtool looks whether the named file is there."""
    (folder / "key").write_text("k", encoding="utf-8")
    (folder / ALERTS.name).write_bytes(ALERTS.read_bytes())
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
    assert ROOT / source == FOLDER


# --- the alerts


def alerts() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [program("promtool"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_rules_are_sound_and_fire_when_they_should() -> None:
    checked = promtool("check", "rules", str(ALERTS))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    tested = promtool("test", "rules", str(TESTS))
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_the_rules_tests_can_say_no(tmp_path: Path) -> None:
    (tmp_path / TESTS.name).write_bytes(TESTS.read_bytes())
    broken = ALERTS.read_text().replace("adjudge_learning == 0", "adjudge_learning == 2")
    (tmp_path / ALERTS.name).write_text(broken)
    assert promtool("test", "rules", str(tmp_path / TESTS.name)).returncode != 0


def test_every_alert_is_tested_both_ways_and_says_where_to_look() -> None:
    healthy, *others = yaml.safe_load(TESTS.read_text())["tests"]
    names = [rule["alert"] for rule in alerts()]
    assert sorted(case["alertname"] for case in healthy["alert_rule_test"]) == sorted(names)
    assert not any(case.get("exp_alerts") for case in healthy["alert_rule_test"])
    assert [name for name in names if name not in str(others)] == []
    for rule in alerts():
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["annotations"].keys() == {"summary", "look"}
