"""How long decisions take, by who decides: in memory alone, since this process started."""

from __future__ import annotations

import math
from typing import NamedTuple

from app.rules.sequential import Estimate
from app.rules.splitting import seat_of


class Moments(NamedTuple):
    """A running mean of times. Units: seconds; `squares` sums the squared deviations (Welford 1962)."""

    taken: int = 0
    mean_s: float = 0.0
    squares: float = 0.0

    def add(self, took_s: float) -> Moments:
        """Take one more.

        >>> Moments().add(1.0).add(3.0)
        Moments(taken=2, mean_s=2.0, squares=2.0)
        """
        taken, off = self.taken + 1, took_s - self.mean_s
        mean = self.mean_s + off / taken
        return Moments(taken, mean, self.squares + off * (took_s - mean))

    @property
    def estimate(self) -> Estimate:
        """The mean and its variance, inf for fewer than two."""
        enough = self.taken > 1
        return Estimate(self.mean_s, self.squares / (self.taken - 1) / self.taken if enough else math.inf)


class DecisionTimes:
    """Times by seat, of decisions at which no shadow looked on: a shadow takes its own time."""

    def __init__(self) -> None:
        self.by_seat: dict[int, Moments] = {}

    def add(self, number: int, took_s: float, *, alone: bool) -> None:
        """Take the time of one decision, by the number that it is exposed under."""
        if alone:
            seat, _ = seat_of(number)
            self.by_seat[seat] = self.by_seat.get(seat, Moments()).add(took_s)
