"""The cast of the simulated week: its campaigns, what happens to them when, and the traffic they want."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time
from random import Random
from zoneinfo import ZoneInfo

from app.domain.catalogue import AdGroup, Campaign, Creative, Pricing, PricingKind, Rule, Targeting

ZONE = "America/New_York"
MICROS = 1_000_000
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
# Requests by hour of the day and by weekday, relative.
DAILY = (
    .55, .40, .30, .25, .25, .35, .55, .80, 1.0, 1.05, 1.05, 1.1,
    1.25, 1.15, 1.05, 1.05, 1.1, 1.2, 1.35, 1.55, 1.75, 1.75, 1.45, .95,
)  # fmt: skip
WEEKLY = (0.95, 0.97, 1.0, 1.0, 1.05, 1.15, 1.1)


@dataclass(frozen=True)
class Player:
    """A campaign of the simulation. `expects`: whether it can spend its budget (else it is only watched)."""

    name: str
    kind: PricingKind
    bid: int
    budget: int
    click_rate: float = 0.05
    conversion_rate: float = 0.0
    expects: bool = True
    hours: tuple[int, int] | None = None
    zone: str = ZONE
    pacing: str = "even"
    flight_days: float | None = None
    late: bool = False


PLAYERS = (
    Player("cpm-large", "cpm", 6_000, 60_000),
    Player("cpm", "cpm", 5_500, 25_000),
    Player("cpm-small", "cpm", 6_500, 7_000),
    Player("cpm-edited", "cpm", 5_800, 20_000),
    Player("cpm-flight", "cpm", 5_600, 100_000, flight_days=5.0),
    Player("cpm-launch", "cpm", 5_900, 20_000, late=True),
    Player("cpc-large", "cpc", 130, 180_000, 0.060),
    Player("cpc", "cpc", 140, 120_000, 0.050),
    Player("cpc-hours", "cpc", 150, 120_000, 0.045, hours=(9, 18)),
    Player("cpc-seoul", "cpc", 120, 110_000, 0.055, zone="Asia/Seoul"),
    Player("cpc-paused", "cpc", 125, 110_000, 0.055),
    Player("ocpm", "ocpm", 340, 30_000, 0.050, 0.40),
    Player("cpa", "cpa", 260, 60_000, 0.050, 0.40, expects=False),
    Player("cpa-small", "cpa", 420, 12_000, 0.050, 0.40, expects=False),
    Player("cpm-asap", "cpm", 5_700, 15_000, pacing="asap", expects=False),
    Player("cpm-low", "cpm", 900, 60_000, expects=False),
)


# What happens, at hours since the start, to which campaign.
CHANGES = (
    (36.3, "edit", "cpm-edited*1.6"),
    (57.2, "status", "cpc-paused=paused"),
    (60.5, "launch", "cpm-launch"),
    (61.2, "status", "cpc-paused=active"),
    (83.5, "edit", "cpm-edited*0.7"),
    (85.0, "down", ""),
    (86.0, "up", ""),
    (110.5, "back", ""),
)


def start_of(day: date) -> int:
    return round(datetime.combine(day, time(), ZoneInfo(ZONE)).timestamp() * 1000)


def rate_of(base: float, seed: int) -> Callable[[int], float]:
    """Requests per second by time: smooth over the day, by weekday, each hour with a noise of its own."""
    zone = ZoneInfo(ZONE)

    def rate(at_ms: int) -> float:
        local = datetime.fromtimestamp(at_ms / 1000, zone)
        part = (local.minute * 60 + local.second) / 3600
        daily = DAILY[local.hour] * (1 - part) + DAILY[(local.hour + 1) % 24] * part
        noise = Random(f"{seed}:{at_ms // HOUR_MS}").gauss(0.0, 0.07)
        return base * daily * WEEKLY[local.weekday()] * math.exp(noise)

    return rate


def things_of(player: Player, start_ms: int, scale: float) -> tuple[Campaign, AdGroup, Creative]:
    micros = round(player.budget * scale) * MICROS
    ends = None if player.flight_days is None else start_ms + round(player.flight_days * DAY_MS)
    campaign = Campaign(
        id=player.name, advertiser_id=f"adv-{player.name}", time_zone=player.zone,
        pacing="even" if player.pacing == "even" else "asap",
        budget_daily_micros=None if ends else micros,
        budget_total_micros=round(micros * (player.flight_days or 0)) if ends else None, ends_at_ms=ends,
        prior_cvr=player.conversion_rate or None,
    )  # fmt: skip
    targeting = Targeting(hour=Rule(include=(player.hours,))) if player.hours else Targeting()
    group = AdGroup(
        id=f"g-{player.name}", campaign_id=player.name, targeting=targeting,
        pricing=Pricing(kind=player.kind, bid_micros=player.bid * MICROS),
    )  # fmt: skip
    creative = Creative(
        id=f"cr-{player.name}", ad_group_id=group.id, format="banner", width=320, height=50,
        landing_url="https://shop.example/",
    )  # fmt: skip
    return campaign, group, creative
