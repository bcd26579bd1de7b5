"""What kept each campaign's ads from winning, today and yesterday: the sum of the `Lost` lines.

A count is one ad in one auction. Days are the node's own. Reasons are kept by name: their numbers are one
build's.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from app.domain.lines import Lost

DAYS = 2


class Funnel:
    """Counts by day, campaign and reason."""

    def __init__(self) -> None:
        self.days: dict[int, dict[str, dict[str, int]]] = {}

    def take(self, line: Lost, day: int) -> None:
        """Add a line's counts to a day; the oldest of more than two days goes."""
        campaigns = self.days.setdefault(day, {})
        for campaign, reason, count in counts_of(line):
            reasons = campaigns.setdefault(campaign, {})
            reasons[reason] = reasons.get(reason, 0) + count
        for old in sorted(self.days)[:-DAYS]:
            del self.days[old]

    def of(self, campaign_id: str, day: int) -> dict[str, int]:
        """Tell what kept a campaign's ads from winning on a day, by reason."""
        return dict(self.days.get(day, {}).get(campaign_id, {}))

    def parts(self) -> dict[int, dict[str, dict[str, int]]]:
        """Everything known, for a snapshot."""
        return self.days

    def restore(self, part: Any) -> None:
        """Take back what `parts` gave."""
        self.days = {int(day): campaigns for day, campaigns in part.items()}


def counts_of(line: Lost) -> list[tuple[str, str, int]]:
    """Read a line: (campaign id, reason, count) for every count that is not 0.

    >>> counts = bytes(4) + b"\\x02\\0\\0\\0"
    >>> counts_of(Lost(at_ms=0, reasons=("size",), campaigns=("a", "b"), counts=counts))
    [('b', 'size', 2)]
    """
    counts = np.frombuffer(line.counts, dtype="<u4").reshape(len(line.reasons), len(line.campaigns))
    rows, columns = np.nonzero(counts)
    return [
        (line.campaigns[column], line.reasons[row], int(counts[row, column]))
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
    ]
