"""Charging and giving back: an ad's action against the budgets of its ad group and campaign, and the ledger.

Every charge goes through `charge`, every refund through `give_back`; nothing else moves money. What an answer
holds in flight is let go with its charge, or by `let_go` where there will be none.
"""

from __future__ import annotations

from app.domain.decisions import ServedAd
from app.rules.pricing import (
    CHARGED_ACTION,
    expected_charge_micros,
    impression_charge,
    impression_price,
)
from app.rules.standing import moment_at
from app.state.accounts import NO_DAY
from app.state.state import State


def charge(state: State, ad: ServedAd, action: str, at_ms: int) -> tuple[int, int]:
    """Bill an ad for an action at its token's price, cut to what the budgets hold: (billed, unbilled) micros.

    (0, 0) where its price is for another action. The day is that of `at_ms` in the campaign's zone.
    """
    if CHARGED_ACTION[ad.price_kind] != action:
        return 0, 0
    catalogue = state.catalogue
    group_at, campaign_at, day = accounts_of(state, ad, at_ms)
    groups, campaigns = catalogue.group_accounts, catalogue.campaign_accounts
    amount = ad.price_micros
    if action == "impression":
        price = impression_price(ad.price_kind, ad.price_micros, ad.pctr, ad.pcvr)
        amount, groups.carry[group_at] = impression_charge(price, int(groups.carry[group_at]))
    billed = min(amount, groups.left(group_at, day), campaigns.left(campaign_at, day))
    were_open = groups.open_at(group_at, day), campaigns.open_at(campaign_at, day)
    groups.bill(group_at, day, billed)
    campaigns.bill(campaign_at, day, billed)
    state.ledger.charge(campaign_at, group_at, billed, amount - billed)
    state.experiments.billed(ad, group_at, campaign_at, day, billed)
    if action != "conversion":  # that is awaited since its click
        came(state, ad, group_at, amount, at_ms)
    if ad.price_kind == "ocpm":
        state.goals.spent_by(group_at, billed)
    if (groups.open_at(group_at, day), campaigns.open_at(campaign_at, day)) != were_open:
        state.restand()
    return billed, amount - billed


def came(state: State, ad: ServedAd, group_at: int, micros: int, at_ms: int) -> None:
    """Take note that what an answer promised has come."""
    late_s = (at_ms - ad.issued_at_ms) / 1000
    state.in_flight.came(group_at, _expected(ad), micros, state.in_flight.age_s(ad.issued_at_ms), late_s)


def let_go(state: State, ad: ServedAd) -> None:
    """Hold an answer in flight no longer: what it promised will not come, or must not be charged."""
    group, _ = state.catalogue.payers(ad.creative_id)
    age_s = state.in_flight.age_s(ad.issued_at_ms)
    state.in_flight.let_go(state.catalogue.group_index[group.id], _expected(ad), age_s)


def _expected(ad: ServedAd) -> float:
    return expected_charge_micros(ad.price_kind, ad.price_micros, ad.pctr, ad.pcvr)


def quote(state: State, ad: ServedAd, action: str, at_ms: int) -> int:
    """Tell what `charge` would bill, and bill nothing."""
    if CHARGED_ACTION[ad.price_kind] != action:
        return 0
    catalogue = state.catalogue
    group_at, campaign_at, day = accounts_of(state, ad, at_ms)
    groups, campaigns = catalogue.group_accounts, catalogue.campaign_accounts
    amount = ad.price_micros
    if action == "impression":
        price = impression_price(ad.price_kind, ad.price_micros, ad.pctr, ad.pcvr)
        amount, _ = impression_charge(price, int(groups.carry[group_at]))
    return min(amount, groups.left(group_at, day), campaigns.left(campaign_at, day))


def give_back(state: State, ad: ServedAd, at_ms: int, billed: int) -> None:
    """Give back what was billed: the total reopens, and its day's budget while that is known."""
    if not billed:
        return
    catalogue = state.catalogue
    group_at, campaign_at, day = accounts_of(state, ad, at_ms)
    _, campaign = catalogue.payers(ad.creative_id)
    if at_ms <= catalogue.zone_since.get(campaign.id, -1):
        day = NO_DAY  # it was billed on a day of another zone's
    catalogue.group_accounts.refund(group_at, day, billed)
    catalogue.campaign_accounts.refund(campaign_at, day, billed)
    state.ledger.refund(campaign_at, group_at, billed)
    state.experiments.billed(ad, group_at, campaign_at, day, -billed)
    if ad.price_kind == "ocpm":
        state.goals.spent_by(group_at, -billed)
    state.restand()


def accounts_of(state: State, ad: ServedAd, at_ms: int) -> tuple[int, int, int]:
    """Find who pays for an ad, and on which day of theirs: (group's, campaign's account, day)."""
    catalogue = state.catalogue
    group, campaign = catalogue.payers(ad.creative_id)
    day = moment_at(campaign.time_zone, at_ms).day
    return catalogue.group_index[group.id], catalogue.campaign_index[campaign.id], day
