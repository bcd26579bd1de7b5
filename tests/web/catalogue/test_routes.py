"""The catalogue's doors over a fake node: statuses, headers, merge patches, pages, import and export.

The table from codes to statuses stands here as the doors need it; the application has its own.
"""

# ruff: noqa: E501  (the table is read across)

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from fastapi.testclient import TestClient

from app.domain.catalogue import Creative, Kind
from app.domain.refusals import Refused
from app.web.catalogue import bulk, importing, schemas
from app.web.catalogue.parsing import parse
from app.web.catalogue.routes import PATHS, catalogue_router, merged
from tests.flows.fake_catalogue import FakeNode
from tests.web.catalogue.samples import DOCUMENTED, SMALLEST

STATUS = {
    "not_json": 400,
    "not_found": 404,
    "taken": 409,
    "has_children": 409,
    "stale": 412,
    "too_large": 413,
    "precondition_required": 428,
}


@pytest.fixture
def node() -> Any:
    return FakeNode([parse(kind, document, "UTC").thing for kind, document in SMALLEST.items()])


@pytest.fixture
def client(node: Any) -> Iterator[TestClient]:
    app = FastAPI()
    app.include_router(catalogue_router(node, "Asia/Seoul"))

    @app.exception_handler(Refused)
    async def refuse(request: Request, refusal: Refused) -> JSONResponse:
        errors = [[error.field, error.code] for error in refusal.errors]
        body = {"code": refusal.code, "field": refusal.field, "errors": errors}
        return JSONResponse(body, STATUS.get(refusal.code, 422))

    with TestClient(app) as client:
        yield client


@pytest.mark.parametrize("kind", PATHS)
def test_the_six_operations_on_each_kind(client: TestClient, kind: Kind) -> None:
    path, document = PATHS[kind], SMALLEST[kind] | {"id": "new-1"}
    made = client.post(path, json=document)
    assert (made.status_code, made.headers["etag"], made.headers["location"]) == (201, '"1"', path + "/new-1")
    assert client.get(path + "/new-1").json() == made.json() == made.json() | document
    assert [item["id"] for item in client.get(path).json()["items"]] == sorted(
        [SMALLEST[kind]["id"], "new-1"]
    )
    patched = client.patch(path + "/new-1", json={"status": "paused"}, headers={"If-Match": '"1"'})
    assert (patched.status_code, patched.headers["etag"]) == (200, '"2"')
    assert patched.json() == made.json() | {"status": "paused"}
    put = client.put(path + "/new-1", json=document, headers={"If-Match": '"2"'})
    assert (put.status_code, put.headers["etag"], put.json()) == (200, '"3"', made.json())
    gone = client.delete(path + "/new-1", headers={"If-Match": '"3"'})
    assert (gone.status_code, gone.content, gone.headers["etag"]) == (204, b"", '"4"')
    assert client.get(path + "/new-1").json()["status"] == "archived"


def test_post_without_an_id_makes_one(client: TestClient) -> None:
    made = client.post("/v1/advertisers", json={"name": "n"})
    assert (made.status_code, made.json()["id"], made.headers["location"]) == (
        201,
        "fresh-1",
        "/v1/advertisers/fresh-1",
    )


def test_put_creates_under_the_id_of_the_path(client: TestClient) -> None:
    made = client.put("/v1/campaigns/c-9", json={"advertiser_id": "adv-1"})
    assert (made.status_code, made.json()["id"], made.json()["time_zone"]) == (201, "c-9", "Asia/Seoul")


# fmt: off
REFUSED: list[tuple[str, str, dict[str, Any], int, str, str]] = [
    # verb     path                       sent                                              status  code                     why
    ("GET",    "/v1/campaigns/none",      {},                                               404,    "not_found",             ""),
    ("GET",    "/v1/campaigns/%20",       {},                                               404,    "not_found",             "no id at all"),
    ("GET",    "/v1/campaigns?limit=0",   {},                                               422,    "invalid",               ""),
    ("GET",    "/v1/campaigns?limit=1001", {},                                              422,    "invalid",               ""),
    ("GET",    "/v1/campaigns?limit=x",   {},                                               422,    "invalid",               ""),
    ("POST",   "/v1/advertisers",         {"content": b"{"},                                400,    "not_json",              ""),
    ("POST",   "/v1/advertisers",         {"content": b""},                                 400,    "not_json",              ""),
    ("POST",   "/v1/advertisers",         {"json": []},                                     422,    "invalid",               ""),
    ("POST",   "/v1/advertisers",         {"json": {"id": "adv-1"}},                        409,    "taken",                 ""),
    ("POST",   "/v1/advertisers",         {"content": b" " * 1_048_577},                    413,    "too_large",             ""),
    ("POST",   "/v1/campaigns",           {"json": {"advertiser_id": "none"}},              422,    "unknown_parent",        ""),
    ("POST",   "/v1/ad-groups",           {"json": {"campaign_id": "c-1", "pricing": {"kind": "ocpm", "bid": 1}}},
                                                                                            422,    "invalid",               "it has a target"),
    ("PUT",    "/v1/advertisers/adv-1",   {"json": {}},                                     428,    "precondition_required", ""),
    ("PUT",    "/v1/advertisers/adv-1",   {"json": {}, "headers": {"If-Match": '"2"'}},     412,    "stale",                 ""),
    ("PUT",    "/v1/advertisers/adv-1",   {"json": {}, "headers": {"If-Match": 'W/"1"'}},   412,    "stale",                 "weak tags do not match"),
    ("PUT",    "/v1/advertisers/adv-1",   {"json": {}, "headers": {"If-Match": "1"}},       412,    "stale",                 "no tag without quotes"),
    ("PUT",    "/v1/advertisers/none",    {"json": {}, "headers": {"If-Match": "*"}},       412,    "stale",                 "nothing to match"),
    ("PUT",    "/v1/advertisers/a%20b",   {"json": {}},                                     422,    "invalid",               "the path's id"),
    ("PUT",    "/v1/advertisers/x",       {"json": {"id": "y"}},                            422,    "invalid",               "two ids"),
    ("PATCH",  "/v1/advertisers/none",    {"json": {}},                                     404,    "not_found",             ""),
    ("PATCH",  "/v1/advertisers/adv-1",   {"json": {}},                                     428,    "precondition_required", ""),
    ("PATCH",  "/v1/advertisers/adv-1",   {"json": {"id": "x"}, "headers": {"If-Match": "*"}}, 422, "invalid",               "ids stay"),
    ("PATCH",  "/v1/advertisers/adv-1",   {"json": [], "headers": {"If-Match": "*"}},       422,    "invalid",               "replaces the whole by a list"),
    ("PATCH",  "/v1/campaigns/c-1",       {"json": {"ends_at": "x"}, "headers": {"If-Match": "*"}}, 422, "invalid",          "the whole is checked"),
    ("PATCH",  "/v1/campaigns/c-1",       {"json": {"status": "archived"}, "headers": {"If-Match": "*"}}, 409, "has_children", ""),
    ("DELETE", "/v1/campaigns/c-1",       {},                                               428,    "precondition_required", ""),
    ("DELETE", "/v1/campaigns/c-1",       {"headers": {"If-Match": '"1"'}},                 409,    "has_children",          ""),
    ("DELETE", "/v1/campaigns/none",      {"headers": {"If-Match": '"1"'}},                 404,    "not_found",             ""),
    ("POST",   "/v1/import?quiet=maybe",  {"content": b""},                                 422,    "invalid",               ""),
]
# fmt: on


@pytest.mark.parametrize(("verb", "path", "sent", "status", "code", "why"), REFUSED)
def test_refused(
    client: TestClient,
    node: Any,
    verb: str,
    path: str,
    sent: dict[str, Any],
    status: int,
    code: str,
    why: str,
) -> None:
    answer = client.request(verb, path, **sent)
    assert (answer.status_code, answer.json()["code"]) == (status, code), why
    assert node.lines == []


@pytest.mark.parametrize("path", ["/v1/experiment", "/v1/audience", "/v1/ad_groups"])
def test_what_is_not_there_yet(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


@pytest.mark.parametrize("tags", ['"1"', '"7", "1"', "*"])
def test_if_match_takes_a_list_or_a_star(client: TestClient, tags: str) -> None:
    answer = client.patch("/v1/campaigns/c-1", json={"name": "n"}, headers={"If-Match": tags})
    assert (answer.status_code, answer.headers["etag"]) == (200, '"2"')


def test_a_patch_that_changes_nothing_keeps_the_revision(client: TestClient, node: Any) -> None:
    answer = client.patch("/v1/campaigns/c-1", json={}, headers={"If-Match": '"1"'})
    assert (answer.status_code, answer.headers["etag"], node.lines) == (200, '"1"', [])


# fmt: off
MERGES: list[tuple[Any, Any, Any]] = [
    # RFC 7396, appendix A, word for word: original, patch, result
    ({"a": "b"},                  {"a": "c"},                 {"a": "c"}),
    ({"a": "b"},                  {"b": "c"},                 {"a": "b", "b": "c"}),
    ({"a": "b"},                  {"a": None},                {}),
    ({"a": "b", "b": "c"},        {"a": None},                {"b": "c"}),
    ({"a": ["b"]},                {"a": "c"},                 {"a": "c"}),
    ({"a": "c"},                  {"a": ["b"]},               {"a": ["b"]}),
    ({"a": {"b": "c"}},           {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]},         {"a": [1]},                 {"a": [1]}),
    (["a", "b"],                  ["c", "d"],                 ["c", "d"]),
    ({"a": "b"},                  ["c"],                      ["c"]),
    ({"a": "foo"},                None,                       None),
    ({"a": "foo"},                "bar",                      "bar"),
    ({"e": None},                 {"a": 1},                   {"e": None, "a": 1}),
    ([1, 2],                      {"a": "b", "c": None},      {"a": "b"}),
    ({},                          {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]
# fmt: on


@pytest.mark.parametrize(("target", "changes", "result"), MERGES)
def test_merging(target: Any, changes: Any, result: Any) -> None:
    before = json.dumps(target)
    assert merged(target, changes) == result
    assert json.dumps(target) == before


def test_a_patch_reaches_into_targeting_and_null_takes_back_to_the_default(client: TestClient) -> None:
    def patch(changes: dict[str, Any]) -> dict[str, Any]:
        answer = client.patch(
            "/v1/ad-groups/g-1",
            content=json.dumps(changes),
            headers={"If-Match": "*", "Content-Type": "application/merge-patch+json"},
        )
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document

    patch({"targeting": {"age": [[20, 29]], "keys": {"team": ["red"], "n": [1]}}, "budget_daily": 5})
    after = patch({"targeting": {"age": None, "keys": {"team": None}}, "pricing": {"bid": 0.5}})
    assert after["targeting"] == {"keys": {"n": [1]}}
    assert (after["pricing"], after["budget_daily"]) == ({"kind": "cpc", "bid": 0.5}, 5)
    after = patch({"targeting": None, "budget_daily": None})
    assert (after["targeting"], after["budget_daily"]) == ({}, None)


def test_pages_meet_without_gap_or_overlap(client: TestClient) -> None:
    for number in range(7):
        client.put(f"/v1/advertisers/x-{number}", json={})
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = client.get("/v1/advertisers", params={"cursor": cursor, "limit": 3}).json()
        assert len(page["items"]) <= 3
        seen += [item["id"] for item in page["items"]]
        cursor = page["next"]
    assert seen == ["adv-1", *(f"x-{number}" for number in range(7))]


def test_a_page_that_ends_the_list_has_no_next(client: TestClient) -> None:
    client.put("/v1/advertisers/x", json={})
    assert client.get("/v1/advertisers?limit=2").json()["next"] is None
    assert client.get("/v1/advertisers?limit=1").json()["next"] == "adv-1"
    assert client.get("/v1/advertisers?cursor=zz").json() == {"items": [], "next": None}


IMPORT_LINES = [
    {"type": "advertiser", "id": "adv-1", "name": "renamed"},
    {"type": "publisher", "id": "pub-1"},
    {"type": "campaign", "id": "c-2", "advertiser_id": "none"},
    {"type": "campaign", "id": "c-3", "advertiser_id": "adv-1", "budget_daily": -5},
    {"type": "campaign", "id": "c-4", "advertiser_id": "adv-1", "pacing": "even"},
    {"type": "ad_group", "id": "g-4", "campaign_id": "c-4", "pricing": {"kind": "ocpm"}},
]


def test_import_of_good_and_bad_lines(client: TestClient) -> None:
    body = "\n".join(json.dumps(line) for line in IMPORT_LINES) + "\noops\n"
    report = client.post("/v1/import", content=body).json()
    assert report["counts"] == {"created": 1, "updated": 1, "unchanged": 1, "refused": 4}
    told = [
        (line["line"], line["id"], line["status"], line["code"], line["field"]) for line in report["lines"]
    ]
    assert told == [
        (1, "adv-1", "updated", None, None),
        (2, "pub-1", "unchanged", None, None),
        (3, "c-2", "refused", "unknown_parent", "advertiser_id"),
        (4, "c-3", "refused", "out_of_range", "budget_daily"),
        (5, "c-4", "created", None, None),
        (6, "g-4", "refused", "required", "pricing.target_cpa"),
        (7, None, "refused", "not_json", None),
    ]
    assert [line.get("not_enforced") for line in report["lines"]] == [None] * 7
    assert client.get("/v1/campaigns/c-4").status_code == 200


def test_a_quiet_import_lists_refusals_only(client: TestClient) -> None:
    body = "\n".join(json.dumps(line) for line in IMPORT_LINES)
    report = client.post("/v1/import?quiet=true", content=body).json()
    assert sum(report["counts"].values()) == 6
    assert [line["line"] for line in report["lines"]] == [3, 4, 6]


def test_an_empty_import(client: TestClient) -> None:
    report = client.post("/v1/import", content=b"\n\n").json()
    assert report == {"counts": {"created": 0, "updated": 0, "unchanged": 0, "refused": 0}, "lines": []}


def test_an_import_too_large_changes_nothing(
    client: TestClient, node: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "MAX_IMPORT_BYTES", 100)
    line = b'{"type": "publisher", "id": "p"}\n'
    for content in (line * 4, iter([line] * 4)):  # announced, and in chunks
        answer = client.post("/v1/import", content=content)
        assert (answer.status_code, answer.json()["code"], node.lines) == (413, "too_large", [])


def test_a_large_import_in_many_pieces_keeps_its_order(
    client: TestClient, node: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "PIECE_BYTES", 5_000)
    lines = [SMALLEST["creative"] | {"id": f"cr-{number:04}"} for number in range(1_200)]
    report = client.post("/v1/import", content="\n".join(map(json.dumps, lines))).json()
    assert report["counts"]["created"] == 1_200
    assert [line["line"] for line in report["lines"]] == list(range(1, 1_201))
    assert [line["id"] for line in report["lines"]] == [line["id"] for line in lines]
    assert isinstance(node.state.catalogue.get("creative", "cr-1199"), Creative)


def test_what_was_exported_imports_to_the_same_catalogue(client: TestClient, node: Any) -> None:
    client.post("/v1/import", content=DOCUMENTED.encode())
    client.put("/v1/audiences/aud-1", json={"advertiser_id": "adv-1"})
    client.delete("/v1/creatives/cr-1", headers={"If-Match": "*"})
    exported = client.get("/v1/export")
    assert exported.headers["content-type"].startswith("application/x-ndjson")
    kinds = [json.loads(line)["type"] for line in exported.content.splitlines()]
    assert kinds == [
        "advertiser", "audience", "campaign", "ad_group", "creative", "publisher", "placement", "experiment",
    ]  # fmt: skip
    other: Any = FakeNode()
    app = FastAPI()
    app.include_router(catalogue_router(other, "UTC"))
    report = TestClient(app).post("/v1/import", content=exported.content).json()
    assert report["counts"] == {"created": 8, "updated": 0, "unchanged": 0, "refused": 0}
    assert other.snapshot() == node.snapshot()


def test_the_openapi_document_describes_bodies_without_dangling_references(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert "#/$defs/" not in json.dumps(document)
    for kind, path in PATHS.items():
        sent = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        assert sent["properties"].keys() == schemas.schema_of(kind)["properties"].keys()
        assert sent["additionalProperties"] is False
        assert set(SMALLEST[kind]) - {"type", "id", "width", "height"} == set(sent.get("required", []))
        assert set(document["paths"][path + "/{id}"]) == {"get", "put", "patch", "delete"}
    assert document["paths"]["/v1/import"]["post"]["requestBody"]["content"].keys() == {
        "application/x-ndjson"
    }
