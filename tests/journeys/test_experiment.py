"""An experiment from beginning to end, over HTTP: created at 10 %, served, ramped, looked at and promoted, on
a node that is killed on the way; every decision is made again afterwards, bit for bit.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from http.client import HTTPConnection
from pathlib import Path
from time import sleep
from typing import Any
from urllib.parse import urlsplit

import pytest

from app.flows.tracing import retrace_sample
from tests.journeys.load import JSON_TYPE, NDJSON, catalogue
from tests.journeys.nursery import COLUMNS, Forked, Nursery, nursery

USERS = 140
PATH = "/v1/experiments/e-1"
SETTINGS: dict[str, Any] = {
    "snapshot_every_lines": 300, "invalid_traffic": "off", "exploration": "off", "calibration_clicks": 20,
}  # fmt: skip
BOLD = {"share": 0.1, "learner": {"alpha": 0.3}, "exploration_scale": 1.0, "floor_factor": 0.5}
LOOKING = {"share": 0.5, "shadow": True, "quality_strength": 0.0, "learner": {"l2": 4.0}}
Document = dict[str, Any]


class Visit:
    """Who visits one node."""

    def __init__(self, at: Document, data: Path) -> None:
        self.public, self.admin = (HTTPConnection(urlsplit(at[port]).netloc) for port in ("public", "admin"))
        self.key = (data / "admin.key").read_text().strip()
        self.chance = random.Random(7)
        self.looked_on = 0  # at the last crowd's decisions

    def call(self, verb: str, path: str, body: Any = None, status: int = 200, kind: str = JSON_TYPE) -> Any:
        """Ask the admin port."""
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": kind, "If-Match": "*"}
        sent = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        self.admin.request(verb, path, sent, headers)
        answer = self.admin.getresponse()
        told = answer.read()
        assert answer.status == status, told
        return json.loads(told) if told else None

    def post(self, path: str, body: Document) -> Any:
        """Ask the public port."""
        self.public.request("POST", path, json.dumps(body), {"Content-Type": JSON_TYPE})
        answer = self.public.getresponse()
        told = answer.read()
        assert answer.status == 200, told
        return json.loads(told)

    def come(self, user: int) -> str | None:
        """Have an ad chosen for somebody, and report what becomes of it; tells the decision."""
        asked = {"name": "top", "placement_id": f"plc-{user % 2}"}
        body = {"request_id": f"r-{user}", "placements": [asked], "user": {"id": f"u-{user}"}}
        decisions = self.post("/v1/ads", body)["decisions"]
        if not decisions:
            return None
        (decision,) = decisions["top"]
        events = [{"token": decision["tokens"]["impression"], "kind": "impression"}]
        if self.chance.random() < 0.3:
            events.append({"token": decision["tokens"]["click"], "kind": "click"})
        told = self.post("/v1/events", {"events": events})
        assert {result["status"] for result in told["results"]} == {"counted"}
        return str(decision["decision_id"])

    def crowd(self) -> dict[int, int]:
        """Have everybody come once; tells by which variant's number each was answered."""
        came = {user: self.come(user) for user in range(USERS)}
        sleep(0.3)  # decisions are written behind, and exposures come with the next tick
        told = {
            user: self.call("GET", f"/v1/decisions/{decision}")
            for user, decision in came.items()
            if decision is not None
        }
        self.looked_on = sum(len(each["shadows"]) for each in told.values())
        return {user: each["variant"] for user, each in told.items()}

    def results(self, phase: str) -> Any:
        """Look at the results, once the experiment has come to a phase."""
        for _ in range(100):
            found = self.call("GET", f"{PATH}/results")
            if found["phase"] == phase:
                return found
            sleep(0.05)
        raise AssertionError(found)

    def change(self, **fields: Any) -> None:
        """Patch the experiment."""
        self.call("PATCH", PATH, fields)


def counted(results: Document) -> dict[str, int]:
    return {arm["name"]: arm["impressions"] for arm in results["arms"]}


def begin(nodes: Nursery, data: Path) -> tuple[Forked, Visit]:
    """Start a node, again or for the first time."""
    node = nodes.node(data, **SETTINGS)
    return node, Visit(node.ready(), data)


def rich_catalogue() -> list[Document]:
    """Nobody's budget ends on the way."""
    lines = catalogue()
    for line in lines:
        if line["type"] in {"campaign", "ad_group"}:
            line.update(budget_daily=None, budget_total=None)
    return lines


@pytest.mark.slow
def test_an_experiment_from_beginning_to_end(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with nursery() as nodes:
        node, visit = begin(nodes, data)
        lines = "\n".join(map(json.dumps, rich_catalogue())).encode()
        assert visit.call("POST", "/v1/import", lines, kind=NDJSON)["counts"]["refused"] == 0
        assert set(visit.crowd().values()) == {0}, "nothing runs"
        made = {"id": "e-1", "variants": {"bold": BOLD, "looking": LOOKING}}
        visit.call("POST", "/v1/experiments", made, 201)
        visit.call("POST", "/v1/experiments", {**made, "id": "e-2"}, 409)
        visit.results("serving")
        first = visit.crowd()
        numbers = Counter(first.values())
        assert set(numbers) == {1, 2} and 3 <= numbers[2] <= 30, numbers
        found = visit.results("serving")
        assert counted(found) == {"control": numbers[1], "bold": numbers[2]}
        decided = {arm["name"]: arm["decisions"] for arm in found["arms"]}
        assert sum(decided.values()) == USERS
        (shadow,) = found["shadows"]
        assert shadow["decisions"] == visit.looked_on
        assert 40 < shadow["decisions"] < 100
        assert found["arms"][1]["model"]["impressions"] == sum(numbers.values())
        assert "understated" in found["note"]

        visit.change(variants={"bold": {"share": 0.5}})
        node.kill()
        node, visit = begin(nodes, data)
        second = visit.crowd()
        moved = {(first[user], number) for user, number in second.items() if user in first}
        assert moved == {(1, 4), (1, 5), (2, 5)}, "whoever had the variant keeps it"
        numbers += Counter(second.values())
        found = visit.results("serving")
        assert [stage["shares"]["bold"] for stage in found["stages"]] == [0.1, 0.5]
        assert counted(found) == {"control": numbers[1] + numbers[4], "bold": numbers[2] + numbers[5]}
        assert found["arms"][1]["metrics"]["ctr"]["verdict"] in {"undecided", "higher", "lower"}
        report = visit.call("GET", "/v1/reports?by=variant")["rows"]
        assert {row["variant"]: row["impressions"] for row in report if row["variant"]} == numbers - Counter(
            {0: USERS}
        )

        visit.change(promoted="bold")
        assert set(visit.crowd().values()) == {0}
        promoted = visit.results("promoted")
        assert counted(promoted) == counted(found)
        visit.call("PATCH", PATH, {"promoted": None}, 409)
        node.kill()
        node, visit = begin(nodes, data)
        assert set(visit.crowd().values()) == {0}
        assert counted(visit.results("promoted")) == counted(found)
        node.stop()
    traced = retrace_sample(data, COLUMNS, 5 * USERS)
    assert len(traced) > 3 * USERS and [one for one in traced if not one.agrees] == []
    assert {one.then.variant // 128 for one in traced} == {0, 1, 2, 4, 5}
    assert any(one.then.shadows for one in traced)
