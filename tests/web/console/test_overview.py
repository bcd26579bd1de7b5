"""The Overview and its trend, as a person reads them.

Method: a served node with a little traffic and two samples of its counters; pages over HTTP.
"""

from __future__ import annotations

import pytest

from tests.node import Server, ask_for, decide, send
from tests.web.console.browser import Browser, key_for, log_in, plain, rows_of


@pytest.fixture(scope="module", autouse=True)
def traffic(server: Server) -> None:
    """Two ads seen and one clicked, between two samples; then seconds that the clock has ended."""

    async def play() -> None:
        node = server.node
        node.telemetry.sample(node.counters, node.now_ms())
        for number in range(2):
            [ad] = decide(node, ask_for("plc-1")).ads
            node.counters.requests.labels("/v1/ads", "filled").inc()
            node.counters.request_seconds.labels("/v1/ads").observe(0.12)
            await send(node, "impression", ad)
            if number:
                await send(node, "click", ad)
        node.telemetry.sample(node.counters, node.now_ms())
        first = node.telemetry.rows[0]
        for seconds in (10, 20):
            node.telemetry.rows.append(type(first)(at_ms=first.at_ms + seconds * 1000, took_s=1.0))

    server.run(play())


def test_the_first_screen_answers_is_it_well(admin: Browser) -> None:
    text = plain(admin.text("/console/overview"))
    assert "Fill 100 % of requests got an ad" in text
    assert "of only 2 impressions" in text, "too few to believe its eCPM"
    assert "limit: 100 ms" in text
    assert 'class="figure bad"' in admin.text("/console/overview"), "120 ms is too slow"


def test_it_refreshes_a_part_of_itself(admin: Browser) -> None:
    whole, part = admin.text("/console/overview"), admin.text("/console/overview?live=1")
    assert 'hx-get="/console/overview?live=1" hx-trigger="every 2s' in whole
    assert part.lstrip().startswith("<dl")
    assert "<html" not in part
    assert part.strip() in whole


@pytest.mark.parametrize("chart", ["rate", "latency", "visible", "invalid"])
def test_a_chart_is_a_table_and_a_file_too(admin: Browser, chart: str) -> None:
    file, page = admin.csv(f"/console/overview?csv={chart}"), admin.text(f"/console/overview?table={chart}")
    rows = rows_of(page, chart)
    assert len(file) == len(rows) >= 3
    assert file[0][0] == rows[0][0] == "time"
    assert admin.get("/console/overview?csv=none").status == 404


def test_the_trend_tells_the_money_of_the_report(server: Server, admin: Browser) -> None:
    totals = server.get("/v1/reports").json()["totals"]
    for by in ("minute", "hour", "day", "month"):
        lines = admin.csv(f"/console/overview/trend?by={by}&csv=trend")
        assert lines[0][1:] == ["requests", "impressions", "clicks", "revenue", "eCPM"]
        assert sum(float(line[4]) for line in lines[1:]) == pytest.approx(totals["spend"])
        assert sum(int(line[2]) for line in lines[1:]) == totals["impressions"] == 2
        page = admin.text(f"/console/overview/trend?by={by}")
        assert "c-1 launched" in page, "a mark, and a line of what changed"
        assert 'class="thin"' in page
    assert admin.get("/console/overview/trend?by=century").status == 422


def test_it_is_for_those_who_may_read_the_metrics(server: Server) -> None:
    assert log_in(server, key_for(server, "reports")).get("/console/overview").status == 200
    bound = log_in(server, key_for(server, "reports", advertisers=["adv-1"]))
    for path in ("/console/overview", "/console/overview/trend", "/console/overview?csv=rate"):
        assert bound.get(path).status == 403, path
