"""Saying no over HTTP: the one table from codes to statuses, and the body that every refusal has (RFC 9457).

Flows and rules speak of codes; only doors know of statuses. What is thrown and is neither a refusal nor
`Busy` is a bug of ours: 500, and nothing about it leaves the house.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

import msgspec
from starlette.responses import Response

from app.domain.refusals import Busy, FieldError, Refused

PROBLEM_JSON = "application/problem+json"

# Every code that a door may answer with; a code that stands nowhere else belongs to a field of a 422.
STATUSES: dict[str, int] = {
    # 400: it cannot be read at all
    "not_json": 400,
    "malformed": 400,
    "forged": 400,
    "wrong_kind": 400,
    "not_gzip": 400,
    # 401, 403: who asks
    "unauthorized": 401,
    "key_required": 401,
    "admin_door_only": 403,
    "forbidden": 403,
    "out_of_scope": 403,
    # 404, 405, 410: what is asked for
    "not_found": 404,
    "unknown_decision": 404,
    "unknown_creative": 404,
    "unknown_event": 404,
    "method_not_allowed": 405,
    "expired": 410,
    "too_old": 410,
    "model_missing": 410,
    # 409, 412, 428: what stands against it
    "taken": 409,
    "has_children": 409,
    "experiment_running": 409,
    "experiment_fixed": 409,
    "not_running": 409,
    "stale": 412,
    "precondition_required": 428,
    # 413, 415: how it comes
    "too_large": 413,
    "too_many": 413,
    "unsupported_media_type": 415,
    # 422: it can be read and does not fit
    "invalid": 422,
    "duplicate_name": 422,
    "not_refundable": 422,
    "unknown_parent": 422,
    "unknown_audience": 422,
    "archived_parent": 422,
    "parent_fixed": 422,
    "format_fixed": 422,
    "catalogue_full": 422,
    "model_damaged": 422,
    "model_unfit": 422,
    "model_empty": 422,
    "too_many_keys": 422,
    # 500, 503: ours
    "internal": 500,
    "overloaded": 503,
    "journal_full": 503,
    "journal_unavailable": 503,
    "workers_unavailable": 503,
    "not_ready": 503,
}
UNLISTED = 422  # a refusal that the table forgot is still the caller's to mend; a test finds it


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """The body of every refusal (RFC 9457, with a stable `code` and every wrong field)."""

    type: str
    title: str
    status: int
    detail: str | None
    code: str
    field: str | None = None
    errors: tuple[FieldError, ...] = ()


_encode = msgspec.json.Encoder().encode


def status_of(code: str) -> int:
    """Look up the status of a code.

    >>> status_of("stale"), status_of("journal_full")
    (412, 503)
    """
    return STATUSES.get(code, UNLISTED)


def problem_of(error: Refused | Busy) -> tuple[int, bytes]:
    """Turn a refusal into a status and a problem's body.

    >>> status, body = problem_of(Refused("not_json", "the body is not JSON"))
    >>> status, body[:42]
    (400, b'{"type":"about:blank","title":"Bad Request')
    """
    if isinstance(error, Busy):
        status = STATUSES.get(error.code, 503)
        return status, body_of(status, error.code, "not now; try again as Retry-After says")
    status = status_of(error.code)
    return status, body_of(status, error.code, error.message, error.field, error.errors)


def body_of(
    status: int,
    code: str,
    detail: str | None,
    field: str | None = None,
    errors: tuple[FieldError, ...] = (),
) -> bytes:
    """Write a problem's body."""
    title = HTTPStatus(status).phrase
    return _encode(
        Problem(
            type="about:blank", title=title, status=status, detail=detail, code=code, field=field,
            errors=errors,
        )
    )  # fmt: skip


def headers_of(error: Refused | Busy) -> dict[str, str]:
    """Say what a problem's answer carries beside its body: Retry-After in whole seconds, at least one.

    >>> headers_of(Busy("journal_full", 1_200))
    {'Retry-After': '2'}
    """
    if isinstance(error, Busy):
        return {"Retry-After": str(max(1, -(-error.retry_after_ms // 1000)))}
    return {"WWW-Authenticate": "Bearer"} if status_of(error.code) == 401 else {}


def problem(
    status: int, code: str, detail: str | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """Answer with a problem of the door's own (404, 405, 401, 500)."""
    return Response(body_of(status, code, detail), status, headers, PROBLEM_JSON)


def refusal(error: Refused | Busy) -> Response:
    """Answer with what a flow refused."""
    status, body = problem_of(error)
    return Response(body, status, headers_of(error), PROBLEM_JSON)
