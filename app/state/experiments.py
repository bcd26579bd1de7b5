"""The experiment under way: who gets which variant, what each learns, and what was promoted before.

One experiment runs at a time, since an exposure is one number in a token. It begins to serve when all of its
matrices are formed; that, and every change of its shares, begins a stage. Written by `apply` and ticks alone.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any
from zlib import crc32

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.domain.catalogue import Experiment, Learning, Variant
from app.domain.decisions import ServedAd
from app.domain.lines import FoldSettings, Ticked
from app.domain.requests import AdRequest
from app.rules.splitting import BUCKETS, arm_of, number_of, place_of, seat_of
from app.state.arms import Arm, rates_of
from app.state.exploration import Exploration
from app.state.own_model import OwnModel
from app.state.purses import Purse, used_up
from app.state.results import Results, Stage

if TYPE_CHECKING:
    from app.state.state import State

_LOTS = float(1 << 32)
_KEY_BYTES = 14  # of a decision's id, what the decisions of one request share


class Experiments:
    """`arms` are the control's, then the served variants'; both they and the shadows' go with the experiment.

    `given` are the settings as configured, `promoted` what experiments made of them since, by field.
    """

    def __init__(self) -> None:
        self.results = Results()
        self.given = FoldSettings()
        self.promoted: dict[str, Any] = {}
        self.running: Experiment | None = None
        self.stage: Stage | None = None
        self.arms: list[Arm] = []
        self.shadows: list[Arm] = []
        self._shares: tuple[float, ...] = ()
        self._unit = False  # whether those without an id are split

    # What decisions read.

    def arm_for(self, request: AdRequest, request_key: bytes) -> tuple[Arm | None, int]:
        """Find whose way a request is decided (None: the default's), and the number of the exposure.

        Cost    next to nothing where no experiment runs, else some 2 us.
        """
        stage = self.stage
        if stage is None:
            return None, 0
        unit = request.person.key if request.person is not None else None
        if unit is None:
            if not self._unit:
                return None, 0
            unit = request_key
        place = place_of(stage.experiment_id, unit)
        at = arm_of(place.point, self._shares)
        arm = self.arms[at]
        return arm if arm.differs else None, number_of(stage.first + at, place.bucket)

    def lookers_on(self, number: int, request_key: bytes) -> list[tuple[int, Arm]]:
        """List the shadows that look on at a decision, with the number of each. Chance is the request's."""
        if self.stage is None:
            return []
        bucket = seat_of(number)[1] if number else crc32(request_key) % BUCKETS
        return [
            (number_of(arm.seat, bucket), arm)
            for arm in self.shadows
            if arm.variant is not None
            and crc32(request_key, crc32(arm.name.encode())) < arm.variant.share * _LOTS
        ]

    def own_models(self) -> list[OwnModel]:
        """List the matrices beside the default's."""
        return [arm.own for arm in (*self.arms, *self.shadows) if arm.own is not None]

    def arm_of_ad(self, ad: ServedAd) -> Arm | None:
        """Find the arm that an ad was served by, where its experiment still runs."""
        if not ad.variant or self.running is None:
            return None
        seat, _ = seat_of(ad.variant)
        found = self.results.of(seat)
        if found is None or found[0].experiment_id != self.running.id:
            return None
        return [*self.arms, *self.shadows][seat - found[0].first]

    def apart(self, ad: ServedAd) -> Arm | None:
        """Find the arm that alone learns from an ad's events: an isolated variant."""
        if self.running is None or not self.running.isolated:
            return None
        arm = self.arm_of_ad(ad)
        return arm if arm is not None and arm.own is not None else None

    # What the catalogue writes.

    def take(self, state: State, new: Experiment, old: Experiment | None, at_ms: int) -> None:
        """Begin, ramp, stop or promote."""
        under_way = self.running is not None and self.running.id == new.id
        if under_way and old is not None and new.promoted != old.promoted:
            self._promote(state, new)
        if under_way and new.runs:
            before, self.running = self.running, new
            self._take_shares()
            if self.stage is not None and before is not None and _shares(before) != _shares(new):
                self._begin_stage(at_ms)
        elif under_way:
            self._end()
        elif new.runs:
            self.running = new
            self._make_arms(state)
            if not self.own_models():
                self._begin_stage(at_ms)

    def _make_arms(self, state: State) -> None:
        assert self.running is not None
        ads, isolated = state.catalogue.ads, self.running.isolated
        self.arms = [Arm(variant, ads) for variant in (None, *self.running.served)]
        self.shadows = [Arm(variant, ads) for variant in self.running.shadows]
        for arm in (*self.arms, *self.shadows):
            if arm.variant is not None and (isolated or arm.variant.learner is not None):
                rates = rates_of(arm.variant, state.settings)
                arm.own = OwnModel(state.model.columns, state.recent.capacity, rates)
                self._take_learner(state, arm)
                arm.own.model.damp(state.campaign_exploration.damping)
            if isolated:
                arm.purse = Purse()
            arm.calibration.parent = None if isolated else state.calibration
            arm.calibration.memory_clicks = state.settings.calibration_clicks
        self._take_shares()
        self.restand(state)

    def restand(self, state: State) -> None:
        """Work out where the ad groups stand for isolated arms, each with its part of the budgets."""
        purses = [arm.purse for arm in self.arms if arm.purse is not None]
        if not purses:
            return
        catalogue, parts = state.catalogue, (1.0 - sum(self._shares), *self._shares)
        groups, campaigns = catalogue.group_accounts, catalogue.campaign_accounts
        for purse in purses:
            purse.make_room(groups.count, campaigns.count)
        group_day, campaign_day = state.account_days(state.moments)
        by_group = used_up(groups, [purse.groups for purse in purses], parts, group_day)
        by_campaign = used_up(campaigns, [purse.campaigns for purse in purses], parts, campaign_day)
        above = catalogue.group_campaign[: groups.count]
        for purse, its_groups, its_campaigns in zip(purses, by_group, by_campaign, strict=True):
            stopped = its_groups | its_campaigns[above]
            purse.stand(state.standing_at(state.clock_ms, state.moments, stopped))

    def billed(self, ad: ServedAd, group: int, campaign: int, day: int, micros: int) -> None:
        """Book a charge, or with less than 0 a refund, to the arm that served an ad."""
        if self.running is None or not self.running.isolated:
            return
        arm = self.arm_of_ad(ad)
        if arm is not None and arm.purse is not None:
            if micros < 0:
                arm.purse.refund(group, campaign, day, -micros)
            else:
                arm.purse.bill(group, campaign, day, micros)

    def _take_shares(self) -> None:
        """Take the variants as the catalogue has them now: all but their shares is as it was."""
        assert self.running is not None
        for arm, variant in zip(self.arms[1:], self.running.served, strict=True):
            arm.variant = variant
        for arm, variant in zip(self.shadows, self.running.shadows, strict=True):
            arm.variant = variant
        self._shares = _shares(self.running)
        self._unit = self.running.without_id == "split"

    def _begin_stage(self, at_ms: int) -> None:
        assert self.running is not None
        names = tuple(arm.name for arm in (*self.arms[1:], *self.shadows))
        self.stage = self.results.begin(self.running.id, names, self._shares, at_ms)
        for at, arm in enumerate((*self.arms, *self.shadows)):
            arm.seat = self.stage.first + at

    def _end(self) -> None:
        self.running = self.stage = None
        self.arms, self.shadows, self._shares = [], [], ()

    def _promote(self, state: State, new: Experiment) -> None:
        """Make a variant's settings the default's, with its matrix and calibration where it has its own."""
        arm = next(arm for arm in self.arms if arm.name == new.promoted)
        assert arm.variant is not None
        self.promoted |= settings_of(arm.variant)
        if arm.own is not None and not arm.own.forming:
            if not new.isolated:  # else it is what taught, where its own events did
                state.recent.predict_by(arm.own.since, arm.own.p)
            state.adopt(arm.own.model)
        if arm.calibrates:
            state.calibration.take_over(arm.calibration)
        state.configure(self.given)

    def configured(self, settings: FoldSettings) -> FoldSettings:
        """Take the settings as configured; returns them with what was promoted.

        What an operator changes from here on counts: the same setting, promoted before, does no longer.
        """
        for name in list(self.promoted):
            if getattr(settings, name) != getattr(self.given, name):
                del self.promoted[name]
        self.given = settings
        return msgspec.structs.replace(settings, **self.promoted) if self.promoted else settings

    def configure_arms(self, state: State) -> None:
        """Have the arms go by new settings, where they have none of their own."""
        settings = state.settings
        for arm in (*self.arms, *self.shadows):
            arm.calibration.memory_clicks = settings.calibration_clicks
            if arm.own is not None and arm.variant is not None:
                arm.own.model.configure(rates_of(arm.variant, settings))
                self._take_learner(state, arm)

    def _take_learner(self, state: State, arm: Arm) -> None:
        assert arm.own is not None
        assert arm.variant is not None
        own, settings = arm.variant.learner or Learning(), state.settings
        alpha = settings.factor_alpha if own.factor_alpha is None else own.factor_alpha
        kind = own.kind or settings.learner
        arm.own.model.take_learner(kind, alpha, state.catalogue.column_fields)

    # What events write; each returns what to mix into the hash.

    def shown(self, state: State, ad: ServedAd, p: float, billed: int, *, learned: bool) -> bytes:
        """Count a valid impression, just remembered, that the default learned with p (`learned`)."""
        if ad.variant:
            loss = -math.log1p(-min(ad.pctr, 1.0 - 1e-15))
            self.results.count(ad.variant, impressions=1, revenue_micros=billed, predicted=ad.pctr, loss=loss)
        if self.running is None or self.apart(ad) is not None:
            return b""
        place, prior = state.recent.next - 1, state.prior_of(ad.placement_id)
        effects = b""
        for arm in (*self.arms, *self.shadows):
            if arm.own is None or (self.running.isolated and not arm.own.forming):
                continue
            if not learned:
                arm.own.skipped(place)
                continue
            own_p = arm.own.shown(ad, prior, place, p)
            effects += struct.pack("<d", own_p)
            self._judge(arm, ad, own_p, p, clicked=False)
        if learned:
            self._calibrate(state, ad, place, p, clicked=False)
        return effects

    def clicked(
        self, state: State, ad: ServedAd, impression_position: int, p: float, billed: int, *, learned: bool
    ) -> bytes:
        """Count a valid click. `p` is what the default learned its impression with."""
        if ad.variant:
            pctr = min(max(ad.pctr, 1e-15), 1.0 - 1e-15)
            loss = math.log1p(-pctr) - math.log(pctr)
            self.results.count(ad.variant, clicks=1, revenue_micros=billed, loss=loss)
        if self.running is None or not learned or self.apart(ad) is not None:
            return b""
        found = state.recent.find(impression_position) is not None
        place = state.recent.place_of(impression_position) if found else -1
        prior, effects = state.prior_of(ad.placement_id), b""
        for arm in (*self.arms, *self.shadows):
            if arm.own is None or (self.running.isolated and not arm.own.forming):
                continue
            own_p = arm.own.clicked(ad, prior, place, p)
            if not math.isnan(own_p):
                effects += struct.pack("<d", own_p)
                self._judge(arm, ad, own_p, p, clicked=True)
        if found:
            self._calibrate(state, ad, place, p, clicked=True)
        return effects

    def unlearned(self, state: State, ad: ServedAd, place: int, p: float, *, clicked: bool) -> None:
        """Take an impression, and its click, out of what was learned beside the default."""
        if self.running is None or self.apart(ad) is not None:
            return
        arm = self.arm_of_ad(ad)
        if arm is not None:
            own_p = p if arm.own is None else float(arm.own.p[0, place % arm.own.p.shape[1]])
            if not math.isnan(own_p):
                row = state.row_of(ad.placement_id)
                arm.calibration.taken_back(row, own_p, clicked=clicked)
        if not self.running.isolated:
            for own in self.own_models():
                own.unlearn(ad, place)

    def _calibrate(self, state: State, ad: ServedAd, place: int, p: float, *, clicked: bool) -> None:
        arm = self.arm_of_ad(ad)
        if arm is None:
            return
        if arm.own is not None:
            if not arm.own.knows(place):
                return
            p = float(arm.own.p[0, place % arm.own.p.shape[1]])
        count = arm.calibration.clicked if clicked else arm.calibration.shown
        count(state.row_of(ad.placement_id), p)

    def _judge(self, arm: Arm, ad: ServedAd, own_p: float, p: float, *, clicked: bool) -> None:
        """Compare what both models predicted for an impression with what came of it."""
        if self.stage is None or not (0.0 < own_p < 1.0 and 0.0 < p < 1.0):
            return
        bucket = seat_of(ad.variant)[1] if ad.variant else crc32(ad.decision_id[:_KEY_BYTES]) % BUCKETS
        own, default = (math.log1p(-own_p), math.log1p(-p))
        number = number_of(arm.seat, bucket)
        if clicked:
            self.results.count(number, own_loss=own - math.log(own_p), default_loss=default - math.log(p))
        else:
            self.results.count(
                number, judged=1, own_predicted=own_p, default_predicted=p, own_loss=-own,
                default_loss=-default,
            )  # fmt: skip

    # Ticks.

    @property
    def greedy_micros(self) -> float:
        """What greedy choices were to bring lately, in the decisions of arms that explore their own way."""
        return sum(arm.exploration.greedy_micros for arm in self.arms)

    def explored(self, line: Ticked, elapsed_ms: int, ceiling: float) -> tuple[int, int]:
        """Take what exploring cost each variant; returns the sums of all that explore as the default does."""
        greedy, chosen = line.explored
        by_seat = {each[0]: each[1:] for each in line.explored_by_variant}
        own = {arm.seat: arm for arm in self.arms if arm.explores}
        for seat, (more_greedy, more_chosen) in by_seat.items():
            if seat not in own:
                greedy, chosen = greedy + more_greedy, chosen + more_chosen
        for seat, arm in own.items():
            its_greedy, its_chosen = by_seat.get(seat, (0, 0))
            arm.exploration.tick(its_greedy, its_chosen, elapsed_ms, ceiling)
        return greedy, chosen

    def tick(self, state: State, line: Ticked) -> bytes:
        """Count exposures, form matrices, fit curves; returns what to mix into the hash."""
        for number, decisions, filled in line.exposed:
            self.results.count(number, decisions=decisions, filled=filled)
        for number, decisions, differing, served, would_be in line.shadowed:
            self.results.count(
                number, decisions=decisions, differing=differing, served_micros=served,
                would_be_micros=would_be,
            )  # fmt: skip
        if self.running is None:
            return b""
        effects = []
        for arm in (*self.arms, *self.shadows):
            if arm.own is not None and arm.own.forming:
                arm.own.form(state.model)
            index = arm.settle(state.quality, state.settings)
            if arm.calibrates:
                effects.append(arm.calibration.tick())
            effects.append(struct.pack("<dd", index, arm.exploration.factor))
        if self.stage is None and not any(own.forming for own in self.own_models()):
            self._begin_stage(state.clock_ms)
        sums = sum(float(table.sum()) for _, table in self.results.of_experiment(self.running.id))
        return b"".join([*effects, struct.pack("<d", sums)])

    def clear_column(self, column: int) -> None:
        """Forget a column before it is given to another ad."""
        for own in self.own_models():
            own.model.clear_column(column)

    def clear_row(self, row: int) -> None:
        """Forget a row before it is given to another placement."""
        for own in self.own_models():
            own.clear_row(row)
        for arm in (*self.arms, *self.shadows):
            arm.calibration.clear(row)

    def clear_ad(self, ad: int) -> None:
        """Forget an ad's quality before its place is given to another."""
        for arm in (*self.arms, *self.shadows):
            if arm.quality is not None:
                arm.quality[ad] = 1.0

    # Snapshots.

    def rest(self) -> dict[str, Any]:
        """Copy what is not an array."""
        return {
            **self.results.rest(),
            "given": self.given,
            "promoted": self.promoted,
            "running": self.running.id if self.running is not None else None,
            "serves": self.stage is not None,
            "exploration": [arm.exploration for arm in (*self.arms, *self.shadows)],
            "seats": [arm.seat for arm in (*self.arms, *self.shadows)],
        }

    def parts(self, width: int, next_place: int, ads: int) -> dict[str, NDArray[Any]]:
        """Copy the results, and what the arms have of their own."""
        parts: dict[str, NDArray[Any]] = {"results": self.results.parts()}
        for at, arm in enumerate((*self.arms, *self.shadows)):
            own = arm.own.parts(width, next_place) if arm.own is not None else {}
            parts |= {f"{at}_model_{name}": part for name, part in own.items()}
            parts |= {f"{at}_calibration_{name}": part for name, part in arm.calibration.parts().items()}
            purse = arm.purse.parts() if arm.purse is not None else {}
            parts |= {f"{at}_purse_{name}": part for name, part in purse.items()}
            if arm.quality is not None:
                parts[f"{at}_quality"] = arm.quality[:ads].copy()
        return parts

    def restore_rest(self, rest: dict[str, Any], results: NDArray[Any]) -> None:
        """Take back what does not depend on the settings in force."""
        stages = msgspec.convert(rest["stages"], list[Stage])
        self.results.restore(results, stages, rest["next_seat"])
        self.given = msgspec.convert(rest["given"], FoldSettings)
        self.promoted = dict(rest["promoted"])

    def restore_arms(self, state: State, rest: dict[str, Any], parts: dict[str, NDArray[Any]]) -> None:
        """Take back the experiment under way, once catalogue, settings and recent impressions are there."""
        running = state.catalogue.get("experiment", rest["running"]) if rest["running"] else None
        if not isinstance(running, Experiment):
            return
        self.running = running
        self._make_arms(state)
        told = zip(rest["exploration"], rest["seats"], strict=True)
        for at, (arm, (exploration, seat)) in enumerate(zip((*self.arms, *self.shadows), told, strict=True)):
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
            self.stage = self.results.of_experiment(running.id)[-1][0]

    def check(self) -> None:
        """Hold all invariants."""
        self.results.check()
        assert (self.running is None) <= (self.stage is None)
        for own in self.own_models():
            own.model.check()
        for arm in (*self.arms, *self.shadows):
            arm.calibration.check()


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


def _shares(experiment: Experiment) -> tuple[float, ...]:
    return tuple(variant.share for variant in experiment.served)


def _of(prefix: str, parts: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {name[len(prefix) :]: np.asarray(part) for name, part in parts.items() if name.startswith(prefix)}
