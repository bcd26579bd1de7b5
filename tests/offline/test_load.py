"""`adjudge load`. Goal: one command visits a real node with its own placements and leaves a page behind.

Method: the real commands: a demo's node, and the load beside it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app.domain.refusals import Refused
from app.offline import load
from app.offline.load import LoadPlan, run_load
from tests.journeys.commanded import Commanded
from tests.journeys.load import catalogue
from tests.journeys.nursery import ROOT


def adjudge(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "app", *map(str, arguments)],
        cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert done.returncode == code, done.stderr + done.stdout
    return done


@pytest.mark.slow
def test_it_visits_a_node_and_writes_a_page(tmp_path: Path) -> None:
    data, page = tmp_path / "data", tmp_path / "load.html"
    node = Commanded(data, log_level="error")
    try:
        urls = node.ready()
        key = (data / "admin.key").read_text().strip()
        things = tmp_path / "things.jsonl"
        things.write_text("\n".join(map(json.dumps, catalogue())))
        adjudge("import", things, "--url", urls["admin"], "--key", key)
        whose = ["--admin-url", urls["admin"], "--key", key]
        done = adjudge(
            "load", "--url", urls["public"], *whose, "--users", 5, "--duration", 3, "--report", page, "--json"
        )
        [told] = json.loads(done.stdout)
        assert (told["failures"], told["report"]) == (0, str(page))
        assert told["requests"] > told["ads"] > 10
        assert 0 < told["p50_ms"] <= told["p99_ms"]
        text = page.read_text()
        assert "/v1/ads" in text
        assert not re.search(r"<(script|link)[^>]+(src|href)=[\"']https?:", text), "one file, no other site's"
    finally:
        node.kill()


def test_a_node_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(Refused) as refused:
        run_load(LoadPlan("http://127.0.0.1:1", report=tmp_path / "load.html"))
    assert refused.value.code == "unreachable"


def test_without_locust_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_name: str) -> Any:
        return None

    monkeypatch.setattr(load, "find_spec", missing)
    with pytest.raises(Refused, match=r"adjudge\[load\]"):
        run_load(LoadPlan("http://127.0.0.1:1"))
