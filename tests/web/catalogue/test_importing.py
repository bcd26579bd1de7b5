"""Reading an import: every line gets its number and its verdict, whatever the others are."""

# ruff: noqa: E501  (the table is read across)

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.catalogue import Publisher
from app.flows.catalogue import IMPORT_SLICE, ParsedLine
from app.web.catalogue import importing
from tests.web.catalogue.samples import DOCUMENTED

SOUND = b'{"type": "publisher", "id": "p"}'
# fmt: off
TABLE = [
    # line                                                  code              field            why
    (SOUND,                                                 None,             None,            "sound"),
    (SOUND + b"\r",                                         None,             None,            "a line end from elsewhere"),
    (b'{"type": "publisher"}',                              "required",       "id",            "an import names its things"),
    (b'{"id": "p"}',                                        "required",       "type",          ""),
    (b'{"type": "experiment", "id": "p"}',                  "required",       "variants",      "it compares something"),
    (b'{"type": ["publisher"], "id": "p"}',                 "unknown_type",   "type",          "not even hashable"),
    (b'{"type": "publisher", "id": "p", "x": 1}',           "unknown_field",  "x",             ""),
    (b'{"type": "ad_group", "id": "g", "campaign_id": "c", "pricing": {"kind": "ocpm", "bid": 5}}',
                                                            "required",       "pricing.target_cpa", "its bid is worked out"),
    (b"[]",                                                 "not_an_object",  "",              ""),
    (b"{",                                                  "not_json",       None,            ""),
    (b"\xff",                                               "not_json",       None,            "no UTF-8"),
    (b"[" * 10_000,                                         "invalid",        None,            "too deep"),
]
# fmt: on


@pytest.mark.parametrize(("line", "code", "field", "why"), TABLE)
def test_one_line(line: bytes, code: str | None, field: str | None, why: str) -> None:
    parsed = importing.parse_line(line, 7, "UTC")
    assert (parsed.line, parsed.code, parsed.field) == (7, code, field), why
    assert (parsed.thing is None) == (parsed.message is not None) == (code is not None)


def test_lines_are_numbered_as_an_editor_does() -> None:
    body = b"\n".join([SOUND, b"", b"   ", b"oops", SOUND]) + b"\n"
    packed = importing.parse_lines(body, "UTC", first_line=10)
    assert [(line.line, line.code) for part in packed for line in importing.unpack(part)] == [
        (10, None),
        (13, "not_json"),
        (14, None),
    ]


def test_a_refused_line_says_which_thing_it_was() -> None:
    parsed = importing.parse_line(b'{"type": "campaign", "id": "c-1"}', 1, "UTC")
    assert (parsed.type, parsed.id, parsed.field) == ("campaign", "c-1", "advertiser_id")


def test_the_documented_lines_pass_and_tell_what_is_not_enforced() -> None:
    lines = importing.unpack(importing.parse_lines(DOCUMENTED.encode(), "UTC")[0])
    assert [line.code for line in lines] == [None] * 6
    assert [line.not_enforced for line in lines] == [(), (), (), (), (), ()]


def test_a_slice_holds_no_more_than_the_flow_takes() -> None:
    parts = importing.parse_lines(b"\n".join([SOUND] * (2 * IMPORT_SLICE + 1)), "UTC")
    assert [len(importing.unpack(part)) for part in parts] == [IMPORT_SLICE, IMPORT_SLICE, 1]


def test_the_work_can_cross_to_another_process() -> None:
    work = pickle.loads(pickle.dumps((importing.parse_lines, SOUND, "UTC")))
    assert importing.unpack(work[0](*work[1:])[0]) == [ParsedLine(line=1, thing=Publisher(id="p"))]


@given(
    st.lists(st.binary(max_size=40).filter(lambda line: b"\n" not in line), max_size=40), st.integers(1, 100)
)
def test_cutting_a_body_loses_nothing_and_keeps_the_numbers(lines: list[bytes], piece_bytes: int) -> None:
    body = b"\n".join(lines)
    original, importing.PIECE_BYTES = importing.PIECE_BYTES, piece_bytes
    try:
        cut = list(importing.pieces(body))
    finally:
        importing.PIECE_BYTES = original
    assert b"".join(piece for piece, _ in cut) == body
    for piece, first in cut:
        for offset, line in enumerate(piece.removesuffix(b"\n").split(b"\n")):
            assert lines[first - 1 + offset] == line
