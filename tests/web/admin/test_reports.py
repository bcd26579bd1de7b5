"""Reports over HTTP: what may be asked, and how the answer reads."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import pytest

from app.domain.refusals import Refused
from app.web.admin.app import admin_app
from app.web.admin.auth import key_hash
from app.web.admin.reports import read_query
from tests.node import Server, ask_for, decide, send, serving, small_catalogue, tick
from tests.web.admin.conftest import HEADERS, KEY

MEASURES = {
    "requests", "impressions", "clicks", "conversions", "spend", "unbilled", "ecpm", "ctr", "ctr_low",
    "ctr_high", "predicted_clicks", "calibration", "log_loss", "ne", "cvr", "cvr_low", "cvr_high", "cpa",
    "invalid",
    "gross_impressions", "gross_clicks", "gross_conversions",
    "net_impressions", "net_clicks", "net_conversions",
}  # fmt: skip

NEW_YEAR_MS = 1_767_225_600_000  # 2026-01-01T00:00:00Z


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One whose clock stands still: no hour or day ends between two events."""
    with serving(
        tmp_path_factory.mktemp("node"),
        lambda node: admin_app(node, admin_key_hash=key_hash(KEY)),
        HEADERS,
        things=small_catalogue(),
        clock_ms=lambda: NEW_YEAR_MS,
    ) as server:
        yield server


@pytest.fixture(scope="module", autouse=True)
def _played(server: Server) -> Iterator[None]:
    """Two requests of two placements; five impressions, one click, one conversion."""

    async def play() -> None:
        node = server.node
        ads = [ad for _ in range(2) for ad in decide(node, ask_for("plc-1", "plc-2", count=2)).ads]
        for ad in ads[:5]:
            await send(node, "impression", ad)
        await send(node, "click", ads[0])
        await send(node, "conversion", ads[0], own_id="o-1")
        await tick(node)

    server.run(play())
    yield


def asked(server: Server, **query: str) -> Any:
    answer = server.get("/v1/reports?" + urlencode(query))
    assert answer.status == 200, answer.body
    return answer


def test_the_last_day_as_one_row(server: Server) -> None:
    report = asked(server).json()
    assert report["rows"] == [report["totals"]]
    totals = report["totals"]
    assert totals.keys() == MEASURES
    counts = ("requests", "impressions", "clicks", "conversions")
    assert [totals[name] for name in counts] == [4, 5, 1, 1]
    assert totals["ctr"] == 0.2
    assert totals["cvr_low"] <= totals["cvr"] == 1 <= totals["cvr_high"]
    assert totals["cpa"] == totals["spend"]
    assert totals["ctr_low"] < 0.2 < totals["ctr_high"]
    assert totals["calibration"] == totals["predicted_clicks"]
    spent = int(server.node.state.catalogue.campaign_accounts.spent.sum())
    assert Decimal(str(totals["spend"])) * 1_000_000 == spent > 0


def test_rows_by_entity(server: Server) -> None:
    report = asked(server, by="day,campaign").json()
    assert [row["campaign"] for row in report["rows"]] == ["c-1"]
    assert list(report["rows"][0])[:2] == ["day", "campaign"]
    assert report["rows"][0]["requests"] is None  # a request is nobody's before it is decided
    by_placement = asked(server, by="placement").json()["rows"]
    assert [(row["placement"], row["requests"]) for row in by_placement] == [("plc-1", 2), ("plc-2", 2)]
    by_publisher = asked(server, by="publisher,hour").json()["rows"]
    assert [(row["publisher"], row["requests"]) for row in by_publisher] == [("pub-1", 4)]
    assert by_publisher[0]["hour"].endswith(":00:00+09:00")
    for name in ("advertiser", "ad_group", "creative", "variant"):
        rows = asked(server, by=name).json()["rows"]
        assert sum(row["impressions"] for row in rows) == 5
        assert all(row[name] != "" for row in rows)


def test_csv_has_the_same_numbers(server: Server) -> None:
    answer = asked(server, by="creative", format="csv")
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.body.decode(), newline="")))
    expected = asked(server, by="creative").json()["rows"]
    assert [row["creative"] for row in rows] == [row["creative"] for row in expected]
    assert [float(row["spend"]) for row in rows] == [row["spend"] for row in expected]
    assert {row["requests"] for row in rows} == {""}
    assert set(rows[0]) == {"creative", *MEASURES}


def test_a_stretch_without_lines_is_empty(server: Server) -> None:
    report = asked(server, **{"from": "2001-01-01", "to": "2001-01-02", "by": "day"}).json()
    assert report["rows"] == []
    totals = report["totals"]
    assert (totals["impressions"], totals["spend"], totals["ctr"], totals["ecpm"]) == (0, 0, None, None)


def test_now_is_included_and_the_future_may_be_asked_for(server: Server) -> None:
    future = asked(server, **{"from": "2020-01-01T00:00:00Z", "to": "2199-01-01T00:00:00Z"}).json()
    assert future["totals"] == asked(server).json()["totals"]


#   query                                                          field     why
WRONG = [
    ({"by": "colour"},                                             "by",     "no such dimension"),
    ({"by": "day,,campaign"},                                      "by",     "an empty name"),
    ({"format": "xml"},                                            "format", "no such form"),
    ({"from": "yesterday"},                                        "from",   "no time"),
    ({"from": "2026-13-01"},                                       "from",   "no such month"),
    ({"from": "2026-01-02", "to": "2026-01-01"},                   "from",   "the wrong way round"),
]  # fmt: skip


@pytest.mark.parametrize(("query", "field", "why"), WRONG)
def test_what_cannot_be_asked(server: Server, query: dict[str, str], field: str, why: str) -> None:
    answer = server.get("/v1/reports?" + urlencode(query))
    assert (answer.status, answer.json()["code"], answer.json()["field"]) == (422, "invalid", field), why


#   text                          ms after 2026-01-01T00:00:00Z   why
TIMES = [
    ("2026-01-01T00:00:00Z",      0,                              "RFC 3339"),
    ("2026-01-01T09:00:00+09:00", 0,                              "with an offset"),
    ("2026-01-01T09:00:00 09:00", 0,                              "the plus sign was not escaped"),
    ("2026-01-01T00:00:00.250Z",  250,                            "parts of a second"),
    ("2026-01-01",                -9 * 3_600_000,                 "midnight in the node's zone"),
    ("2026-01-01T09:00",          0,                              "the node's zone where none is named"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "after_ms", "why"), TIMES)
def test_times(text: str, after_ms: int, why: str) -> None:
    asked = read_query(text, "2027-01-01", None, "json", 0, "Asia/Seoul")
    assert asked.from_ms - NEW_YEAR_MS == after_ms, why


@pytest.mark.parametrize("offset", ["Z", "+14:00", "-12:00", ""])
def test_all_of_time_may_be_asked_for(offset: str) -> None:
    asked = read_query(f"0001-01-01T00:00:00{offset}", f"9999-12-31T23:59:59{offset}", "", "csv", 0, "UTC")
    assert asked.from_ms == 0
    assert asked.to_ms > 2**47
    assert asked.by == ()


def test_without_times_the_last_24_hours_this_millisecond_included() -> None:
    asked = read_query(None, None, None, "json", NEW_YEAR_MS, "UTC")
    assert (asked.to_ms, asked.from_ms) == (NEW_YEAR_MS + 1, NEW_YEAR_MS + 1 - 86_400_000)


def test_every_wrong_field_is_named() -> None:
    with pytest.raises(Refused) as refused:
        read_query("x", "y", "z", "w", 0, "UTC")
    assert {error.field for error in refused.value.errors} == {"from", "to", "by", "format"}
