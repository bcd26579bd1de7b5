"""How much is explored at present, and what that costs: decayed sums of what ticks tell."""

from __future__ import annotations

from msgspec import Struct

from app.domain.lines import FoldSettings
from app.rules.exploration import next_factor

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
