"""How a campaign delivers: money, plan, throttle, where its ad groups stand, and why its ads do not win."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from app.domain.catalogue import AdGroup, Campaign
from app.domain.decisions import REASON_CODES
from app.domain.refusals import Refused
from app.flows.funnels import funnel
from app.rules.pacing import day_segments
from app.rules.standing import moment_at
from app.state.pacing import Plan

if TYPE_CHECKING:
    from app.flows.node import Node


class GroupDelivery(Struct, frozen=True, kw_only=True):
    """One ad group: what it spent, and why it stands aside ("" where it does not). Units: micros."""

    group: AdGroup
    spent_today: int
    spent: int
    in_flight: int
    standing: str


class Delivery(Struct, frozen=True, kw_only=True):
    """One campaign's delivery at a time. `funnel` counts since its day began, by reason. Units: micros."""

    campaign: Campaign
    at_ms: int
    spent: int
    plan: Plan
    groups: list[GroupDelivery]
    funnel_from_ms: int
    funnel: dict[str, int]


async def delivery_of(node: Node, campaign_id: str) -> Delivery:
    """Look at one campaign as it delivers now.

    Errors  Refused `not_found`; Busy when no worker is left to read the funnel.
    """
    found = delivery_now(node, campaign_id)
    losses = await funnel(node, campaign_id, found.funnel_from_ms, node.now_ms() + 1)
    return replace(found, funnel={code: count for code, count in losses.items() if count and code})


def delivery_now(node: Node, campaign_id: str) -> Delivery:
    """Look at one campaign as it delivers now, but for its funnel, which must be read.

    Errors  Refused `not_found`.
    """
    state, catalogue = node.state, node.state.catalogue
    campaign = catalogue.get("campaign", campaign_id)
    if not isinstance(campaign, Campaign):
        raise Refused("not_found", f"there is no campaign {campaign_id}", "id")
    at = catalogue.campaign_index[campaign_id]
    day = moment_at(campaign.time_zone, state.clock_ms).day
    groups = []
    for _, group_id in sorted(catalogue.children.get(("campaign", campaign_id), ())):
        group, place = catalogue.get("ad_group", group_id), catalogue.group_index[group_id]
        assert isinstance(group, AdGroup)
        accounts = catalogue.group_accounts
        groups.append(
            GroupDelivery(
                group=group, spent_today=accounts.spent_on(place, day), spent=int(accounts.spent[place]),
                in_flight=int(accounts.in_flight[place]),
                standing=REASON_CODES[int(state.group_standing[place])],
            )
        )  # fmt: skip
    plan = state.pacing.plan_of(at, state.clock_ms, state.supply, state.group_standing)
    return Delivery(
        campaign=campaign, at_ms=state.clock_ms, spent=int(catalogue.campaign_accounts.spent[at]), plan=plan,
        groups=groups, funnel={},
        funnel_from_ms=int(day_segments(campaign.time_zone, campaign.time_zone, day).start_ms[0]),
    )  # fmt: skip
