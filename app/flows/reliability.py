"""What was predicted lately and what came of it, bucket by bucket, and the curve between."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from msgspec import Struct

from app.domain.refusals import Refused
from app.rules.calibration import KNOTS, LOWEST, STEP, calibrated_plain
from app.rules.intervals import wilson
from app.state.calibration import WHOLE

if TYPE_CHECKING:
    from app.flows.node import Node


class Bucket(Struct, frozen=True, kw_only=True):
    """Impressions of about one raw pCTR. Counts fade, so they are no whole numbers."""

    raw_pctr: float
    calibrated_pctr: float
    clicks: float
    predicted_clicks: float

    @property
    def impressions(self) -> float:
        """About how many they were."""
        return self.predicted_clicks / self.raw_pctr

    @property
    def observed(self) -> tuple[float | None, float | None, float | None]:
        """The rate at which they were clicked, with its 95 % interval."""
        shown = self.impressions
        if shown <= 0.0:
            return None, None, None
        return self.clicks / shown, *wilson(self.clicks, shown)


class Reliability(Struct, frozen=True, kw_only=True):
    """All buckets of the node, of a placement or of an experiment's arm."""

    placement_id: str | None
    variant: str | None
    memory_clicks: int
    in_use: bool
    clicks: float
    predicted_clicks: float
    buckets: list[Bucket]


def reliability_of(node: Node, placement_id: str | None = None, variant: str | None = None) -> Reliability:
    """Tell the decayed predictions and clicks by raw rate, and the rates that they stand for now.

    Errors  Refused `not_found`: the placement, then the variant.
    """
    state = node.state
    if placement_id is not None and state.catalogue.get("placement", placement_id) is None:
        raise Refused("not_found", f"there is no placement {placement_id}", "placement_id")
    row = WHOLE if placement_id is None else state.row_of(placement_id)
    arms = {arm.name: arm for arm in state.experiments.arms}
    if variant is not None and variant not in arms:
        raise Refused("not_found", f"no experiment runs with a variant {variant}", "variant")
    calibration = state.calibration if variant is None else arms[variant].calibration
    curve, (clicks, predicted) = calibration.curve(row), calibration.counts[row].tolist()
    return Reliability(
        placement_id=placement_id, variant=variant, memory_clicks=calibration.memory_clicks,
        in_use=bool(curve.size), clicks=sum(clicks), predicted_clicks=sum(predicted),
        buckets=[
            Bucket(
                raw_pctr=_rate(LOWEST + STEP * k),
                calibrated_pctr=_rate(calibrated_plain(LOWEST + STEP * k, curve)),
                clicks=clicks[k],
                predicted_clicks=predicted[k],
            )
            for k in range(KNOTS)
        ],
    )  # fmt: skip


def _rate(logit: float) -> float:
    return 1.0 / (1.0 + math.exp(-logit))
