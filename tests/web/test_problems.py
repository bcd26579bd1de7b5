"""The table of refusals holds every code that a door can meet, and the body is RFC 9457's.

The codes are read off the source: a room that learns to refuse something new fails here until the table
says with which status. Rooms that only commands use have no statuses.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import app
from app.domain.refusals import Busy, FieldError, Refused
from app.web.problems import PROBLEM_JSON, STATUSES, headers_of, problem, problem_of, refusal, status_of

ROOMS = ("domain", "rules", "state", "journal", "flows", "web")
# Refused when a node opens its files, and by the command that is a door's client.
NEVER_AT_A_DOOR = {
    "journal_version",
    "journal_trimmed",
    "journal_unreadable",
    "unreachable",
    "port_taken",
    "sockets",
    "otel_missing",
    "backup_damaged",
    "backup_failed",
    "no_backup",
    "no_data",
    "not_empty",
}


def codes_in(source: str) -> Iterator[str]:
    """Find the codes of every `Refused(...)` and `Busy(...)` that is called with plain text (or a choice)."""
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
            continue
        if node.func.id in {"Refused", "Busy"} and node.args:
            first = node.args[0]
            choices = [first.body, first.orelse] if isinstance(first, ast.IfExp) else [first]
            for choice in choices:
                if isinstance(choice, ast.Constant):
                    yield str(choice.value)


def test_the_reader_finds_codes() -> None:
    assert list(codes_in('raise Refused("a" if x else "b", "m")\nBusy("c", 5)\nOther("d")')) == [
        "a",
        "b",
        "c",
    ]


@pytest.mark.parametrize("room", ROOMS)
def test_every_code_that_a_door_can_meet_has_a_status(room: str) -> None:
    folder = Path(app.__file__).parent / room
    found = {code for path in folder.rglob("*.py") for code in codes_in(path.read_text())}
    assert found - NEVER_AT_A_DOOR <= STATUSES.keys()


def test_an_expired_token_is_in_the_table_too() -> None:
    assert status_of("expired") == 410  # raised by a class of its own


#    refusal                                          status  headers                          why
TABLE = [
    (Refused("not_json", "m"),                        400, {},                             "unreadable"),
    (Refused("admin_door_only", "m", "explain"),      403, {},                             "wrong port"),
    (Refused("unknown_decision", "m"),                404, {},                             "not there"),
    (Refused("taken", "m"),                           409, {},                             "in the way"),
    (Refused("too_old", "m"),                         410, {},                             "was there"),
    (Refused("stale", "m"),                           412, {},                             "If-Match"),
    (Refused("too_large", "m"),                       413, {},                             "the limit"),
    (Refused("invalid", "m"),                         422, {},                             "does not fit"),
    (Refused("precondition_required", "m"),           428, {},                             "no If-Match"),
    (Refused("unauthorized", "m"),                    401, {"WWW-Authenticate": "Bearer"}, "no key"),
    (Refused("never_heard_of", "m"),                  422, {},                             "still theirs"),
    (Busy("journal_full", 1),                         503, {"Retry-After": "1"},           "at least one"),
    (Busy("journal_unavailable", 2_500),              503, {"Retry-After": "3"},           "rounded up"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "status", "headers", "why"), TABLE)
def test_status_headers_and_body(
    error: Refused | Busy, status: int, headers: dict[str, str], why: str
) -> None:
    given, body = problem_of(error)
    document = json.loads(body)
    assert given == status, why
    assert headers_of(error) == headers
    assert list(document) == ["type", "title", "status", "detail", "code", "field", "errors"]
    assert (document["type"], document["status"], document["code"]) == ("about:blank", status, error.code)
    response = refusal(error)
    assert (response.status_code, response.body) == (status, body)
    assert response.headers["content-type"] == PROBLEM_JSON
    assert {name: response.headers[name] for name in headers} == headers


def test_every_wrong_field_is_told() -> None:
    errors = (FieldError("a", "required", "is required"), FieldError("b[0].c", "pattern", "no"))
    document = json.loads(problem_of(Refused("invalid", "a: is required", errors=errors))[1])
    assert document["field"] == "a"
    assert document["errors"] == [
        {"field": "a", "code": "required", "message": "is required"},
        {"field": "b[0].c", "code": "pattern", "message": "no"},
    ]


def test_a_bug_tells_nothing() -> None:
    document = json.loads(bytes(problem(500, "internal").body))
    assert document == {
        "type": "about:blank", "title": "Internal Server Error", "status": 500, "detail": None,
        "code": "internal", "field": None, "errors": [],
    }  # fmt: skip
