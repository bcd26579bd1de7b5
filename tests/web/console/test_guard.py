"""Who comes into the console, how long they stay, and which forms count.

Method: one served admin port, browsers with cookies of their own, over HTTP.
"""

from __future__ import annotations

import pytest

from app.web.console.pages import PAGES, api_path
from app.web.console.sessions import IDLE_S, LIFE_S, RENEW_S
from tests.node import Server, now_ms
from tests.web.console.browser import KEY, Browser, key_for, log_in


def test_a_stranger_is_sent_to_the_login_and_back(server: Server) -> None:
    stranger = Browser(server)
    for path in ("/console/overview", "/console/nowhere"):
        answer = stranger.get(path)
        assert (answer.status, answer.headers["location"]) == (303, f"/console/login?next={path}")
    assert stranger.get("/console").headers["location"] == "/console/login"
    assert 'value="/console/system?x=1"' in stranger.text("/console/login?next=/console/system%3Fx%3D1")
    answer = stranger.post("/console/login", {"key": KEY, "next": "/console/system"})
    assert (answer.status, answer.headers["location"]) == (303, "/console/system")
    assert stranger.get("/console/system").status == 200


def test_a_part_that_refreshes_itself_takes_its_page_to_the_login(server: Server) -> None:
    headers = {"HX-Request": "true", "HX-Current-URL": "http://node/console/overview?x=1"}
    answer = Browser(server).get("/console/overview?live", headers)
    assert answer.status == 200
    assert answer.headers["hx-redirect"] == "/console/login?next=/console/overview%3Fx%3D1"


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example", "/v1/keys", "/console/../v1"])
def test_the_login_leads_nowhere_else(server: Server, target: str) -> None:
    answer = Browser(server).post("/console/login", {"key": KEY, "next": target})
    assert (answer.status, answer.headers["location"]) == (303, "/console")


def test_a_wrong_key_is_told_so(server: Server) -> None:
    answer = Browser(server).post("/console/login", {"key": "adj_<script>"})
    assert answer.status == 401
    assert b"no key of this node" in answer.body
    assert b"<script>" not in answer.body
    assert "set-cookie" not in answer.headers


def test_the_cookie_is_for_the_console_alone(server: Server) -> None:
    plain = Browser(server).post("/console/login", {"key": KEY}).headers["set-cookie"]
    assert all(part in plain for part in ("Path=/console;", "HttpOnly", "SameSite=Strict"))
    assert "Secure" not in plain
    behind_tls = Browser(server).post("/console/login", {"key": KEY}, {"X-Forwarded-Proto": "https"})
    assert behind_tls.headers["set-cookie"].endswith("; Secure")
    assert server.get("/v1/keys", {"Cookie": plain.partition(";")[0]}).status == 401, (
        "the API takes no cookie"
    )


def test_every_answer_keeps_to_this_node(server: Server, admin: Browser) -> None:
    for answer in (
        admin.get("/console/overview"),
        admin.get("/console/nowhere"),
        Browser(server).get("/console/login"),
        Browser(server).get("/console/static/console.css"),
    ):
        assert answer.headers["content-security-policy"] == "default-src 'self'"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
    assert admin.get("/console/overview").headers["cache-control"] == "no-store"


def test_a_forged_or_altered_cookie_is_nobody(server: Server, admin: Browser) -> None:
    good = admin.cookie
    turned = good[:20] + ("A" if good[20] != "A" else "B") + good[21:]
    for cookie in ("", "x", "====", "AAAA", turned, good[:-4], "é"):
        assert Browser(server, cookie.encode().decode("latin-1")).get("/console/overview").status == 303, (
            cookie
        )


def test_a_session_ends_with_its_key(server: Server) -> None:
    key = key_for(server, "reports")
    browser = log_in(server, key)
    assert browser.get("/console/overview").status == 200
    assert server.ask("DELETE", f"/v1/keys/{key.split('_')[1]}").status == 204
    assert browser.get("/console/overview").status == 303


def test_a_session_ends_when_nobody_is_there_and_after_a_day_of_work(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = now_ms()
    at = [0.0]
    monkeypatch.setattr(server.node, "clock_ms", lambda: start + int(at[0] * 1000))
    idle, busy = log_in(server, KEY), log_in(server, KEY)
    at[0] = IDLE_S - 60
    assert busy.get("/console/overview?live", {"HX-Request": "true"}).headers.get("set-cookie") is None
    assert "Max-Age" in busy.get("/console/overview").headers["set-cookie"], "seen: a new cookie"
    assert "set-cookie" not in busy.get("/console/overview").headers, "not with every answer"
    at[0] = IDLE_S + 60
    assert idle.get("/console/overview").status == 303
    while at[0] < LIFE_S - RENEW_S:
        assert busy.get("/console/overview").status == 200
        at[0] += IDLE_S / 2
    at[0] = LIFE_S + 60
    assert busy.get("/console/overview").status == 303


def test_logging_out_forgets_the_session(server: Server) -> None:
    browser = log_in(server, KEY)
    browser.get("/console/overview")
    answer = browser.send("/console/logout")
    assert (answer.status, answer.headers["location"]) == (303, "/console/login")
    assert browser.cookie == ""
    assert browser.get("/console/overview").status == 303


#    headers                                        token   status  why
FORMS = [
    ({},                                            True,   303,  "the console's own form"),
    ({},                                            False,  403,  "no token"),
    ({"Sec-Fetch-Site": "same-origin"},             True,   303,  "and the browser says so"),
    ({"Sec-Fetch-Site": "cross-site"},              True,   403,  "another site's, whatever it carries"),
    ({"Sec-Fetch-Site": "same-site"},               True,   403,  "a neighbour's"),
    ({"Origin": "https://evil.example"},            True,   403,  "another origin"),
    ({"Origin": "http://["},                        True,   403,  "an origin that is none"),
    ({"Content-Type": "text/plain"},                True,   415,  "no form at all"),
]  # fmt: skip


@pytest.mark.parametrize(("headers", "token", "status", "why"), FORMS)
def test_only_the_consoles_own_forms_count(
    server: Server, headers: dict[str, str], token: bool, status: int, why: str
) -> None:
    browser = log_in(server, KEY)
    browser.get("/console/overview")
    assert browser.csrf
    fields = {"csrf": browser.csrf} if token else {}
    assert browser.post("/console/logout", fields, headers).status == status, why


def test_a_token_is_one_sessions_and_may_come_as_a_header(server: Server) -> None:
    one, other = log_in(server, KEY), log_in(server, KEY)
    one.get("/console/overview")
    other.get("/console/overview")
    assert one.csrf != other.csrf
    assert other.post("/console/logout", {"csrf": one.csrf}).status == 403
    assert other.post("/console/logout", {}, {"X-CSRF-Token": other.csrf}).status == 303


def test_another_sites_login_is_refused(server: Server) -> None:
    answer = Browser(server).post("/console/login", {"key": KEY}, {"Sec-Fetch-Site": "cross-site"})
    assert answer.status == 403


def test_the_navigation_shows_what_the_key_may_read(server: Server) -> None:
    everything = log_in(server, KEY).text("/console/overview")
    assert all(f'href="{page.path}"' in everything for page in PAGES)
    assert 'aria-current="page">Overview' in everything
    ads_only = log_in(server, key_for(server, "ads"))
    answer = ads_only.get("/console")
    assert answer.status == 403
    assert b"opens no page" in answer.body
    assert b"<nav" not in answer.body


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_needs_what_its_route_needs(server: Server, page: tuple[str, str, str]) -> None:
    path = page[0]
    assert Browser(server).get(path).status == 303
    assert log_in(server, key_for(server, "ads")).get(path).status == 403


def test_a_page_that_nobody_listed_is_closed(server: Server, admin: Browser) -> None:
    reader = log_in(server, key_for(server, "reports"))
    assert reader.get("/console/nowhere").status == 403
    assert admin.get("/console/nowhere").status == 404
    assert api_path("/console/nowhere") == "/console/nowhere"


def test_a_method_that_is_not_taken_is_said_so(admin: Browser) -> None:
    answer = admin.send("/console/overview")
    assert answer.status == 405
    assert b"method_not_allowed" in answer.body
