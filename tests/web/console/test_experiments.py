"""Experiments: seen, ramped, stopped, started again and promoted, with the API's own checks."""

from __future__ import annotations

from typing import Any

import pytest

from app.domain.requests import Person
from app.flows.experiments import Figure
from app.web.console.experiments import _verdict
from tests.node import Answer, Server, ask_for, decide, send, tick
from tests.web.console.browser import Browser, key_for, log_in, plain, rows_of

PATH = "/console/experiments/e-1"
EXPERIMENT = {
    "id": "e-1", "name": "<b>Bolder",
    "variants": {
        "bold": {"share": 0.4, "exploration_scale": 2.0},
        "watch": {"share": 0.5, "shadow": True, "learner": {"alpha": 0.2}},
    },
}  # fmt: skip


def revision(server: Server) -> str:
    return str(server.node.state.catalogue.revision("experiment", "e-1"))


def do(server: Server, browser: Browser, action: str, **fields: str) -> Answer:
    return browser.post(
        PATH, {"csrf": browser.csrf, "action": action, "revision": revision(server), **fields}
    )


def stored(server: Server) -> Any:
    return server.get("/v1/experiments/e-1").json()


@pytest.fixture(scope="module", autouse=True)
def running(server: Server) -> None:
    assert server.ask("POST", "/v1/experiments", EXPERIMENT).status == 201

    async def visits() -> None:
        await tick(server.node)
        for turn in range(40):
            key = turn.to_bytes(16, "big")
            for ad in decide(server.node, ask_for("plc-1", person=Person(key=key))).ads:
                await send(server.node, "impression", ad)
        await tick(server.node)

    server.run(visits())


def test_exposure_and_results_are_the_apis(server: Server, admin: Browser) -> None:
    results = server.get("/v1/experiments/e-1/results").json()
    page = admin.text(PATH)
    assert "<b>Bolder" not in page
    told = rows_of(page, "exposure")[1:]
    assert [row[0] for row in told] == [arm["name"] for arm in results["arms"]] == ["control", "bold"]
    csv = admin.csv(f"{PATH}?csv=exposure")[1:]
    assert [int(row[3]) for row in csv] == [arm["decisions"] for arm in results["arms"]]
    assert sum(int(row[3]) for row in csv) == 40
    metrics = rows_of(page, "results-bold")[1:]
    assert len(metrics) == len(results["arms"][1]["metrics"])
    drawn = [row for row in metrics if not row[0].startswith("decision time")]  # that is this machine's
    assert len(drawn) == len(metrics) - 1
    assert {row[-1] for row in drawn} == {"undecided"}
    assert results["note"] in plain(page)
    assert rows_of(page, "shadows")[1][0] == "watch"
    assert "learner alpha 0.2, calibration own" in plain(page)
    assert "None" not in plain(page)
    listed = rows_of(admin.text("/console/experiments"), "experiments")[1]
    assert listed[0] == "e-1"
    assert listed[2] == "serving"
    assert "bold 40 %" in listed[3]
    assert "watch 50 % (looks on)" in listed[3]


def test_it_is_ramped_with_the_apis_checks(server: Server, admin: Browser) -> None:
    admin.text(PATH)
    field = "variants.bold.share"
    done = do(server, admin, "ramp", **{field: "12.5 %"})
    assert (done.status, done.headers["location"]) == (303, PATH)
    assert stored(server)["variants"]["bold"]["share"] == 0.125
    wrong = do(server, admin, "ramp", **{field: "150"})
    assert wrong.status == 422
    assert 'value="150"' in wrong.body.decode()
    assert "refusal" in wrong.body.decode() or "problem" in wrong.body.decode()
    assert do(server, admin, "ramp", **{field: "many"}).status == 422
    assert stored(server)["variants"]["bold"]["share"] == 0.125
    stale = admin.post(PATH, {"csrf": admin.csrf, "action": "stop", "revision": "1"})
    assert stale.status == 412
    assert "stale" in plain(stale.body.decode())
    assert do(server, admin, "dance").status == 422


def test_who_may_do_what(server: Server) -> None:
    reader = log_in(server, key_for(server, "catalogue:read"))
    page = plain(reader.text(PATH))
    assert "Results need a key with scope reports" in page
    assert "Set shares" not in page
    assert do(server, reader, "stop").status == 403
    assert log_in(server, key_for(server, "reports")).get(PATH).status == 403
    bound = log_in(server, key_for(server, "catalogue:read", "reports", advertisers=["adv-1"]))
    assert bound.get("/console/experiments").status == 403
    assert log_in(server, key_for(server, "admin")).get("/console/experiments/none").status in {403, 404}


def test_it_is_stopped_started_and_promoted(server: Server, admin: Browser) -> None:
    assert do(server, admin, "stop").status == 303
    assert stored(server)["status"] == "paused"
    assert "Start the experiment" in plain(admin.text(PATH))
    assert do(server, admin, "start").status == 303
    server.run(tick(server.node))
    assert do(server, admin, "promote", promoted="nobody").status == 422
    assert do(server, admin, "promote", promoted="bold").status == 303
    assert stored(server)["promoted"] == "bold"
    page = plain(admin.text(PATH))
    assert "promoted: bold" in page
    assert "What to do" not in page


@pytest.mark.parametrize(
    ("verdict", "more_is_better", "told"),
    [
        ("higher", True, "higher: better"), ("higher", False, "higher: worse"),
        ("lower", False, "lower: better"), ("higher", None, "higher"), (None, True, "undecided"),
    ],
)  # fmt: skip
def test_a_verdict_says_whether_it_is_good(
    verdict: str | None, more_is_better: bool | None, told: str
) -> None:
    assert _verdict(Figure(value=1.0, verdict=verdict), more_is_better) == told
