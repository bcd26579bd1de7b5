"""The pages of placements: their numbers are the reports', and a bound key sees its own ads' alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.domain.catalogue import Placement
from app.web.admin.app import admin_app
from app.web.admin.auth import key_hash
from tests.node import Server, ask_for, decide, register, send, serving, small_catalogue, tick
from tests.web.console.browser import KEY, Browser, key_for, log_in, rows_of

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    headers = {"Authorization": f"Bearer {KEY}"}
    folder = tmp_path_factory.mktemp("node")
    with serving(
        folder, lambda node: admin_app(node, admin_key_hash=key_hash(KEY)), headers, things=small_catalogue()
    ) as server:

        async def play() -> None:
            silent = Placement(id="plc-3", publisher_id="pub-1", sizes=((320, 50),), name=HOSTILE)
            await register(server.node, [silent])
            for number in range(20):
                for ad in decide(server.node, ask_for("plc-1", "plc-2")).ads:
                    await send(server.node, "impression", ad)
                    if number % 4 == 0:
                        await send(server.node, "click", ad)
            await tick(server.node)

        server.run(play())
        yield server


@pytest.fixture(scope="module")
def admin(server: Server) -> Browser:
    """Whoever holds the admin key, logged in."""
    return log_in(server, KEY)


def test_the_list_is_the_report(server: Server, admin: Browser) -> None:
    report = {row["placement"]: row for row in server.get("/v1/reports?by=placement").json()["rows"]}
    table = admin.csv("/console/placements?csv=placements")
    head, rows = table[0], {row[1]: row for row in table[1:]}
    assert set(rows) == {"plc-1", "plc-2", "plc-3"}
    for identity, told in report.items():
        row = dict(zip(head, rows[identity], strict=True))
        assert int(row["requests"]) == told["requests"] == 20
        assert int(row["impressions"]) == told["impressions"]
        assert float(row["CTR_low"]) == told["ctr_low"]
        assert float(row["spend"]) == told["spend"]
        assert float(row["fill"]) == told["impressions"] / told["requests"]
    page = admin.text("/console/placements")
    assert HOSTILE not in page
    assert [row[1] for row in rows_of(admin.text("/console/placements?q=plc-2"), "placements")[1:]] == [
        "plc-2"
    ]


def test_a_placement(server: Server, admin: Browser) -> None:
    page = admin.text("/console/placements/plc-1")
    assert "Prices paid and the floor" in page
    told = server.get("/v1/reports?by=placement,creative").json()["rows"]
    rows = {row[0]: row for row in admin.csv("/console/placements/plc-1?csv=creatives")[1:]}
    own = {row["creative"]: row for row in told if row["placement"] == "plc-1"}
    assert {name: int(row[2]) for name, row in rows.items()} == {
        name: row["impressions"] for name, row in own.items()
    }
    for identity in own:
        path = f"/creatives/{identity}"
        assert f'{path}"' in page, "each leads to what may be edited"
    prices = admin.csv("/console/placements/plc-1?csv=prices")
    assert prices[0][:2] == ["time", "median paid"]
    assert all(float(row[2]) <= float(row[1]) <= float(row[3]) for row in prices[1:])
    assert "<html" not in admin.text("/console/placements/plc-1?live=1&part=day")


def test_a_placement_without_traffic_says_so(admin: Browser) -> None:
    page = admin.text("/console/placements/plc-3?hours=168")
    assert "no decision is kept" in page
    assert "No ad was shown here." in page
    assert HOSTILE not in page
    assert admin.get("/console/placements/plc-9").status == 404


def test_who_may_see_what(server: Server) -> None:
    assert Browser(server).get("/console/placements").status == 303
    assert log_in(server, key_for(server, "reports")).get("/console/placements").status == 403
    own = log_in(server, key_for(server, "catalogue:read", "reports", advertisers=["adv-1"]))
    page = own.text("/console/placements")
    assert "Where your ads were shown" in page
    rows = rows_of(page, "placements")
    assert [row[3] for row in rows[1:]] == ["–", "–"], "requests are nobody's"
    assert own.get("/console/placements/plc-1").status == 404
    reader = log_in(server, key_for(server, "catalogue:read"))
    for path in ("/console/placements", "/console/placements/plc-1"):
        assert "need a key with scope reports" in reader.text(path)
