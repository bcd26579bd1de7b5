"""`POST /v1/events`: feedback by servers, many at a time, each with a result of its own."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Raw, Struct

from app.domain import ids
from app.domain.keys import Caller
from app.domain.lines import Feedback
from app.domain.refusals import Refused
from app.flows.feedback import line_of, sees_ad, take_event
from app.flows.node import Node
from app.state.apply import Receipt
from app.web.ads import money
from app.web.ads_in import unread
from app.web.asgi import JSON, Answer, Asked
from app.web.tokens import Tokens

MAX_EVENTS = 1_000
TOKEN_OF = {"return": "conversion"}  # whose token an event goes by, where it has none of its own


class EventIn(Struct, kw_only=True):
    """One event. `at` is the sender's own time, for reports; `id` tells several conversions apart.

    A return (the person left the landing page, after `dwell_ms`) goes by the conversion's token.
    """

    token: Annotated[str, Meta(max_length=4096)]
    kind: Literal["impression", "click", "conversion", "dismissal", "return"]
    at: str | None = None
    value: float | None = None
    id: Annotated[str, Meta(min_length=1, max_length=256)] | None = None
    ip: str | None = None
    user_agent: str | None = None
    reason: Annotated[str, Meta(max_length=64)] | None = None  # of a dismissal
    dwell_ms: Annotated[int, Meta(ge=0, lt=1_000_000_000)] | None = None


class EventsIn(Struct, kw_only=True):
    """The body: events are looked at one by one, so that one bad one spoils no other."""

    events: list[Raw]


_body_decoder = msgspec.json.Decoder(EventsIn)
_event_decoder = msgspec.json.Decoder(EventIn)
_encode = msgspec.json.Encoder().encode


class EventsDoor:
    """Answers POST /v1/events when everything in it is durable and applied."""

    def __init__(self, node: Node, tokens: Tokens) -> None:
        self.node = node
        self.tokens = tokens

    async def __call__(self, asked: Asked) -> Answer:
        caller = asked.caller
        lines = [self._line(raw, caller) for raw in _events(asked.body)]
        receipts = await asyncio.gather(
            *(take_event(self.node, line) for line in lines if not isinstance(line, Refused))
        )
        after = iter(receipts)
        results = [
            _refused(line) if isinstance(line, Refused) else self._result(line, next(after), caller)
            for line in lines
        ]
        return Answer(200, _encode({"results": results}), [JSON])

    def _line(self, raw: Raw, caller: Caller) -> Feedback | Refused:
        """Read one event into its line, or say what is wrong with it."""
        now_ms = self.node.now_ms()
        try:
            event = _event_decoder.decode(raw)
            sent_at_ms = _sent_at_ms(event.at)
            ad = self.tokens.open(event.token, TOKEN_OF.get(event.kind, event.kind), now_ms)
        except (msgspec.MsgspecError, UnicodeDecodeError, ValueError, RecursionError) as error:
            return Refused("malformed", str(error))
        except Refused as refused:
            return refused
        if not sees_ad(self.node, caller, ad):
            return Refused("out_of_scope", "this is an ad of another advertiser's")
        own_id = event.id if event.kind == "conversion" else None
        sender = None
        told = event.ip is not None or event.user_agent is not None
        if told and self.node.settings.fold.invalid_traffic != "off":
            sender = self.node.clients.sender(event.ip, event.user_agent, now_ms, direct=False)
        return line_of(
            event.kind, ad, now_ms, own_id=own_id, value=event.value, sent_at_ms=sent_at_ms, sender=sender,
            reason=event.reason, dwell_ms=event.dwell_ms,
        )  # fmt: skip

    def _result(self, line: Feedback, receipt: Receipt, caller: Caller) -> dict[str, Any]:
        billed, learned, code = receipt.billed_micros, receipt.learned, receipt.code
        if code is not None and not caller.may("reports"):
            # A cheat must not learn what gave it away: the answer is that of a valid event.
            billed, learned, code = receipt.seeming_billed_micros, receipt.seeming_learned, None
        return {
            "status": receipt.status,
            "billed": money(billed),
            "learned": learned,
            "code": code or receipt.note,
            "position": receipt.position,
            "event_id": ids.to_text(receipt.event_id),
        }


def _events(body: bytes) -> list[Raw]:
    try:
        events = _body_decoder.decode(body).events
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise unread(body, error) from error
    if len(events) > MAX_EVENTS:
        raise Refused("too_many", f"at most {MAX_EVENTS} events a call", "events")
    return events


def _refused(refused: Refused) -> dict[str, Any]:
    return {"status": "refused", "billed": 0, "learned": False, "code": refused.code,
            "position": None, "event_id": None}  # fmt: skip


def _sent_at_ms(text: str | None) -> int | None:
    if text is None:
        return None
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time is RFC 3339 with an offset")
    return int(moment.timestamp() * 1000)
