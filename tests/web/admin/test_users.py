"""`/v1/users` over a real node: profiles are stored, used and erased; ids are written down nowhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.domain.requests import AdRequest, Person
from app.flows.people import enrich
from tests.node import Server, ask_for

WOMAN = {"gender": "F", "age": 27, "region": "KR-11", "interests": ["travel"], "segments": ["s-9"]}
EMPTY: dict[str, Any] = {"gender": None, "age": None, "region": None, "interests": [], "segments": []}


def enriched(server: Server, identity: str, **told: Any) -> Person:
    """What a request of somebody becomes."""

    async def on_the_loop() -> AdRequest:
        key, former = server.node.user_keys.of(identity, server.node.now_ms())
        person = Person(key=key, former_key=former, **told)
        return enrich(server.node, ask_for("plc-1", person=person))

    person = server.run(on_the_loop()).person
    assert person is not None
    return person


def test_a_profile_is_stored_told_and_used(server: Server) -> None:
    answer = server.ask("PUT", "/v1/users/mia@x.example", WOMAN)
    assert (answer.status, answer.json()) == (200, {"type": "user", "id": "mia@x.example", **WOMAN})
    assert server.get("/v1/users/mia@x.example").json() == answer.json()
    person = enriched(server, "mia@x.example", age=40)
    assert (person.gender, person.age, person.interests) == ("F", 40, ("travel",)), "the request's age wins"


def test_a_profile_is_replaced_whole(server: Server) -> None:
    server.ask("PUT", "/v1/users/whole", WOMAN)
    server.ask("PUT", "/v1/users/whole", {"gender": "M"})
    assert server.get("/v1/users/whole").json() == {"type": "user", "id": "whole", **EMPTY, "gender": "M"}


def test_an_id_may_hold_anything(server: Server) -> None:
    assert server.ask("PUT", "/v1/users/a%2Fb%20%EA%B0%80", WOMAN).json()["id"] == "a/b 가"
    assert enriched(server, "a/b 가").gender == "F"


def test_a_person_is_erased_as_often_as_asked(server: Server) -> None:
    server.ask("PUT", "/v1/users/gone", WOMAN)
    for _ in range(2):
        assert server.ask("DELETE", "/v1/users/gone").status == 204
        assert server.get("/v1/users/gone").status == 404
    assert enriched(server, "gone").gender is None


#   body                               code        field             why
WRONG: list[tuple[Any, str, str | None, str]] = [
    (b"{",                             "not_json", None,             "no JSON"),
    ([],                               "invalid",  None,             "no object"),
    ({"gender": "X"},                  "invalid",  "gender",         "an unknown gender"),
    ({"age": -1},                      "invalid",  "age",            "an impossible age"),
    ({"region": "Seoul"},              "invalid",  "region",         "no ISO 3166-2"),
    ({"interests": ["a"] * 65},        "invalid",  "interests",      "too many"),
    ({"segments": [""]},               "invalid",  "segments[0]",    "an empty word"),
    ({"name": "Mia"},                  "invalid",  "name",           "what is never stored"),
    ({"id": "other"},                  "invalid",  "id",             "another person"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "code", "field", "why"), WRONG)
def test_what_is_wrong_is_refused_by_name(
    server: Server, body: Any, code: str, field: str | None, why: str
) -> None:
    answer = server.ask("PUT", "/v1/users/wrong", body)
    assert answer.status == (400 if code == "not_json" else 422), why
    assert (answer.json()["code"], answer.json()["field"]) == (code, field), why
    assert server.get("/v1/users/wrong").status == 404


def test_many_profiles_at_once(server: Server) -> None:
    lines = [json.dumps({"type": "user", "id": f"many-{n}", "age": n % 90}).encode() for n in range(450)]
    body = b"\n".join([*lines, b"", b'{"age": 3}', b'{"id": "many-x", "age": "old"}'])
    answer = server.ask("POST", "/v1/users", body)
    assert answer.json()["counts"] == {"stored": 450, "refused": 2}
    told = [(line["line"], line["field"]) for line in answer.json()["lines"]]
    assert told == [(452, "id"), (453, "age")]
    assert enriched(server, "many-449").age == 449 % 90


def test_no_id_is_written_down(server: Server) -> None:
    server.ask("PUT", "/v1/users/never-written-down", WOMAN)
    server.ask("DELETE", "/v1/users/never-written-down")
    folder: Path = server.node.settings.data
    written = [path for path in folder.rglob("*") if path.is_file()]
    assert any(path.stat().st_size for path in written)
    assert [path.name for path in written if b"never-written-down" in path.read_bytes()] == []
