"""What traffic is to come for a targeting, and what of it a bid would win.

How much comes is the node's own count by hour of week (`app.rules.forecast`). Who among it fits, and what it
takes to win, is read off a sample of recent decisions, evaluated anew in a worker: so the answer is about the
traffic and the rivals of the last hours, with an interval for the sample's size and the forecast's error.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from msgspec import Struct

from app.domain.catalogue import AdGroup, Campaign, Creative, Placement, Targeting
from app.domain.refusals import Refused
from app.flows.reporting import in_worker
from app.flows.sampling import Asked, Sampled, run_sample, worth_of
from app.rules import forecast, targeting
from app.rules.standing import ALL_HOURS, ALL_WEEKDAYS, hour_bits, moment_at

if TYPE_CHECKING:
    from app.flows.node import Node

HOUR_MS = 3_600_000
LONGEST_MS = 366 * 24 * HOUR_MS
BY_HOUR_MS = 14 * 24 * HOUR_MS
Bounds = tuple[float, float]
Share = tuple[float, float, float]


class Estimate(Struct, frozen=True):
    """A number to come with its 95 % interval; without numbers where it is not to be told."""

    expected: float | None
    low: float = 0.0
    high: float | None = None


NOT_TOLD = Estimate(None)


class Forecast(Struct, frozen=True, kw_only=True):
    """What is expected. Units: spend in micros; requests are placements asked about.

    `hours_seen` says on how many hours of the week the count of traffic rests; `error` is how far an hour's
    forecast is usually off. `least_people` is told where fewer than that fit, and nothing of them is.
    """

    requests: Estimate
    eligible: Estimate
    wins: Estimate | None
    spend: Estimate | None
    by_hour: list[tuple[int, float]]
    sampled: int
    hours_seen: int
    error: float
    least_people: int | None = None


def asked_of_group(node: Node, group_id: str) -> Asked:
    """Ask for an ad group as it stands; the time is the caller's to say.

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
        from_ms=0, to_ms=0, zone=campaign.time_zone, targeting=group.targeting,
        kind=group.pricing.kind, bid_micros=group.pricing.bid_micros, own_group=group_id,
        shapes=tuple(sorted({(one.format, one.width, one.height) for one in live}, key=str)),
    )  # fmt: skip


async def forecast_for(node: Node, asked: Asked) -> Forecast:
    """Forecast requests, eligible ones, wins and their cost. Where nothing was seen, by priors alone.

    Cost    some 0.1 s in a worker; up to a second where few people fit.
    Errors  Busy when no worker is left.
    """
    supply, settings = node.state.supply, node.settings
    placements = {
        key: thing for key, thing in node.state.catalogue.things["placement"].items()
        if isinstance(thing, Placement)
    }  # fmt: skip
    named = _named_placements(asked.targeting, placements)
    of = named if named is not None else [""]
    rates, counted = np.zeros(forecast.HOURS), sum(map(supply.counted, of))
    for placement_id in of:
        rates = rates + supply.rates(placement_id)
    if not counted:
        rates = rates + forecast.unseen_rate(supply.watched_s)
    by_hour = list(_hours(asked, rates, settings.fold.time_zone))
    await asyncio.to_thread(node.decisions.flush)
    prior_ctr = node.state.settings.prior_ctr
    packed = msgspec.msgpack.encode((asked, placements, named, prior_ctr, settings.k_anonymity))
    found = await in_worker(node, run_sample, settings.data, packed)
    sampled = msgspec.msgpack.decode(found, type=Sampled)
    total = sum(count for _, count in by_hour)
    error = forecast.relative_error(supply.checked)
    bounds = (
        forecast.count_interval(total, forecast.rate_error(error, counted))
        if counted
        else forecast.unseen_interval(total)
    )
    return Forecast(
        requests=Estimate(round(total, 1), *bounds),
        **_of_sample(asked, total, bounds, sampled, prior_ctr, settings.k_anonymity),
        by_hour=by_hour if asked.to_ms - asked.from_ms <= BY_HOUR_MS else [],
        sampled=sampled.asked, hours_seen=int((supply.seconds[0] > 0).sum()), error=round(error, 4),
    )  # fmt: skip


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


def _of_sample(
    asked: Asked, total: float, bounds: Bounds, sampled: Sampled, prior_ctr: float, least_people: int
) -> dict[str, Any]:
    """Estimate eligible requests, wins and spend, or tell none of it where too few people fit."""
    bids = asked.bid_micros is not None
    if sampled.asked and targeting.chooses_people(asked.targeting) and sampled.people < least_people:
        wins = spend = NOT_TOLD if bids else None
        return {"eligible": NOT_TOLD, "wins": wins, "spend": spend, "least_people": least_people}
    fitting, winning = _shares(asked, sampled)
    eligible = _part(total, bounds, fitting)
    if not bids:
        return {"eligible": eligible, "wins": None, "spend": None}
    wins = _part(total, bounds, winning)
    assert wins.expected is not None
    assert wins.high is not None
    most = worth_of(asked, prior_ctr) / 1000
    each = sampled.cost_micros / sampled.won if sampled.won else most / 2
    low, high = (each, each) if sampled.won else (0.0, most)
    spend = Estimate(round(wins.expected * each), round(wins.low * low), round(wins.high * high))
    return {"eligible": eligible, "wins": wins, "spend": spend}


def _shares(asked: Asked, sampled: Sampled) -> tuple[Share, Share]:
    """Tell what share of the requests fits, and what is won: as sampled, or uniform where nothing was."""
    if sampled.asked:
        fitting = forecast.share_interval(sampled.fitting, sampled.asked)
        return fitting, forecast.share_interval(sampled.won, sampled.asked)
    everybody = asked.targeting == Targeting() and not asked.shapes
    fitting = (1.0, 1.0, 1.0) if everybody else forecast.UNKNOWN_SHARE
    share, low, high = forecast.UNKNOWN_SHARE
    return fitting, (fitting[0] * share, fitting[1] * low, fitting[2] * high)


def _part(total: float, bounds: Bounds, share: Share) -> Estimate:
    """Estimate a share of a forecast count; both uncertainties, as independent ones."""
    expected = total * share[0]
    below = math.hypot(total * (share[0] - share[1]), share[0] * (total - bounds[0]))
    above = math.hypot(total * (share[2] - share[0]), share[0] * (bounds[1] - total))
    return Estimate(round(expected, 1), round(max(0.0, expected - below), 1), round(expected + above, 1))
