"""Clicks as trials and conversions as their successes: the second matrix, and the money that waits for them.

Feedback is additive here, too: a click teaches (1, 0) as it ripens (`app.state.ripening`), its conversion
(0, 1) whenever it comes. Only ads whose conversions are known to be reported teach: those sold by
conversions, and those of a campaign that has had one. (Clicks of others are no failed trials, and would teach
every ad that nobody converts.)
"""

from __future__ import annotations

import math
import struct
from typing import Any

import msgspec

from app.domain import ids
from app.domain.decisions import ServedAd
from app.domain.lines import Clicked, Converted, Entry, Verdict, key_of
from app.rules.ftrl import UNLEARN_HORIZON_EVENTS
from app.state.billing import accounts_of, came, charge, quote
from app.state.conversions import NO_CLICK
from app.state.receipts import VIEW_THROUGH, Outcome, Receipt, receipt_of
from app.state.recent import CLICK_REFUNDED, LEARNED
from app.state.ripening import close_click, open_click, unlearn_trial
from app.state.state import State
from app.state.told import note_act
from app.state.waiting import hold_conversion

BY_CONVERSION = frozenset({"cpa", "ocpm"})
NO_CLICKS = frozenset({"invalid", "refunded"})  # fates: whose conversions nobody made


def try_click(state: State, position: int, line: Clicked, learned: bool) -> float:
    """Take a counted click as a trial; returns the p that its first part was learned with, nan without."""
    ad, p = line.ad, math.nan
    accounts = group_at, campaign_at, _ = accounts_of(state, ad, line.at_ms)
    stood = _stands(state, accounts)
    if ad.price_kind == "cpa":
        came(state, ad, group_at, round(ad.price_micros * ad.pcvr), line.at_ms)
        state.awaited.hold(group_at, round(ad.price_micros * ad.pcvr))
    if ad.price_kind in BY_CONVERSION or state.goals.tracked[campaign_at]:
        p = open_click(state, position, line, group_at, campaign_at, teaches=learned)
    if _stands(state, accounts) != stood:
        state.restand()
    return p


def untry_click(state: State, position: int, line: Clicked) -> None:
    """Take a click that is refunded out of what its campaign waits for, and its conversions' money back."""
    ad = line.ad
    state.conversions.owe(line.event_id)
    group_at, campaign_at, _ = accounts_of(state, ad, line.at_ms)
    close_click(state, position, ad, group_at, campaign_at)
    if ad.price_kind == "cpa" and not state.conversions.of_click(line.event_id):
        state.awaited.let_go(group_at, ad.price_micros * ad.pcvr, _since_s(state, line.at_ms))


def take_conversion(state: State, entry: Entry, line: Converted) -> Outcome:
    """Attribute a conversion to its click, or have it wait for that.

    One whose click does not come is taken note of alone: anybody who was shown an ad can claim one. One of
    an invalid or refunded click counts as invalid.
    """
    fate = _click_fate(state, entry, line)
    if fate in NO_CLICKS:
        return _invalid_conversion(state, entry.position, line, "invalid_click")
    code = state.traffic.noted(line) or None
    if code is not None and state.traffic.blocks:
        return _invalid_conversion(state, entry.position, line, code)
    note_act(state, "conversion", line.ad, line.at_ms)
    if not fate or entry.referred is None:
        return _wait_for_click(state, entry.position, line, code)
    return _attribute(state, entry.position, line, entry.referred.position, fate, code)


def settle_conversions(
    state: State, click: Clicked, click_position: int, fate: str
) -> list[tuple[bytes, Verdict]]:
    """Attribute the conversions that waited for a click that counts, or not; returns their verdicts."""
    told: list[tuple[bytes, Verdict]] = []
    for early in state.early.pop(click.event_id, ()):
        if fate in NO_CLICKS:
            told += _invalid_conversion(state, early.position, early.line, "invalid_click").verdicts
        else:
            told += _attribute(state, early.position, early.line, click_position, fate, early.code).verdicts
    return told


def _attribute(
    state: State, position: int, line: Converted, click_position: int, fate: str, code: str | None
) -> Outcome:
    """Bill a conversion, and learn it where it is the first of a click that was learned."""
    ad, event = line.ad, line.event_id
    accounts = group_at, campaign_at, _ = accounts_of(state, ad, line.at_ms)
    stood = _stands(state, accounts)
    billed, unbilled = charge(state, ad, "conversion", line.at_ms)
    click, p = line.refers_to or b"", math.nan
    first = not state.conversions.of_click(click)
    if first:
        _note_delay(state, line, click_position, campaign_at)
    if ad.price_kind == "cpa":  # a click holds one conversion
        late_s = (line.at_ms - ad.issued_at_ms) / 1000
        held = ad.price_micros * ad.pcvr if first else 0.0
        state.awaited.came(group_at, held, billed + unbilled, _since_s(state, ad.issued_at_ms), late_s)
    state.goals.converted_by(ad.price_kind, campaign_at, group_at)
    if fate == "learned" and not state.conversions.taught(click):
        record = state.recent.find_click(click_position)
        if record is not None and math.isnan(record["p_trial"]):  # the first that shows they are reported
            record["p_trial"] = _learn(state, ad, 1.0, 0.0)
        p = _learn(state, ad, 0.0, 1.0)
    state.conversions.add(position, click, p, billed)
    state.experiments.results.count(ad.variant, conversions=1, revenue_micros=billed)
    if _stands(state, accounts) != stood:
        state.restand()
    state.mix(struct.pack("<qdqq", position, p, billed, unbilled), event, ad.rows, ad.columns)
    learned = not math.isnan(p)
    verdict = Verdict("learned" if learned else "skipped", billed, unbilled, code)
    return Outcome(receipt_of(event, position, billed, unbilled, learned, code), [(event, verdict)])


def _wait_for_click(state: State, position: int, line: Converted, code: str | None) -> Outcome:
    """Count a conversion whose ad was only seen, as far as is known; it bills, teaches and moves nothing."""
    event = line.event_id
    hold_conversion(state, position, line, code)
    state.mix(struct.pack("<q", position), event)
    receipt = msgspec.structs.replace(receipt_of(event, position, 0, 0, False, code), note=VIEW_THROUGH)
    return Outcome(receipt, [(event, Verdict("skipped", code=code))])


def _invalid_conversion(state: State, position: int, line: Converted, code: str) -> Outcome:
    """Take note of a conversion that nobody made: it bills and teaches nothing."""
    event = line.event_id
    state.mix(struct.pack("<q", position), event, code.encode())
    seeming = quote(state, line.ad, "conversion", line.at_ms)
    receipt = Receipt(event, position, "counted", 0, 0, False, code, seeming, True)
    return Outcome(receipt, [(event, Verdict("invalid", code=code))])


def _click_fate(state: State, entry: Entry, line: Converted) -> str:
    """Say what became of a conversion's click: a fate, or "" where none is known or it is still held."""
    if entry.referred is None:
        return ""
    record = state.recent.find_click(entry.referred.position)
    if record is not None:  # the fold's own memory is at least as fresh as what was written back
        if record["clicked"] == CLICK_REFUNDED:
            return "refunded"
        return "learned" if record["fate"] == LEARNED else "skipped"
    if ids.event_id(key_of(line.ad), "impression") in state.held:
        return ""
    verdict = entry.referred.verdict
    return "invalid" if verdict is None or verdict.fate == "held" else verdict.fate


def unlearn_click(state: State, record: Any, ad: ServedAd, click: bytes) -> None:
    """Take a click's trial out of the conversion model, and before it the conversion that taught.

    `record` is its impression's, whose freshness the caller has judged.
    """
    if math.isnan(record["p_trial"]):
        return
    conversion = state.conversions.find_taught(click)
    if conversion is not None:
        unlearn_conversion(state, conversion, ad)
    unlearn_trial(state, record, ad)
    record["p_trial"] = math.nan


def refund_conversion(state: State, line: Converted, record: Any) -> bool:
    """Take a refunded conversion out of what was reached and, while it is fresh, of the model."""
    if record is None or record["click"].tobytes() == NO_CLICK:
        return False
    group_at, campaign_at, _ = accounts_of(state, line.ad, line.at_ms)
    state.goals.converted_by(line.ad.price_kind, campaign_at, group_at, -1)
    if not math.isnan(record["p"]):  # the first of its click, which came soon after its answer
        state.delays.came(campaign_at, max(0, line.at_ms - line.ad.issued_at_ms) / 1000, -1.0)
    return unlearn_conversion(state, record, line.ad)


def unlearn_conversion(state: State, record: Any, ad: ServedAd) -> bool:
    """Take back what a conversion taught, while few lessons came after it."""
    p = float(record["p"])
    if math.isnan(p) or state.conversions.lessons - int(record["lesson"]) > UNLEARN_HORIZON_EVENTS:
        return False
    state.conversion_model.unlearn(ad.rows, ad.columns, p, 0.0, 1.0)
    state.conversions.unteach(record)
    return True


def _learn(state: State, ad: ServedAd, trials: float, successes: float) -> float:
    """Teach the conversion model one lesson; returns the p of this moment."""
    state.conversions.lessons += 1
    prior = state.conversion_prior_of(ad.creative_id)
    return state.conversion_model.learn(ad.rows, ad.columns, prior, trials, successes)


def _note_delay(state: State, line: Converted, click_position: int, campaign: int) -> None:
    """Count how late a click's first conversion is, where its click was counted, too."""
    place = state.delays.find(click_position)
    if place is None and line.ad.price_kind not in BY_CONVERSION:
        return
    since_ms = line.ad.issued_at_ms if place is None else int(state.delays.at(place)["at_ms"])
    state.delays.came(campaign, max(0, line.at_ms - since_ms) / 1000)


def _stands(state: State, accounts: tuple[int, int, int]) -> tuple[bool, bool, bool]:
    """Say whether the budgets of group and campaign are open, and whether the campaign waits too long."""
    group_at, campaign_at, day = accounts
    catalogue, limit = state.catalogue, state.settings.cpa_stop_conversions
    return (
        catalogue.group_accounts.open_at(group_at, day),
        catalogue.campaign_accounts.open_at(campaign_at, day),
        0 < limit <= state.goals.expected_of(campaign_at),
    )


def _since_s(state: State, at_ms: int) -> float:
    return max(0, state.clock_ms - at_ms) / 1000
