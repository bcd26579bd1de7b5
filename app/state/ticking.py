"""A second passes in the fold: time moves on, money in flight fades, plans are laid, and old things expire.

Deterministic, as all of the fold; whatever is a matter of time happens here and nowhere else.
"""

from __future__ import annotations

import struct

from app.domain.ids import HOUR_MS
from app.domain.lines import Ticked
from app.rules.pacing import day_segments
from app.rules.standing import moment_at
from app.state import experimenting
from app.state.receipts import Outcome
from app.state.ripening import ripen
from app.state.state import State
from app.state.waiting import expire_waiting

OUTAGE_MS = 60_000  # a longer silence between ticks: plans are laid anew behind it


def take_tick(state: State, line: Ticked) -> Outcome:
    """Take what was decided since the last tick, and let time pass up to this one."""
    elapsed_ms = max(0, line.at_ms - state.clock_ms)
    catalogue = state.catalogue
    wins = line.wins or tuple((group_id, 1) for group_id, _ in line.in_flight)  # older lines count none
    _hold(state, line, dict(wins), elapsed_ms)
    if state.goals.tick(elapsed_ms, catalogue.group_campaign):
        catalogue.ads.rebid(state.goals.percent)
        state.mix(state.goals.percent[: state.goals.groups].tobytes())
    ripen(state, max(state.clock_ms, line.at_ms))
    _pace(state, line, wins, elapsed_ms)
    outcome = Outcome(None, expire_waiting(state))
    state.progress.close(state.recent.close(state.clock_ms - state.settings.click_window_s * 1000))
    state.traffic.tick(state.clock_ms)
    ceiling = state.settings.exploration_ceiling
    greedy, chosen = state.experiments.explored(line, elapsed_ms, ceiling)
    state.exploration.tick(greedy, chosen, elapsed_ms, ceiling)
    campaign_ceiling = state.settings.exploration_campaign_ceiling
    costs = line.explored_by_campaign
    if state.campaign_exploration.tick(costs, elapsed_ms, state.greedy_micros, campaign_ceiling):
        for model in state.click_models:
            model.doubt_all()
    damping = float(state.campaign_exploration.damping.sum())
    state.mix(state.calibration.tick(), struct.pack("<dd", state.exploration.factor, damping))
    state.mix(experimenting.tick(state, line))
    _free_rested(state)
    state.admission.take(line.admitted, state.clock_ms)
    state.mix(line.admitted, struct.pack("<q", _free_unused(state)))
    state.people.expire(state.kept_since_hour)
    state.audiences.expire(state.kept_since_hour)
    state.likenesses.expire(state.kept_since_hour)
    quality = state.quality.settle(state.settings)
    dismissed_since_ms = state.clock_ms - state.settings.dismissal_s * 1000
    state.dismissals.expire(max(dismissed_since_ms, state.kept_since_hour * HOUR_MS))
    told = state.progress.log_loss_sum, quality, state.traffic.clicks.next, len(state.traffic.pending)
    state.mix(struct.pack("<qqddqq", state.position, state.clock_ms, *told))
    state.mix(struct.pack("<q", state.user_counters.sweep(state.clock_ms)))
    return outcome


def _hold(state: State, line: Ticked, wins: dict[str, int], elapsed_ms: int) -> None:
    """Let what is in flight fade, and add what was answered since the last tick."""
    catalogue, elapsed_s = state.catalogue, elapsed_ms / 1000
    now_ms = max(state.clock_ms, line.at_ms)
    state.awaited.tick(now_ms, elapsed_s)
    early = state.in_flight.tick(now_ms, elapsed_s)
    for group_id, micros in line.in_flight:
        at = catalogue.group_index[group_id]
        state.in_flight.hold(at, micros, wins.get(group_id, 1), float(early[at]))
    state.awaited.fall_due(_seconds_left(state, now_ms))
    sums = (int(getattr(catalogue.group_accounts, name).sum()) for name in ("in_flight", "awaited"))
    state.mix(struct.pack("<qq", *sums))


def _seconds_left(state: State, at_ms: int) -> list[float]:
    """Say how long the present day still lasts in each of the catalogue's time zones."""
    zones = state.catalogue.zones
    return [
        (int(day_segments(zone, zones[0], moment_at(zone, at_ms).day).end_ms[-1]) - at_ms) / 1000
        for zone in zones
    ]


def _pace(state: State, line: Ticked, wins: tuple[tuple[str, int], ...], elapsed_ms: int) -> None:
    """Move the clock on; count the traffic up to it, and lay the plans from it."""
    placements = state.catalogue.things["placement"]
    requests = state.supply.take(line.requests, elapsed_ms, state.moments[0], placements)
    state.pacing.observe(requests, line.in_flight, wins, elapsed_ms, state.group_standing)
    state.tell_time(line.at_ms)
    gap = elapsed_ms > OUTAGE_MS
    state.pacing.replan(state.clock_ms, state.moments, state.supply, gap=gap, standing=state.group_standing)
    state.mix(state.pacing.of("throttle").tobytes())


def _free_unused(state: State) -> int:
    """Let go of the weights of at most one row a tick that no impression has lit for long; says which."""
    days = state.settings.unused_days
    row = state.usage.unused(state.model.touched, state.clock_ms, days) if days else 0
    if row:
        for model in (state.model, state.conversion_model):
            model.clear_row(row)
        state.calibration.clear(row)
        state.experiments.clear_row(row)
        state.usage.pruned += 1
    return row


def _free_rested(state: State) -> None:
    """Free at most one rested place of each kind a tick: clearing a column takes about a millisecond."""
    before_ms = state.clock_ms - state.settings.column_rest_s * 1000
    catalogue = state.catalogue
    models = state.model, state.conversion_model
    column = catalogue.columns.rested(before_ms)
    if column is not None:
        at = catalogue.columns.release(column)
        for model in models:
            model.clear_column(at)
        state.experiments.clear_column(at)
    row = catalogue.rows.rested(before_ms)
    if row is not None:
        at = catalogue.rows.release(row)
        for model in models:
            model.clear_row(at)
        state.calibration.clear(at)
        state.silence.clear(at)
        state.experiments.clear_row(at)
    ad = catalogue.ads.places.rested(before_ms)
    if ad is not None:
        freed = catalogue.ads.places.release(ad)
        for model in models:
            model.clear_column(catalogue.first_ad_column + freed)
        state.experiments.clear_column(catalogue.first_ad_column + freed)
        state.experiments.clear_ad(freed)
        state.quality.clear(freed)
        catalogue.caps.changed()
