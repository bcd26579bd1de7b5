"""A node's life in simulated time: requests, answers, late feedback, ticks, outages, a clock that steps back.

It drives the real state, chooser and fold, without sockets, journal or waiting: a day of a few requests a
second takes a minute or so. Truth (who clicks, who converts, how late) is the simulator's; all chance comes
from one seed. It knows nothing of plans or of what is to be proved.
"""

from __future__ import annotations

import heapq
import math
import struct
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

import numpy as np

from app.domain import ids
from app.domain.catalogue import Thing
from app.domain.decisions import ServedAd
from app.domain.lines import (
    Catalogued,
    Clicked,
    Configured,
    Converted,
    Entry,
    FoldSettings,
    Line,
    Referred,
    Shown,
    Ticked,
    Verdict,
)
from app.domain.requests import AdRequest, Ask
from app.rules.features import SCHEMA_VERSION
from app.rules.pricing import expected_charge_micros
from app.state.apply import apply
from app.state.choose import Chooser
from app.state.state import State

LOST_IMPRESSIONS = 0.04
REPORT_S = (0.2, 4.0)  # how late an impression is reported, evenly
CLICK_MEDIAN_S, CLICK_SPREAD, CLICK_LATEST_S = 8.0, 0.75, 90.0  # lognormal: p99 is 46 s
CONVERSION_MEAN_S = 2 * 3_600.0
_REPORTS = {"shown": Shown, "clicked": Clicked, "converted": Converted}


class Billed(NamedTuple):
    """One counted event that billed or failed to. Units: micros."""

    at_ms: int
    campaign_id: str
    kind: str
    billed_micros: int
    unbilled_micros: int


@dataclass
class World:
    """What the simulator plays: requests per second by time, and the true click rates by campaign."""

    rate: Callable[[int], float]
    click_rate: dict[str, float]
    placements: list[str]
    conversion_rate: dict[str, float]  # of a click
    tick_ms: int = 1_000


class Life:
    """One node's life from `start_ms` on; `bills` is all that its fold charged."""

    def __init__(self, world: World, settings: FoldSettings, start_ms: int, seed: int) -> None:
        self.world, self.chance = world, Random(seed)
        self.noise = np.random.default_rng(seed)
        self.state = State(columns=1_024, recent=1 << 14)
        self.chooser = Chooser(self.state)
        self.true_ms = start_ms
        self.clock_offset_ms = 0
        self.down = False
        self.bills: list[Billed] = []
        self.requests = 0
        self._pending: list[tuple[int, int, str, ServedAd]] = []
        self._known_at: dict[bytes, int] = {}
        self._verdicts: dict[bytes, Verdict] = {}
        self._number = 0
        self._gathered: tuple[dict[str, list[int]], dict[str, float], dict[str, int]] = _nothing()
        self._asks = [
            AdRequest(request_id="r", asks=(Ask(name="slot", placement_id=each),))
            for each in world.placements
        ]
        self.put(Configured(at_ms=self.now_ms, settings=settings))

    @property
    def now_ms(self) -> int:
        """The node's clock: the machine's, but never before the last tick's."""
        return max(self.true_ms + self.clock_offset_ms, self.state.clock_ms)

    def put(self, line: Line) -> None:
        """Fold a line, and keep what it billed."""
        refers_to: bytes | None = getattr(line, "refers_to", None)
        at = self._known_at.get(refers_to) if refers_to is not None else None
        referred = Referred(at, self._verdicts.get(refers_to or b"")) if at is not None else None
        outcome = apply(self.state, Entry(self.state.position + 1, line, referred))
        self._verdicts.update(outcome.verdicts)  # as a journal has them written back
        receipt = outcome.receipt
        if receipt is not None and isinstance(line, Shown | Clicked | Converted):
            _, campaign = self.state.catalogue.payers(line.ad.creative_id)
            if receipt.billed_micros or receipt.unbilled_micros:
                kind = line.ad.price_kind
                self.bills.append(
                    Billed(line.at_ms, campaign.id, kind, receipt.billed_micros, receipt.unbilled_micros)
                )
            if not isinstance(line, Converted):
                self._known_at[line.event_id] = receipt.position

    def add(self, *things: Thing) -> None:
        """Register or replace things."""
        for thing in things:
            self.put(Catalogued(at_ms=self.now_ms, thing=thing))

    def step(self) -> None:
        """Live for one tick: feedback that is due, requests, then the tick. Nothing while it is down."""
        self.true_ms += self.world.tick_ms
        if self.down:
            return
        while self._pending and self._pending[0][0] <= self.true_ms:
            _, _, kind, ad = heapq.heappop(self._pending)
            self.put(_REPORTS[kind](at_ms=self.now_ms, ad=ad))
        expected = self.world.rate(self.true_ms) * self.world.tick_ms / 1000
        for _ in range(int(self.noise.poisson(expected))):
            self._serve(self.chance.choice(self._asks))
        requests, in_flight, wins = self._gathered
        self._gathered = _nothing()
        self.put(
            Ticked(
                at_ms=self.now_ms,
                requests=tuple((key, counts[0], counts[1]) for key, counts in sorted(requests.items())),
                in_flight=tuple((key, round(micros)) for key, micros in sorted(in_flight.items())),
                wins=tuple(sorted(wins.items())),
            )
        )

    def _serve(self, request: AdRequest) -> None:
        self._number += 1
        self.requests += 1
        # As a node draws it: the low bytes of a counter alone would be no chance at all.
        key = ids.request_key(self.now_ms, self.chance.randbytes(ids.RANDOM_BYTES))
        (placed,) = self.chooser.choose(request, key, self.now_ms).placed
        requests, in_flight, wins = self._gathered
        counts = requests[placed.placement_id]
        counts[0] += 1
        counts[1] += placed.candidates
        for win in placed.wins:
            in_flight[win.ad_group_id] += expected_charge_micros(
                win.kind, win.price_micros, win.pctr, win.pcvr
            )
            wins[win.ad_group_id] += 1
            ad = ServedAd(
                decision_id=placed.decision_id, ad_index=win.ad_index, creative_id=win.creative_id,
                creative_index=win.creative_index, generation=win.generation,
                placement_id=placed.placement_id, publisher_id=placed.publisher_id,
                rows=struct.pack(f"<{len(placed.rows)}H", *placed.rows),
                columns=struct.pack(f"<{len(win.columns)}H", *win.columns), schema_version=SCHEMA_VERSION,
                price_micros=win.price_micros, price_kind=win.kind, pctr=win.pctr, variant=0,
                issued_at_ms=self.now_ms, pcvr=win.pcvr,
            )  # fmt: skip
            self._react(ad, win.campaign_id)

    def _react(self, ad: ServedAd, campaign_id: str) -> None:
        """Let a person see an ad, and perhaps click; all of it is reported late."""
        if self.chance.random() < LOST_IMPRESSIONS:
            return
        shown_ms = self.true_ms + round(1000 * self.chance.uniform(*REPORT_S))
        self._later(shown_ms, "shown", ad)
        if self.chance.random() < self.world.click_rate[campaign_id]:
            late_s = min(CLICK_LATEST_S, CLICK_MEDIAN_S * math.exp(self.chance.gauss(0.0, CLICK_SPREAD)))
            clicked_ms = shown_ms + round(1000 * late_s)
            self._later(clicked_ms, "clicked", ad)
            if self.chance.random() < self.world.conversion_rate.get(campaign_id, 0.0):
                waits_s = self.chance.expovariate(1 / CONVERSION_MEAN_S)
                self._later(clicked_ms + round(1000 * (1 + waits_s)), "converted", ad)

    def _later(self, at_ms: int, kind: str, ad: ServedAd) -> None:
        self._number += 1
        heapq.heappush(self._pending, (at_ms, self._number, kind, ad))


def _nothing() -> tuple[dict[str, list[int]], dict[str, float], dict[str, int]]:
    return defaultdict(lambda: [0, 0]), defaultdict(float), defaultdict(int)
