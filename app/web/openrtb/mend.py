"""Repair of bodies whose JSON is sound but whose types are odd: what can be read is, the rest is left out.

Knows struct types and plain values; it must not know what the fields mean, but for one: a `gdpr` that is
no number becomes -1, since leaving out a law would be reading it as "does not apply".
"""

from __future__ import annotations

import math
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Raw, Struct

S = TypeVar("S", bound=Struct)
_ABSENT: Any = object()


def mend(value: dict[str, Any], kind: type[S]) -> S:
    """Make a struct of a plain object, field by field.

    A null or what cannot be read is absent. A number is read as text and text as a number where the
    other is wanted, a fraction is cut, a lone value stands for a list of one.

    >>> class Size(Struct):
    ...     w: int = 0
    ...     names: list[str] = []
    >>> mend({"w": "728.0", "names": 5}, Size), mend({"w": [], "names": [None, "a"]}, Size)
    (Size(w=728, names=['5']), Size(w=0, names=['a']))
    """
    fields: dict[str, Any] = {}
    for name, wanted in _hints(kind).items():
        given = value.get(name)
        if given is None:
            continue
        fitted = _fit(given, wanted)
        if fitted is not _ABSENT:
            fields[name] = fitted
        elif name == "gdpr":
            fields[name] = -1
    return kind(**fields)


@cache
def _hints(kind: type[Struct]) -> dict[str, Any]:
    return get_type_hints(kind)


def _fit(value: Any, wanted: Any) -> Any:
    """Read one value as the wanted type, or as absent."""
    origin = get_origin(wanted)
    if origin is Union or origin is UnionType:
        wanted = next(part for part in get_args(wanted) if part is not NoneType)
        origin = get_origin(wanted)
    if origin is list:
        (item,) = get_args(wanted)
        given = value if isinstance(value, list) else [value]
        fitted = [_fit(one, item) for one in given if one is not None]
        return [one for one in fitted if one is not _ABSENT]
    if wanted is str:
        return _text(value)
    if wanted is int or wanted is float:
        number = _number(value)
        return number if number is _ABSENT or wanted is float else int(number)
    if wanted is Raw:
        return Raw(msgspec.json.encode(value))
    return mend(value, wanted) if isinstance(value, dict) else _ABSENT


def _text(value: Any) -> Any:
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _ABSENT
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _number(value: Any) -> Any:
    """Read a finite number within 64 bits."""
    if not isinstance(value, str | int | float):
        return _ABSENT
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return _ABSENT
    return number if math.isfinite(number) and abs(number) < 2**63 else _ABSENT
