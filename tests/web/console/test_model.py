"""Model: its numbers are the API's, its cells have names, and its parts come alone when asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from app.domain.requests import Person
from app.web.admin.app import admin_app
from app.web.admin.auth import key_hash
from tests.node import FOLD, Server, ask_for, decide, send, serving, small_catalogue, tick
from tests.web.console.browser import KEY, Browser, key_for, log_in, plain, rows_of

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("node")
    headers = {"Authorization": f"Bearer {KEY}"}
    fold = msgspec.structs.replace(FOLD, calibration_clicks=4)
    with serving(
        folder, lambda node: admin_app(node, admin_key_hash=key_hash(KEY)), headers,
        things=small_catalogue(), fold=fold,
    ) as server:  # fmt: skip
        yield server


@pytest.fixture(scope="module")
def admin(server: Server) -> Browser:
    return log_in(server, KEY)


def test_a_node_that_knows_nothing_says_so(server: Server, admin: Browser) -> None:
    page = plain(admin.text("/console/model"))
    assert "No experiment runs." in page
    assert "Nothing is explored" in page
    assert "No model was loaded." in page
    assert "Nothing learned yet." in plain(admin.text("/console/model?part=cells"))
    assert plain(admin.text("/console/model?part=quality"))


def test_its_numbers_are_the_apis(server: Server, admin: Browser) -> None:
    async def visits() -> None:
        for turn in range(12):
            person = Person(region="KR-11", interests=(HOSTILE,))
            for ad in decide(server.node, ask_for("plc-1", "plc-2", person=person)).ads:
                await send(server.node, "impression", ad)
                if turn % 2:
                    await send(server.node, "click", ad)
            await tick(server.node)

    server.run(visits())
    told = server.get("/v1/reliability").json()
    buckets = admin.csv("/console/model?csv=buckets")
    used = [bucket for bucket in told["buckets"] if bucket["predicted_clicks"]]
    assert [float(row[0]) for row in buckets[1:]] == [bucket["raw_pctr"] for bucket in used]
    assert [float(row[-1]) for row in buckets[1:]] == [bucket["clicks"] for bucket in used]
    report = server.get("/v1/reports?by=placement").json()
    places = {row[0]: row for row in admin.csv("/console/model?part=quality&csv=placements")[1:]}
    for row in report["rows"]:
        assert int(places[row["placement"]][1]) == row["impressions"]
        assert float(places[row["placement"]][4]) == pytest.approx(row["calibration"])
        assert float(places[row["placement"]][-2]) == pytest.approx(row["log_loss"])
    chart = admin.csv("/console/model?part=quality&span=hour&csv=ne")
    assert len(chart) == 2 + (len(chart) > 2), "a minute or two"
    assert "nats an impression" in admin.text("/console/model?part=quality")


def test_cells_have_names_and_are_chosen_by_row_and_column(server: Server, admin: Browser) -> None:
    page = admin.text("/console/model?part=cells")
    assert HOSTILE not in page
    names = {row[0] for row in rows_of(page, "strongest-rows")[1:]}
    assert f"interest:{HOSTILE}" in names
    assert "region:KR-11" in names
    own = admin.text("/console/model?part=cells&row_field=region&column_kind=creative&live=1")
    assert "<html" not in own
    crosses = rows_of(own, "strongest-crosses")[1:]
    assert crosses
    assert all(row[0] == "region:KR-11" and row[1].startswith("creative:") for row in crosses)
    plain_again = admin.text("/console/model?part=cells&row_field=nonsense")
    assert rows_of(plain_again, "strongest-crosses") == rows_of(page, "strongest-crosses")


def test_what_is_asked_wrongly(server: Server, admin: Browser) -> None:
    assert admin.get("/console/model?placement_id=nowhere").status == 404
    assert admin.get("/console/model?variant=nobody").status == 404
    assert admin.get("/console/model?part=nonsense&live=1&span=ever").status == 200
    assert "Of placement" in plain(admin.text("/console/model?placement_id=plc-1"))


def test_who_may_see_it(server: Server) -> None:
    assert log_in(server, key_for(server, "reports")).get("/console/model").status == 200
    assert log_in(server, key_for(server, "catalogue:read")).get("/console/model").status == 403
    bound = log_in(server, key_for(server, "reports", advertisers=["adv-1"]))
    assert bound.get("/console/model").status == 403
    assert Browser(server).get("/console/model").status == 303
