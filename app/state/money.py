"""A campaign's money at a glance: what its accounts, the ledger and its goals say, in one struct."""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from app.domain.catalogue import AdGroup
from app.rules.delays import EDGES_S
from app.state.state import State


class GroupMoney(Struct, frozen=True, kw_only=True):
    """What an ad group was billed and bids. Units: micros.

    An oCPM group bids `multiplier` times its target cost, which follows target over `realised_cpa_micros`
    (of the last week, roughly); None where it has no target, or no conversion yet.
    """

    ad_group_id: str
    kind: str
    bid_micros: int
    target_cpa_micros: int | None
    multiplier: float | None
    realised_cpa_micros: int | None
    spent_micros: int
    in_flight_micros: int
    awaited_micros: int
    unbilled_micros: int
    refunded_micros: int


class CampaignMoney(Struct, frozen=True, kw_only=True):
    """What a campaign was billed, and how long its CPA ads have waited for a conversion. Units: micros.

    `expected_conversions` counts since the last one, of clicks as ripe as they are; its CPA ads leave at
    `stops_at_conversions`. `within` says which share of its conversions comes within so many seconds.
    """

    spent_micros: int
    in_flight_micros: int
    awaited_micros: int
    unbilled_micros: int
    refunded_micros: int
    expected_conversions: float
    stops_at_conversions: int | None
    open_clicks: int
    conversions_to_come: float
    within: tuple[tuple[int, float], ...]
    groups: tuple[GroupMoney, ...]


def money_of(state: State, campaign_id: str) -> CampaignMoney:
    """Tell a campaign's money, its ad groups in the order of their ids.

    Cost    some microseconds for each ad group of the node.
    """
    catalogue = state.catalogue
    at = catalogue.campaign_index[campaign_id]
    accounts = catalogue.campaign_accounts
    groups = tuple(
        _group(state, thing)
        for key in sorted(catalogue.children["campaign", campaign_id])
        if isinstance(thing := catalogue.get(*key), AdGroup)
    )
    return CampaignMoney(
        spent_micros=int(accounts.spent[at]), in_flight_micros=int(accounts.in_flight[at]),
        awaited_micros=int(accounts.awaited[at]),
        unbilled_micros=sum(group.unbilled_micros for group in groups),
        refunded_micros=int(state.ledger.receivable_credits[at]),
        expected_conversions=state.goals.expected_of(at),
        stops_at_conversions=state.settings.cpa_stop_conversions or None, groups=groups,
        open_clicks=int(state.delays.open[at].sum()),
        conversions_to_come=state.delays.to_come(at, float(state.goals.prior_cvr[at]), state.clock_ms),
        within=tuple(zip(map(int, EDGES_S), np.cumsum(state.delays.shares[at]).tolist(), strict=True)),
    )  # fmt: skip


def _group(state: State, group: AdGroup) -> GroupMoney:
    at = state.catalogue.group_index[group.id]
    accounts, goals, ledger = state.catalogue.group_accounts, state.goals, state.ledger
    target = int(goals.target_micros[at])
    percent, converted = int(goals.percent[at]), float(goals.converted[at])
    realised = round(float(goals.spent_micros[at]) / converted) if target and converted >= 1.0 else None
    return GroupMoney(
        ad_group_id=group.id, kind=group.pricing.kind,
        bid_micros=max(1, target * percent // 100) if target else group.pricing.bid_micros,
        target_cpa_micros=target or None, multiplier=percent / 100 if target else None,
        realised_cpa_micros=realised, spent_micros=int(accounts.spent[at]),
        in_flight_micros=int(accounts.in_flight[at]), awaited_micros=int(accounts.awaited[at]),
        unbilled_micros=int(ledger.unbilled_debits[at]), refunded_micros=int(ledger.refund_debits[at]),
    )  # fmt: skip
