"""What the fold does to the experiment under way: begin, ramp, stop and promote it, teach its arms, tick.

All of it is asked of the default's state beside, which stands above the arms. Each function that an event
calls returns what to mix into the running hash.
"""

from __future__ import annotations

import math
import struct
from typing import Any
from zlib import crc32

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.domain.catalogue import Experiment, Learning, Variant
from app.domain.decisions import ServedAd
from app.domain.lines import Ticked
from app.rules.splitting import BUCKETS, number_of, seat_of
from app.state.arms import Arm, rates_of
from app.state.experiments import Experiments, shares_of
from app.state.exploration import Exploration
from app.state.own_model import OwnModel
from app.state.purses import Purse
from app.state.state import State

_KEY_BYTES = 14  # of a decision's id, what the decisions of one request share

# What the catalogue writes.


def take(state: State, new: Experiment, old: Experiment | None, at_ms: int) -> None:
    """Begin, ramp, stop or promote."""
    of = state.experiments
    under_way = of.running is not None and of.running.id == new.id
    if under_way and old is not None and new.promoted != old.promoted:
        _promote(state, new)
    if under_way and new.runs:
        before, of.running = of.running, new
        of.take_shares()
        if of.stage is not None and before is not None and shares_of(before) != shares_of(new):
            of.begin_stage(at_ms)
    elif under_way:
        of.end()
    elif new.runs:
        _make_arms(state, new)
        if not of.own_models():
            of.begin_stage(at_ms)


def _make_arms(state: State, running: Experiment) -> None:
    of, ads, isolated = state.experiments, state.catalogue.ads, running.isolated
    of.running = running
    of.arms = [Arm(variant, ads) for variant in (None, *running.served)]
    of.shadows = [Arm(variant, ads) for variant in running.shadows]
    for arm in of.all_arms:
        if arm.variant is not None and (isolated or arm.variant.learner is not None):
            rates = rates_of(arm.variant, state.settings)
            arm.own = OwnModel(state.model.columns, state.recent.capacity, rates)
            arm.configure(state.settings, state.catalogue.column_fields)
            arm.own.model.damp(state.campaign_exploration.damping)
        if isolated:
            arm.purse = Purse()
        arm.calibration.parent = None if isolated else state.calibration
        arm.calibration.memory_clicks = state.settings.calibration_clicks
    of.take_shares()
    state.restand_apart()


def _promote(state: State, new: Experiment) -> None:
    """Make a variant's settings the default's, with its matrix and calibration where it has its own."""
    of = state.experiments
    arm = next(arm for arm in of.arms if arm.name == new.promoted)
    assert arm.variant is not None
    of.promoted |= settings_of(arm.variant)
    if arm.own is not None and not arm.own.forming:
        if not new.isolated:  # else it is what taught, where its own events did
            state.recent.predict_by(arm.own.since, arm.own.p)
        state.adopt(arm.own.model)
    if arm.calibrates:
        state.calibration.take_over(arm.calibration)
    state.configure(of.given)


# What events write.


def shown(state: State, ad: ServedAd, p: float, billed: int, *, learned: bool) -> bytes:
    """Count a valid impression, just remembered, that the default learned with p (`learned`)."""
    of = state.experiments
    if ad.variant:
        loss = -math.log1p(-min(ad.pctr, 1.0 - 1e-15))
        of.results.count(ad.variant, impressions=1, revenue_micros=billed, predicted=ad.pctr, loss=loss)
    if of.running is None or of.apart(ad) is not None:
        return b""
    place, prior = state.recent.next - 1, state.prior_of(ad.placement_id)
    effects = b""
    for arm, own in _taught(of):
        if not learned:
            own.skipped(place)
            continue
        own_p = own.shown(ad, prior, place, p)
        effects += struct.pack("<d", own_p)
        _judge(of, arm, ad, own_p, p, clicked=False)
    if learned:
        _calibrate(state, ad, place, p, clicked=False)
    return effects


def clicked(
    state: State, ad: ServedAd, impression_position: int, p: float, billed: int, *, learned: bool
) -> bytes:
    """Count a valid click. `p` is what the default learned its impression with."""
    of = state.experiments
    if ad.variant:
        pctr = min(max(ad.pctr, 1e-15), 1.0 - 1e-15)
        loss = math.log1p(-pctr) - math.log(pctr)
        of.results.count(ad.variant, clicks=1, revenue_micros=billed, loss=loss)
    if of.running is None or not learned or of.apart(ad) is not None:
        return b""
    found = state.recent.find(impression_position) is not None
    place = state.recent.place_of(impression_position) if found else -1
    prior, effects = state.prior_of(ad.placement_id), b""
    for arm, own in _taught(of):
        own_p = own.clicked(ad, prior, place, p)
        if not math.isnan(own_p):
            effects += struct.pack("<d", own_p)
            _judge(of, arm, ad, own_p, p, clicked=True)
    if found:
        _calibrate(state, ad, place, p, clicked=True)
    return effects


def unlearned(state: State, ad: ServedAd, place: int, p: float, *, clicked: bool) -> None:
    """Take an impression, and its click, out of what was learned beside the default."""
    of = state.experiments
    if of.running is None or of.apart(ad) is not None:
        return
    arm = of.arm_of_ad(ad)
    if arm is not None:
        own_p = p if arm.own is None else arm.own.p_at(place)
        if not math.isnan(own_p):
            arm.calibration.taken_back(state.row_of(ad.placement_id), own_p, clicked=clicked)
    if not of.isolated:
        for own in of.own_models():
            own.unlearn(ad, place)


def _taught(of: Experiments) -> list[tuple[Arm, OwnModel]]:
    """List the arms whose own matrix learns from all events: an isolated one only while it is formed."""
    return [
        (arm, arm.own) for arm in of.all_arms if arm.own is not None and (arm.own.forming or not of.isolated)
    ]


def _calibrate(state: State, ad: ServedAd, place: int, p: float, *, clicked: bool) -> None:
    arm = state.experiments.arm_of_ad(ad)
    if arm is None:
        return
    if arm.own is not None:
        if not arm.own.knows(place):
            return
        p = arm.own.p_at(place)
    count = arm.calibration.clicked if clicked else arm.calibration.shown
    count(state.row_of(ad.placement_id), p)


def _judge(of: Experiments, arm: Arm, ad: ServedAd, own_p: float, p: float, *, clicked: bool) -> None:
    """Compare what both models predicted for an impression with what came of it."""
    if of.stage is None or not (0.0 < own_p < 1.0 and 0.0 < p < 1.0):
        return
    bucket = seat_of(ad.variant)[1] if ad.variant else crc32(ad.decision_id[:_KEY_BYTES]) % BUCKETS
    own, default = (math.log1p(-own_p), math.log1p(-p))
    number = number_of(arm.seat, bucket)
    if clicked:
        of.results.count(number, own_loss=own - math.log(own_p), default_loss=default - math.log(p))
    else:
        of.results.count(
            number, judged=1, own_predicted=own_p, default_predicted=p, own_loss=-own, default_loss=-default
        )


# Ticks.


def tick(state: State, line: Ticked) -> bytes:
    """Count exposures, form matrices, fit curves."""
    of = state.experiments
    for number, decisions, filled in line.exposed:
        of.results.count(number, decisions=decisions, filled=filled)
    for number, decisions, differing, served, would_be in line.shadowed:
        of.results.count(
            number, decisions=decisions, differing=differing, served_micros=served, would_be_micros=would_be
        )
    if of.running is None:
        return b""
    effects = []
    for arm in of.all_arms:
        if arm.own is not None and arm.own.forming:
            arm.own.form(state.model)
        index = arm.settle(state.quality, state.settings)
        if arm.calibrates:
            effects.append(arm.calibration.tick())
        effects.append(struct.pack("<dd", index, arm.exploration.factor))
    if of.stage is None and not any(own.forming for own in of.own_models()):
        of.begin_stage(state.clock_ms)
    sums = sum(float(table.sum()) for _, table in of.results.of_experiment(of.running.id))
    return b"".join([*effects, struct.pack("<d", sums)])


# Snapshots.


def restore_arms(state: State, rest: dict[str, Any], parts: dict[str, NDArray[Any]]) -> None:
    """Take back the experiment under way, once catalogue, settings and recent impressions are there."""
    of = state.experiments
    running = state.catalogue.get("experiment", rest["running"]) if rest["running"] else None
    if not isinstance(running, Experiment):
        return
    _make_arms(state, running)
    told = zip(rest["exploration"], rest["seats"], strict=True)
    for at, (arm, (exploration, seat)) in enumerate(zip(of.all_arms, told, strict=True)):
        arm.exploration, arm.seat = msgspec.convert(exploration, Exploration), seat
        if arm.own is not None:
            arm.own.restore(_of(f"{at}_model_", parts), state.recent.next)
        arm.calibration.restore(_of(f"{at}_calibration_", parts))
        if arm.purse is not None:
            arm.purse.restore(_of(f"{at}_purse_", parts))
        if arm.quality is not None:
            quality = parts[f"{at}_quality"]
            arm.quality[: quality.size] = quality
    if rest["serves"]:
        of.stage = of.results.of_experiment(running.id)[-1][0]


def settings_of(variant: Variant) -> dict[str, Any]:
    """Write what a variant says as settings of the node.

    >>> settings_of(Variant(name="b", exploration_scale=0.0, floor_factor=1.2))
    {'exploration': 'off', 'floor_factor': 1.2}
    """
    told: dict[str, Any] = msgspec.structs.asdict(variant.learner or Learning())
    told["learner"] = told.pop("kind")
    scale = variant.exploration_scale
    if scale is not None:
        told |= {"exploration": "thompson", "exploration_scale": scale} if scale else {"exploration": "off"}
    told |= {name: getattr(variant, name) for name in ("floor_factor", "floor_micros", "quality_strength")}
    return {name: value for name, value in told.items() if value is not None}


def _of(prefix: str, parts: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {name[len(prefix) :]: np.asarray(part) for name, part in parts.items() if name.startswith(prefix)}
