"""Making and editing from the console: the API's checks and words, and nobody overwrites another's edit."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest

from tests.node import Answer, Server
from tests.web.console.browser import Browser, key_for, log_in, plain


def form_at(browser: Browser, path: str) -> dict[str, str]:
    """Read a page's large form as a browser would send it."""
    return fields_of(browser.text(path))


def fields_of(page: str) -> dict[str, str]:
    page = page[page.index('class="sheet"') :]
    fields: dict[str, str] = {}
    for tag in re.findall(r"<input [^>]*>", page):
        name, value = (re.search(rf'{part}="([^"]*)"', tag) for part in ("name", "value"))
        assert name is not None
        fields[name[1]] = unescape(value[1]) if value else ""
    for name, text in re.findall(r'<textarea [^>]*name="([^"]*)"[^>]*>(.*?)</textarea>', page, flags=re.S):
        fields[name] = unescape(text)
    for name, inside in re.findall(r'<select [^>]*name="([^"]*)".*?>(.*?)</select>', page, flags=re.S):
        options = re.findall(r'<option value="([^"]*)"( selected)?', inside)
        chosen = [value for value, selected in options if selected]
        fields[name] = (chosen or [value for value, _ in options] or [""])[0]
    return fields


def save(browser: Browser, path: str, fields: dict[str, str], **changes: str) -> Answer:
    return browser.post(path, {**fields, **changes, "csrf": browser.csrf})


def change(**changes: str) -> dict[str, str]:
    return {name.replace("__", "."): value for name, value in changes.items()}


def stored(server: Server, kind: str, identity: str) -> Any:
    return server.get(f"/v1/{kind}/{identity}").json()


def test_from_a_campaign_to_its_creative(server: Server, admin: Browser) -> None:
    """Everything that an ad needs is made from here, and edited without touching the rest."""
    fields = form_at(admin, "/console/campaigns/~new")
    answer = save(
        admin, "/console/campaigns/~new", fields, id="c-new", advertiser_id="adv-1", name="Made here",
        budget_daily="100,000", starts_at="2026-05-01T09:00", time_zone="Asia/Seoul", frequency_cap="3/day",
    )  # fmt: skip
    assert (answer.status, answer.headers["location"]) == (303, "/console/campaigns/c-new")
    made = stored(server, "campaigns", "c-new")
    assert made["budget_daily"] == 100_000
    assert made["starts_at"] == "2026-05-01T09:00:00+09:00"
    assert made["frequency_cap"] == [{"count": 3, "per": "day"}]

    path = "/console/campaigns/c-new/ad-groups/~new"
    targeting = {
        "pricing.kind": "cpc", "pricing.bid": "1500.5", "targeting.age.include": "20-29, 35",
        "targeting.gender.exclude": "M", "targeting.region.include": "KR-11, KR-26",
        "targeting.keys": '{"team": ["red"]}',
    }  # fmt: skip
    assert save(admin, path, form_at(admin, path), id="g-new", **targeting).status == 303
    group = stored(server, "ad-groups", "g-new")
    assert group["pricing"] == {"kind": "cpc", "bid": 1500.5}
    assert group["targeting"] == {
        "age": [[20, 29], 35], "gender": {"include": [], "exclude": ["M"]}, "region": ["KR-11", "KR-26"],
        "keys": {"team": ["red"]},
    }  # fmt: skip

    path = "/console/campaigns/c-new/creatives/~new"
    banner = {"format": "banner", "width": "320", "height": "50", "landing_url": "https://shop.example/"}
    assert save(admin, path, form_at(admin, path), id="cr-new", ad_group_id="g-new", **banner).status == 303
    assert stored(server, "creatives", "cr-new")["ad_group_id"] == "g-new"

    path = "/console/campaigns/c-new/ad-groups/g-new"
    before = stored(server, "ad-groups", "g-new")
    assert save(admin, path, form_at(admin, path)).status == 303
    assert stored(server, "ad-groups", "g-new") == before, "a form that says nothing new changes nothing"
    assert save(admin, path, form_at(admin, path), **{"targeting.age.include": ""}).status == 303
    after = stored(server, "ad-groups", "g-new")
    assert "age" not in after["targeting"]
    assert after | {"targeting": before["targeting"]} == before


#   where, what is typed, beside which field, code, why
REFUSED: list[tuple[str, dict[str, str], str, str, str]] = [
    ("/~new", {"advertiser_id": "adv-9"}, "", "unknown_parent", "not there"),
    ("/~new", {"budget_daily": "lots"}, "budget_daily", "not_a_number", "a word"),
    ("/~new", {"budget_daily": "-1"}, "budget_daily", "out_of_range", "negative"),
    ("/~new", {"time_zone": "Seoul"}, "time_zone", "unknown_zone", "no zone"),
    ("/~new", {"starts_at": "soon"}, "starts_at", "not_a_time", "no time"),
    ("/~new", {"starts_at": "2026-05-02T00:00", "ends_at": "2026-05-01T00:00"}, "ends_at", "order",
     "ends first"),
    ("/~new", {"frequency_cap": "3/fortnight"}, "frequency_cap", "not_one_of", "no period"),
    ("/~new", {"id": "c-1"}, "id", "taken", "there is one"),
    ("/c-1/ad-groups/~new", {"pricing.bid": ""}, "pricing.bid", "required", "no bid"),
    ("/c-1/ad-groups/~new", {"pricing.bid": "5", "targeting.hour.include": "25"},
     "targeting.hour.include", "out_of_range", "no hour"),
    ("/c-1/creatives/~new", {"landing_url": "shop.example"}, "landing_url", "pattern", "not absolute"),
]  # fmt: skip


@pytest.mark.parametrize(("where", "typed", "beside", "code", "why"), REFUSED)
def test_refusals_are_the_apis_and_stand_beside_their_field(
    admin: Browser, where: str, typed: dict[str, str], beside: str, code: str, why: str
) -> None:
    path = f"/console/campaigns{where}"
    fields = {**form_at(admin, path), "ad_group_id": "g-1", **typed}
    if where == "/~new" and "advertiser_id" not in typed:
        fields["advertiser_id"] = "adv-1"
    answer = save(admin, path, fields)
    page = answer.body.decode()
    assert answer.status in {409, 422}, why
    assert f"({code})" in page, why
    if beside:
        problem = re.search(rf'id="e-{re.escape(beside)}">(.*?)</p>', page)
        assert problem is not None, why
        assert f"({code})" in problem[1], why
    again = fields_of(page)
    assert all(again[name] == value for name, value in typed.items() if name != "advertiser_id"), why


def test_nobody_overwrites_anothers_edit(server: Server, admin: Browser) -> None:
    """What the other changed is in the form, but where both did; saving that again is the visitor's will."""
    path = "/console/campaigns/c-1/edit"
    fields = form_at(admin, path)
    theirs = {"name": "Theirs", "budget_daily": 5_000, "objective": "sales"}
    answer = server.ask("PATCH", "/v1/campaigns/c-1", theirs, {**server.headers, "If-Match": "*"})
    assert answer.status == 200
    refused = save(admin, path, fields, name="Mine", pacing="asap")
    page = refused.body.decode()
    assert refused.status == 412
    assert "nothing was saved" in plain(page)
    assert "is “Theirs” now (stale)" in plain(page)
    assert stored(server, "campaigns", "c-1")["name"] == "Theirs"
    merged = fields_of(page)
    assert (merged["name"], merged["pacing"]) == ("Mine", "asap")
    assert (merged["budget_daily"], merged["objective"]) == ("5000", "sales"), (
        "theirs, untouched by the visitor"
    )
    assert save(admin, path, merged).status == 303
    saved = stored(server, "campaigns", "c-1")
    assert (saved["name"], saved["budget_daily"], saved["pacing"]) == ("Mine", 5_000, "asap")
    assert save(admin, path, {**fields, "revision": "x"}).status == 412


def test_pause_resume_archive(server: Server, admin: Browser) -> None:
    def send(revision: str, status: str, kind: str = "campaign", which: str = "c-1") -> Answer:
        return admin.send(
            "/console/campaigns/c-1/status", kind=kind, which=which, revision=revision, status=status
        )

    def revision(kind: str = "campaigns", which: str = "c-1") -> str:
        return server.get(f"/v1/{kind}/{which}").headers["etag"].strip('"')

    old = revision()
    assert send(old, "paused").status == 303
    assert stored(server, "campaigns", "c-1")["status"] == "paused"
    stale = send(old, "active")
    assert stale.status == 412
    assert "nothing was done" in plain(stale.body.decode())
    refused = send(revision(), "archived")
    assert refused.status == 409
    assert "(has_children)" in refused.body.decode()
    assert send(revision(), "active").status == 303
    assert send(revision("creatives", "cr-1-1"), "paused", "creative", "cr-1-1").status == 303
    assert stored(server, "creatives", "cr-1-1")["status"] == "paused"
    assert send("1", "sleeping").status == 422
    assert send("1", "paused", "creative", "cr-9").status == 404
    assert send("1", "paused", "publisher", "pub-1").status == 404
    assert send(revision("creatives", "cr-1-2"), "archived", "creative", "cr-1-2").status == 303
    page = admin.text("/console/campaigns/c-1/creatives/cr-1-2")
    assert fields_of(page)["status"] == "archived", "an edit alone does not revive it"


def test_who_may_edit(server: Server) -> None:
    reader = log_in(server, key_for(server, "catalogue:read", "reports"))
    fields = form_at(reader, "/console/campaigns/c-1/edit")
    assert save(reader, "/console/campaigns/c-1/edit", fields, name="No").status == 403
    assert reader.get("/console/campaigns/~new").status == 403
    writer = log_in(
        server, key_for(server, "catalogue:read", "catalogue:write", "reports", advertisers=["adv-1"])
    )
    fields = form_at(writer, "/console/campaigns/~new")
    refused = save(writer, "/console/campaigns/~new", fields, advertiser_id="adv-2", id="c-other")
    assert refused.status == 422
    assert "unknown_parent" in refused.body.decode()
    assert save(writer, "/console/campaigns/~new", fields, advertiser_id="adv-1", id="c-own").status == 303
    assert writer.post("/console/campaigns/c-own/edit", {"name": "x"}).status == 403, "no token"
