"""Reading an import: NDJSON to parsed lines. Pure and picklable, so that it can run in a worker process.

The result is MessagePack, a piece per slice, because unpickling ten thousand things at once would hold
the node's loop for tens of milliseconds; the loop decodes one slice at a time instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from app.domain.catalogue import Kind
from app.domain.ids import ID_PATTERN
from app.domain.refusals import FieldError, Refused
from app.flows.catalogue import IMPORT_SLICE, ParsedLine
from app.web.catalogue.models_in import MODELS
from app.web.catalogue.parsing import decode, parse, refused

# Work is handed to the workers by the mebibyte: what crosses to another process holds the loop's lock
# while it is copied.
PIECE_BYTES = 1 << 20
_decoder = msgspec.msgpack.Decoder(list[ParsedLine])


def pieces(body: bytes | bytearray) -> Iterator[tuple[bytes, int]]:
    """Cut a body after line ends, into pieces of about `PIECE_BYTES`, each with its first line's number.

    >>> list(pieces(b"{}\\n{}\\n"))
    [(b'{}\\n{}\\n', 1)]
    """
    start, line = 0, 1
    while start < len(body):
        end = body.find(b"\n", start + PIECE_BYTES) + 1 or len(body)
        piece = bytes(body[start:end])
        yield piece, line
        line += piece.count(b"\n")
        start = end


def parse_lines(body: bytes, zone: str, first_line: int = 1) -> list[bytes]:
    """Check every line of a body; blank lines are passed over, but counted.

    Returns slices of `IMPORT_SLICE` parsed lines for `unpack`.
    """
    lines = enumerate(body.split(b"\n"), start=first_line)
    parsed = [parse_line(line, number, zone) for number, line in lines if line.strip()]
    return [
        msgspec.msgpack.encode(parsed[start : start + IMPORT_SLICE])
        for start in range(0, len(parsed), IMPORT_SLICE)
    ]


def unpack(packed: bytes) -> list[ParsedLine]:
    """Read one slice of `parse_lines`.

    >>> unpack(parse_lines(b'{"type": "publisher", "id": "p"}', "UTC")[0])[0].thing.id
    'p'
    """
    return _decoder.decode(packed)


def parse_line(line: bytes, number: int, zone: str) -> ParsedLine:
    """Check one line. What is wrong with it is told as the first wrong field and its code."""
    document: Any = None
    try:
        document = decode(line)
        parsed = parse(_kind(document), document, zone)
    except Refused as refusal:
        first = refusal.errors[0] if refusal.errors else refusal
        return ParsedLine(
            line=number,
            type=_shown(document, "type"),
            id=_shown(document, "id"),
            code=first.code,
            field=first.field,
            message=refusal.message,
        )
    return ParsedLine(line=number, thing=parsed.thing, not_enforced=parsed.not_enforced)


def _kind(document: Any) -> Kind:
    if not isinstance(document, dict):
        raise refused([FieldError("", "not_an_object", "the line must be a JSON object")])
    if "type" not in document:
        raise refused([FieldError("type", "required", "is required")])
    for kind in MODELS:
        if document["type"] == kind:
            return kind
    raise refused([FieldError("type", "unknown_type", f"must be one of {', '.join(MODELS)}")])


def _shown(document: Any, field: str) -> str | None:
    """Say back a field of a refused line, where it is fit to be said back."""
    value = document.get(field) if isinstance(document, dict) else None
    return value if isinstance(value, str) and ID_PATTERN.fullmatch(value) else None
