"""Who may come in, what stands where, and how the admin port says no, over a real socket."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.web.admin.app import admin_app
from app.web.admin.auth import AdminAuth, is_open, key_hash
from app.web.ads import AdsDoor
from app.web.links import Links
from app.web.tokens import KINDS, Tokens
from tests.node import Server, ask_for, decide, send, serving, small_catalogue, tick
from tests.web.admin.conftest import HEADERS, KEY

PROBLEM = "application/problem+json"

#   method   path                              without key   with key   why
PATHS = [
    ("GET",  "/healthz",                       200, 200, "load balancers have no key"),
    ("GET",  "/readyz",                        200, 200, "nor do they here"),
    ("GET",  "/docs",                          200, 200, "a page of words"),
    ("GET",  "/docs/public",                   200, 200, "the other port's words"),
    ("GET",  "/docs/files/swagger-ui-bundle.js", 200, 200, "what the page loads"),
    ("GET",  "/docs/files/swagger-ui.css",     200, 200, "what the page loads"),
    ("GET",  "/openapi.json",                  200, 200, "what the page shows"),
    ("GET",  "/openapi-public.json",           200, 200, "what the page shows"),
    ("GET",  "/metrics",                       200, 200, "the tests come from loopback"),
    ("GET",  "/console/login",                 200, 200, "a form for the key"),
    ("GET",  "/console/static/console.css",    200, 200, "what the login loads"),
    ("GET",  "/console/static/x.css",          404, 404, "no such file"),
    ("GET",  "/console/static/../sessions.py", 404, 404, "an open folder opens nothing else"),
    ("GET",  "/docs/files/../../v1/reports",   404, 404, "an open folder opens nothing else"),
    ("GET",  "/docs/files/%2e%2e/%2e%2e/__init__.py", 404, 404, "nor the disk"),
    ("GET",  "/",                              401, 404, "unknown"),
    ("GET",  "/nothing/here",                  401, 404, "unknown: the same answer as a known one"),
    ("POST", "/nothing/here",                  401, 404, "unknown"),
    ("GET",  "/console",                       303, 303, "people are sent to the login"),
    ("GET",  "/console/nothing",               303, 303, "unknown: the same answer as a known one"),
    ("GET",  "/consolex",                      401, 404, "not the console"),
    ("GET",  "/v1/keys",                       401, 200, "who may come in"),
    ("GET",  "/v1/keys/none",                  401, 404, "no such key"),
    ("GET",  "/v1/campaigns/c-1/delivery",     401, 200, ""),
    ("GET",  "/v1/experiments",                401, 200, "a kind of the catalogue"),
    ("GET",  "/v1/advertisers",                401, 200, "the catalogue"),
    ("GET",  "/v1/advertisers/",               401, 404, "no redirects: a path is a path"),
    ("GET",  "/v1/advertisers/adv-1",          401, 200, "the catalogue"),
    ("GET",  "/v1/advertisers/adv-9",          401, 404, "the catalogue"),
    ("GET",  "/v1/reports",                    401, 200, "reports"),
    ("GET",  "/v1/decisions?request_id=r",     401, 200, "traces"),
    ("GET",  "/v1/decisions",                  401, 422, "which?"),
    ("GET",  "/v1/export",                     401, 200, "the catalogue"),
    ("GET",  "/healthz/",                      401, 404, "not the open path"),
    ("GET",  "//healthz",                      401, 404, "not the open path"),
    ("DELETE", "/v1/advertisers",              401, 405, "a known path"),
    ("DELETE", "/v1/reports",                  401, 405, "a known path"),
    ("PUT",  "/v1/refunds",                    401, 405, "a known path"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "without", "with_key", "why"), PATHS)
def test_what_stands_where(
    server: Server, method: str, path: str, without: int, with_key: int, why: str
) -> None:
    bare, keyed = server.ask(method, path, headers={}), server.ask(method, path)
    assert (bare.status, keyed.status) == (without, with_key), why
    for answer in (bare, keyed):
        if answer.status >= 400 and not path.startswith(("/docs", "/console/")):
            assert answer.headers["content-type"] == PROBLEM
            assert answer.json()["status"] == answer.status
    if without == 401:
        assert bare.headers["www-authenticate"] == "Bearer"
        assert bare.json()["code"] == "unauthorized"


#   headers                                                    status  why
KEYS = [
    ({"Authorization": f"Bearer {KEY}"},                       200, "the key"),
    ({"Authorization": f"bearer {KEY}"},                       200, "schemes have no case (RFC 9110)"),
    ({"Authorization": f"Bearer  {KEY}"},                      200, "one or more spaces (RFC 9110)"),
    ({"Authorization": f"Bearer {KEY}x"},                      401, "another key"),
    ({"Authorization": f"Bearer {KEY[:-1]}"},                  401, "a part of it"),
    ({"Authorization": "Bearer "},                             401, "none"),
    ({"Authorization": "Bearer"},                              401, "none"),
    ({"Authorization": KEY},                                   401, "no scheme"),
    ({"Authorization": f"Basic {KEY}"},                        401, "another scheme"),
    ({"Authorization": f"Bearer {key_hash(KEY).hex()}"},       401, "the hash is not the key"),
    ({"X-API-Key": KEY},                                       401, "the partners' header"),
    ({"Cookie": f"key={KEY}"},                                 401, "no cookie is a key"),
]  # fmt: skip


@pytest.mark.parametrize(("headers", "status", "why"), KEYS)
def test_keys(server: Server, headers: dict[str, str], status: int, why: str) -> None:
    assert server.get("/v1/advertisers", headers).status == status, why


def test_two_keys_are_none(server: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.putrequest("GET", "/v1/advertisers")
    connection.putheader("Authorization", f"Bearer {KEY}")
    connection.putheader("Authorization", f"Bearer {KEY}")
    connection.endheaders()
    assert connection.getresponse().status == 401
    connection.close()


#   client                    headers                            open   why
CLIENTS = [
    (("127.0.0.1", 1),        [],                                True,  "loopback"),
    (("127.8.8.8", 1),        [],                                True,  "all of 127/8 is"),
    (("::1", 1),              [],                                True,  "loopback"),
    (("::ffff:127.0.0.1", 1), [],                                True,  "loopback in other clothes"),
    (("10.0.0.7", 1),         [],                                False, "a neighbour"),
    (("::ffff:10.0.0.7", 1),  [],                                False, "a neighbour"),
    (("127.0.0.1", 1),        [(b"x-forwarded-for", b"1.2.3.4")], False, "a proxy, for somebody else"),
    (("127.0.0.1", 1),        [(b"forwarded", b"for=1.2.3.4")],  False, "a proxy, for somebody else"),
    (("testclient", 1),       [],                                False, "no address"),
    (None,                    [],                                False, "a socket file has no address"),
]  # fmt: skip


@pytest.mark.parametrize(("client", "headers", "opened", "why"), CLIENTS)
def test_metrics_need_no_key_on_loopback_alone(
    client: tuple[str, int] | None, headers: list[tuple[bytes, bytes]], opened: bool, why: str
) -> None:
    scope = {"type": "http", "path": "/metrics", "client": client, "headers": headers}
    assert is_open(scope) is opened, why
    assert not is_open({**scope, "path": "/metrics/"})


def test_405_names_every_method_of_the_path(server: Server) -> None:
    assert server.ask("DELETE", "/v1/advertisers").headers["allow"] == "GET, POST"
    assert server.ask("POST", "/v1/advertisers/adv-1").headers["allow"] == "DELETE, GET, PATCH, PUT"
    assert server.ask("GET", "/v1/refunds").headers["allow"] == "POST"
    assert server.ask("POST", "/healthz", b"").headers["allow"] == "GET, HEAD"


def test_a_body_beyond_one_mebibyte_is_refused_but_for_import(server: Server) -> None:
    large = json.dumps({"name": "n" * (1 << 20)}).encode()
    for path in ("/v1/advertisers", "/v1/refunds"):
        answer = server.ask("POST", path, large)
        assert (answer.status, answer.json()["code"]) == (413, "too_large")
    lines = b'{"type": "publisher", "id": "pub-1", "name": "News"}\n' * 30_000
    assert len(lines) > 1 << 20
    answer = server.ask("POST", "/v1/import?quiet=true", lines)
    assert (answer.status, answer.json()["lines"]) == (200, [])


def test_a_body_that_does_not_say_its_length_is_limited_too(server: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    chunks = (b'"' + b"n" * 65_536 for _ in range(17))
    connection.request("POST", "/v1/refunds", chunks, HEADERS, encode_chunked=True)
    response = connection.getresponse()
    assert (response.status, json.loads(response.read())["code"]) == (413, "too_large")
    connection.close()


def test_readiness_says_what_is_missing_and_the_rest_waits(server: Server) -> None:
    server.node.missing.update({"snapshot", "kernels"})
    try:
        answer = server.get("/readyz")
        assert (answer.status, answer.json()) == (503, {"ready": False, "missing": ["kernels", "snapshot"]})
        assert server.get("/healthz").status == server.get("/metrics").status == 200
        waiting = server.get("/v1/advertisers")
        assert (waiting.status, waiting.json()["code"]) == (503, "not_ready")
        assert int(waiting.headers["retry-after"]) >= 1
        assert server.get("/v1/advertisers", headers={}).status == 401
    finally:
        server.node.missing.clear()
    assert server.get("/readyz").json() == {"ready": True}


def test_a_bug_is_answered_without_its_detail(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(kind: str) -> list[str]:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(server.node.state.catalogue, "ids", broken)
    answer = server.get("/v1/advertisers")
    assert (answer.status, answer.headers["content-type"]) == (500, PROBLEM)
    assert answer.json()["code"] == "internal"
    assert b"secret" not in answer.body


def test_the_pages_load_nothing_from_elsewhere(server: Server) -> None:
    for page in ("/docs", "/docs/public"):
        text = server.get(page, headers={}).body.decode()
        loaded = re.findall(r'(?:src|href)="([^"]+)"', text)
        assert loaded
        assert all(path.startswith("/docs/files/") for path in loaded), loaded
        assert "http" not in text.replace("<!DOCTYPE html>", "")
        for path in loaded:
            assert server.get(path, headers={}).status == 200


def test_the_document_names_every_route_and_the_key(server: Server) -> None:
    document = server.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    wanted = {
        "/v1/decisions", "/v1/decisions/{id}", "/v1/decisions/{id}/replay",
        "/v1/decisions/{id}/what-if", "/v1/refunds", "/v1/reports",
        "/v1/import", "/v1/export", "/v1/keys", "/v1/keys/{id}", "/v1/advertisers",
        "/v1/creatives/{id}", "/v1/ads",
    }  # fmt: skip
    assert wanted <= document["paths"].keys()
    assert document["security"] == [{"adminKey": []}]
    assert document["components"]["securitySchemes"]["adminKey"]["scheme"] == "bearer"
    for path, item in document["paths"].items():
        for parameter in re.findall(r"{(\w+)}", path):
            for verb, operation in item.items():
                named = [each["name"] for each in operation.get("parameters", []) if each["in"] == "path"]
                assert named == [parameter], (verb, path)
    text = json.dumps(document)
    for reference in re.findall(r'"#/components/schemas/([^"]+)"', text):
        assert reference in document["components"]["schemas"]


def test_metrics_tell_of_events_and_of_the_process(server: Server) -> None:
    async def happen() -> None:
        served = decide(server.node, ask_for("plc-1"))
        await send(server.node, "impression", served.ads[0])
        await tick(server.node)

    server.get("/v1/advertisers")
    server.run(happen())
    answer = server.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    values = dict(
        line.rsplit(" ", 1) for line in answer.body.decode().splitlines() if not line.startswith("#")
    )
    assert float(values['adjudge_events_total{kind="impression",status="counted"}']) >= 1
    assert float(values["adjudge_journal_position"]) == server.node.state.position
    assert float(values['adjudge_requests_total{outcome="200",route="/v1/advertisers"}']) >= 1
    assert float(values["process_resident_memory_bytes"]) > 0
    assert {'adjudge_request_duration_seconds_bucket{le="0.04",route="/v1/advertisers"}'} <= values.keys()
    assert {'adjudge_request_duration_seconds_bucket{le="0.1",route="/v1/advertisers"}'} <= values.keys()


@pytest.fixture(scope="module")
def with_ads(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    async def extra(_request: Request) -> Response:
        return Response("extra")

    def make(node: Any) -> Any:
        tokens = Tokens([bytes(32)], dict.fromkeys(KINDS, 86_400), bytes(8))
        ads = AdsDoor(node, Links("http://127.0.0.1:1", tokens), tokens, admin=True)
        routes = [Route("/extra", extra)]
        return admin_app(node, admin_key_hash=key_hash(KEY), ads_door=ads, extra_routes=routes)

    folder: Path = tmp_path_factory.mktemp("node")
    with serving(folder, make, HEADERS, things=small_catalogue()) as server:
        yield server


ASKED: dict[str, Any] = {"placements": [{"name": "top", "placement_id": "plc-1", "count": 2}]}


def test_ads_are_explained_on_this_port(with_ads: Server) -> None:
    answer = with_ads.ask("POST", "/v1/ads", {**ASKED, "explain": True})
    assert answer.status == 200
    document = answer.json()
    told, ads = document["explain"]["top"], document["decisions"]["top"]
    assert [slot["creative_id"] for slot in told["slots"]] == [ad["creative_id"] for ad in ads]
    assert told["best"][0]["pctr"] == ads[0]["pctr"]
    assert told["rows"][0] == "any"
    assert {cell["column"] for cell in told["best"][0]["weights"]["main"] if cell["row"] == "any"} >= {"any"}


def test_a_preview_of_another_time_is_explained_too(with_ads: Server) -> None:
    answer = with_ads.ask("POST", "/v1/ads", {**ASKED, "explain": True, "at": "2030-01-01T03:00:00+09:00"})
    assert "hour:3" in answer.json()["explain"]["top"]["rows"]
    assert "tokens" not in answer.json()["decisions"]["top"][0]


def test_the_ads_door_needs_the_key_and_its_method(with_ads: Server) -> None:
    assert with_ads.ask("POST", "/v1/ads", ASKED, headers={}).status == 401
    wrong = with_ads.get("/v1/ads")
    assert (wrong.status, wrong.headers["allow"], wrong.headers["content-type"]) == (405, "POST", PROBLEM)
    assert with_ads.get("/extra").body == b"extra"
    assert with_ads.get("/extra", headers={}).status == 401


def test_the_layer_lets_no_websocket_in_and_no_start_up_out() -> None:
    sent: list[str] = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        sent.append("inner")

    async def send_one(message: Any) -> None:
        sent.append(message["type"])

    layer = AdminAuth(inner, key_hash(KEY))
    asyncio.run(layer({"type": "websocket", "path": "/v1/x", "headers": []}, None, send_one))  # type: ignore[arg-type]
    assert sent == ["websocket.close"]
    asyncio.run(layer({"type": "lifespan"}, None, send_one))  # type: ignore[arg-type]
    assert sent[-1] == "inner"


def test_operators_are_the_first_to_be_put_off(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.node.limiter, "sheds_admin", lambda: True)
    for path in ("/v1/advertisers", "/v1/reports"):
        answer = server.get(path)
        assert (answer.status, answer.json()["code"]) == (503, "overloaded")
        assert int(answer.headers["retry-after"]) >= 1
    assert (
        server.get("/healthz").status == server.get("/readyz").status == server.get("/metrics").status == 200
    )
    assert server.get("/v1/advertisers", headers={}).status == 401
