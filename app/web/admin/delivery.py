"""`GET /v1/campaigns/{id}/delivery`: money, plan, throttle, and what keeps a campaign's ads from winning."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from app.domain.decisions import REASONS
from app.flows.delivery import Delivery, GroupDelivery, delivery_of
from app.flows.node import Node
from app.state.money import CampaignMoney, GroupMoney, money_of
from app.web.admin.decisions import time_of
from app.web.admin.schemas import answers
from app.web.catalogue.schemas import Schema
from app.web.explain import number

_MONEY: Schema = {"type": "number"}
_MAYBE: Schema = {"anyOf": [{"type": "number"}, {"type": "null"}]}
_TEXT: Schema = {"type": "string"}


def _object(**fields: Schema) -> Schema:
    return {"type": "object", "required": sorted(fields), "properties": fields}


_BUDGET = _object(daily=_MAYBE, total=_MAYBE)
_SPENT = _object(today=_MONEY, total=_MONEY)
_SHARE: Schema = {"type": "number", "minimum": 0, "maximum": 1}
_REASON = _object(code=_TEXT, count={"type": "integer", "minimum": 0}, why=_TEXT)
_PLAN = _object(
    today=_MAYBE, by_now=_MAYBE, error=_MAYBE, hour=_MAYBE, hour_spent=_MAYBE, per_hour=_MAYBE,
    possible_per_hour=_MAYBE, day_end=_MAYBE,
)  # fmt: skip
_WITHIN = _object(
    seconds={"type": "integer", "minimum": 1},
    share={**_SHARE, "description": "Of its conversions, that come so soon after their click"},
)
_PRICING = _object(
    kind=_TEXT, bid={**_MONEY, "description": "What it bids now"}, target_cpa=_MAYBE,
    multiplier={**_MAYBE, "description": "Of its target, what an ocpm group bids"}, realised_cpa=_MAYBE,
)  # fmt: skip
_GROUP = _object(
    ad_group_id=_TEXT, pricing=_PRICING, budget=_BUDGET, spent=_SPENT, in_flight=_MONEY, awaited=_MONEY,
    unbilled=_MONEY, refunded=_MONEY,
    stands_aside={"anyOf": [_TEXT, {"type": "null"}]},
)  # fmt: skip
DELIVERY = _object(
    campaign_id=_TEXT, at=_TEXT, status=_TEXT, pacing={"enum": ["even", "asap"]}, budget=_BUDGET,
    spent=_SPENT, in_flight=_MONEY, unbilled=_MONEY, refunded=_MONEY,
    awaited={**_MONEY, "description": "Conversions that clicks on cpa ads may yet bring, in flight too"},
    conversions=_object(
        expected={**_MONEY, "description": "Since the last one, of clicks on cpa ads"},
        stops_at={**_MAYBE, "description": "So many expected without one, and the cpa ads leave"},
        open_clicks={"type": "integer", "minimum": 0, "description": "Of the last week, which may convert"},
        to_come={**_MONEY, "description": "Conversions that these should still bring"},
        within={"type": "array", "items": _WITHIN},
    ),
    throttle=_SHARE,
    exploration=_object(
        cost={**_MONEY, "description": "What exploring its ads costs lately, of all expected eCPM"},
        ceiling=_MONEY, factor={**_MONEY, "description": "1; less while it costs more than its ceiling"},
    ),
    billed_ratio=_MONEY, plan=_PLAN,
    ad_groups={"type": "array", "items": _GROUP},
    funnel=_object(since=_TEXT, reasons={"type": "array", "items": _REASON}),
)  # fmt: skip
_ID: Schema = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}


def delivery_router(node: Node) -> APIRouter:
    """Make the route over a node."""
    router = APIRouter(tags=["reports"])

    @router.get(
        "/v1/campaigns/{id}/delivery", response_model=None, responses=answers(DELIVERY, 200, 404, 503),
        openapi_extra={"parameters": [_ID]},
    )  # fmt: skip
    async def get_delivery(request: Request) -> Response:
        """Tell how a campaign delivers now: the plan is that of its day, in its own time zone."""
        found = await delivery_of(node, request.path_params["id"])
        money = money_of(node.state, found.campaign.id)
        told = _told(found, money) | {"exploration": _explored(node, found.campaign.id)}
        return Response(msgspec.json.encode(told), media_type="application/json")

    return router


def _told(found: Delivery, money: CampaignMoney) -> dict[str, Any]:
    campaign, plan = found.campaign, found.plan
    its = {group.ad_group_id: group for group in money.groups}  # looked at later: one more may be there
    due = plan.planned
    return {
        "campaign_id": campaign.id,
        "at": time_of(found.at_ms, campaign.time_zone),
        "status": campaign.status,
        "pacing": campaign.pacing,
        "budget": _limits(campaign.budget_daily_micros, campaign.budget_total_micros),
        "spent": {"today": number(plan.spent_today), "total": number(found.spent)},
        "in_flight": number(plan.in_flight),
        "awaited": number(money.awaited_micros),
        "unbilled": number(money.unbilled_micros),
        "refunded": number(money.refunded_micros),
        "conversions": {
            "expected": round(money.expected_conversions, 4),
            "stops_at": money.stops_at_conversions,
            "open_clicks": money.open_clicks,
            "to_come": round(money.conversions_to_come, 4),
            "within": [
                {"seconds": seconds, "share": min(1.0, round(share, 6))} for seconds, share in money.within
            ],
        },
        "throttle": round(plan.throttle, 6),
        "billed_ratio": round(plan.billed_ratio, 4),
        "plan": {
            "today": _money(plan.allowance),
            "by_now": _money(due),
            "error": None if due is None else number(plan.spent_today - round(due)),
            "hour": _money(plan.hour_planned),
            "hour_spent": _money(plan.hour_spent),
            "per_hour": _money(plan.aim, 3600),
            "possible_per_hour": _money(plan.full, 3600),
            "day_end": _money(plan.day_end),
        },
        "ad_groups": [_group(each, its[each.group.id]) for each in found.groups],
        "funnel": {
            "since": time_of(found.funnel_from_ms, campaign.time_zone),
            "reasons": [
                {"code": code, "count": count, "why": REASONS[code]}
                for code, count in sorted(found.funnel.items(), key=lambda pair: -pair[1])
            ],
        },
    }


def _explored(node: Node, campaign_id: str) -> dict[str, float]:
    cost, factor = node.state.explored(campaign_id)
    ceiling = node.state.settings.exploration_campaign_ceiling
    return {"cost": round(cost, 6), "ceiling": ceiling, "factor": round(factor, 6)}


def _group(each: GroupDelivery, money: GroupMoney) -> dict[str, Any]:
    group = each.group
    return {
        "ad_group_id": group.id,
        "pricing": {
            "kind": money.kind,
            "bid": number(money.bid_micros),
            "target_cpa": _money(money.target_cpa_micros),
            "multiplier": money.multiplier,
            "realised_cpa": _money(money.realised_cpa_micros),
        },
        "budget": _limits(group.budget_daily_micros, group.budget_total_micros),
        "spent": {"today": number(each.spent_today), "total": number(each.spent)},
        "in_flight": number(each.in_flight),
        "awaited": number(money.awaited_micros),
        "unbilled": number(money.unbilled_micros),
        "refunded": number(money.refunded_micros),
        "stands_aside": each.standing or None,
    }


def _limits(daily: int | None, total: int | None) -> dict[str, Any]:
    return {
        "daily": None if daily is None else number(daily),
        "total": None if total is None else number(total),
    }


def _money(micros: float | None, times: int = 1) -> int | float | None:
    return None if micros is None else number(round(micros * times))
