"""API keys: made, shown once, good for their scopes at once, and taken back.

Method: one served admin port, keys made over HTTP, every kind of route asked with each of them.
"""

from __future__ import annotations

from typing import Any

import pytest

from app.domain.keys import SCOPES
from app.flows.keys import caller_of, make_key
from app.state import saving
from app.web.admin.rights import RIGHTS, right_of
from tests.node import Server
from tests.web.admin.conftest import KEY


def make(server: Server, *scopes: str, **more: Any) -> str:
    """Make a key and return its text."""
    answer = server.ask("POST", "/v1/keys", {"name": "test", "scopes": list(scopes), **more})
    assert answer.status == 201, answer
    text: str = answer.json()["key"]
    return text


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_a_key_is_shown_once_and_kept_as_a_hash(server: Server) -> None:
    answer = server.ask("POST", "/v1/keys", {"name": "SSP one", "scopes": ["pricing", "ads"]})
    made = answer.json()
    assert answer.status == 201
    assert answer.headers["location"] == f"/v1/keys/{made['id']}"
    assert answer.headers["cache-control"] == "no-store"
    assert made["scopes"] == ["ads", "pricing"]
    assert made["key"].startswith(made["prefix"])
    assert len(made["key"]) > len(made["prefix"]) + 40
    assert (made["advertiser_ids"], made["expires_at"], made["name"]) == (None, None, "SSP one")

    shown = server.get(f"/v1/keys/{made['id']}")
    listed = server.get("/v1/keys?limit=1000")
    assert made["id"] in [item["id"] for item in listed.json()["items"]]
    assert {name: value for name, value in made.items() if name != "key"} == shown.json()
    secret = made["key"].removeprefix(made["prefix"] + "_").encode()
    for place in (shown.body, listed.body, repr(server.node.state.keys.parts()).encode()):
        assert secret not in place
    assert secret not in (server.node.settings.data / "journal.db").read_bytes()
    assert secret not in (server.node.settings.data / "journal.db-wal").read_bytes()


def test_a_key_is_good_at_once_until_it_is_taken_back(server: Server) -> None:
    key = make(server, "catalogue:read")
    assert server.get("/v1/campaigns", bearer(key)).status == 200
    assert server.get("/v1/campaigns", {"X-API-Key": key}).status == 200
    assert server.get("/v1/campaigns", {"X-API-Key": key, **bearer(KEY)}).status == 401, "two keys are none"
    identity = key.split("_")[1]
    assert server.ask("DELETE", f"/v1/keys/{identity}").status == 204
    assert server.get("/v1/campaigns", bearer(key)).status == 401
    for method in ("GET", "DELETE"):
        assert server.ask(method, f"/v1/keys/{identity}").status == 404


def test_two_keys_of_one_partner_are_two_keys(server: Server) -> None:
    old, new = make(server, "reports"), make(server, "reports")
    assert (
        server.get("/v1/reports", bearer(old)).status == server.get("/v1/reports", bearer(new)).status == 200
    )
    assert server.ask("DELETE", f"/v1/keys/{old.split('_')[1]}").status == 204
    assert server.get("/v1/reports", bearer(old)).status == 401
    assert server.get("/v1/reports", bearer(new)).status == 200


def test_a_key_ends_when_it_expires(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    key = make(server, "catalogue:read", expires_at="2100-01-01T00:00:00+09:00")
    assert server.get("/v1/campaigns", bearer(key)).status == 200
    monkeypatch.setattr(server.node, "clock_ms", lambda: 4_102_412_400_000)
    assert server.get("/v1/campaigns", bearer(key)).status == 401


#   change of the last part of a key                 why
FORGED = [
    (lambda key: key[:-1],                           "cut short"),
    (lambda key: key + "x",                          "longer"),
    (lambda key: key[:-1] + ("a" if key[-1] != "a" else "b"), "one letter off"),
    (lambda key: key.rsplit("_", 1)[0],              "without its end"),
    (lambda key: "adj_nobody_" + key.split("_", 2)[2], "under another id"),
    (lambda key: key.upper(),                        "in capitals"),
    (lambda key: "",                                 "nothing"),
    (lambda key: "adj_",                             "next to nothing"),
]  # fmt: skip


@pytest.mark.parametrize(("forge", "why"), FORGED)
def test_a_forged_key_opens_nothing(server: Server, forge: Any, why: str) -> None:
    key = make(server, *SCOPES)
    assert caller_of(server.node, key.encode()) is not None
    assert caller_of(server.node, forge(key).encode()) is None, why
    assert server.get("/v1/campaigns", bearer(forge(key))).status == 401, why


#   method   path                      scope that it needs
ROUTES = [
    ("GET",    "/v1/advertisers",         "catalogue:read"),
    ("GET",    "/v1/campaigns/c-1",       "catalogue:read"),
    ("GET",    "/v1/placements/plc-1",    "catalogue:read"),
    ("GET",    "/v1/export",              "catalogue:read"),
    ("POST",   "/v1/advertisers",         "catalogue:write"),
    ("PUT",    "/v1/creatives/cr-1-1",    "catalogue:write"),
    ("PATCH",  "/v1/ad-groups/g-1",       "catalogue:write"),
    ("DELETE", "/v1/publishers/pub-1",    "catalogue:write"),
    ("POST",   "/v1/import",              "catalogue:write"),
    ("GET",    "/v1/reports",             "reports"),
    ("GET",    "/v1/decisions?request_id=x", "reports"),
    ("GET",    "/v1/decisions/none",      "reports"),
    ("POST",   "/v1/decisions/none/replay", "reports"),
    ("GET",    "/v1/campaigns/c-1/delivery", "reports"),
    ("GET",    "/v1/creatives/cr-1-1/quality", "reports"),
    ("GET",    "/v1/campaigns/delivery",  "catalogue:read"),
    ("POST",   "/v1/refunds",             "admin"),
    ("GET",    "/v1/keys",                "admin"),
    ("POST",   "/v1/keys",                "admin"),
    ("GET",    "/v1/keys/none",           "admin"),
    ("DELETE", "/v1/keys/none",           "admin"),
    ("GET",    "/v1/nothing",             "admin"),
    ("GET",    "/nothing",                "admin"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "scope"), ROUTES)
def test_a_route_needs_its_scope(server: Server, method: str, path: str, scope: str) -> None:
    for held in SCOPES:
        answer = server.ask(method, path, b"{", bearer(make(server, held)))
        if held in (scope, "admin"):
            assert answer.status not in (401, 403), (held, answer)
        else:
            assert (answer.status, answer.json()["code"]) == (403, "out_of_scope"), held


def test_every_route_has_a_row_or_needs_admin(server: Server) -> None:
    open_to_all = {"/healthz", "/readyz", "/openapi-public.json", "/docs", "/openapi.json"}
    document = server.get("/openapi.json").json()
    unlisted = {path for path in document["paths"] if not right_of(path).start} - open_to_all
    assert unlisted == set(), "give each a row in RIGHTS, or it needs `admin`"
    assert len({right.start for right in RIGHTS}) == len(RIGHTS)


#   body                                                       field             why
WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"scopes": ["ads"]},                                      "name",           "missing"),
    ({"name": "", "scopes": ["ads"]},                          "name",           "empty"),
    ({"name": "x"},                                            "scopes",         "missing"),
    ({"name": "x", "scopes": []},                              "scopes",         "good for nothing"),
    ({"name": "x", "scopes": ["root"]},                        "scopes[0]",      "unknown"),
    ({"name": "x", "scopes": "ads"},                           "scopes",         "no list"),
    ({"name": "x", "scopes": ["ads"], "advertiser_ids": []},   "advertiser_ids", "bound to none"),
    ({"name": "x", "scopes": ["ads"], "advertiser_ids": ["/"]}, "advertiser_ids[0]", "no id"),
    ({"name": "x", "scopes": ["ads"], "advertiser_ids": ["adv-1", "adv-1", "adv-9"]},
     "advertiser_ids[2]", "nobody's"),
    ({"name": "x", "scopes": ["ads"], "expires_at": "2001-01-01T00:00:00Z"}, "expires_at", "past"),
    ({"name": "x", "scopes": ["ads"], "expires_at": "2100-01-01T00:00:00"}, "expires_at", "no offset"),
    ({"name": "x", "scopes": ["ads"], "key": "mine"},          "key",            "unknown field"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "field", "why"), WRONG)
def test_a_key_that_does_not_fit_is_refused_by_field(
    server: Server, body: dict[str, Any], field: str, why: str
) -> None:
    before = len(server.node.state.keys.by_id)
    answer = server.ask("POST", "/v1/keys", body)
    assert (answer.status, answer.json()["code"]) == (422, "invalid"), why
    assert answer.json()["errors"][0]["field"] == field, why
    assert len(server.node.state.keys.by_id) == before


def test_lists_of_keys_page(server: Server) -> None:
    for _ in range(3):
        make(server, "ads")
    found, cursor = [], ""
    while cursor is not None:
        page = server.get(f"/v1/keys?limit=2&cursor={cursor}").json()
        found += [item["id"] for item in page["items"]]
        cursor = page["next"]
    assert found == sorted(server.node.state.keys.by_id)


def test_there_is_an_end_to_keys(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.flows.keys.MAX_KEYS", 0)
    answer = server.ask("POST", "/v1/keys", {"name": "x", "scopes": ["ads"]})
    assert (answer.status, answer.json()["code"]) == (422, "too_many_keys")


def test_keys_outlive_a_restart_and_a_snapshot(server: Server) -> None:
    """The state holds keys as a fold of the journal, and a snapshot's parts bring them back."""
    from app.state.state import State

    key, _ = server.run(make_key(server.node, "kept", ("ads",), ("adv-1",), 4_102_444_800_000))
    again = State(server.node.settings.columns)
    saving.restore(again, server.node.state.position, saving.parts(server.node.state))
    assert again.keys.by_id == server.node.state.keys.by_id
    assert again.keys.by_id[key.id] == key
    again.keys.check()
