"""One placement's auction, laid out: what the kernels read of it, and what an ad would be worth in it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.domain.catalogue import Placement
from app.domain.decisions import Lot
from app.domain.requests import Ask, Deal
from app.rules import ranking
from app.state.ads import Ads
from app.state.model import Model
from app.state.view import View


class Slate(NamedTuple):
    """One placement's auction: who it is for, who stands, the lit rows, their summed weights, prior, curve.

    `model` is whose weights are summed. Who wins and pays what goes by `sums`: with a scale they are drawn
    around the `means`, else the same. `party` says whose bid an ad's is: nobody sets their own price. `deal`
    is set in an auction held for one of the placement's deals.
    """

    ask: Ask
    placement: Placement | None
    publisher_id: str
    view: View
    rows: tuple[int, ...]
    means: NDArray[np.float32]
    sums: NDArray[np.float32]
    scale: float
    prior_logit: float
    curve: NDArray[np.float64]
    floor_micros: int
    conversion: ranking.Conversion
    party: NDArray[np.int32]
    model: Model
    deal: Deal | None = None

    @property
    def floor(self) -> float:
        """Nobody's worth counts more than the limit, so a floor above it is above everybody."""
        return float(self.floor_micros) if self.floor_micros <= self.conversion.most else np.inf

    def expected(self, at: int) -> tuple[float, float, float]:
        """Give what an ad is expected to bring by the means: (eCPM in micros, pCTR, pCVR)."""
        view = self.view
        worth: tuple[float, float, float] = ranking.worth_at(
            self.means, view.columns, self.prior_logit, self.curve, view.bid, view.per_click, self.conversion,
            at,
        )  # fmt: skip
        return worth


def lot_of(slate: Slate, ads: Ads, at: int, own_row: int) -> Lot:
    """Note what another way of choosing would go by, of an ad that a lot may fall on."""
    creative, group = ads.creatives[at], ads.groups[at]
    assert creative is not None
    assert group is not None
    _, pctr, pcvr = slate.expected(at)
    return Lot(
        creative_id=creative.id, columns=tuple(ads.columns[:, at].tolist()), kind=group.pricing.kind,
        bid_micros=int(ads.bid[at]), quality=float(ads.quality[at]), pctr=pctr, pcvr=pcvr, own_row=own_row,
    )  # fmt: skip
