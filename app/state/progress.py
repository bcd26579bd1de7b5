"""Progressive evaluation: every impression judged by its token's pCTR, before and apart from learning.

Predicted clicks and clicks count at once; the log loss of an impression counts when its click window has
closed and its label is known. Source: McMahan et al. 2013, 5.1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

SMALLEST_P = 1e-15


class Progress(Struct):
    """Running sums since the journal began."""

    impressions: int = 0
    clicks: int = 0
    predicted_clicks: float = 0.0
    closed: int = 0
    closed_clicks: int = 0
    closed_predicted: float = 0.0
    log_loss_sum: float = 0.0

    def shown(self, pctr: float) -> None:
        """Count an impression and the click that its pCTR promises."""
        self.impressions += 1
        self.predicted_clicks += pctr

    def clicked(self) -> None:
        """Count a click."""
        self.clicks += 1

    def close(self, records: NDArray[Any]) -> None:
        """Judge impressions whose label is now known. Invalid and refunded ones are left out."""
        records = records[records["fate"] <= 1]
        if not len(records):
            return
        p = np.clip(records["pctr"], SMALLEST_P, 1 - SMALLEST_P)
        clicked = records["clicked"] != 0
        self.closed += len(records)
        self.closed_clicks += int(clicked.sum())
        self.closed_predicted += float(records["pctr"].sum())
        self.log_loss_sum -= float(np.where(clicked, np.log(p), np.log1p(-p)).sum())

    def log_loss(self) -> float:
        """Mean log loss of the impressions judged so far; nan before the first."""
        return self.log_loss_sum / self.closed if self.closed else float("nan")
