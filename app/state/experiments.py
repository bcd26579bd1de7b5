"""The experiment under way: who gets which variant, what each learns, and what was promoted before.

One experiment runs at a time, since an exposure is one number in a token. It begins to serve when all of its
matrices are formed; that, and every change of its shares, begins a stage. Written by the
fold alone (`experimenting`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from zlib import crc32

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.domain.catalogue import Experiment
from app.domain.decisions import ServedAd
from app.domain.lines import FoldSettings, Ticked
from app.domain.requests import AdRequest
from app.rules.splitting import BUCKETS, arm_of, number_of, place_of, seat_of
from app.state.arms import Arm
from app.state.catalogue import Catalogue
from app.state.own_model import OwnModel
from app.state.purses import Purse, used_up
from app.state.results import Results, Stage

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
        self.shares: tuple[float, ...] = ()
        self._unit = False  # whether those without an id are split

    @property
    def all_arms(self) -> list[Arm]:
        """List the control, the served variants and the shadows, as they are numbered."""
        return [*self.arms, *self.shadows]

    @property
    def isolated(self) -> bool:
        """Whether an experiment is under way that splits budgets and what is learned."""
        return self.running is not None and self.running.isolated

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
        at = arm_of(place.point, self.shares)
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
        return [arm.own for arm in self.all_arms if arm.own is not None]

    def arm_of_ad(self, ad: ServedAd) -> Arm | None:
        """Find the arm that an ad was served by, where its experiment still runs."""
        if not ad.variant or self.running is None:
            return None
        seat, _ = seat_of(ad.variant)
        found = self.results.of(seat)
        if found is None or found[0].experiment_id != self.running.id:
            return None
        return self.all_arms[seat - found[0].first]

    def apart(self, ad: ServedAd) -> Arm | None:
        """Find the arm that alone learns from an ad's events: an isolated variant."""
        if not self.isolated:
            return None
        arm = self.arm_of_ad(ad)
        return arm if arm is not None and arm.own is not None else None

    # What money writes.

    def billed(self, ad: ServedAd, group: int, campaign: int, day: int, micros: int) -> None:
        """Book a charge, or with less than 0 a refund, to the arm that served an ad."""
        if not self.isolated:
            return
        arm = self.arm_of_ad(ad)
        if arm is not None and arm.purse is not None:
            if micros < 0:
                arm.purse.refund(group, campaign, day, -micros)
            else:
                arm.purse.bill(group, campaign, day, micros)

    def used_up(
        self, catalogue: Catalogue, group_day: NDArray[np.int64], campaign_day: NDArray[np.int64]
    ) -> Iterator[tuple[Purse, NDArray[np.bool_]]]:
        """Find for each isolated arm the ad groups that have used up its part of the budgets."""
        purses = [arm.purse for arm in self.arms if arm.purse is not None]
        parts = (1.0 - sum(self.shares), *self.shares)
        groups, campaigns = catalogue.group_accounts, catalogue.campaign_accounts
        for purse in purses:
            purse.make_room(groups.count, campaigns.count)
        by_group = used_up(groups, [purse.groups for purse in purses], parts, group_day)
        by_campaign = used_up(campaigns, [purse.campaigns for purse in purses], parts, campaign_day)
        above = catalogue.group_campaign[: groups.count]
        for purse, its_groups, its_campaigns in zip(purses, by_group, by_campaign, strict=True):
            yield purse, its_groups | its_campaigns[above]

    # What the catalogue and settings write.

    def take_shares(self) -> None:
        """Take the variants as the catalogue has them now: all but their shares is as it was."""
        assert self.running is not None
        for arm, variant in zip(self.arms[1:], self.running.served, strict=True):
            arm.variant = variant
        for arm, variant in zip(self.shadows, self.running.shadows, strict=True):
            arm.variant = variant
        self.shares = shares_of(self.running)
        self._unit = self.running.without_id == "split"

    def begin_stage(self, at_ms: int) -> None:
        """Number the arms anew: what is counted from here on is another part of the results."""
        assert self.running is not None
        names = tuple(arm.name for arm in (*self.arms[1:], *self.shadows))
        self.stage = self.results.begin(self.running.id, names, self.shares, at_ms)
        for at, arm in enumerate(self.all_arms):
            arm.seat = self.stage.first + at

    def end(self) -> None:
        """Let go of all arms; their results stay."""
        self.running = self.stage = None
        self.arms, self.shadows, self.shares = [], [], ()

    def configured(self, settings: FoldSettings) -> FoldSettings:
        """Take the settings as configured; returns them with what was promoted.

        What an operator changes from here on counts: the same setting, promoted before, does no longer.
        """
        for name in list(self.promoted):
            if getattr(settings, name) != getattr(self.given, name):
                del self.promoted[name]
        self.given = settings
        return msgspec.structs.replace(settings, **self.promoted) if self.promoted else settings

    def configure(self, settings: FoldSettings, column_fields: NDArray[np.int32]) -> None:
        """Have the arms go by new settings, where they have none of their own."""
        for arm in self.all_arms:
            arm.calibration.memory_clicks = settings.calibration_clicks
            arm.configure(settings, column_fields)

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

    def clear_column(self, column: int) -> None:
        """Forget a column before it is given to another ad."""
        for own in self.own_models():
            own.model.clear_column(column)

    def clear_row(self, row: int) -> None:
        """Forget a row before it is given to another placement."""
        for own in self.own_models():
            own.clear_row(row)
        for arm in self.all_arms:
            arm.calibration.clear(row)

    def clear_ad(self, ad: int) -> None:
        """Forget an ad's quality before its place is given to another."""
        for arm in self.all_arms:
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
            "exploration": [arm.exploration for arm in self.all_arms],
            "seats": [arm.seat for arm in self.all_arms],
        }

    def parts(self, width: int, next_place: int, ads: int) -> dict[str, NDArray[Any]]:
        """Copy the results, and what the arms have of their own."""
        parts: dict[str, NDArray[Any]] = {"results": self.results.parts()}
        for at, arm in enumerate(self.all_arms):
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

    def check(self) -> None:
        """Hold all invariants."""
        self.results.check()
        assert (self.running is None) <= (self.stage is None)
        for own in self.own_models():
            own.model.check()
        for arm in self.all_arms:
            arm.calibration.check()


def shares_of(experiment: Experiment) -> tuple[float, ...]:
    return tuple(variant.share for variant in experiment.served)
