"""A click as a trial of its conversion: not at once, but as its conversions can be expected to have come.

Learned whole at the click, it would teach that nobody converts until its conversion comes. So the conversion
model is taught the part that is ripe, at the click and at each age of `app.rules.delays`: samples
(F(a) - F(a'), 0) with the p of that moment, (1, 0) in all once a week is over; the conversion is (0, 1)
whenever it comes. What campaigns have reached (`goals`) counts trials in the same parts.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any

from app.domain.decisions import ServedAd
from app.domain.lines import Clicked
from app.rules.delays import BINS
from app.rules.evaluation import logit
from app.rules.ftrl import UNLEARN_HORIZON_EVENTS
from app.state.delays import CPA, OCPM

if TYPE_CHECKING:
    from app.state.state import State

LEARN_EVERY_MS = 60_000
# Parts of older clicks, some 20 us each: neither a tick nor a click takes long, and all come in time.
MOST_A_TICK, MOST_A_CLICK = 128, 2 * BINS


def open_click(
    state: State, position: int, line: Clicked, group: int, campaign: int, *, teaches: bool
) -> float:
    """Take in a click that may convert; returns the p that its first part was learned with, nan without."""
    ad, delays = line.ad, state.delays
    _ripen_due(state, state.clock_ms, MOST_A_CLICK)
    while delays.full((len(ad.rows) + len(ad.columns)) // 2):
        _ripen(state, delays.leave(), BINS)
    place = delays.add(
        position, max(line.at_ms, state.clock_ms), campaign, group, ad.price_kind, ad.rows, ad.columns,
        state.conversions.lessons + 1, teaches=teaches,
    )  # fmt: skip
    if ad.price_kind == "ocpm":
        state.goals.waits(group, 1.0)
    return _ripen(state, place, 0)


def ripen(state: State, now_ms: int) -> None:
    """Let time pass from the clock to now."""
    if state.clock_ms // LEARN_EVERY_MS != now_ms // LEARN_EVERY_MS:
        state.delays.learn(now_ms, LEARN_EVERY_MS)
        state.mix(state.delays.ripeness.tobytes())
    _ripen_due(state, now_ms, MOST_A_TICK)


def _ripen_due(state: State, now_ms: int, most: int) -> None:
    """Ripen clicks that came of age, `most` of them."""
    for place, age in state.delays.come_of_age(now_ms, most):
        p = _ripen(state, place, age)
        state.mix(struct.pack("<qbd", place, age, p))


def close_click(state: State, position: int, ad: ServedAd, group: int, campaign: int) -> None:
    """Take a refunded click out of what ripens, and out of what its campaign has tried."""
    place, ripe = state.delays.find(position), 1.0
    if place is not None and state.delays.at(place)["counts"]:
        state.delays.take_back(place)
        ripe = float(state.delays.at(place)["ripe"])
    if ad.price_kind == "cpa":
        state.goals.clicked(campaign, -ripe)
    elif ad.price_kind == "ocpm":
        state.goals.waits(group, ripe - 1.0)
        state.goals.ripened(group, -ripe, waited=False)


def unlearn_trial(state: State, record: Any, ad: ServedAd) -> None:
    """Take back what a click taught of its conversion, newest first, and let it teach no more.

    `record` is its impression's, whose freshness the caller has judged.
    """
    place = state.delays.find(int(record["click_position"]))
    if place is None:  # it was learned whole
        state.conversion_model.unlearn(ad.rows, ad.columns, float(record["p_trial"]), 1.0, 0.0)
        return
    click = state.delays.at(place)
    click["teaches"] = 0
    if state.conversions.lessons - int(click["lesson"]) > UNLEARN_HORIZON_EVENTS:
        return
    for age in range(BINS, -1, -1):
        p, part = float(click["parts_p"][age]), float(click["parts"][age])
        if not math.isnan(p):
            state.conversion_model.unlearn(ad.rows, ad.columns, p, part, 0.0)


def _ripen(state: State, place: int, age: int) -> float:
    """Let a click be as ripe as clicks of its campaign are at an age; learn by how much; returns the p."""
    delays = state.delays
    click = delays.at(place)
    campaign, group, before = int(click["campaign"]), int(click["group"]), float(click["ripe"])
    part = max(0.0, float(delays.ripeness[campaign, age]) - before)
    if not part or not click["counts"]:
        return math.nan
    click["ripe"], click["parts"][age] = before + part, part
    if click["kind"] == CPA:
        state.goals.clicked(campaign, part)
    elif click["kind"] == OCPM:
        state.goals.ripened(group, part)
    if not click["teaches"]:
        return math.nan
    state.conversions.lessons += 1
    rows, columns = delays.lit_by(click)
    prior = logit(float(state.goals.prior_cvr[campaign]))
    p = state.conversion_model.learn(rows, columns, prior, part, 0.0)
    click["parts_p"][age] = p
    return p
