"""`POST /v1/refunds`: give money back and un-learn, event by event."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from app.domain import ids
from app.domain.keys import Caller
from app.domain.refusals import FieldError, Refused
from app.flows.feedback import refund
from app.flows.node import Node
from app.state.apply import Receipt
from app.web.access import caller_in
from app.web.admin.auth import MAX_BODY_BYTES
from app.web.admin.schemas import REFUNDS, REFUNDS_IN, answers
from app.web.catalogue import schemas
from app.web.catalogue.bulk import read_body
from app.web.catalogue.parsing import decode, field_errors, refused
from app.web.explain import number

MAX_EVENTS = 1_000
# Each event is looked up two or three times, at some 20 us: a slice holds the loop for about 2 ms.
EVENTS_PER_SLICE = 32


class RefundsIn(BaseModel):
    """The body: ids as `event_id` in results and traces."""

    model_config = ConfigDict(strict=True)
    event_ids: list[Annotated[str, StringConstraints(max_length=256)]]
    reason: Annotated[str, StringConstraints(max_length=1000)] = ""


def refunds_router(node: Node) -> APIRouter:
    """Make the route over a node."""
    router = APIRouter(tags=["refunds"])

    @router.post(
        "/v1/refunds",
        response_model=None,
        responses=answers(REFUNDS, 200, 400, 413, 422, 503),
        openapi_extra={"requestBody": schemas.body(REFUNDS_IN, "application/json")},
    )
    async def post_refunds(request: Request) -> Response:
        """Take events back. Safe to send twice: an event is refunded once."""
        wanted = _read(bytes(await read_body(request, MAX_BODY_BYTES)))
        results: list[dict[str, Any]] = []
        for start in range(0, len(wanted.event_ids), EVENTS_PER_SLICE):
            results += await _refund_some(
                node,
                wanted.event_ids[start : start + EVENTS_PER_SLICE],
                wanted.reason,
                caller_in(request.scope),
            )
        return Response(msgspec.json.encode({"results": results}), media_type="application/json")

    return router


async def _refund_some(node: Node, texts: list[str], reason: str, caller: Caller) -> list[dict[str, Any]]:
    known = [_event_id(text) for text in texts]
    answered = iter(await refund(node, [each for each in known if each is not None], reason, caller))
    return [
        _result(text, next(answered) if each is not None else _UNKNOWN)
        for text, each in zip(texts, known, strict=True)
    ]


_UNKNOWN = Refused("unknown_event", "this is not an event's id")


def _read(body: bytes) -> RefundsIn:
    document = decode(body)
    if not isinstance(document, dict):
        raise refused([FieldError("", "not_an_object", "the body must be a JSON object")])
    try:
        wanted = RefundsIn.model_validate(document)
    except ValidationError as error:
        raise refused(field_errors(error)) from None
    if len(wanted.event_ids) > MAX_EVENTS:
        raise Refused("too_many", f"at most {MAX_EVENTS} events a call", "event_ids")
    return wanted


def _event_id(text: str) -> bytes | None:
    try:
        return ids.from_text(text)
    except ValueError:
        return None


def _result(text: str, answer: Receipt | Refused) -> dict[str, Any]:
    if isinstance(answer, Refused):
        status, code, refunded, unlearned = "refused", answer.code, 0, False
    elif answer.status == "repeat":
        status, code, refunded, unlearned = "repeat", None, 0, False
    else:
        status, code, refunded, unlearned = "refunded", answer.code, answer.billed_micros, answer.learned
    return {
        "event_id": text, "status": status, "refunded": number(refunded), "unlearned": unlearned,
        "code": code,
    }  # fmt: skip
