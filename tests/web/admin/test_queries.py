"""Queries of the admin port: what no operation knows is refused by name, at every route alike.

Method: every operation of the served document is asked with a parameter of nobody's, and with its own.
"""

from __future__ import annotations

import pytest

from tests.node import Server

#   query                                     fields that are refused     why
QUERIES = [
    ("form=2026-01-01&to=2026-01-02",         ["form"],                   "misspelt: would be the last day"),
    ("by=day&BY=day",                         ["BY"],                     "names are as written"),
    ("a=1&by=day&b=&a=2",                     ["a", "b"],                 "each once, in their order"),
    ("%E2%82%AC=1",                           ["\u20ac"],                 "any name"),
    ("by=day&format=csv",                     [],                         "known"),
    ("",                                      [],                         "nothing asked"),
    ("&&",                                    [],                         "nothing at all"),
]  # fmt: skip


@pytest.mark.parametrize(("query", "fields", "why"), QUERIES)
def test_reports(server: Server, query: str, fields: list[str], why: str) -> None:
    answer = server.get(f"/v1/reports?{query}")
    assert answer.status == (422 if fields else 200), why
    if fields:
        told = answer.json()
        assert (told["code"], told["field"]) == ("invalid", fields[0]), why
        assert [each["field"] for each in told["errors"]] == fields, why
        assert {each["code"] for each in told["errors"]} == {"unknown_parameter"}
        assert "by, format, from, to" in told["detail"]


def test_every_operation(server: Server) -> None:
    """Refused before anything is looked up or read; and the document says that it may be."""
    asked = 0
    for path, operations in server.get("/openapi.json").json()["paths"].items():
        for method, operation in operations.items():
            if path in {"/v1/ads", "/healthz", "/readyz"}:
                continue  # a door of both ports, which tolerates what it does not know
            answer = server.ask(method.upper(), path.replace("{", "").replace("}", "") + "?surprise=1")
            assert (answer.status, answer.json()["field"]) == (422, "surprise"), (method, path)
            assert "422" in operation["responses"], (method, path)
            asked += 1
    assert asked > 50


def test_nothing_is_changed_by_what_is_refused(server: Server) -> None:
    position = server.node.state.position
    answer = server.ask("POST", "/v1/advertisers?dry_run=true", {"id": "adv-7"})
    assert (answer.status, answer.json()["field"]) == (422, "dry_run")
    assert server.node.state.position == position


def test_the_known_ones_are_taken(server: Server) -> None:
    """Where an operation names parameters in its document, it takes every one of them."""
    for path, operations in server.get("/openapi.json").json()["paths"].items():
        named = [
            one["name"] for one in operations.get("get", {}).get("parameters", ()) if one["in"] == "query"
        ]
        for name in named:
            answer = server.get(path.replace("{", "").replace("}", "") + f"?{name}=1")
            if answer.status == 422:
                codes = {each["code"] for each in answer.json()["errors"]}
                assert "unknown_parameter" not in codes, (path, name)
