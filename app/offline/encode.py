"""From a log's fields to lit rows and columns of a matrix: each field gets a block of places of its own.

The hash is fixed (BLAKE2b over field and value): the same value lights the same place in every run, on
every machine. It is taken once for each different value, not for each row.
"""

from hashlib import blake2b

import numpy as np
import polars as pl
from numpy.typing import NDArray

from app.offline.logs import numbers_of
from app.offline.schema import Field
from app.rules.learner import I32, NOTHING, fields_of, filled_behind


def encode(fields: tuple[Field, ...], log: pl.DataFrame, part: str) -> tuple[I32, I32]:
    """Light a place for each field of each row (several where it is split), beside place 0: always lit.

    A missing value has a place too: of its own in values and buckets, hashed in hashes.
    Shape   (k, 1 + fields or more), NOTHING behind; and the field of each place, field 0 that of place 0.
    Errors  Refused bad_value where a bucket's field is not a number.

    >>> log = pl.DataFrame({"age": ["19", "20", "55", None]})
    >>> lit, field_of = encode((Field("age", "bucket", edges=(20.0, 30.0)),), log, "rows")
    >>> lit[:, 1].tolist(), field_of.tolist()
    ([1, 2, 3, 4], [0, 1, 1, 1, 1])
    """
    lit = [np.zeros((log.height, 1), np.int64)]
    first, sizes = 1, []
    for k, field in enumerate(fields):
        places, count = _places(field, log[field.field], f"{part}[{k}].field")
        lit.append(np.where(places == NOTHING, NOTHING, first + places))
        first += count
        sizes.append(count)
    return filled_behind(np.concatenate(lit, axis=1, dtype=np.int32, casting="same_kind")), fields_of(
        tuple(sizes)
    )


def _places(field: Field, column: pl.Series, place: str) -> tuple[NDArray[np.int64], int]:
    """The places of each row, NOTHING where it lights fewer than others, and how many there may be."""
    if field.kind == "bucket":
        numbers = numbers_of(column, place)
        buckets = np.searchsorted(np.array(field.edges), numbers, side="right")
        return np.where(np.isnan(numbers), len(field.edges) + 1, buckets)[:, None], len(field.edges) + 2
    codes, texts = _codes(column)
    if field.split is None:
        parted: list[list[str | None]] = [[text] for text in texts]
    else:
        parted = [[None] if text is None else list(dict.fromkeys(text.split(field.split))) for text in texts]
    place_of, count = _place_of(field, parted)
    width = max(map(len, parted))
    table = np.full((len(parted), width), NOTHING, np.int64)
    for row, values in zip(table, parted, strict=True):
        # Two values may be hashed to one place: a place is lit once.
        places = list(dict.fromkeys(place_of[value] for value in values))
        row[: len(places)] = places
    return table[codes], count


def _place_of(field: Field, parted: list[list[str | None]]) -> tuple[dict[str | None, int], int]:
    values = dict.fromkeys(value for several in parted for value in several)
    if field.kind == "hash":
        return {value: hash_place(field.field, value, field.size) for value in values}, field.size
    return {value: place for place, value in enumerate(values)}, len(values)


def hash_place(name: str, value: str | None, size: int) -> int:
    """Where a value of a field is hashed to; nothing and the empty text are two things.

    >>> hash_place("item_id", "14", 128)
    59
    """
    text = f"{name}\x00{value}" if value is not None else name
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little") % size


def _codes(column: pl.Series) -> tuple[NDArray[np.int64], list[str | None]]:
    """Number the different values in the order in which they first stand in the log."""
    values = column.unique(maintain_order=True)
    numbered = pl.DataFrame({"value": values, "code": np.arange(values.len(), dtype=np.int64)})
    looked_up = column.to_frame("value").join(
        numbered, on="value", how="left", maintain_order="left", nulls_equal=True
    )
    return looked_up["code"].to_numpy(), values.to_list()
