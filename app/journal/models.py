"""A trained model as one file: a line of JSON that says what it is, its cells as raw arrays, and a checksum.

Nodes keep such files under the sha256 of all their bytes (`journal/lists.py`), which is how lines name them.
"""

from __future__ import annotations

import math
from dataclasses import astuple
from hashlib import sha256
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.domain.refusals import Refused
from app.rules.features import ROWS, SCHEMA_VERSION
from app.rules.ftrl import Rates
from app.rules.trained import LEARNER, Trained, sound_cells

FORMAT = 1
FOLDER = "models"
_SEAL = b"\nsha256 "
_SEAL_BYTES = len(_SEAL) + 64
_ALIGNED = 64
_CELL_BYTES = 8 + 8 + 4 + 2


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What a model file says of itself. `facts`: what it was learned from, and how good it was on the way."""

    format: int
    learner: str
    schema_version: int
    prior_logit: float
    rates: tuple[float, ...]
    rows: list[int]
    placements: dict[int, str]
    columns: list[tuple[str, str]]
    cells: int
    facts: dict[str, Any]


def encode_model(model: Trained, facts: dict[str, Any]) -> bytes:
    """Write a model: the same model and facts give the same bytes."""
    header = Header(
        format=FORMAT, learner=LEARNER, schema_version=SCHEMA_VERSION, prior_logit=model.prior_logit,
        rates=astuple(model.rates), rows=model.row_numbers.tolist(), placements=dict(model.placements),
        columns=list(model.columns), cells=model.row.size, facts=facts,
    )  # fmt: skip
    head = msgspec.json.encode(header)
    head += b" " * (-(len(head) + 1) % _ALIGNED) + b"\n"
    arrays = (model.z.astype("<f8"), model.n.astype("<f8"), model.column.astype("<u4"))
    body = head + b"".join(each.tobytes() for each in (*arrays, model.row.astype("<u2")))
    return body + _SEAL + sha256(body).hexdigest().encode()


def decode_model(content: bytes | bytearray) -> tuple[Header, Trained]:
    """Read a model file; its arrays are views of the content.

    Cost    one pass of hashing, without the interpreter.
    Errors  Refused, in this order: `model_damaged`; `model_unfit`, of another format, learner or schema.
    """
    view = memoryview(content)
    if len(view) < _SEAL_BYTES or view[-_SEAL_BYTES:] != _SEAL + _digest(view[:-_SEAL_BYTES]):
        raise Refused("model_damaged", "this is no whole model file: its checksum is another", "body")
    end = content.find(b"\n")
    try:
        header = msgspec.json.decode(view[:end], type=Header)
    except msgspec.MsgspecError as error:
        raise Refused("model_damaged", f"the model file's first line: {error}", "body") from error
    for name, found, ours in (
        ("format", header.format, FORMAT),
        ("learner", header.learner, LEARNER),
        ("feature schema", header.schema_version, SCHEMA_VERSION),
    ):
        if found != ours:
            raise Refused("model_unfit", f"the model is of {name} {found}, this build takes {ours}", "body")
    cells, start = header.cells, end + 1
    if cells < 0 or len(view) - _SEAL_BYTES - start != cells * _CELL_BYTES or len(header.rates) != 6:
        raise Refused("model_damaged", "the model file does not hold what its first line says", "body")

    def array(dtype: str) -> NDArray[Any]:
        nonlocal start
        found = np.frombuffer(view, dtype, cells, start)
        found.flags.writeable = False
        start += found.nbytes
        return found

    z, n, column, row = array("<f8"), array("<f8"), array("<u4"), array("<u2")
    numbers = np.array(header.rows, dtype=np.int32)
    _check(header, numbers, z, n, column, row)
    columns = tuple(header.columns)
    placements = dict(header.placements)
    rates = Rates(*header.rates)
    return header, Trained(header.prior_logit, rates, numbers, placements, columns, row, column, z, n)


def _check(header: Header, numbers: Any, z: Any, n: Any, column: Any, row: Any) -> None:
    sound = (
        numbers.size > 0
        and numbers[0] == 0
        and header.columns[:1] == [("any", "")]
        and bool(((numbers >= 0) & (numbers < ROWS)).all())
        and set(header.placements) <= set(range(1, numbers.size))
        and math.isfinite(header.prior_logit)
        and all(math.isfinite(rate) for rate in header.rates)
        and min(header.rates[:2]) > 0.0
        and min(header.rates) >= 0.0
        and sound_cells(z, n, row, column, numbers.size, len(header.columns))
    )
    if not sound:
        raise Refused("model_damaged", "the model file's cells are not of its rows and columns", "body")


def _digest(view: memoryview) -> bytes:
    return sha256(view).hexdigest().encode()
