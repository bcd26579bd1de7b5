"""When each row was last lit by an impression, so that rows unused for long give their memory back."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from app.domain.ids import HOUR_MS
from app.rules.features import ROWS

_NEVER = 0


class Usage:
    """Shape: hours (ROWS,) int32, since 1970; 0 for a row that nobody has asked about yet."""

    def __init__(self) -> None:
        self.hours: NDArray[np.int32] = np.zeros(ROWS, dtype=np.int32)
        self.pruned = 0  # rows, since the beginning

    def lit(self, rows: bytes, at_ms: int) -> None:
        """Note that an impression lit these rows. Shape: little-endian uint16. Cost: about a microsecond."""
        self.hours[np.frombuffer(rows, dtype="<u2")] = at_ms // HOUR_MS

    def unused(self, touched: NDArray[np.bool_], now_ms: int, days: int) -> int:
        """Find a row with weights that was not lit for so many days; 0 for none. Row 0 never is.

        A row with weights of which nothing is known (older snapshots, loaded models) begins now.
        """
        hour = now_ms // HOUR_MS
        self.hours[touched & (self.hours == _NEVER)] = hour
        old = np.flatnonzero(touched[1:] & (self.hours[1:] < hour - 24 * days))
        return int(old[0]) + 1 if old.size else 0
