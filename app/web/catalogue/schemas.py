"""What the OpenAPI document says about the catalogue doors: bodies, answers, parameters."""

from __future__ import annotations

from functools import cache
from http import HTTPStatus
from typing import Any

from app.domain.catalogue import Kind
from app.web.catalogue.models_in import MODELS

Schema = dict[str, Any]
_NULLABLE_TEXT: Schema = {"anyOf": [{"type": "string"}, {"type": "null"}]}
PROBLEM: Schema = {
    "type": "object",
    "description": "RFC 9457",
    "required": ["title", "status", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": _NULLABLE_TEXT,
        "code": {"type": "string"},
        "field": _NULLABLE_TEXT,
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "code", "message"],
                "properties": {name: {"type": "string"} for name in ("field", "code", "message")},
            },
        },
    },
}
_WHY = {
    400: "The body is not JSON",
    401: "No key",
    403: "The key lacks the scope",
    404: "There is no such thing",
    409: "Taken, or children are in use",
    412: "Changed since: If-Match names another revision",
    413: "Too large",
    422: "JSON that does not fit; errors name every wrong field",
    428: "If-Match is required to change what exists",
    503: "Not now; see Retry-After",
}
_ETAG: Schema = {"ETag": {"description": "The revision", "schema": {"type": "string"}}}
IF_MATCH: Schema = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "description": 'The ETag that was read, as "3"; required to change what exists. * matches any.',
    "schema": {"type": "string", "examples": ['"1"']},
}
PAGE: list[Schema] = [
    {
        "name": "cursor",
        "in": "query",
        "description": "`next` of the page before",
        "schema": {"type": "string"},
    },
    {
        "name": "limit",
        "in": "query",
        "schema": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100},
    },
]
QUIET: Schema = {
    "name": "quiet",
    "in": "query",
    "description": "List refused lines only",
    "schema": {"type": "boolean", "default": False},
}
_STATUSES = ("created", "updated", "unchanged", "refused")
IMPORTED: Schema = {
    "type": "object",
    "required": ["counts", "lines"],
    "properties": {
        "counts": {
            "type": "object",
            "required": list(_STATUSES),
            "properties": {status: {"type": "integer"} for status in _STATUSES},
        },
        "lines": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["line", "type", "id", "status", "code", "field", "message"],
                "properties": {
                    "line": {"type": "integer"},
                    "type": _NULLABLE_TEXT,
                    "id": _NULLABLE_TEXT,
                    "status": {"enum": list(_STATUSES)},
                    "code": _NULLABLE_TEXT,
                    "field": _NULLABLE_TEXT,
                    "message": _NULLABLE_TEXT,
                    "not_enforced": {
                        "type": "array",
                        "items": {"type": "string"},
                        "description": "Fields that are kept but do not change decisions yet",
                    },
                },
            },
        },
    },
}


@cache
def schema_of(kind: Kind) -> Schema:
    """Write a kind's document as one schema without references, fit for any place in the document.

    Made once and shared: not to be changed.
    """
    schema = MODELS[kind].model_json_schema()
    definitions = schema.pop("$defs", {})
    inlined: Schema = _inlined(schema, definitions)
    return inlined


def _inlined(schema: Any, definitions: Schema) -> Any:
    if isinstance(schema, list):
        return [_inlined(part, definitions) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        beside = {name: part for name, part in schema.items() if name != "$ref"}
        return _inlined(definitions[schema["$ref"].rpartition("/")[2]] | beside, definitions)
    return {name: _inlined(part, definitions) for name, part in schema.items()}


def patch_of(kind: Kind) -> Schema:
    """Describe a merge patch: any of a kind's fields, null to take one back to its default.

    What stands inside an object field may be partial too, so that only its being an object is told.
    """
    fields = {
        name: {"anyOf": [{"type": "object"} if field.get("type") == "object" else field, {"type": "null"}]}
        for name, field in schema_of(kind)["properties"].items()
    }
    return {"type": "object", "properties": fields, "additionalProperties": False}


def page_of(kind: Kind) -> Schema:
    """Describe one page of a list."""
    return {
        "type": "object",
        "required": ["items", "next"],
        "properties": {"items": {"type": "array", "items": schema_of(kind)}, "next": _NULLABLE_TEXT},
    }


def body(schema: Schema, *media_types: str, required: bool = True) -> Schema:
    """Describe a request body that may come under several media types."""
    return {"required": required, "content": {name: {"schema": schema} for name in media_types}}


def answers(schema: Schema | None, *statuses: int, etag: bool = False) -> dict[int | str, Schema]:
    """Describe what an operation may answer: statuses under 300 with the schema, others as problems."""
    found: dict[int | str, Schema] = {}
    for status in (*statuses, 401, 403):
        if status >= 300:
            content = {"application/problem+json": {"schema": PROBLEM}}
            found[status] = {"description": _WHY[status], "content": content}
            continue
        found[status] = {"description": HTTPStatus(status).phrase}
        if schema is not None and status != 204:
            found[status]["content"] = {"application/json": {"schema": schema}}
        if etag:
            found[status]["headers"] = _ETAG
    return found
