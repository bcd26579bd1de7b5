"""A replay's schema file: which fields of a log light which rows and columns.

TOML in, frozen values out; whatever is wrong is refused with the place it stands at. It reads no log.
"""

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, cast

from app.domain.refusals import Refused

Kind = Literal["hash", "value", "bucket"]
LARGEST_HASH = 1 << 22

_TOP_KEYS = {
    "label",
    "imps",
    "time",
    "prior",
    "truth",
    "action",
    "propensity",
    "where",
    "delay",
    "delay_by",
    "rows",
    "columns",
    "crosses",
    "join",
}
_OPTIONAL = ("imps", "time", "truth", "action", "propensity", "where", "delay", "delay_by")
_FIELD_KEYS: dict[str, set[str]] = {
    "hash": {"field", "kind", "size", "split"},
    "value": {"field", "kind", "split"},
    "bucket": {"field", "kind", "edges"},
}


@dataclass(frozen=True, slots=True)
class Field:
    """One field of the log: hashed into `size` places, one place for each value, or cut at `edges`.

    With `split`, a text holds several values that it parts; each lights its place.
    """

    field: str
    kind: Kind
    size: int = 0
    edges: tuple[float, ...] = ()
    split: str | None = None


@dataclass(frozen=True, slots=True)
class Join:
    """Fields of another file, looked up by a field that both have."""

    file: str
    on: str


@dataclass(frozen=True, slots=True)
class Schema:
    """What a replay reads: clicks (and impressions) of a row, and what lights for it."""

    label: str
    rows: tuple[Field, ...]
    columns: tuple[Field, ...]
    imps: str | None = None
    time: str | None = None
    prior: float | None = None
    truth: str | None = None  # a field that tells the true click probability: a simulator's log
    action: str | None = None  # what was chosen, for off-policy estimates
    propensity: str | None = None  # and with which probability
    where: str | None = None  # rows where this is 0, false or nothing are left out: those without a click
    delay: str | None = None  # how many seconds after the row's time its label came, where it did
    delay_by: str | None = None  # what shares a delay: the campaign
    crosses: bool = True
    join: tuple[Join, ...] = ()


def read_schema(path: Path) -> Schema:
    """Read and check a schema file.

    Errors  Refused: not_found; bad_schema (not TOML, a key missing, a value of the wrong type or range);
            unknown_key; unknown_kind. `field` is the place, as `rows[2].kind`.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise Refused("not_found", f"no such file: {path}", "schema") from None
    except (OSError, UnicodeDecodeError) as broken:
        raise Refused("not_readable", f"{path}: {broken}", "schema") from broken
    try:
        return parse_schema(tomllib.loads(text))
    except tomllib.TOMLDecodeError as wrong:
        raise Refused("bad_schema", f"{path.name} is not TOML: {wrong}", "schema") from wrong


def parse_schema(document: Mapping[str, Any]) -> Schema:
    """Check a schema given as a mapping.

    >>> parse_schema({"label": "click", "rows": [{"field": "age", "kind": "value"}], "columns": []}).crosses
    True
    """
    _only(document, _TOP_KEYS, "")
    crosses = document.get("crosses", True)
    if not isinstance(crosses, bool):
        raise Refused("bad_schema", "crosses is true or false", "crosses")
    if "delay" in document and "time" not in document:
        raise Refused("bad_schema", "delay needs time: when the rows' own moments were", "time")
    return Schema(
        label=_text(document, "label", "label"),
        rows=_fields(document, "rows"),
        columns=_fields(document, "columns"),
        **{name: _text(document, name, name) if name in document else None for name in _OPTIONAL},
        prior=_prior(document["prior"]) if "prior" in document else None,
        crosses=crosses,
        join=tuple(_join(one, f"join[{k}]") for k, one in enumerate(_tables(document, "join"))),
    )


def _only(table: Mapping[str, Any], known: set[str], place: str) -> None:
    for key in table:
        if key not in known:
            where = f"{place}.{key}" if place else key
            raise Refused(
                "unknown_key", f"{where} is not a key here; known: {', '.join(sorted(known))}", where
            )


def _text(table: Mapping[str, Any], key: str, place: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value:
        raise Refused("bad_schema", f"{place} is required, a name in quotes", place)
    return value


def _number(value: object) -> float | None:
    """A finite number, and not a bool in disguise."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _prior(value: object) -> float:
    prior = _number(value)
    if prior is None or not 0.0 < prior < 1.0:
        raise Refused("bad_schema", "prior is a number between 0 and 1", "prior")
    return prior


def _tables(document: Mapping[str, Any], key: str) -> Sequence[Mapping[str, Any]]:
    value = document.get(key, [])
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise Refused("bad_schema", f"{key} is a list of tables", key)
    return value


def _fields(document: Mapping[str, Any], key: str) -> tuple[Field, ...]:
    if key not in document:
        raise Refused("bad_schema", f"{key} is required (an empty list will do)", key)
    return tuple(_field(one, f"{key}[{k}]") for k, one in enumerate(_tables(document, key)))


def _field(table: Mapping[str, Any], place: str) -> Field:
    kind = _text(table, "kind", f"{place}.kind")
    if kind not in _FIELD_KEYS:
        message = f"{place}.kind {kind!r} is not known; known: {', '.join(_FIELD_KEYS)}"
        raise Refused("unknown_kind", message, f"{place}.kind")
    _only(table, _FIELD_KEYS[kind], place)
    return Field(
        field=_text(table, "field", f"{place}.field"),
        kind=cast(Kind, kind),
        size=_size(table.get("size"), f"{place}.size") if kind == "hash" else 0,
        edges=_edges(table.get("edges"), f"{place}.edges") if kind == "bucket" else (),
        split=_text(table, "split", f"{place}.split") if "split" in table else None,
    )


def _size(value: object, place: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LARGEST_HASH:
        raise Refused("bad_schema", f"{place} is required, a whole number from 1 to {LARGEST_HASH}", place)
    return value


def _edges(value: object, place: str) -> tuple[float, ...]:
    edges = [_number(one) for one in value] if isinstance(value, list) and value else [None]
    numbers = [edge for edge in edges if edge is not None]
    if len(numbers) != len(edges) or any(one >= other for one, other in pairwise(numbers)):
        raise Refused("bad_schema", f"{place} is required, a list of rising numbers", place)
    return tuple(numbers)


def _join(table: Mapping[str, Any], place: str) -> Join:
    _only(table, {"file", "on"}, place)
    return Join(file=_text(table, "file", f"{place}.file"), on=_text(table, "on", f"{place}.on"))
