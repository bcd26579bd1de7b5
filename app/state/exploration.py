"""How much is explored at present, and what that costs: decayed sums of what ticks tell.

A campaign's exploring costs what its ads that won were expected to bring less than the greedy choices; it has
a ceiling of its own, by which the doubts about its ads are damped.
"""

from __future__ import annotations

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from app.domain.lines import FoldSettings
from app.rules.exploration import next_factor
from app.state.catalogue import Catalogue

MEMORY_S = 600.0
LEAST_MEASURED = 1.0  # nothing is judged before


class Exploration(Struct):
    """`factor` turns the scale down while exploration costs more than its ceiling.

    Units   greedy_micros and chosen_micros: decayed sums of expected eCPM, of the choices by the means alone
            and of those made, over the decisions that were measured.
    """

    factor: float = 1.0
    greedy_micros: float = 0.0
    chosen_micros: float = 0.0

    def scale(self, settings: FoldSettings) -> float:
        """Give the standard deviations' scale at present; 0 where nothing is explored."""
        return settings.exploration_scale * self.factor if settings.exploration == "thompson" else 0.0

    @property
    def cost(self) -> float:
        """The share of expected value that exploring cost lately."""
        if self.greedy_micros < LEAST_MEASURED:
            return 0.0
        return max(0.0, 1.0 - self.chosen_micros / self.greedy_micros)

    def tick(self, greedy_micros: int, chosen_micros: int, elapsed_ms: int, ceiling: float) -> None:
        """Take in what was measured since the last tick, and follow the ceiling."""
        left = 0.5 ** (elapsed_ms / 1000.0 / MEMORY_S)
        self.greedy_micros = self.greedy_micros * left + greedy_micros
        self.chosen_micros = self.chosen_micros * left + chosen_micros
        if greedy_micros:
            self.factor = next_factor(self.factor, self.cost, ceiling)


class CampaignExploration:
    """What exploring each campaign costs the node, and how much less it is explored for that.

    Shape   cost_micros and factor (campaigns,) float64, by the campaigns' accounts; damping (stride,),
            the factor of each column that only one campaign's ads have, else 1: what models damp doubts by.
    """

    def __init__(self, catalogue: Catalogue, stride: int) -> None:
        self._catalogue = catalogue
        self.cost_micros: NDArray[np.float64] = np.zeros(0)
        self.factor: NDArray[np.float64] = np.ones(0)
        self.damping: NDArray[np.float64] = np.ones(stride)

    def tick(
        self, costs: tuple[tuple[str, int], ...], elapsed_ms: int, greedy_micros: float, ceiling: float
    ) -> bool:
        """Take in what was measured since the last tick; says whether the damping changed.

        Units   greedy_micros: what all greedy choices of the same time were to bring, as decayed.
        Cost    some 50 us for 10,000 ads while a campaign is damped, else next to nothing.
        """
        self._make_room()
        self.cost_micros *= 0.5 ** (elapsed_ms / 1000.0 / MEMORY_S)
        for campaign_id, micros in costs:
            self.cost_micros[self._catalogue.campaign_index[campaign_id]] += micros
        if costs and greedy_micros >= LEAST_MEASURED:
            over = self.cost_micros > ceiling * greedy_micros
            for at in np.flatnonzero(over | (self.factor < 1.0)).tolist():
                cost = float(self.cost_micros[at]) / greedy_micros
                self.factor[at] = next_factor(float(self.factor[at]), cost, ceiling)
        return self._damp()

    def _damp(self) -> bool:
        """Write the factors to the columns of the campaigns' ads."""
        ads, columns = self._catalogue.ads, self._catalogue.columns.by_key
        damped = np.flatnonzero(self.factor < 1.0)
        if not damped.size and (self.damping == 1.0).all():
            return False
        now, first = np.ones_like(self.damping), self._catalogue.first_ad_column
        now[first : first + ads.count] = self.factor[ads.campaign[: ads.count]]
        names = {at: name for name, at in self._catalogue.campaign_index.items()} if damped.size else {}
        for at in damped.tolist():
            column = columns.get(("campaign", names[at]))
            if column is not None:
                now[column] = self.factor[at]
        changed = not np.array_equal(now, self.damping)
        self.damping[:] = now
        return changed

    def _make_room(self) -> None:
        more = self._catalogue.campaign_accounts.count - self.factor.size
        if more > 0:
            self.cost_micros = np.concatenate([self.cost_micros, np.zeros(more)])
            self.factor = np.concatenate([self.factor, np.ones(more)])

    def of(self, campaign_id: str, greedy_micros: float) -> tuple[float, float]:
        """Tell a campaign's cost as a share of what greedy choices bring, and its factor."""
        at = self._catalogue.campaign_index[campaign_id]
        if at >= self.factor.size or greedy_micros < LEAST_MEASURED:
            return 0.0, 1.0
        return max(0.0, float(self.cost_micros[at]) / greedy_micros), float(self.factor[at])

    def parts(self) -> dict[str, NDArray[np.float64]]:
        """Copy everything; the damping is as old as the last tick."""
        return {
            "campaigns": np.stack([self.cost_micros, self.factor]), "damping": self.damping.copy()
        }  # fmt: skip

    def restore(self, parts: dict[str, NDArray[np.float64]]) -> None:
        """Take back what `parts` copied."""
        self.cost_micros, self.factor = (np.array(part) for part in parts["campaigns"])
        self.damping[:] = parts["damping"]

    def check(self) -> None:
        """Factors and damping are shares."""
        for shares in (self.factor, self.damping):
            assert ((shares > 0.0) & (shares <= 1.0)).all()
