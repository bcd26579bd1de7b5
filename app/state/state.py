"""The state: everything that the node knows, at one journal position.

Its parts are written by `apply` alone. Two states that folded the same lines are equal part by part, and so
are their running hashes: `parts` is what a snapshot holds, `restore` its inverse.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from app.domain.catalogue import AdGroup, Campaign, Placement, Thing
from app.domain.decisions import ServedAd
from app.domain.ids import HOUR_MS
from app.domain.lines import FoldSettings
from app.rules import features, standing
from app.rules.evaluation import logit
from app.rules.ftrl import Rates
from app.rules.standing import Moment
from app.rules.trained import Trained
from app.state.admission import Admission
from app.state.audiences import Audiences
from app.state.calibration import Calibration
from app.state.catalogue import Catalogue
from app.state.changes import Changes
from app.state.clusters import Clusters
from app.state.conversions import Conversions
from app.state.counters import UserCounters
from app.state.delays import Delays
from app.state.dismissals import Dismissals
from app.state.early import Complaint, Early, Held
from app.state.experiments import Experiments
from app.state.exploration import CampaignExploration, Exploration
from app.state.goals import Goals
from app.state.holds import Hold
from app.state.keys import Keys
from app.state.ledger import Ledger
from app.state.likenesses import Likenesses
from app.state.model import Model
from app.state.pacing import Pacing
from app.state.people import People
from app.state.prepared import Loading, Prepared, unreadable
from app.state.progress import Progress
from app.state.quality import Quality
from app.state.recent import Recent
from app.state.silence import Silence
from app.state.supply import Supply
from app.state.traffic import Traffic
from app.state.usage import Usage

RECENT_IMPRESSIONS = 1 << 20
DEFAULT_COLUMNS = 16_384
LEAST_CLICKS = 64


class State:
    """Model, catalogue, money and memory at `position`; `clock_ms` is the last tick's time."""

    def __init__(self, columns: int = DEFAULT_COLUMNS, recent: int = RECENT_IMPRESSIONS) -> None:
        self.settings = FoldSettings()
        self.position = 0
        self.clock_ms = 0
        self.hash = bytes(16)
        self.model = Model(columns)  # clicks of impressions
        self.conversion_model = Model(columns)  # conversions of clicks
        self.catalogue = Catalogue(columns, self.settings.time_zone)
        self.supply = Supply()
        self.pacing = Pacing(self.catalogue)
        self.recent = Recent(recent)
        self.conversions = Conversions()
        self.delays = Delays(max(LEAST_CLICKS, recent // 8))
        self.ledger = Ledger()
        self.in_flight = Hold(self.catalogue, "in_flight")
        self.awaited = Hold(self.catalogue, "awaited")
        self.goals = Goals()
        self.user_counters = UserCounters(self.settings.user_counters, self.settings.retention_days * 24 - 1)
        self.progress = Progress()
        self.silence = Silence()
        self.calibration = Calibration()
        self.exploration = Exploration()
        self.loadings: list[Loading] = []
        self.arriving: tuple[Prepared, Trained] | None = None  # made ready for a line that is on its way
        self.trained: Callable[[str], Trained] = unreadable  # reads a trained model by its name
        self.campaign_exploration = CampaignExploration(self.catalogue, self.model.stride)
        self.model.damp(self.campaign_exploration.damping)
        self.experiments = Experiments()
        self.keys = Keys()
        self.changes = Changes()
        self.people = People()
        self.quality = Quality(self.catalogue.ads)
        self.dismissals = Dismissals()
        self.audiences = Audiences()
        self.clusters = Clusters()
        self.admission = Admission()
        self.usage = Usage()
        self.likenesses = Likenesses(self.clusters)
        self.traffic = Traffic(max(LEAST_CLICKS, recent // 8))
        self.held: dict[bytes, Held] = {}  # by the impression's event id
        self.early: dict[bytes, list[Early]] = {}  # by the click's event id
        self.complaints: dict[bytes, Complaint] = {}  # by the impression's
        self.prior_logit = logit(self.settings.prior_ctr)
        self.placement_prior: dict[str, float] = {}  # logits, of the placements that have their own
        self.conversion_prior_logit = logit(self.settings.prior_cvr)
        self.catalogue.ads.set_prior_cvr(self.conversion_prior_logit)
        self.rates_micros: dict[str, int] = {}  # account micros per unit of a currency
        self.moments: list[Moment] = [Moment(0, 0, 0)]
        self.days: NDArray[np.int64] = np.zeros(1, dtype=np.int64)  # of the moments
        self.group_standing: NDArray[np.uint8] = np.zeros(0, dtype=np.uint8)

    # What choose and apply both read.

    def prior_of(self, placement_id: str) -> float:
        """The prior logit of a placement: its own, or the node's."""
        return self.placement_prior.get(placement_id, self.prior_logit)

    def conversion_prior_of(self, creative_id: str) -> float:
        """The prior logit of a conversion after a click: the campaign's own, or the node's."""
        prior = self.catalogue.payers(creative_id)[1].prior_cvr
        return self.conversion_prior_logit if prior is None else logit(prior)

    def row_of(self, placement_id: str) -> int:
        """The matrix row of a placement: its own, or a hashed one where it is not registered."""
        row = self.catalogue.rows.by_key.get(placement_id)
        return row if row is not None else features.hashed_row("unregistered", placement_id)

    def learner_of(self, ad: ServedAd) -> tuple[Model, Calibration]:
        """Say which matrix and curves an ad's events teach: the default's, or an isolated variant's."""
        arm = self.experiments.apart(ad)
        if arm is None or arm.own is None or arm.own.forming:
            return self.model, self.calibration
        return arm.own.model, arm.calibration

    def adopt(self, model: Model) -> None:
        """Have another matrix as the default's from here on."""
        self.model = model
        model.damp(self.campaign_exploration.damping)

    @property
    def greedy_micros(self) -> float:
        """What greedy choices were to bring lately, of the decisions measured, whoever decided."""
        return self.exploration.greedy_micros + self.experiments.greedy_micros

    def explored(self, campaign_id: str) -> tuple[float, float]:
        """Tell what exploring a campaign costs, as a share of what greedy choices bring, and its factor."""
        return self.campaign_exploration.of(campaign_id, self.greedy_micros)

    @property
    def click_models(self) -> list[Model]:
        """List the matrices that learn clicks: the default's, and those of variants."""
        return [self.model, *(own.model for own in self.experiments.own_models())]

    @property
    def model_since(self) -> int:
        """The position where the model came from a file, or 0."""
        return self.loadings[-1].position if self.loadings else 0

    def model_knows(self, position: int) -> bool:
        """Say whether an impression from before the model came from a file is in that file."""
        last = self.loadings[-1]
        return last.after < position <= last.through

    @property
    def kept_since_hour(self) -> int:
        """The hour (since 1970) before which nothing that belongs to a person is kept."""
        return self.clock_ms // HOUR_MS - 24 * self.settings.retention_days + 1

    def user_of(self, ad: ServedAd) -> bytes:
        """Name whom an ad was served to: b"" for nobody, and for one who asked to be forgotten since."""
        return b"" if self.people.is_erased(ad.user, ad.issued_at_ms) else ad.user

    # What apply writes (the parts that more than one kind of line touches).

    def configure(self, settings: FoldSettings) -> None:
        """Take new settings. A changed prior is made up for, so that predictions stay."""
        settings = self.experiments.configured(settings)
        old_prior, self.prior_logit = self.prior_logit, logit(settings.prior_ctr)
        self.settings = settings
        self.in_flight.prior_s = float(settings.in_flight_s)
        self.awaited.prior_s = float(settings.in_flight_conversion_s)
        self.delays.expected_s = self.awaited.prior_s
        self.user_counters.limit = settings.user_counters
        self.user_counters.kept_hours = settings.retention_days * 24 - 1
        self.catalogue.zones[0] = settings.time_zone
        self.rates_micros = dict(settings.rates_micros)
        self.traffic.configure(settings)
        self.calibration.memory_clicks = settings.calibration_clicks
        self.admission.chance, self.admission.unused_days = settings.admission, settings.unused_days
        self.silence.limit = float(settings.silence_clicks)
        rates = Rates(
            settings.alpha, settings.cross_alpha, settings.beta, settings.l1, settings.cross_l1, settings.l2
        )
        self.model.configure(rates)
        self.conversion_model.configure(rates)
        self.model.take_learner(settings.learner, settings.factor_alpha, self.catalogue.column_fields)
        self.experiments.configure(settings, self.catalogue.column_fields)
        self._take_prior_cvr(logit(settings.prior_cvr))
        if self.prior_logit != old_prior and self.model.touched.any():
            block = features.BLOCKS["unregistered"]
            rows = [*range(block.start, block.end)]
            rows += [
                row for key, row in self.catalogue.rows.by_key.items() if key not in self.placement_prior
            ]
            for model in self.click_models:
                for row in rows:
                    model.shift_main(row, old_prior - self.prior_logit)

    def _take_prior_cvr(self, prior_logit: float) -> None:
        old, self.conversion_prior_logit = self.conversion_prior_logit, prior_logit
        for thing in self.catalogue.things["campaign"].values():
            assert isinstance(thing, Campaign)
            if thing.prior_cvr is None:
                self._shift_prior_cvr(thing.id, old - prior_logit)
                self.goals.prior_cvr[self.catalogue.campaign_index[thing.id]] = self.settings.prior_cvr
        self.catalogue.ads.set_prior_cvr(prior_logit)

    def _shift_prior_cvr(self, campaign_id: str, by: float) -> None:
        """Make up for a campaign's changed prior in its column's main cell, where that has learned."""
        column = self.catalogue.columns.by_key.get(("campaign", campaign_id))
        if column is not None and self.conversion_model.n[0, column] > 0:
            self.conversion_model.shift_main(0, by, column)

    def pursue(self, thing: Thing, before: Thing | None = None) -> None:
        """Take over what a thing of the catalogue, `before` it was this, means for money and conversions."""
        catalogue = self.catalogue
        campaigns, groups = catalogue.campaign_accounts.count, catalogue.group_accounts.count
        self.ledger.open(campaigns, groups)
        self.goals.open(campaigns, groups)
        self.delays.make_room(campaigns)
        match thing:
            case Campaign():
                at, prior = catalogue.campaign_index[thing.id], thing.prior_cvr or self.settings.prior_cvr
                self.goals.prior_cvr[at] = prior
                if isinstance(before, Campaign):
                    self.goals.edited(at)
                    was = before.prior_cvr or self.settings.prior_cvr
                    self._shift_prior_cvr(thing.id, logit(was) - logit(prior))
            case AdGroup():
                self.goals.set_group(catalogue.group_index[thing.id], thing)
            case _:
                pass
        if self.goals.target_micros[:groups].any():
            catalogue.ads.rebid(self.goals.percent)

    def take_placement(self, placement: Placement) -> None:
        """Take over a placement's prior, made up for in its row's main cell."""
        before = self.prior_of(placement.id)
        if placement.prior_ctr is None:
            self.placement_prior.pop(placement.id, None)
        else:
            self.placement_prior[placement.id] = logit(placement.prior_ctr)
        row = self.catalogue.rows.by_key.get(placement.id)
        for model in self.click_models:
            if row is not None and model.touched[row]:
                model.shift_main(row, before - self.prior_of(placement.id))

    def forget_user(self, user: bytes, at_ms: int) -> None:
        """Erase everything that is known of a person under one key. Whoever keeps something by user joins."""
        self.people.forget(user, at_ms)
        self.dismissals.forget(user)
        self.user_counters.forget(user)
        self.traffic.forget([user])

    def rekey_user(self, former: bytes, user: bytes) -> None:
        """Move what is known of a person under a former key to the present one, at first sight of both.

        Called for every event of a person with two keys: costs next to nothing where there is nothing left.
        """
        self.people.rekey(former, user, self.kept_since_hour)
        self.dismissals.rekey(former, user)
        self.user_counters.rename(former, user, self.clock_ms)

    def tell_time(self, at_ms: int) -> None:
        """Move the clock on; it never goes back."""
        self.clock_ms = max(self.clock_ms, at_ms)
        self.restand()

    def restand(self) -> None:
        """Work out anew where every ad group stands, at the clock. Cost: ~0.2 ms for 10,000 groups."""
        self.moments = [standing.moment_at(zone, self.clock_ms) for zone in self.catalogue.zones]
        self.days = np.array([moment.day for moment in self.moments], dtype=np.int64)
        self.group_standing = self.standing_at(self.clock_ms, self.moments)
        self.catalogue.ads.stand(self.group_standing)
        self.restand_apart()

    def restand_apart(self) -> None:
        """Work out where the ad groups stand for an experiment's isolated arms, by their budgets."""
        if self.experiments.isolated:
            used_up = self.experiments.used_up(self.catalogue, *self.account_days(self.moments))
            for purse, stopped in used_up:
                purse.stand(self.standing_at(self.clock_ms, self.moments, stopped))

    def account_days(self, moments: list[Moment]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Say on which day each ad group's account is, and each campaign's."""
        catalogue, n = self.catalogue, self.catalogue.group_accounts.count
        group_day = np.array([moment.day for moment in moments], dtype=np.int64)[catalogue.groups.zone[:n]]
        campaign_day = np.zeros(catalogue.campaign_accounts.count, dtype=np.int64)
        campaign_day[catalogue.group_campaign[:n]] = group_day
        return group_day, campaign_day

    def standing_at(
        self, at_ms: int, moments: list[Moment], used_up: NDArray[np.bool_] | None = None
    ) -> NDArray[np.uint8]:
        """Say where every ad group stands at a time, with the money spent so far.

        Shape   used_up (groups,): those that have none left for other reasons.
        """
        catalogue = self.catalogue
        n = catalogue.group_accounts.count
        groups = standing.Groups(
            *(getattr(catalogue.groups, field)[:n] for field in standing.Groups.__slots__)
        )
        campaign, (group_day, campaign_day) = catalogue.group_campaign[:n], self.account_days(moments)
        stopped = catalogue.group_accounts.stopped(group_day)
        stopped |= catalogue.campaign_accounts.stopped(campaign_day)[campaign]
        if used_up is not None:
            stopped |= used_up
        unconverted = self.goals.unconverted(campaign, self.settings.cpa_stop_conversions)
        return standing.stand(groups, stopped, at_ms, moments, unconverted)

    def mix(self, *effects: bytes) -> None:
        """Fold what a line did into the running hash."""
        digest = blake2b(self.hash, digest_size=16)
        for effect in effects:
            digest.update(effect)
        self.hash = digest.digest()

    def check(self) -> None:
        """Hold all invariants; for tests, simulation and snapshots."""
        self.model.check()
        self.people.check()
        self.quality.check()
        self.calibration.check()
        self.silence.check()
        self.clusters.check()
        self.campaign_exploration.check()
        self.experiments.check()
        self.dismissals.check()
        self.conversion_model.check()
        self._check_money()
        self.user_counters.check()
        self.catalogue.campaign_accounts.check()
        self.catalogue.group_accounts.check()
        self.keys.check()
        self.changes.check()
        self.supply.check()
        self.pacing.check()
        self.traffic.check()
        assert self.recent.first <= self.recent.next
        assert self.progress.clicks <= self.progress.impressions or self.progress.impressions == 0

    def _check_money(self) -> None:
        catalogue = self.catalogue
        campaigns, groups = catalogue.campaign_accounts, catalogue.group_accounts
        self.ledger.check(
            campaigns.spent[: campaigns.count], groups.spent[: groups.count],
            catalogue.group_campaign[: groups.count],
        )  # fmt: skip
        self.goals.check()
        self.delays.check()
        self.in_flight.check()
        self.awaited.check()
