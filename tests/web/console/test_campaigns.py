"""The pages of campaigns: their numbers are the API's, everybody sees their own, hostile names stay names."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from app.domain.catalogue import AdGroup, Advertiser, Campaign, Pricing
from app.flows.catalogue import patch
from app.web.admin.app import admin_app
from app.web.admin.auth import key_hash
from tests.node import Server, ask_for, decide, register, send, serving, small_catalogue, tick
from tests.web.console.browser import KEY, Browser, key_for, log_in, plain, rows_of

HOSTILE = '<script>alert(1)</script>"'
BUDGET = 300_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    things = small_catalogue(budget_daily_micros=BUDGET * 1_000_000)
    headers = {"Authorization": f"Bearer {KEY}"}
    folder = tmp_path_factory.mktemp("node")
    with serving(
        folder, lambda node: admin_app(node, admin_key_hash=key_hash(KEY)), headers, things=things
    ) as server:

        async def play() -> None:
            other = Campaign(id="c-2", advertiser_id="adv-2", name=HOSTILE)
            group = AdGroup(id="g-9", campaign_id="c-2", pricing=Pricing(kind="cpc", bid_micros=1_000_000))
            await register(server.node, [Advertiser(id="adv-2", name=HOSTILE), other, group])
            await tick(server.node)
            for number in range(30):
                for ad in decide(server.node, ask_for("plc-1")).ads:
                    await send(server.node, "impression", ad)
                    if number % 5 == 0:
                        await send(server.node, "click", ad)
                await tick(server.node)
            await patch(
                server.node, "campaign", "c-1", "*",
                lambda thing: msgspec.structs.replace(thing, name="Spring"),
            )  # fmt: skip

        server.run(play())
        yield server


@pytest.fixture(scope="module")
def admin(server: Server) -> Browser:
    """Whoever holds the admin key, logged in."""
    return log_in(server, KEY)


def test_the_list_is_the_deliveries(server: Server, admin: Browser) -> None:
    page = admin.text("/console/campaigns")
    rows = {row[1]: row for row in rows_of(page, "campaigns")[1:]}
    assert set(rows) == {"c-1", "c-2"}
    assert rows["c-1"][0] == "Spring"
    assert rows["c-2"][3] == "serving"
    cells = {row[1]: row for row in admin.csv("/console/campaigns?csv=campaigns")}
    told = server.get("/v1/campaigns/c-1/delivery").json()
    head = cells["id"]
    assert float(cells["c-1"][head.index("spent today")]) == told["spent"]["today"] > 0
    assert float(cells["c-1"][head.index("daily budget")]) == BUDGET
    assert "c-2" not in admin.text("/console/campaigns?q=spring")
    assert "No campaign fits." in admin.text("/console/campaigns?status=paused")
    assert admin.get("/console/campaigns?page=x&status=nonsense").status == 200


def test_a_campaign_is_its_delivery_and_its_report(server: Server, admin: Browser) -> None:
    page = admin.text("/console/campaigns/c-1")
    told = server.get("/v1/campaigns/c-1/delivery").json()
    assert f"of {BUDGET:,} a day" in page
    report = server.get("/v1/reports?by=creative").json()["rows"]
    shown = {row["creative"]: row for row in report}
    rows = {row[0]: row for row in admin.csv("/console/campaigns/c-1?csv=creatives")}
    assert len(rows) == 1 + 6, "those that were not shown are there, too"
    for creative, row in shown.items():
        assert int(rows[creative][4]) == row["impressions"]
        assert float(rows[creative][rows["creative"].index("CTR_low")]) == row["ctr_low"]
        assert float(rows[creative][-1]) == row["spend"]
    funnel = {row[0]: int(row[2]) for row in admin.csv("/console/campaigns/c-1?csv=funnel")[1:]}
    assert funnel == {each["code"]: each["count"] for each in told["funnel"]["reasons"]} != {}
    spent = admin.csv("/console/campaigns/c-1?csv=spent")
    assert spent[0][:3] == ["time", "spent", "planned"]
    assert max(float(row[1]) for row in spent[1:] if row[1]) == pytest.approx(told["spent"]["today"])
    assert rows_of(page, "groups")[1][0] == "g-1"
    assert 'class="thin"' in page, "30 impressions are thin"


def test_the_history_tells_what_was_changed(admin: Browser) -> None:
    rows = rows_of(admin.text("/console/campaigns/c-1"), "edits")
    assert rows[0] == ["when", "what", "change", "revision"]
    assert rows[1][1:] == ["campaign c-1", "name: – → Spring", "2"]
    assert rows[-1][2] == "made"


def test_a_poll_is_the_money_alone(admin: Browser) -> None:
    live = admin.text("/console/campaigns/c-1?live=1")
    assert "Spent today" in live
    assert "<html" not in live
    for part, told in (("day", "Creatives today"), ("lost", "kept its ads"), ("edits", "History of edits")):
        text = admin.text(f"/console/campaigns/c-1?live=1&part={part}")
        assert told in text
        assert "<html" not in text
    assert "<html" in admin.text("/console/campaigns/c-1?part=day"), "without scripts"


def test_who_may_see_what(server: Server) -> None:
    assert Browser(server).get("/console/campaigns").status == 303
    assert log_in(server, key_for(server, "events")).get("/console/campaigns").status == 403
    own = log_in(server, key_for(server, "catalogue:read", "reports", advertisers=["adv-2"]))
    assert [row[1] for row in rows_of(own.text("/console/campaigns"), "campaigns")[1:]] == ["c-2"]
    assert own.get("/console/campaigns/c-1").status == 404
    assert own.get("/console/campaigns/c-1/edit").status == 404
    page = own.text("/console/campaigns/c-2")
    assert "Pause" not in page
    assert "New campaign" not in own.text("/console/campaigns")
    reader = log_in(server, key_for(server, "catalogue:read"))
    page = reader.text("/console/campaigns/c-1")
    assert "need a key with scope reports" in page
    assert "Spent today" not in page
    assert len(rows_of(reader.text("/console/campaigns"), "campaigns")[0]) == 4, "no money"
    assert reader.send("/console/campaigns/c-1/status", kind="campaign", which="c-1").status == 403


def test_a_hostile_name_is_only_a_name(admin: Browser) -> None:
    for path in ("/console/campaigns", "/console/campaigns/c-2", "/console/campaigns/c-2/edit"):
        page = admin.text(path)
        assert "<script>alert" not in page
        assert (
            HOSTILE in plain(page.replace("&lt;", "\0lt;")).replace("\0lt;", "<") or "&lt;script&gt;" in page
        )


def test_there_is_no_page_of_what_is_not_there(admin: Browser) -> None:
    for path in ("c-9", "c-9/edit", "c-1/ad-groups/g-9", "c-1/creatives/cr-9", "c-1/nothing/g-1"):
        assert admin.get(f"/console/campaigns/{path}").status == 404, path
