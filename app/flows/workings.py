"""A stored decision's workings: the auction of then held again, with what was weighed, and the budgets and
plans of those concerned at that moment.

Like `replaying`, it folds the journal from a snapshot on, never on the loop.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from app.domain.catalogue import Campaign
from app.domain.decisions import REASON_CODES, Record
from app.domain.refusals import Refused
from app.flows.replaying import NotReplayed
from app.flows.reporting import in_worker
from app.state.explain import Explained
from app.state.pacing import Plan
from app.state.state import State

if TYPE_CHECKING:
    from app.flows.node import Node


class Standing(Struct, frozen=True, kw_only=True):
    """A campaign at the moment of a decision. Units: micros.

    `aside` names its ad groups that stood aside, and why.
    """

    campaign_id: str
    name: str
    pacing: str
    budget_daily_micros: int | None
    budget_total_micros: int | None
    spent_micros: int
    plan: Plan
    aside: dict[str, str]


class Workings(Struct, frozen=True, kw_only=True, tag="workings"):
    """What was weighed, placement by placement.

    `agrees` says whether it led to the same answer, bit for bit.
    """

    agrees: bool
    explained: list[Explained]
    campaigns: list[Standing]


async def workings_of(node: Node, record: Record) -> Workings:
    """Hold a decision's auctions again in a worker, and tell what was weighed.

    Errors  Refused `too_old` when nothing reaches back to it; Busy when no worker is left.
    """
    packed, settings = msgspec.msgpack.encode(record), node.settings
    answer = await in_worker(node, workings_packed, settings.data, settings.columns, packed)
    found = msgspec.msgpack.decode(answer, type=Workings | NotReplayed)
    if isinstance(found, NotReplayed):
        raise Refused(found.code, found.message)
    return found


def workings_packed(data: Path, columns: int, packed: bytes) -> bytes:
    """Explain a packed record's decision; runs in a worker, which loads the kernels only for this."""
    from app.flows.tracing import explain_then

    record = msgspec.msgpack.decode(packed, type=Record)
    try:
        state, agrees, explained = explain_then(data, columns, record)
    except Refused as refused:
        return msgspec.msgpack.encode(NotReplayed(refused.code, refused.message))
    concerned = [win.campaign_id for placed in record.choice.placed for win in placed.wins]
    concerned += [each.campaign_id for told in explained for each in told.best]
    campaigns = [standing_of(state, campaign_id) for campaign_id in dict.fromkeys(concerned)]
    return msgspec.msgpack.encode(Workings(agrees=agrees, explained=explained, campaigns=campaigns))


def standing_of(state: State, campaign_id: str) -> Standing:
    """Tell a campaign's budget and plan as a state has them."""
    catalogue = state.catalogue
    campaign, at = catalogue.get("campaign", campaign_id), catalogue.campaign_index[campaign_id]
    assert isinstance(campaign, Campaign)
    aside = {}
    for _, group_id in sorted(catalogue.children.get(("campaign", campaign_id), ())):
        code = REASON_CODES[int(state.group_standing[catalogue.group_index[group_id]])]
        if code:
            aside[group_id] = code
    return Standing(
        campaign_id=campaign_id, name=campaign.name, pacing=campaign.pacing,
        budget_daily_micros=campaign.budget_daily_micros, budget_total_micros=campaign.budget_total_micros,
        spent_micros=int(catalogue.campaign_accounts.spent[at]), aside=aside,
        plan=state.pacing.plan_of(at, state.clock_ms, state.supply, state.group_standing),
    )  # fmt: skip
