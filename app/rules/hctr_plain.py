"""hCTR in plain Python, a dictionary of segments: slow, plainly right, and what tests hold the kernel to."""

from collections import defaultdict
from dataclasses import dataclass, field

from app.rules.hctr import LEAST_P

Segment = tuple[int, frozenset[tuple[str, int]]]


@dataclass(slots=True)
class PlainHctr:
    """Counts of each segment; levels tell for "row" and "column" features where they join."""

    prior: float
    strength: float
    levels: int
    level_of: dict[tuple[str, int], int]
    counts: dict[Segment, list[float]] = field(default_factory=lambda: defaultdict(lambda: [0.0, 0.0]))

    def segments(self, features: list[tuple[str, int]]) -> list[Segment]:
        """A sample's segments, everybody's first."""
        known = [one for one in features if one in self.level_of]
        return [
            (level, frozenset(one for one in known if self.level_of[one] <= level))
            for level in range(self.levels)
        ]

    def predict(self, features: list[tuple[str, int]]) -> float:
        """Shrink from everybody's rate to the sample's own segment."""
        rate = self.prior
        for segment in self.segments(features):
            impressions, clicks = self.counts[segment]
            rate = (clicks + self.strength) / (impressions + self.strength / rate)
            rate = min(max(rate, LEAST_P), 1.0 - LEAST_P)
        return rate

    def learn(self, features: list[tuple[str, int]], impressions: float, clicks: float) -> float:
        """Predict, then count."""
        rate = self.predict(features)
        for segment in self.segments(features):
            self.counts[segment][0] += impressions
            self.counts[segment][1] += clicks
        return rate
