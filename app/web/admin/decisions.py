"""A stored decision in words: what was asked, what was answered and why, and what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import msgspec
from fastapi import APIRouter, Query, Request, Response

from app.domain import ids
from app.domain.catalogue import Placement
from app.domain.decisions import (
    LOSS_CODES,
    OWN_LOSS_CODE,
    REASONS,
    Choice,
    Placed,
    Record,
    Shadowed,
    Win,
)  # fmt: skip
from app.domain.keys import EVERYONE, Caller
from app.domain.money import to_micros
from app.domain.refusals import FieldError, Refused
from app.flows.node import Node
from app.flows.replaying import find_by_request, find_record, replay, what_if
from app.rules.splitting import seat_of
from app.state.row_names import RowNames
from app.state.what_if import OF_PRICE, WhatIf
from app.web.access import caller_in
from app.web.admin.schemas import DECISION, DECISIONS, REPLAY, WHAT_IF, answers
from app.web.catalogue.parsing import refused
from app.web.explain import number
from app.web.privacy.signals import personal_of

MAX_LISTED = 100
OUTCOMES = ("impression", "click", "conversion", "dismissal", "return", "win", "loss")
_json = msgspec.json.Encoder().encode


_Limit = Annotated[str, Query(description="1 to 100", json_schema_extra={"pattern": "^([1-9][0-9]?|100)$"})]
_Bid = Annotated[
    str | None,
    Query(
        description="Its ad group's bid; absent: what it bid then",
        json_schema_extra={"pattern": "^(0|[1-9][0-9]{0,8})([.][0-9]{1,6})?$"},
    ),
]


def decisions_router(node: Node) -> APIRouter:
    """Make the routes over a node."""
    router = APIRouter(tags=["decisions"])

    @router.get("/v1/decisions", response_model=None, responses=answers(DECISIONS, 200, 422))
    async def list_decisions(
        request: Request,
        request_id: Annotated[str, Query(description="The request id that the caller sent")],
        limit: _Limit = "20",
    ) -> Response:
        """List the decisions taken for a request id, the latest first.

        A key that is bound to advertisers is told of those that an ad of theirs won, among the latest 5,000.
        """
        if not (limit.isascii() and limit.isdigit() and len(limit) <= 3 and 1 <= int(limit) <= MAX_LISTED):
            raise refused([FieldError("limit", "out_of_range", f"must be from 1 to {MAX_LISTED}")])
        caller = caller_in(request.scope)
        wanted = partial(concerns, caller=caller)
        records = await find_by_request(node, request_id, int(limit), wanted)
        return _answer({"items": [await describe(node, record, caller) for record in records]})

    @router.get("/v1/decisions/{id}", response_model=None, responses=answers(DECISION, 200, 404, 410))
    async def get_decision(request: Request) -> Response:
        """Tell everything about one decision."""
        decision_id = _identity(request)
        caller = caller_in(request.scope)
        record = await find_for(node, decision_id, caller)
        return _answer({"decision_id": ids.to_text(decision_id), **await describe(node, record, caller)})

    @router.post(
        "/v1/decisions/{id}/replay", response_model=None, responses=answers(REPLAY, 200, 404, 410, 503)
    )
    async def replay_decision(request: Request) -> Response:
        """Rebuild the state at the decision's position and decide again."""
        caller = caller_in(request.scope)
        record = await find_for(node, _identity(request), caller)
        replayed = await replay(node, record)
        words = Words(node, record, caller)
        then, now = words.choice(replayed.then), words.choice(replayed.now)
        return _answer({"agrees": replayed.agrees, "then": then, "now": now})

    @router.get(
        "/v1/decisions/{id}/what-if", response_model=None, responses=answers(WHAT_IF, 200, 404, 410, 422, 503)
    )
    async def would_it_have_won(
        request: Request,
        creative_id: Annotated[str, Query(description="The ad asked about")],
        bid: _Bid = None,
    ) -> Response:
        """Hold the placement's auction again, at another bid: would this ad have won, and at what price?"""
        caller, decision_id = caller_in(request.scope), _identity(request)
        record = await find_for(node, decision_id, caller)
        found = await what_if(node, record, decision_id[-1], creative_id, bid_micros_of(bid))
        if not caller.sees(found.advertiser_id):
            raise Refused("unknown_creative", "there was no such creative at that position", "creative_id")
        return _answer(what_if_words(decision_id, record, creative_id, found))

    for route in router.routes[1:]:
        route.openapi_extra = {"parameters": [_ID]}  # type: ignore[attr-defined] # all are API routes
    return router


def bid_micros_of(bid: str | None) -> int | None:
    """Read a bid that is asked about. Errors: Refused `invalid`."""
    if bid is None:
        return None
    try:
        micros = to_micros(bid)
    except ValueError as error:
        raise refused([FieldError("bid", "invalid", str(error))]) from error
    if micros <= 0:
        raise refused([FieldError("bid", "out_of_range", "must be more than 0")])
    return micros


def what_if_words(decision_id: bytes, record: Record, creative_id: str, found: WhatIf) -> dict[str, Any]:
    """Tell what would have been."""
    win, placed = found.win, record.choice.placed[decision_id[-1]]
    return {
        "decision_id": ids.to_text(decision_id),
        "placement_id": placed.placement_id,
        "position": record.choice.position,
        "advertiser_id": found.advertiser_id,
        "ad_group_id": found.ad_group_id,
        "creative_id": creative_id,
        "pricing": {
            "kind": found.kind,
            "bid_then": number(found.own_bid_micros),
            "bid": number(found.bid_micros),
            "price": number(win.price_micros) if win else None,
            "ecpm": number(win.ecpm_micros) if win else None,
            "least_bid": None if found.least_bid_micros is None else number(found.least_bid_micros),
        },
        "won": found.won,
        "would_win": win is not None,
        "ad_index": win.ad_index if win else None,
        "deal_id": win.deal_id or None if win else None,
        "pctr": win.pctr if win else None,
        "sibling_creative_id": found.sibling_id,
        "eligible": win is not None or found.reason in OF_PRICE,
        "reason": found.reason,
        "why": REASONS.get(found.reason, "") if found.reason else None,
        "loss_code": LOSS_CODES.get(found.reason, OWN_LOSS_CODE) if found.reason else None,
    }


_ID = {
    "name": "id", "in": "path", "required": True,
    "schema": {"type": "string", "description": "As `decision_id` in an answer"},
}  # fmt: skip


def _answer(document: dict[str, Any]) -> Response:
    return Response(_json(document), media_type="application/json")


def _identity(request: Request) -> bytes:
    try:
        return ids.from_text(request.path_params["id"])
    except ValueError as error:
        raise Refused("unknown_decision", "this is not a decision's id", "id") from error


async def find_for(node: Node, decision_id: bytes, caller: Caller) -> Record:
    """Look up a decision that is there for a caller. Errors: Refused `unknown_decision`, `too_old`."""
    record = await find_record(node, decision_id)
    if not concerns(record, caller):
        raise Refused("unknown_decision", "no decision is kept under this id", "id")
    return record


def concerns(record: Record, caller: Caller) -> bool:
    """Say whether a decision is there for a caller: one that a bound caller's ad won."""
    if caller.advertiser_ids is None:
        return True
    return any(caller.sees(win.advertiser_id) for placed in record.choice.placed for win in placed.wins)


async def describe(node: Node, record: Record, caller: Caller) -> dict[str, Any]:
    """Tell a decision. A bound caller hears of its own ads alone: nothing of rivals, nor of the person."""
    words = Words(node, record, caller)
    document = {
        "request": _request(record, caller),
        "personal": personal_of(record.request) if caller.advertiser_ids is None else None,
        **words.choice(record.choice),
    }
    outcomes = await asyncio.to_thread(_outcomes, node, record.choice)
    for placement in document["placements"]:
        for ad in placement["ads"]:
            ad["events"] = outcomes[placement["decision_id"], ad["ad_index"]]
    return document


def _request(record: Record, caller: Caller) -> dict[str, Any]:
    """Tell what was asked; the key that stands for the person tells nobody anything."""
    if caller.advertiser_ids is not None:
        return {"request_id": record.request.request_id}
    told: dict[str, Any] = msgspec.to_builtins(record.request)
    for name in ("key", "former_key"):
        (told.get("person") or {}).pop(name, None)
    return told


def _outcomes(node: Node, choice: Choice) -> dict[tuple[str, int], list[dict[str, Any]]]:
    """Look up the events of each ad of a decision. Several conversions with ids of their own: the first."""
    found = {}
    for placed in choice.placed:
        for win in placed.wins:
            key = ids.ad_key(placed.decision_id, win.ad_index)
            events = [_event(node, kind, ids.event_id(key, kind)) for kind in OUTCOMES]
            found[ids.to_text(placed.decision_id), win.ad_index] = [event for event in events if event]
    return found


def _event(node: Node, kind: str, event_id: bytes) -> dict[str, Any] | None:
    known = node.journal.find(event_id)
    if known is None:
        return None
    position, verdict = known
    entry = node.journal.entry_at(position)
    return {
        "kind": kind,
        "event_id": ids.to_text(event_id),
        "position": position,
        "at": time_of(entry.line.at_ms, node.settings.fold.time_zone) if entry else None,
        "verdict": verdict.fate if verdict else None,
        "code": verdict.code if verdict else None,
        "billed": number(verdict.billed_micros) if verdict else None,
        "unbilled": number(verdict.unbilled_micros) if verdict else None,
    }


def time_of(at_ms: int, zone: str) -> str:
    """Write a time with its offset.

    >>> time_of(1_700_000_000_123, "Asia/Seoul")
    '2023-11-15T07:13:20.123+09:00'
    """
    moment = datetime.fromtimestamp(at_ms // 1000, UTC).replace(microsecond=at_ms % 1000 * 1000)
    return moment.astimezone(ZoneInfo(zone)).isoformat(timespec="milliseconds")


class Words:
    """Tells choices of one record, with the names that the catalogue has for indexes now."""

    def __init__(self, node: Node, record: Record, caller: Caller = EVERYONE) -> None:
        self.caller, self.bound = caller, caller.advertiser_ids is not None
        catalogue = node.state.catalogue
        self.zone = node.settings.fold.time_zone
        self.columns = node.state.catalogue.columns.by_key
        self.creatives = catalogue.ads.creatives
        placements = {
            row: ask.placement_id
            for ask in record.request.asks
            if isinstance(catalogue.get("placement", ask.placement_id), Placement)
            and (row := catalogue.rows.by_key.get(ask.placement_id)) is not None
        }
        publishers = sorted({placed.publisher_id for placed in record.choice.placed if placed.publisher_id})
        self.rows = RowNames(record.request, placements, publishers)

    def choice(self, choice: Choice) -> dict[str, Any]:
        """Tell a whole answer."""
        return {
            "position": choice.position,
            "clock": time_of(choice.clock_ms, self.zone),
            "variant": seat_of(choice.variant)[0],
            "shadows": [] if self.bound else [self._shadow(*shadow) for shadow in choice.shadows],
            "placements": [
                self._placed(placed)
                for placed in choice.placed
                if not self.bound or any(self.caller.sees(win.advertiser_id) for win in placed.wins)
            ],
        }

    def _shadow(self, number_: int, would_be: tuple[Shadowed, ...]) -> dict[str, Any]:
        return {
            "variant": seat_of(number_)[0],
            "placements": [
                {
                    "creative_id": self._rival(each.creative_index),
                    "pctr": each.pctr or None,
                    "cleared_ecpm": number(each.cleared_ecpm_micros),
                }
                for each in would_be
            ],
        }

    def _placed(self, placed: Placed) -> dict[str, Any]:
        return {
            "decision_id": ids.to_text(placed.decision_id),
            "name": placed.name,
            "placement_id": placed.placement_id,
            "publisher_id": placed.publisher_id or None,
            "candidates": placed.candidates,
            "rows": [] if self.bound else [self.rows.of(row) for row in placed.rows],
            "ads": [self._win(win) for win in placed.wins if self.caller.sees(win.advertiser_id)],
            "no_ad": placed.code or None,
            "reasons": [] if self.bound else _reasons(placed.reasons),
            "exploration": None if self.bound else _exploration(placed),
        }

    def _win(self, win: Win) -> dict[str, Any]:
        return {
            "ad_index": win.ad_index,
            "advertiser_id": win.advertiser_id,
            "campaign_id": win.campaign_id,
            "ad_group_id": win.ad_group_id,
            "creative_id": win.creative_id,
            "deal_id": win.deal_id or None,
            "pricing": {
                "kind": win.kind,
                "bid": number(win.bid_micros),
                "price": number(win.price_micros),
                "ecpm": number(win.ecpm_micros),
                "cleared_ecpm": number(win.cleared_ecpm_micros),
                "rival_creative_id": self._rival(win.rival_index),
            },
            "pctr": win.pctr,
            "pcvr": win.pcvr or None,
            "propensity": win.propensity or None,
        }

    def _rival(self, index: int) -> str | None:
        if self.bound:
            return None
        creative = self.creatives[index] if 0 <= index < len(self.creatives) else None
        return creative.id if creative is not None else None


def _exploration(placed: Placed) -> dict[str, Any] | None:
    """Tell the eCPM expected of the greedy choice and of this one, where that was measured."""
    if not placed.greedy_ecpm_micros:
        return None
    return {
        "greedy_ecpm": number(placed.greedy_ecpm_micros), "chosen_ecpm": number(placed.chosen_ecpm_micros)
    }  # fmt: skip


def _reasons(reasons: dict[str, int]) -> Sequence[dict[str, Any]]:
    return [
        {
            "code": code,
            "count": count,
            "why": REASONS.get(code, ""),
            "loss_code": LOSS_CODES.get(code, OWN_LOSS_CODE),
        }
        for code, count in sorted(reasons.items(), key=lambda pair: -pair[1])
    ]
