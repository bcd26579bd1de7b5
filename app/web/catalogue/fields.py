"""The kinds of field that catalogue documents are made of: each one checks, converts and describes itself.

A field that converts (money to micros, times to milliseconds) is a plain function from what was sent to
the domain's value, so that its refusal has a code of ours; it carries its JSON schema for the document.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from app.domain.ids import ID_PATTERN
from app.domain.money import MAX_MICROS, MICROS, to_micros

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# The last instant that every zone can still write with a year of four digits.
MAX_INSTANT_MS = 253_402_214_400_000
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)")
_SIZE = re.compile(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})")
_LONGEST_PAGE = 99_999


def refuse(code: str, message: str) -> PydanticCustomError:
    """Make the error that ends up as a `FieldError` with this code."""
    return PydanticCustomError(code, "{reason}", {"reason": message})


def money(sent: object) -> int:
    """Turn a JSON number in the account currency into micros.

    Errors  PydanticCustomError: `not_a_number`, `too_precise`, `out_of_range`.

    >>> money(1764.705883)
    1764705883
    """
    if isinstance(sent, bool) or not isinstance(sent, int | float):
        raise refuse("not_a_number", "must be a number in the account currency")
    if not 0 <= sent <= MAX_MICROS // MICROS:
        raise refuse("out_of_range", f"must lie between 0 and {MAX_MICROS // MICROS}")
    try:
        return to_micros(sent)
    except ValueError as error:
        raise refuse("too_precise", str(error)) from error


def positive_money(sent: object) -> int:
    """Turn a JSON number above 0 into micros."""
    micros = money(sent)
    if micros == 0:
        raise refuse("out_of_range", "must be more than 0")
    return micros


def instant_ms(sent: object) -> int:
    """Turn an RFC 3339 time with an offset into milliseconds since 1970; finer digits are cut.

    Errors  PydanticCustomError: `not_a_time`, `out_of_range`.

    >>> instant_ms("2026-05-01T09:00:00+09:00")
    1777593600000
    """
    if not isinstance(sent, str) or not _RFC3339.fullmatch(sent):
        raise refuse("not_a_time", "must be an RFC 3339 time with offset, as 2026-05-01T09:00:00+09:00")
    try:
        instant = datetime.fromisoformat(sent.upper().replace(" ", "T"))
        at_ms = (instant - EPOCH) // timedelta(milliseconds=1)
    except (ValueError, OverflowError) as error:
        raise refuse("not_a_time", f"is no time: {error}") from error
    if not 0 <= at_ms < MAX_INSTANT_MS:
        raise refuse("out_of_range", "must lie between 1970 and 9999")
    return at_ms


def page_size(sent: object) -> tuple[int, int]:
    """Turn `320x50` into width and height.

    >>> page_size("320x50")
    (320, 50)
    """
    match = _SIZE.fullmatch(sent) if isinstance(sent, str) else None
    if match is None:
        raise refuse("pattern", "must be WIDTHxHEIGHT in pixels, as 320x50")
    return int(match[1]), int(match[2])


@cache
def known_zones() -> frozenset[str]:
    """List the IANA zone names. The package's list, not the machine's, so that every node agrees."""
    return frozenset(files("tzdata").joinpath("zones").read_text().split())


def zone_name(sent: str) -> str:
    """Let through the name of an IANA time zone."""
    if sent not in known_zones():
        raise refuse("unknown_zone", "must be an IANA time zone, as Asia/Seoul")
    return sent


def _described(convert: Callable[[object], object], **schema: Any) -> tuple[PlainValidator, WithJsonSchema]:
    return PlainValidator(convert), WithJsonSchema(schema)


_MONEY_TOP = MAX_MICROS // MICROS
Micros = Annotated[int, *_described(money, type="number", minimum=0, maximum=_MONEY_TOP)]
PositiveMicros = Annotated[
    int, *_described(positive_money, type="number", exclusiveMinimum=0, maximum=_MONEY_TOP)
]
InstantMs = Annotated[int, *_described(instant_ms, type="string", format="date-time")]
PageSize = Annotated[
    tuple[int, int], *_described(page_size, type="string", pattern=f"^{_SIZE.pattern}$", examples=["320x50"])
]
Id = Annotated[str, Field(pattern=f"^{ID_PATTERN.pattern}$")]
Name = Annotated[str, Field(max_length=255)]
# A host name; case means nothing in one, so that it is kept in lower case and compares as it is.
Domain = Annotated[
    str, Field(pattern=r"^[^\s/:@?#]{1,253}$", examples=["example.com"]), AfterValidator(str.lower)
]
Category = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$", examples=["IAB20"])]
Label = Annotated[str, Field(min_length=1, max_length=128)]
# A label in whose spelling case means nothing.
Word = Annotated[str, Field(min_length=1, max_length=128), AfterValidator(str.lower)]
# Absolute http(s), nothing that could break out of a Location header; macros may stand after the host.
HttpUrl = Annotated[
    str,
    Field(
        pattern=r"^[Hh][Tt][Tt][Pp][Ss]?://(\[[0-9A-Fa-f:.]+\]|[^\s\x00-\x1f\x7f/?#@:{}\[\]\\]+)(:[0-9]{1,5})?"
        r"([/?#][^\s\x00-\x1f\x7f]*)?$",
        max_length=8192,
    ),
]
Markup = Annotated[str, Field(max_length=262_144)]
Pixels = Annotated[int, Field(ge=1, le=_LONGEST_PAGE)]
ListCode = Annotated[int, Field(ge=0, le=10_000)]  # AdCOM lists; vendors' own values begin at 500
Seconds = Annotated[int, Field(ge=1, le=86_400)]
MimeType = Annotated[str, Field(pattern=r"^[^\s/]{1,63}/[^\s/]{1,63}$", examples=["video/mp4"])]
Language = Annotated[str, Field(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$", examples=["ko"])]
TimeZone = Annotated[str, AfterValidator(zone_name), Field(examples=["Asia/Seoul"])]
Rate = Annotated[float, Field(gt=0, lt=1)]
StatusIn = Literal["active", "paused", "archived"]
FormatIn = Literal["banner", "video", "audio", "native"]
Categories = Annotated[list[Category], Field(max_length=1000)]
