"""What Grafana is given. Goal: every query of every panel returns numbers, and all fits the compose file.

Method: a real Prometheus scrapes a real node, which is asked, told of events and clicked on; then it is asked
each panel's queries, with Grafana's variables filled in, and each alert's state.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep, time
from typing import Any
from urllib.parse import quote, urlsplit
from urllib.request import urlopen

import pytest
import yaml

from app.flows.counters import Counters
from tests.deploy.test_prometheus import CONFIG, ROOT, SECRET, alerts
from tests.journeys.commanded import Commanded
from tests.journeys.load import Load, Memory
from tests.programs import program

GRAFANA = ROOT / "deploy" / "grafana"
BOARDS = sorted((GRAFANA / "dashboards").glob("*.json"))
SCRAPED_S, LIVE_S, PATIENCE_S = 0.25, 8.0, 15.0


def board(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def queries() -> list[tuple[str, str]]:
    """List every panel's queries, by a name that people find."""
    return [
        (f"{path.stem}: {panel['title']} {target['refId']}", target["expr"])
        for path in BOARDS
        for panel in board(path)["panels"]
        for target in panel["targets"]
    ]


# --- the files


def test_there_are_three_boards_whose_panels_lie_beside_each_other() -> None:
    assert [path.stem for path in BOARDS] == ["model", "money", "service"]
    for path in BOARDS:
        taken: set[tuple[int, int]] = set()
        for panel in board(path)["panels"]:
            at = panel["gridPos"]
            assert at["x"] + at["w"] <= 24
            places = {(x, at["y"]) for x in range(at["x"], at["x"] + at["w"])}
            assert not places & taken, panel["title"]
            assert panel["title"]
            assert panel["description"]
            taken |= places


def test_every_metric_that_is_asked_for_exists() -> None:
    told = {
        f"{family.name}{suffix}"
        for family in Counters().registry.collect()
        for suffix in ("", "_total", "_bucket", "_count", "_sum")
    }
    asked = [*(query for _, query in queries()), *(rule["expr"] for rule in alerts())]
    assert {name for text in asked for name in re.findall(r"adjudge_\w+", text)} - told == set()


def test_what_is_divided_by_conversions_is_empty_without_any_and_not_nan() -> None:
    ratios = [query for _, query in queries() if re.search(r"/.*adjudge_conversions_total", query)]
    assert ratios
    assert all(query.endswith(" > 0)") for query in ratios)


def test_grafana_is_given_the_boards_and_their_source() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    volumes = dict(each.split(":")[:2] for each in compose["services"]["grafana"]["volumes"])
    assert volumes["./deploy/grafana/provisioning"] == "/etc/grafana/provisioning"
    [boards] = yaml.safe_load((GRAFANA / "provisioning/dashboards/adjudge.yml").read_text())["providers"]
    assert volumes["./deploy/grafana/dashboards"] == boards["options"]["path"]
    [source] = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())[
        "datasources"
    ]
    used = {panel["datasource"]["uid"] for path in BOARDS for panel in board(path)["panels"]}
    assert used == {source["uid"]}
    assert urlsplit(source["url"]).hostname in compose["services"]


# --- in life


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def prometheus(folder: Path, node: str, key: str) -> Iterator[str]:
    """Run a Prometheus with our own configuration, but for the node's address and how often it looks."""
    config = yaml.safe_load(CONFIG.read_text(encoding="utf-8").replace(SECRET, str(folder / "key")))
    looks = f"{round(SCRAPED_S * 1000)}ms"
    config["global"] = dict.fromkeys(("scrape_interval", "scrape_timeout", "evaluation_interval"), looks)
    config["scrape_configs"] = config["scrape_configs"][:1]
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [urlsplit(node).netloc]
    config["rule_files"] = [str(CONFIG.parent / name) for name in config["rule_files"]]
    (folder / "key").write_text(key)
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    arguments = [f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    process = subprocess.Popen(
        [program("prometheus"), *arguments, f"--web.listen-address={address}", "--log.level=error"]
    )
    try:
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(20)


def asked(url: str, path: str) -> Any:
    with urlopen(url + path, timeout=10) as answer:
        return json.load(answer)["data"]


def has_numbers(url: str, query: str, at_s: float) -> bool:
    """Say whether a query has a number at a time, while the visitors were there, or has one now."""
    filled = quote(query.replace("$__rate_interval", "5s").replace("$instance", ".*"))
    found = [
        *asked(url, f"/api/v1/query?query={filled}&time={at_s}")["result"],
        *asked(url, f"/api/v1/query?query={filled}")["result"],
    ]
    return any(math.isfinite(float(each["value"][1])) for each in found)


async def visit(node: dict[str, Any], data: Path) -> None:
    """Ask, report, click, buy, edit and refund for some seconds, as many visitors at once do."""
    load = Load(random.Random(1), Memory(), node, data)
    await load.register()
    asyncio.get_running_loop().call_later(LIVE_S, setattr, load, "stopped", True)
    await load.run()


@pytest.mark.slow
def test_every_panel_shows_numbers_of_a_real_node(tmp_path: Path) -> None:
    program("prometheus")
    data = tmp_path / "data"
    node = Commanded(data, invalid_traffic="mark", click_window_s=1, log_level="error")
    try:
        urls = node.ready()
        with prometheus(tmp_path, urls["admin"], (data / "admin.key").read_text().strip()) as url:
            asyncio.run(visit(urls, data))
            missing, at_s = queries(), time() - 2 * SCRAPED_S
            until = monotonic() + PATIENCE_S
            while missing and monotonic() < until:
                missing = [(name, query) for name, query in missing if not has_numbers(url, query, at_s)]
                sleep(0.1)
            assert [name for name, _ in missing] == []
            groups = asked(url, "/api/v1/rules")["groups"]
            assert {rule["health"] for group in groups for rule in group["rules"]} == {"ok"}
            assert sum(len(group["rules"]) for group in groups) == len(alerts())
    finally:
        node.kill()
