"""One variant of the experiment under way, as decisions read it: what of an auction differs by it.

What a variant does not say is the default's, which it reads in place: an arm costs memory only for what it
has of its own. Arms are made when an experiment begins to run, and go with it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from app.domain.catalogue import Learning, Variant
from app.domain.lines import FoldSettings
from app.domain.requests import Ask
from app.rules.ftrl import Rates
from app.rules.quality import Counts, quality_of
from app.state.ads import Ads
from app.state.calibration import Calibration
from app.state.exploration import Exploration
from app.state.own_model import OwnModel
from app.state.purses import Purse
from app.state.quality import Quality
from app.state.slate import Slate
from app.state.view import View


class Arm:
    """The control (`variant` None) or a variant. `seat` is its present number, 0 before its first stage.

    Shape   quality (capacity,) float64, where the variant weighs quality by a power of its own.
    """

    def __init__(self, variant: Variant | None, ads: Ads) -> None:
        self.variant = variant
        self.seat = 0
        self.own: OwnModel | None = None
        self.calibration = Calibration()
        self.exploration = Exploration()
        self.purse: Purse | None = None  # where budgets are split
        self._ads = ads
        self.quality: NDArray[np.float64] | None = None
        if variant is not None and variant.quality_strength is not None:
            self.quality = np.ones(ads.places.capacity)
        self._seen: tuple[View, int] | None = None
        self._view: View | None = None

    @property
    def name(self) -> str:
        """The variant's name."""
        return self.variant.name if self.variant is not None else "control"

    @property
    def differs(self) -> bool:
        """Whether anything is decided otherwise than by default."""
        return self.variant is not None or self.purse is not None

    @property
    def calibrates(self) -> bool:
        """Whether it goes by curves of its own. What all arms count is told by the reliability table."""
        variant = self.variant
        return variant is not None and (variant.own_calibration or self.purse is not None)

    @property
    def explores(self) -> bool:
        """Whether it explores by a scale of its own."""
        return self.variant is not None and self.variant.exploration_scale is not None

    def configure(self, settings: FoldSettings, column_fields: NDArray[np.int32]) -> None:
        """Have its own matrix learn as it says, or else as the settings do."""
        if self.own is None or self.variant is None:
            return
        learner = self.variant.learner or Learning()
        alpha = settings.factor_alpha if learner.factor_alpha is None else learner.factor_alpha
        self.own.model.configure(rates_of(self.variant, settings))
        self.own.model.take_learner(learner.kind or settings.learner, alpha, column_fields)

    def of(self, slate: Slate, settings: FoldSettings, sums: NDArray[np.float32], own_row: int) -> Slate:
        """Lay an auction out the variant's way. `sums` is where drawn sums go."""
        changed: dict[str, object] = {}
        if self.purse is not None and slate.view is self._ads.view():
            slate = slate._replace(view=self.purse.view(self._ads, slate.view))
        variant = self.variant
        if variant is None:
            return slate
        if self.own is not None:
            changed["model"] = self.own.model
        if self.calibrates:
            changed["curve"] = self.calibration.curve(own_row)
        if variant.exploration_scale is not None:
            scale = variant.exploration_scale * self.exploration.factor
            changed |= {"scale": scale, "sums": sums if scale else slate.means}
        if variant.floor_factor is not None or variant.floor_micros is not None:
            changed["floor_micros"] = self.floor(slate, settings)
        if self.quality is not None:
            changed["view"] = self.view(slate.view)
        return slate._replace(**changed)  # type: ignore[arg-type] # by the fields' names

    def floor(self, slate: Slate, settings: FoldSettings) -> int:
        """Work a placement's floor out by the variant's reserve."""
        assert self.variant is not None
        own = slate.placement.floor_micros if slate.placement is not None else 0
        factor, least = self.variant.floor_factor, self.variant.floor_micros
        return reserve_of(
            slate.ask, own, settings.floor_factor if factor is None else factor,
            settings.floor_micros if least is None else least,
        )  # fmt: skip

    def view(self, view: View) -> View:
        """Give the ads with the variant's quality; worked out anew when bids, quality or who stands change.

        Cost    some 50 us for 10,000 ads, then.
        """
        seen = self._seen
        if self._view is None or seen is None or seen[0] is not view or seen[1] != self._ads.weighed:
            assert self.quality is not None
            n = view.places
            worth = view.bid * np.where(view.per_click != 0, 1000.0, 1.0)  # of the bids as boosted
            log_score = (np.log(worth) + np.log(self.quality[:n])).astype(np.float32)
            self._view = view._replace(quality=self.quality[:n], log_score=log_score)
            self._seen = (view, self._ads.weighed)
        return self._view

    def settle(self, quality: Quality, settings: FoldSettings) -> float:
        """Work the variant's quality out anew, at ticks; returns its sum."""
        if self.quality is None or self.variant is None or self.variant.quality_strength is None:
            return 0.0
        counts = Counts(*quality.counts[:, : self._ads.count])
        index = np.ones(self._ads.count)
        if counts.complaints.any() or counts.accidents.any():
            index = quality_of(counts, settings.quality_prior, self.variant.quality_strength)
        if not np.array_equal(index, self.quality[: index.size]):
            self.quality[: index.size] = index
            self._seen = None
        return float(index.sum())


def reserve_of(ask: Ask, floor_micros: int, factor: float, least_micros: int) -> int:
    """Find the floor of one placement: what is asked, its own times a factor, or the least of all.

    >>> reserve_of(Ask(name="a", placement_id="p", floor_micros=5), 4, 1.5, 0)
    6
    """
    own = floor_micros if factor == 1.0 else round(floor_micros * factor)
    return max(ask.floor_micros, own, least_micros)


def rates_of(variant: Variant, settings: FoldSettings) -> Rates:
    """Name a variant's learning rates: its own, else the node's."""
    learner = variant.learner

    def rate(name: str) -> float:
        own: float | None = getattr(learner, name) if learner is not None else None
        given: float = getattr(settings, name) if own is None else own
        return given

    return Rates(*(rate(name) for name in ("alpha", "cross_alpha", "beta", "l1", "cross_l1", "l2")))
