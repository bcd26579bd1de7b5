"""What came of an experiment: sums by stage, arm and bucket of users.

A stage is a time with the same shares. Each arm of each stage has a seat, a number never given again: an
event names its own in its token, so that it counts where it was decided, however late it comes. Seats are
the control's, the variants' in the order of their names, then those of the shadows.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from app.domain.lines import Clicked, Converted, Shown
from app.rules.splitting import BUCKETS, seat_of

# decisions: placements decided for the arm, filled: those that got an ad; predicted: clicks, by the tokens'
# pCTR, loss: its log loss. Of a shadow, in its share of the decisions: differing ones, and what either choice
# was expected to pay for 1,000 impressions, each by the lights of who made it. Of an arm with a matrix of its
# own, over everybody's impressions: judged, the clicks that both models predicted, and their log losses.
FIELDS = (
    "decisions", "filled", "impressions", "clicks", "conversions", "revenue_micros", "predicted", "loss",
    "differing", "served_micros", "would_be_micros", "judged", "own_predicted", "default_predicted",
    "own_loss", "default_loss",
)  # fmt: skip
FIELD = {name: at for at, name in enumerate(FIELDS)}
STAGES_KEPT = 32


class Stage(Struct, frozen=True, array_like=True):
    """A time of an experiment with the same shares; `first` is the control's seat."""

    experiment_id: str
    first: int
    names: tuple[str, ...]  # of the variants, then the shadows
    shares: tuple[float, ...]
    begun_at_ms: int

    @property
    def arms(self) -> int:
        """How many seats it has."""
        return 1 + len(self.names)


class Results:
    """The sums of the last stages of all experiments.

    Shape   a table for each stage: (arms, FIELDS, BUCKETS) float64. Cost: 16 KiB an arm.
    """

    def __init__(self) -> None:
        self.stages: list[Stage] = []
        self.tables: list[NDArray[np.float64]] = []
        self.next_seat = 1

    def begin(
        self, experiment_id: str, names: tuple[str, ...], shares: tuple[float, ...], at_ms: int
    ) -> Stage:
        """Begin a stage; the oldest is forgotten when there are too many."""
        stage = Stage(experiment_id, self.next_seat, names, shares, at_ms)
        self.next_seat += stage.arms
        self.stages.append(stage)
        self.tables.append(np.zeros((stage.arms, len(FIELDS), BUCKETS)))
        del self.stages[:-STAGES_KEPT], self.tables[:-STAGES_KEPT]
        return stage

    def of(self, seat: int) -> tuple[Stage, NDArray[np.float64]] | None:
        """Find the stage of a seat and the seat's own sums, (FIELDS, BUCKETS); None where forgotten."""
        at = bisect_right(self.stages, seat, key=lambda stage: stage.first) - 1
        if at < 0:
            return None
        stage = self.stages[at]
        return (stage, self.tables[at][seat - stage.first]) if seat < stage.first + stage.arms else None

    def count(self, number: int, **sums: float) -> None:
        """Add to the sums of whoever decided, as a token names it; 0 is nobody."""
        seat, bucket = seat_of(number)
        found = self.of(seat) if seat else None
        if found is not None:
            for name, by in sums.items():
                found[1][FIELD[name], bucket] += by

    def take_back(self, event: Shown | Clicked | Converted, billed: int, *, counted: bool) -> None:
        """Take a refunded event out: its money, and itself where it had counted."""
        number, pctr = event.ad.variant, min(max(event.ad.pctr, 1e-15), 1.0 - 1e-15)
        if number:
            self.count(number, revenue_micros=-billed)
        if not number or not counted:
            return
        match event:
            case Shown():
                self.count(number, impressions=-1, predicted=-event.ad.pctr, loss=math.log1p(-pctr))
            case Clicked():
                self.count(number, clicks=-1, loss=math.log(pctr) - math.log1p(-pctr))
            case Converted():
                self.count(number, conversions=-1)

    def of_experiment(self, experiment_id: str) -> list[tuple[Stage, NDArray[np.float64]]]:
        """List the stages of an experiment with their tables, the oldest first."""
        both = zip(self.stages, self.tables, strict=True)
        return [(stage, table) for stage, table in both if stage.experiment_id == experiment_id]

    def parts(self) -> NDArray[Any]:
        """Copy all tables, one behind the other."""
        return np.concatenate([np.zeros(0), *(table.reshape(-1) for table in self.tables)])

    def rest(self) -> dict[str, Any]:
        """Copy what is not a table."""
        return {"stages": self.stages, "next_seat": self.next_seat}

    def restore(self, part: NDArray[Any], stages: list[Stage], next_seat: int) -> None:
        """Take back what `parts` and `rest` copied."""
        self.stages, self.next_seat = stages, next_seat
        sizes = [stage.arms * len(FIELDS) * BUCKETS for stage in stages]
        pieces = np.split(part, np.cumsum(sizes)[:-1]) if stages else []
        self.tables = [
            piece.reshape(stage.arms, len(FIELDS), BUCKETS).copy()
            for stage, piece in zip(stages, pieces, strict=True)
        ]

    def check(self) -> None:
        """Seats follow one another, and nobody has more ads than decisions."""
        firsts = [stage.first for stage in self.stages]
        assert firsts == sorted(set(firsts))
        for table in self.tables:
            assert (table[:, FIELD["filled"]] <= table[:, FIELD["decisions"]]).all()
            assert (table[:, FIELD["decisions"]] >= 0.0).all()
