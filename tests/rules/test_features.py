"""The feature schema: append-only blocks, fixed hashes, and rows that say what the request said."""

from __future__ import annotations

from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rules import features
from app.rules.features import BLOCKS, MAIN_ONLY_FROM, ROWS, Block

WORDS = st.text(max_size=12)

# Rows of schema version 1 as tokens out in the world name them: a block may be added behind, never moved.
VERSION_1 = [
    ("any", 0, 1), ("placement", 1, 1536), ("unregistered", 1537, 256), ("publisher", 1793, 512),
    ("hour", 2305, 24), ("weekday", 2329, 7), ("device", 2336, 8), ("os", 2344, 16), ("region", 2360, 320),
    ("age_band", 2680, 16), ("gender", 2696, 3), ("gender_age", 2699, 48), ("interest", 2747, 512),
    ("segment", 3259, 256), ("site_category", 3515, 128), ("cluster", 3643, 256),
]  # fmt: skip


def test_the_schema_is_append_only() -> None:
    assert [(b.name, b.start, b.size) for b in BLOCKS.values()][: len(VERSION_1)] == VERSION_1
    assert (MAIN_ONLY_FROM, features.SLOT.start, features.SLOT.size) == (ROWS - 32, ROWS - 32, 20)


def test_no_two_blocks_share_a_row() -> None:
    owned = [row for block in (*BLOCKS.values(), features.SLOT) for row in range(block.start, block.end)]
    assert len(set(owned)) == len(owned)
    assert max(owned) < ROWS


def test_a_hash_is_the_one_of_rfc_1952() -> None:
    check_value = 0xCBF43926  # of "123456789", as every implementation of CRC-32 states
    for field in ("region", "interest", "segment", "publisher", "unregistered", "site_category"):
        block = BLOCKS[field]
        assert features.hashed_row(field, "123456789") == block.start + check_value % block.size


@given(st.sampled_from(["region", "interest", "segment", "publisher", "unregistered"]), WORDS)
def test_a_hashed_row_lies_in_its_block(field: str, value: str) -> None:
    block = BLOCKS[field]
    assert features.hashed_row(field, value) == block.start + crc32(value.encode()) % block.size


@given(st.integers(0, 130))
def test_an_age_falls_into_the_band_that_holds_it(age: int) -> None:
    edges = [0, *features.AGE_EDGES, 1000]
    band = features.age_band(age)
    assert edges[band] <= age < edges[band + 1]


@given(
    st.sampled_from(["F", "M", "O", "X", "", None]), st.none() | st.integers(0, 120), st.none() | WORDS,
    st.lists(WORDS, max_size=4), st.lists(WORDS, max_size=4),
)  # fmt: skip
def test_a_person_lights_what_is_known_and_nothing_else(
    gender: str | None, age: int | None, region: str | None, interests: list[str], segments: list[str]
) -> None:
    rows = features.common_rows(0, 0, None, None, (), gender, age, region, tuple(interests), tuple(segments))[
        3:
    ]
    lit = {name: sum(block.start <= row < block.end for row in rows) for name, block in BLOCKS.items()}
    known = gender in features.GENDERS
    assert lit["gender"] == int(known)
    assert lit["age_band"] == int(age is not None)
    assert lit["gender_age"] == int(known and age is not None)
    assert lit["region"] == int(bool(region))
    for field, values in (("interest", interests), ("segment", segments)):
        assert lit[field] == len({features.hashed_row(field, value) for value in values})
    assert sum(lit.values()) == len(rows)


@pytest.mark.parametrize(
    ("field", "values"), [("device", features.DEVICES), ("os", features.SYSTEMS)], ids=["device", "os"]
)
def test_a_listed_value_has_a_row_of_its_own_and_all_others_share_one(
    field: str, values: tuple[str, ...]
) -> None:
    rows = [features.listed_row(field, values, value) for value in values]
    assert rows == list(range(BLOCKS[field].start, BLOCKS[field].end))
    assert features.listed_row(field, values, "toaster") == features.listed_row(field, values, "other")


def lit_by(
    hour: int, weekday: int, device: str | None, system: str | None, categories: tuple[str, ...]
) -> tuple[int, ...]:
    return features.common_rows(hour, weekday, device, system, categories, None, None, None, (), ())


def test_every_hour_and_weekday_has_its_row() -> None:
    rows = {lit_by(hour, day, None, None, ()) for hour in range(24) for day in range(7)}
    assert len(rows) == 168
    hours, days = BLOCKS["hour"], BLOCKS["weekday"]
    assert lit_by(0, 0, None, None, ()) == (0, hours.start, days.start)
    assert lit_by(23, 6, None, None, ()) == (0, hours.end - 1, days.end - 1)


def test_surroundings_light_what_is_known_once() -> None:
    assert len(lit_by(0, 0, "mobile", "ios", ("IAB1", "IAB2", "IAB1"))) == 3 + 4


def test_every_row_has_a_name_and_no_two_the_same() -> None:
    blocks: tuple[Block, ...] = (*BLOCKS.values(), features.SLOT)
    names = [features.name_row(row) for block in blocks for row in range(block.start, block.end)]
    assert len(set(names)) == len(names)
