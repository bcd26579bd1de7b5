"""Between a form and a document of the API: how fields are written, and how what is typed becomes values.

What is typed is only taken apart here; what it must look like the API's own models say. Text that is no
number stays text, so that the refusal is the API's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from hashlib import blake2b
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from app.web.console.shapes import Field, Shape

Document = dict[str, Any]
_INTEGER = re.compile(r"-?\d{1,18}")
_DECIMAL = re.compile(r"-?\d{1,18}\.\d{1,18}")
_GROUPED = re.compile(r"-?\d{1,3}(,\d{3})+(\.\d{1,18})?")
_PAIR = re.compile(r"(\d{1,6})\s*(?:-|–|\.\.)\s*(\d{1,6})")
_CAP = re.compile(r"(\S+?)\s*(?:/|per\s)\s*(\S+)")


def typed(shape: Shape, document: Document) -> dict[str, str]:
    """Write a document's fields as a form shows them.

    >>> from app.web.console.shapes import SHAPES
    >>> typed(SHAPES["ad_group"], {"targeting": {"age": [[20, 29], 35]}})["targeting.age.include"]
    '20-29, 35'
    """
    zone = document.get("time_zone")
    return {field.name: _written(field, _found(document, field.name), zone) for field in shape.fields}


def changed(shape: Shape, document: Document, form: Mapping[str, str]) -> Document:
    """Take what was typed into a document; a field that reads as it did stays exactly as it is."""
    was = typed(shape, document)
    result: Document = msgspec.json.decode(msgspec.json.encode(document))
    zone = form.get("time_zone") or document.get("time_zone")
    for field in shape.fields:
        text = plain(form.get(field.name, was[field.name]))
        if text != plain(was[field.name]):
            _put(result, field.name, _READ[field.kind](text, zone) if text else None)
    return result


def plain(text: str) -> str:
    """Undo what a browser does to text on its way."""
    return text.replace("\r\n", "\n").strip()


def marks_of(values: Mapping[str, str]) -> str:
    """Write down how fields read when a form was opened, so that it can be told later what was changed."""
    return " ".join(f"{name}={_mark(text)}" for name, text in values.items())


def merged(
    form: Mapping[str, str], marks: str, now: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Put what somebody typed over newer values: what they did not touch is as it is now.

    Returns the fields as they are to be shown, and the newer value of each that both have changed.

    >>> opened, newer = {"name": "a", "bid": "1", "cap": "x"}, {"name": "a", "bid": "3", "cap": "y"}
    >>> merged({"name": "mine", "bid": "2", "cap": "x"}, marks_of(opened), newer)
    ({'name': 'mine', 'bid': '2', 'cap': 'y'}, {'bid': '3'})
    """
    opened = dict(part.split("=", 1) for part in marks.split() if "=" in part)
    shown, theirs = {}, {}
    for name, newer in now.items():
        mine = form.get(name, newer)
        if _mark(mine) == opened.get(name):
            shown[name] = newer
            continue
        shown[name] = mine
        if plain(mine) != plain(newer) and _mark(newer) != opened.get(name):
            theirs[name] = newer
    return shown, theirs


def _mark(text: str) -> str:
    return blake2b(plain(text).encode(), digest_size=6).hexdigest()


def beside(problems: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    """Put each problem beside the field that it is about; what has none keeps its own name.

    >>> beside({"targeting.age[0]": "no", "pricing.bid": "too low"}, ["targeting.age.include", "pricing.bid"])
    {'targeting.age.include': 'no', 'pricing.bid': 'too low'}
    """
    told: dict[str, str] = {}
    for path, problem in problems.items():
        plain = re.sub(r"\[\d+\].*", "", path)
        homes = [name for name in names if name == plain or name.startswith(plain + ".")]
        above = [name for name in names if plain.startswith(name + ".")]
        told.setdefault((homes or above or [path])[0] if plain else "", problem)
    return told


def _found(document: Document, name: str) -> Any:
    """Find a field's value; both spellings of a targeting dimension are one of include and exclude."""
    value: Any = document
    for step in name.split("."):
        if isinstance(value, list):
            value = value if step == "include" else None
        else:
            value = value.get(step) if isinstance(value, dict) else None
    return value


def _put(document: Document, name: str, value: Any) -> None:
    *path, last = name.split(".")
    at = document
    for step in path:
        below = at.get(step)
        if isinstance(below, list):
            below = {"include": below}
        at[step] = at = below if isinstance(below, dict) else {}
    if value is None:
        at.pop(last, None)
    else:
        at[last] = value
    _prune(document, path)


def _prune(document: Document, path: Sequence[str]) -> None:
    """Take away what became empty: an object without fields is none."""
    if path:
        above = _found(document, ".".join(path[:-1])) if len(path) > 1 else document
        if isinstance(above, dict) and above.get(path[-1]) == {}:
            del above[path[-1]]
            _prune(document, path[:-1])


def _written(field: Field, value: Any, zone: str | None) -> str:
    if value is None:
        return ""
    match field.kind:
        case "words" | "numbers":
            return ", ".join("-".join(map(str, one)) if isinstance(one, list) else str(one) for one in value)
        case "caps":
            return ", ".join(f"{cap['count']}/{cap['per']}" for cap in value)
        case "time":
            local = datetime.fromisoformat(value).astimezone(ZoneInfo(zone) if zone else None)
            return local.replace(tzinfo=None).isoformat(" ", "seconds" if local.second else "minutes")
        case "yes":
            return "true" if value else "false"
        case "json":
            return msgspec.json.format(msgspec.json.encode(value), indent=2).decode() if value else ""
        case _:
            return str(value)


def _number(text: str, _zone: str | None = None) -> Any:
    """Read a number, with its thousands apart or not; what is none is sent as it stands.

    >>> _number("100,000"), _number("0.02"), _number("1,5")
    (100000, 0.02, '1,5')
    """
    text = text.replace(",", "") if _GROUPED.fullmatch(text) else text
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _DECIMAL.fullmatch(text) else text


def _numbers(text: str, _zone: str | None = None) -> list[Any]:
    """Read whole numbers and pairs of them; what is neither is sent as it stands.

    >>> _numbers("20-29, 35, x")
    [[20, 29], 35, 'x']
    """
    found: list[Any] = []
    for part in _parts(text):
        pair = _PAIR.fullmatch(part)
        found.append([int(pair[1]), int(pair[2])] if pair else _whole(part))
    return found


def _whole(text: str) -> Any:
    return int(text) if _INTEGER.fullmatch(text) else text


def _parts(text: str) -> list[str]:
    return [part for part in (part.strip() for part in re.split(r"[,\n]", text)) if part]


def _caps(text: str, _zone: str | None = None) -> list[Any]:
    """Read caps; what is none is sent as it stands, for the API to refuse.

    >>> _caps("3/day, 10 per week")
    [{'count': 3, 'per': 'day'}, {'count': 10, 'per': 'week'}]
    """
    found: list[Any] = []
    for part in _parts(text):
        cap = _CAP.fullmatch(part)
        found.append({"count": _whole(cap[1]), "per": cap[2]} if cap else part)
    return found


def _time(text: str, zone: str | None) -> str:
    """Read a time of a zone; one that is none, or has its offset, is sent as it stands.

    >>> _time("2026-05-01T09:00", "Asia/Seoul"), _time("soon", "Asia/Seoul")
    ('2026-05-01T09:00:00+09:00', 'soon')
    """
    try:
        moment = datetime.fromisoformat(text)
        local = moment if moment.tzinfo is not None else moment.replace(tzinfo=ZoneInfo(zone or "UTC"))
    except (ValueError, ZoneInfoNotFoundError):
        return text
    return local.isoformat(timespec="seconds")


def _json(text: str, _zone: str | None = None) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text


_READ: dict[str, Callable[[str, str | None], Any]] = {
    "text": lambda text, _zone: text, "area": lambda text, _zone: text, "choice": lambda text, _zone: text,
    "number": _number, "words": lambda text, _zone: _parts(text), "numbers": _numbers,
    "caps": _caps, "time": _time, "json": _json,
    "yes": lambda text, _zone: {"true": True, "false": False}.get(text, text),
}  # fmt: skip
