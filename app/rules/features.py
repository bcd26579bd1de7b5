"""The feature schema: which rows a request lights and which columns an ad lights.

Rows are given out in fixed blocks, appended to but never moved: the tokens of old requests name them.
A field with few values has a row for each; a large field is hashed into its block with crc32 (fixed by
RFC 1952, unlike Python's salted hash). Registered placements get rows of their own from the catalogue.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

SCHEMA_VERSION = 1
ROWS = 4_096

DEVICES: tuple[str, ...] = ("mobile", "tablet", "desktop", "tv", "settop", "connected", "dooh", "other")
SYSTEMS: tuple[str, ...] = (
    "android", "ios", "windows", "macos", "linux", "chromeos", "tizen", "webos", "roku", "fireos",
    "tvos", "harmonyos", "ipados", "playstation", "xbox", "other",
)  # fmt: skip
GENDERS = ("F", "M", "O")
_PLACES = {values: {value: place for place, value in enumerate(values)} for values in (DEVICES, SYSTEMS)}
VIEW_EDGES = (2, 3, 4, 6, 10)  # earlier views of an ad by the person: 1, 2, 3, 4-5, 6-9, 10 and more
_VIEW_EDGES = np.array(VIEW_EDGES, dtype=np.int32)  # numpy would make one of a tuple at every request
AGE_EDGES = (13, 18, 21, 25, 30, 35, 40, 45, 50, 55, 60, 65, 70, 75, 80)


@dataclass(frozen=True, slots=True)
class Block:
    """A run of rows for one field."""

    name: str
    start: int
    size: int

    @property
    def end(self) -> int:
        return self.start + self.size


def _laid_out(sizes: dict[str, int]) -> dict[str, Block]:
    blocks, start = {}, 0
    for name, size in sizes.items():
        blocks[name] = Block(name, start, size)
        start += size
    return blocks


BLOCKS = _laid_out(
    {
        "any": 1,
        "placement": 1_536,  # given out by the catalogue
        "unregistered": 256,
        "publisher": 512,
        "hour": 24,
        "weekday": 7,
        "device": len(DEVICES),
        "os": len(SYSTEMS),
        "region": 320,
        "age_band": len(AGE_EDGES) + 1,
        "gender": len(GENDERS),
        "gender_age": len(GENDERS) * (len(AGE_EDGES) + 1),
        "interest": 512,
        "segment": 256,
        "site_category": 128,
        "cluster": 256,
        "views": len(VIEW_EDGES) + 1,  # lit by one ad alone, for a person who saw it before
        "placement_cluster": 64,
    }
)
# Rows from here on have a main cell only: the place of a slot shifts every ad alike.
MAIN_ONLY_FROM = ROWS - 32
SLOT = Block("slot", MAIN_ONLY_FROM, 20)
assert max(block.end for block in BLOCKS.values()) <= MAIN_ONLY_FROM


@lru_cache(maxsize=65_536)
def hashed_row(field: str, value: str) -> int:
    """Find the row of a large field's value: crc32 of the value, modulo the field's block.

    >>> hashed_row("region", "KR-11") == hashed_row("region", "KR-11")
    True
    >>> BLOCKS["region"].start <= hashed_row("region", "KR-11") < BLOCKS["region"].end
    True
    """
    block = BLOCKS[field]
    return block.start + crc32(value.encode()) % block.size


def listed_row(field: str, values: tuple[str, ...], value: str) -> int:
    """Find the row of a small field's value; what is not listed shares the last row."""
    return BLOCKS[field].start + _PLACES[values].get(value, len(values) - 1)


def age_band(age: int) -> int:
    """Number the band of an age in years.

    >>> [age_band(age) for age in (5, 13, 27, 99)]
    [0, 1, 4, 15]
    """
    return bisect_right(AGE_EDGES, age)


@lru_cache(maxsize=16_384)
def common_rows(  # the same visitors come again, often within minutes
    hour: int, weekday: int, device: str | None, system: str | None, categories: tuple[str, ...],
    gender: str | None, age: int | None, region: str | None, interests: tuple[str, ...],
    segments: tuple[str, ...], cluster_row: int = 0,
) -> tuple[int, ...]:  # fmt: skip
    """List the rows that all placements of a request share; unknown attributes light none, none is lit twice.

    `cluster_row` is that of the person's cluster, 0 for none.
    Units   hour 0-23 and weekday (0 is Monday) in the node's zone, age in years.
    """
    rows = [0, BLOCKS["hour"].start + hour, BLOCKS["weekday"].start + weekday]
    if device:
        rows.append(listed_row("device", DEVICES, device))
    if system:
        rows.append(listed_row("os", SYSTEMS, system))
    rows.extend(hashed_row("site_category", value) for value in categories)
    rows.extend(demographic_rows(gender, age, region))
    rows.extend(hashed_row("interest", value) for value in interests)
    rows.extend(hashed_row("segment", value) for value in segments)
    if cluster_row:
        rows.append(cluster_row)
    return tuple(dict.fromkeys(rows))


def demographic_rows(gender: str | None, age: int | None, region: str | None) -> list[int]:
    """List the rows of region, age band, gender, and gender x age band."""
    rows = []
    if region:
        rows.append(hashed_row("region", region))
    if age is not None:
        rows.append(BLOCKS["age_band"].start + age_band(age))
    if gender in GENDERS:
        rows.append(BLOCKS["gender"].start + GENDERS.index(gender))
        if age is not None:
            pair = GENDERS.index(gender) * (len(AGE_EDGES) + 1) + age_band(age)
            rows.append(BLOCKS["gender_age"].start + pair)
    return rows


def views_rows(views: NDArray[np.int32]) -> NDArray[np.int32]:
    """Find the rows of numbers of earlier views, all at least 1.

    >>> (views_rows(np.array([1, 3, 5, 9, 800])) - BLOCKS["views"].start).tolist()
    [0, 2, 3, 4, 5]
    """
    rows = BLOCKS["views"].start + _VIEW_EDGES.searchsorted(views, side="right")
    return rows.astype(np.int32)


def views_name(place: int) -> str:
    """Name a place of the views block.

    >>> [views_name(place) for place in range(6)]
    ['1', '2', '3', '4-5', '6-9', '10+']
    """
    low = VIEW_EDGES[place - 1] if place else 1
    if place == len(VIEW_EDGES):
        return f"{low}+"
    high = VIEW_EDGES[place] - 1
    return str(low) if low == high else f"{low}-{high}"


def name_row(row: int) -> str:
    """Name a row for people.

    >>> name_row(0), name_row(MAIN_ONLY_FROM + 2), name_row(BLOCKS["device"].start)
    ('any', 'slot:2', 'device:mobile')
    """
    if row >= MAIN_ONLY_FROM:
        return f"slot:{row - MAIN_ONLY_FROM}"
    block = next(block for block in BLOCKS.values() if block.start <= row < block.end)
    place = row - block.start
    match block.name:
        case "any":
            return "any"
        case "device":
            return f"device:{DEVICES[place]}"
        case "os":
            return f"os:{SYSTEMS[place]}"
        case "gender":
            return f"gender:{GENDERS[place]}"
        case "views":
            return f"views:{views_name(place)}"
        case _:
            return f"{block.name}:{place}"
