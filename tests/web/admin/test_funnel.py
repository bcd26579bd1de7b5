"""The funnel over HTTP: every lost ad once, from the journal and from the minute that is not over."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.flows.ticking import lost_lines
from app.web.admin.app import admin_app
from app.web.admin.auth import key_hash
from tests.node import Server, ask_for, decide, serving, small_catalogue
from tests.web.admin.conftest import HEADERS, KEY

NEW_YEAR_MS = 1_767_225_600_000  # 2026-01-01T00:00:00Z


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(
        tmp_path_factory.mktemp("node"),
        lambda node: admin_app(node, admin_key_hash=key_hash(KEY)),
        HEADERS,
        things=small_catalogue(),
        clock_ms=lambda: NEW_YEAR_MS,
    ) as server:
        yield server


def losses(server: Server, query: str = "") -> dict[str, int]:
    answer = server.get(f"/v1/campaigns/c-1/funnel{query}")
    assert answer.status == 200, answer.body
    return {loss["reason"]: loss["count"] for loss in answer.json()["losses"]}


def test_every_lost_ad_is_told_once_whether_its_line_is_written_or_not(server: Server) -> None:
    told: dict[str, int] = {}

    async def ask(times: int) -> None:
        for _ in range(times):
            for placed in decide(server.node, ask_for("plc-1")).choice.placed:
                for reason, count in placed.reasons.items():
                    told[reason] = told.get(reason, 0) + count

    async def end_a_minute() -> None:
        await server.node.submit_many(lost_lines(server.node))

    server.run(ask(3))
    assert told
    assert losses(server) == told, "the minute that is not over"
    server.run(end_a_minute())
    assert losses(server) == told, "the line that ended it"
    server.run(ask(2))
    assert losses(server) == told, "both"
    assert losses(server, "?to=2026-01-01T00:00:00Z") == {}, "before all that"


def test_an_unknown_campaign_and_an_odd_time_are_refused(server: Server) -> None:
    assert server.get("/v1/campaigns/nobody/funnel").status == 404
    answer = server.get("/v1/campaigns/c-1/funnel?from=yesterday")
    assert (answer.status, answer.json()["errors"][0]["field"]) == (422, "from")
