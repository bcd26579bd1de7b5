"""What traffic is to come for a targeting, and what of it a bid would win.

How much comes is the node's own count by hour of week (`app.rules.forecast`). Who among it fits, and what it
takes to win, is read off a sample of recent decisions, evaluated anew in a worker: so the answer is about the
traffic and the rivals of the last hours, with an interval for the sample's size and the forecast's error.
"""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from msgspec import Struct

from app.domain.catalogue import AdGroup, Campaign, Creative, Placement, Targeting
from app.domain.decisions import Placed
from app.domain.refusals import Refused
from app.domain.requests import Ask
from app.flows.reporting import in_worker
from app.journal.decisions import DecisionReader
from app.rules import forecast, targeting
from app.rules.standing import ALL_HOURS, ALL_WEEKDAYS, hour_bits, moment_at

if TYPE_CHECKING:
    from app.flows.node import Node

SAMPLE = 2_000
HOUR_MS = 3_600_000
LONGEST_MS = 366 * 24 * HOUR_MS
BY_HOUR_MS = 14 * 24 * HOUR_MS
PRIOR_CVR = 0.02
Shape = tuple[str, int | None, int | None]


class Asked(Struct, frozen=True, kw_only=True):
    """What is to be forecast: [from_ms, to_ms) for a targeting, in a time zone, with or without a bid.

    `shapes` are the creatives' (format, width, height), any of which may fit; `own_group` is the ad group
    asked about, whose own wins are no rivals.
    """

    from_ms: int
    to_ms: int
    zone: str
    targeting: Targeting = Targeting()
    kind: str = "cpm"
    bid_micros: int | None = None
    shapes: tuple[Shape, ...] = ()
    pctr: float | None = None
    pcvr: float | None = None
    own_group: str | None = None


class Estimate(Struct, frozen=True):
    """A number to come with its 95 % interval."""

    expected: float | None
    low: float
    high: float


class Forecast(Struct, frozen=True, kw_only=True):
    """What is expected. Units: spend in micros; requests are placements asked about.

    `hours_seen` says on how many hours of the week the count of traffic rests; `error` is how far an hour's
    forecast is usually off.
    """

    requests: Estimate
    eligible: Estimate
    wins: Estimate | None
    spend: Estimate | None
    by_hour: list[tuple[int, float]]
    sampled: int
    hours_seen: int
    error: float


class Sampled(Struct, frozen=True):
    """What the sample said, counted: placements asked about, those that fit, those won, their cost."""

    asked: int = 0
    fitting: int = 0
    won: int = 0
    cost_micros: float = 0.0


def asked_of_group(node: Node, group_id: str, from_ms: int, to_ms: int) -> Asked:
    """Ask for an ad group as it stands.

    Errors  Refused `not_found`.
    """
    catalogue = node.state.catalogue
    group = catalogue.get("ad_group", group_id)
    if not isinstance(group, AdGroup):
        raise Refused("not_found", f"there is no ad group {group_id}", "ad_group_id")
    campaign = catalogue.get("campaign", group.campaign_id)
    assert isinstance(campaign, Campaign)
    creatives = (catalogue.get(*key) for key in catalogue.children.get(("ad_group", group_id), ()))
    live = [one for one in creatives if isinstance(one, Creative) and one.status == "active"]
    return Asked(
        from_ms=from_ms, to_ms=to_ms, zone=campaign.time_zone, targeting=group.targeting,
        kind=group.pricing.kind, bid_micros=group.pricing.bid_micros, own_group=group_id,
        shapes=tuple(sorted({(one.format, one.width, one.height) for one in live}, key=str)),
    )  # fmt: skip


async def forecast_for(node: Node, asked: Asked) -> Forecast:
    """Forecast requests, eligible ones, wins and their cost.

    Cost    some 0.1 s in a worker.
    Errors  Busy when no worker is left.
    """
    state = node.state
    placements = {
        key: thing for key, thing in state.catalogue.things["placement"].items()
        if isinstance(thing, Placement)
    }  # fmt: skip
    named = _named_placements(asked.targeting, placements)
    rates = np.zeros(forecast.HOURS)
    for placement_id in named if named is not None else ("",):
        rates = rates + state.supply.rates(placement_id)
    by_hour = list(_hours(asked, rates, node.settings.fold.time_zone))
    await asyncio.to_thread(node.decisions.flush)
    packed = msgspec.msgpack.encode((asked, placements, named, state.settings.prior_ctr))
    found = await in_worker(node, run_sample, node.settings.data, packed)
    sampled = msgspec.msgpack.decode(found, type=Sampled)
    error = forecast.relative_error(state.supply.checked)
    hours_seen = int((state.supply.seconds[0] > 0).sum())
    return _put_together(asked, by_hour, sampled, error, hours_seen)


def _named_placements(wanted: Targeting, placements: dict[str, Placement]) -> list[str] | None:
    """List the registered placements that a targeting can mean; None where it does not say."""
    if not (wanted.placement.include or wanted.publisher.include):
        return None
    return sorted(
        key for key, placement in placements.items()
        if targeting.passes(wanted.placement, (key,))
        and targeting.passes(wanted.publisher, (placement.publisher_id,))
    )  # fmt: skip


def _hours(asked: Asked, rates: Any, node_zone: str) -> Any:
    """Go through the hours of the time asked about: when, and how many requests in the targeted hours."""
    hours = _bits(asked.targeting.hour, ALL_HOURS)
    weekdays = _bits(asked.targeting.weekday, ALL_WEEKDAYS)
    at_ms = asked.from_ms
    while at_ms < asked.to_ms:
        end_ms = min(asked.to_ms, at_ms - at_ms % HOUR_MS + HOUR_MS)
        own, node = moment_at(asked.zone, at_ms), moment_at(node_zone, at_ms)
        wanted = hours >> own.hour & weekdays >> own.weekday & 1
        rate = float(rates[node.weekday * 24 + node.hour])
        yield at_ms, (rate * (end_ms - at_ms) / 1000 if wanted else 0.0)
        at_ms = end_ms


def _bits(rule: Any, everything: int) -> int:
    included = hour_bits(rule.include) if rule.include else everything
    return included & ~hour_bits(rule.exclude)


def _put_together(
    asked: Asked, by_hour: list[tuple[int, float]], sampled: Sampled, error: float, hours_seen: int
) -> Forecast:
    total = sum(count for _, count in by_hour)
    low, high = forecast.count_interval(total, error)
    known = hours_seen > 0 or total > 0
    requests = Estimate(
        round(total, 1) if known else None, low if known else 0.0, high if known else math.inf
    )
    wins = spend = None
    if asked.bid_micros is not None:
        wins = _part(total, (low, high), sampled.won, sampled.asked)
        if wins.expected is not None and sampled.won:
            each = sampled.cost_micros / sampled.won
            spend = Estimate(round(wins.expected * each), round(wins.low * each), round(wins.high * each))
        elif wins.expected is not None:
            spend = Estimate(0, 0, 0)
    return Forecast(
        requests=requests, eligible=_part(total, (low, high), sampled.fitting, sampled.asked), wins=wins,
        spend=spend, by_hour=by_hour if asked.to_ms - asked.from_ms <= BY_HOUR_MS else [],
        sampled=sampled.asked, hours_seen=hours_seen, error=round(error, 4),
    )  # fmt: skip


def _part(total: float, bounds: tuple[float, float], count: int, of: int) -> Estimate:
    """Estimate a sampled share of a forecast count; both uncertainties, as independent ones."""
    share, low, high = forecast.share_interval(count, of)
    if not of:
        return Estimate(None, 0.0, bounds[1])
    expected = total * share
    below = math.hypot(total * (share - low), share * (total - bounds[0]))
    above = math.hypot(total * (high - share), share * (bounds[1] - total))
    return Estimate(round(expected, 1), round(max(0.0, expected - below), 1), round(expected + above, 1))


# In the worker.


def run_sample(data: Path, packed: bytes) -> bytes:
    """Evaluate a sample of the decisions that are kept."""
    kind = tuple[Asked, dict[str, Placement], list[str] | None, float]
    asked, placements, named, prior_ctr = msgspec.msgpack.decode(packed, type=kind)
    reader = DecisionReader(data / "decisions.db")
    try:
        records = reader.sample(SAMPLE, seed=1)
    finally:
        reader.close()
    counts = [0, 0, 0]
    cost = 0.0
    wanted = set(named) if named is not None else None
    for record in records:
        for ask, placed in zip(record.request.asks, record.choice.placed, strict=True):
            if placed.code == "unknown_placement" or (wanted is not None and ask.placement_id not in wanted):
                continue
            counts[0] += 1
            placement = None if ask.unregistered else placements.get(ask.placement_id)
            told = targeting.told_by(record.request, ask, placement)
            fits = targeting.meets(asked.targeting, told, record.request.surroundings.keys)
            if not fits or not targeting.takes_shape(asked.shapes, ask, placement):
                continue
            counts[1] += 1
            price = _price(asked, ask, placement, placed, prior_ctr)
            if price is not None:
                counts[2] += 1
                cost += price
    return msgspec.msgpack.encode(
        Sampled(asked=counts[0], fitting=counts[1], won=counts[2], cost_micros=cost)
    )


def _price(
    asked: Asked, ask: Ask, placement: Placement | None, placed: Placed, prior_ctr: float
) -> float | None:
    """Say what an impression would have cost, or None where the bid would not have won its slot.

    It beats whoever stood in the last slot, or fills one that was left empty; it pays what it took.
    """
    assert asked.bid_micros is not None or asked.kind
    own = next((win for win in placed.wins if win.ad_group_id == asked.own_group), None)
    pctr = asked.pctr or (own.pctr if own is not None else prior_ctr)
    v = {"cpm": 1.0, "cpc": 1000 * pctr}.get(asked.kind, 1000 * pctr * (asked.pcvr or PRIOR_CVR))
    worth = (asked.bid_micros or 0) * v
    least = float(max(ask.floor_micros, placement.floor_micros if placement else 0))
    rivals = [float(win.ecpm_micros) for win in placed.wins if win.ad_group_id != asked.own_group]
    if len(rivals) >= ask.count:
        least = max(least, min(rivals))
    elif own is not None:
        least = max(least, float(own.cleared_ecpm_micros))
    return least / 1000 if worth >= least and worth > 0 else None
