"""Where clicks have stopped to come: nothing is learned there until they do again.

A broken report of clicks looks like nobody clicking, and would teach just that. So of each stream of clicks
(the whole node's, a publisher's, a placement's) it is known how many were predicted since they came, and an
impression is held from learning while one of its three streams is silent. Whether it is learned hangs on what
was before it, never on its own click, and a held impression's click is not learned either: what is learned
stays an even sample. Nothing is caught up: a lost click cannot be told from one that nobody made.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.rules.features import BLOCKS, hashed_row

STREAMS = BLOCKS["publisher"].end  # a stream is named by its row; row 0, any request, is the whole
WHOLE = 0
# A click makes up for this share of the limit: one that has lost its way buys a dead stream no full run
# of lessons that nobody clicks; three bring a stream back to where it began.
ANSWERED_SHARE = 1 / 3

Streams = tuple[int, int, int]


class Silence:
    """Of each stream, the clicks predicted and not answered, up to the limit; there it is silent.

    Shape   unanswered (STREAMS,) float64.
    """

    def __init__(self) -> None:
        self.unanswered: NDArray[np.float64] = np.zeros(STREAMS)
        self.limit = 0.0  # a setting

    def streams_of(self, placement_row: int, publisher_id: str) -> Streams:
        """Name the streams that the clicks of a placement come by."""
        return WHOLE, hashed_row("publisher", publisher_id), placement_row

    def holds(self, streams: Streams) -> bool:
        """Say whether one of these streams is silent. Cost: 0.3 us."""
        unanswered, limit = self.unanswered, self.limit
        return any(unanswered[stream] >= limit for stream in streams)

    def shown(self, streams: Streams, pctr: float) -> None:
        """Count what an impression promises."""
        for stream in streams:
            self.unanswered[stream] = min(self.unanswered[stream] + pctr, self.limit)

    def heard(self, streams: Streams) -> None:
        """Count a click, valid or not: what reports it is alive."""
        for stream in streams:
            self.unanswered[stream] = max(self.unanswered[stream] - self.limit * ANSWERED_SHARE, 0.0)

    def silent(self) -> list[int]:
        """List the streams that are silent."""
        found: list[int] = np.flatnonzero(self.unanswered >= self.limit).tolist()
        return found

    def clear(self, row: int) -> None:
        """Forget a stream, before its row is given to another placement."""
        self.unanswered[row] = 0.0

    def restore(self, part: NDArray[Any] | None, whole: float) -> None:
        """Take back what a snapshot holds; an earlier one knew the whole's stream alone."""
        if part is not None:
            self.unanswered[: len(part)] = part
        else:
            self.unanswered[WHOLE] = whole

    def check(self) -> None:
        """Nothing negative, nothing above the limit but where that was lowered."""
        assert (self.unanswered >= 0.0).all()
