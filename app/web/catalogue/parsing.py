"""From bytes to a thing of the catalogue, or a refusal that names every wrong field. Pure."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct
from pydantic import ValidationError

from app.domain.catalogue import Kind, Thing
from app.domain.ids import ID_PATTERN
from app.domain.refusals import FieldError, Refused
from app.web.catalogue.models_in import MODELS

MAX_ERRORS = 100
_LONGEST_NAME = 64
# pydantic's error types under codes of ours, which stay when pydantic renames its own.
_CODES = {
    "missing": "required",
    "extra_forbidden": "unknown_field",
    "invalid_key": "unknown_field",
    "string_type": "not_a_string",
    "int_type": "not_an_integer",
    "int_from_float": "not_an_integer",
    "float_type": "not_a_number",
    "finite_number": "not_a_number",
    "bool_type": "not_a_boolean",
    "list_type": "not_a_list",
    "dict_type": "not_an_object",
    "model_type": "not_an_object",
    "model_attributes_type": "not_an_object",
    "literal_error": "not_one_of",
    "string_pattern_mismatch": "pattern",
    "string_too_long": "too_long",
    "too_long": "too_long",
    "string_too_short": "too_short",
    "greater_than": "out_of_range",
    "greater_than_equal": "out_of_range",
    "less_than": "out_of_range",
    "less_than_equal": "out_of_range",
}
# Where pydantic's own words would name our classes or speak of inputs.
_MESSAGES = {
    "required": "is required",
    "unknown_field": "is no field of this document",
    "not_an_object": "must be an object",
}


class Parsed(Struct, frozen=True):
    """A sound thing, and the fields of it that are kept but not yet enforced."""

    thing: Thing
    not_enforced: tuple[str, ...] = ()


def decode(body: bytes) -> Any:
    """Read JSON.

    Errors  Refused `not_json`; `invalid` for JSON that no document can be (a number beyond all range,
            nesting without end).
    """
    try:
        return msgspec.json.decode(body)
    except msgspec.ValidationError as error:
        raise Refused("invalid", f"the body cannot be taken: {error}") from error
    except RecursionError as error:
        raise Refused("invalid", "the body is nested too deeply") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused("not_json", f"the body is not JSON: {error}") from error


def parse(kind: Kind, document: Any, zone: str, identity: str | None = None) -> Parsed:
    """Check a document of one kind and turn it into the domain's thing.

    `zone` is the node's default time zone; `identity` the id that the path names, or the one to use
    when the document has none.
    Errors  Refused `invalid` with every wrong field.

    >>> parse("publisher", {"id": "pub-1"}, "UTC").thing
    Publisher(id='pub-1', name='', domain=None, status='active')
    """
    if not isinstance(document, dict):
        raise refused([FieldError("", "not_an_object", "the document must be a JSON object")])
    try:
        model = MODELS[kind].model_validate(document)
    except ValidationError as error:
        raise refused(field_errors(error)) from None
    faults = list(model.faults())
    own_id = model.id or identity
    if own_id is None:
        faults.insert(0, FieldError("id", "required", "is required"))
    elif not ID_PATTERN.fullmatch(own_id):  # the path's
        faults.insert(0, FieldError("id", "pattern", f"must match {ID_PATTERN.pattern}"))
    if faults or own_id is None:
        raise refused(faults)
    return Parsed(model.to_domain(own_id, zone), tuple(model.unenforced()))


def refused(errors: list[FieldError]) -> Refused:
    """Make one refusal of all that is wrong with a document."""
    first = f"{errors[0].field}: {errors[0].message}" if errors[0].field else errors[0].message
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return Refused("invalid", first + more, errors=tuple(errors[:MAX_ERRORS]))


def field_errors(error: ValidationError) -> list[FieldError]:
    """Turn what pydantic found into our words, in the order of the document's fields."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    errors: list[FieldError] = []
    for one in found[:MAX_ERRORS]:
        code = _CODES.get(one["type"], one["type"])
        errors.append(FieldError(path(one["loc"]), code, _MESSAGES.get(code, one["msg"])))
    return errors


def path(location: tuple[int | str, ...]) -> str:
    """Write where in a document something stands.

    >>> path(("targeting", "age", "~list", 0)), path(("pricing", "kind"))
    ('targeting.age[0]', 'pricing.kind')
    """
    text = ""
    for step in location:
        if isinstance(step, int):
            text += f"[{step}]"
        elif not step.startswith("~") and step != "[key]":
            text += ("." if text else "") + step[:_LONGEST_NAME]
    return text
