"""What traffic there was: requests by placement and hour of week, counted from ticks, and the rate just now.

Only registered placements are counted apart, since anybody may name others; place 0 is the whole node. The
hours of the week are those of the node's clock, so that a changed clock moves the traffic with the people.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.rules import forecast
from app.rules.forecast import HOURS, SEASON_MEMORY
from app.rules.standing import Moment

WHOLE_NODE = ""
RATE_MEMORY_S = 600.0
LONGEST_TICK_S = 5.0  # a longer gap between ticks was an outage: nobody watched
LEAST_HOUR_S = 300.0  # of an hour watched for less, nothing is said


class Supply:
    """Counters by placement. Units: requests are placements asked about; seconds are of ticks.

    Shape   requests and seconds (placements, 168); running (placements,) are this hour's requests, running_s
            how much of it was watched; profile (168,) is the whole node's rate as of the last full hour.
    """

    def __init__(self) -> None:
        self.index: dict[str, int] = {WHOLE_NODE: 0}
        self.requests = np.zeros((8, HOURS))
        self.seconds = np.zeros((8, HOURS))
        self.running = np.zeros(8)
        self.running_s = 0.0
        self.hour = (-1, 0, 0)  # the day, weekday and hour being counted
        self.recent = (0.0, 0.0)  # requests and seconds of about ten minutes
        self.level = (1.0, 0.0, 0.0)
        self.checked = (0.0, 0.0)
        self.eligible = 0.0  # candidates summed over the requests of `recent`
        self.profile: NDArray[np.float64] = np.zeros(HOURS)
        self.closed = 0  # hours closed since the start: when what was worked out from them is stale

    @property
    def known(self) -> bool:
        """Whether any full hour was counted; before that the forecast is that all hours are alike."""
        return bool(self.profile.any())

    @property
    def rate(self) -> float:
        """Requests per second just now; 0 while nothing was seen."""
        requests, seconds = self.recent
        return requests / seconds if seconds > 0 else 0.0

    def take(
        self, asked: tuple[tuple[str, int, int], ...], elapsed_ms: int, moment: Moment, known: dict[str, Any]
    ) -> int:
        """Count a tick's requests; at a new hour first close the old one. Returns how many they were.

        `known` are the registered placements by id. Cost: microseconds, and at a new hour about 10 us for
        each placement.
        """
        hour = (moment.day, moment.weekday, moment.hour)
        if hour != self.hour:
            self._close_hour()
            self.hour = hour
        elapsed_s = elapsed_ms / 1000
        watched_s = elapsed_s if elapsed_s <= LONGEST_TICK_S else 0.0
        total = sum(count for _, count, _ in asked)
        if not watched_s:  # what a tick after an outage brings came in within a second or so of it
            return total
        self.running_s += watched_s
        self.running[0] += total
        for placement_id, count, _ in asked:
            if placement_id in known:
                at = self._place(placement_id)  # first: it may make the arrays anew
                self.running[at] += count
        keep = math.exp(-watched_s / RATE_MEMORY_S)
        self.recent = self.recent[0] * keep + total, self.recent[1] * keep + watched_s
        self.eligible = self.eligible * keep + sum(eligible for _, _, eligible in asked)
        return total

    def rates(self, placement_id: str = WHOLE_NODE) -> NDArray[np.float64]:
        """Forecast a placement's requests per second for each hour of the week; zeros before any data.

        Until a full hour was counted, what was seen since the start stands for all hours.
        """
        at = self.index.get(placement_id)
        if at is None:
            return np.zeros(HOURS)
        if not self.seconds[at].any():
            return np.full(HOURS, self.running[at] / self.running_s if self.running_s > 0 else 0.0)
        return forecast.profile(self.requests[at], self.seconds[at]) * self.level[0]

    def counted(self, placement_id: str = WHOLE_NODE) -> float:
        """Tell how many requests of a placement its rates rest on, those of older weeks weighing less."""
        at = self.index.get(placement_id)
        return 0.0 if at is None else float(self.requests[at].sum() + self.running[at])

    @property
    def watched_s(self) -> float:
        """For how many seconds requests were counted at all, those of older weeks weighing less."""
        return float(self.seconds[0].sum()) + self.running_s

    def shape(self, placement_ids: Iterable[str]) -> NDArray[np.float64]:
        """Say how the traffic of some placements is spread over the week, of mean 1; of none: of the node.

        Of full hours alone, so that between them it stays. What was never seen is spread evenly.
        """
        known = [self.index[key] for key in placement_ids if key in self.index] or [0]
        found = forecast.profile(self.requests[known], self.seconds[known]).sum(axis=0)
        return found / found.mean() if found.any() else np.ones(HOURS)

    def _place(self, placement_id: str) -> int:
        at = self.index.get(placement_id)
        if at is None:
            at = self.index[placement_id] = len(self.index)
            if at == len(self.running):
                self.requests = np.concatenate([self.requests, np.zeros_like(self.requests)])
                self.seconds = np.concatenate([self.seconds, np.zeros_like(self.seconds)])
                self.running = np.concatenate([self.running, np.zeros_like(self.running)])
        return at

    def _close_hour(self) -> None:
        _, weekday, hour = self.hour
        at, seconds, n = weekday * 24 + hour, self.running_s, len(self.index)
        if seconds >= LEAST_HOUR_S:
            plain = forecast.profile(self.requests[0], self.seconds[0])[at]
            seen_before = self.seconds[0].reshape(7, 24)[:, hour].any()
            if seen_before:  # an hour never seen on any day tells nothing of the level
                counted, expected = float(self.running[0]), float(plain * seconds)
                self.checked = forecast.next_error(counted, expected * self.level[0], self.checked)
                self.level = forecast.next_level(counted, expected, self.level[1:])
            self.requests[:n, at] = self.requests[:n, at] * SEASON_MEMORY + self.running[:n]
            self.seconds[:n, at] = self.seconds[:n, at] * SEASON_MEMORY + seconds
            self.profile = self.rates()
            self.closed += 1
        self.running[:] = 0.0
        self.running_s = 0.0

    # Snapshots.

    def parts(self) -> tuple[NDArray[np.float64], dict[str, Any]]:
        """Copy everything: the counters as one array, the rest in plain values."""
        n = len(self.index)
        counters = np.concatenate([self.requests[:n], self.seconds[:n], self.running[:n, None]], axis=1)
        rest = {
            "index": sorted(self.index.items(), key=lambda pair: pair[1]),
            "plain": [self.running_s, *self.recent, *self.level, *self.checked, self.eligible],
            "hour": self.hour,
            "profile": self.profile.tolist(),
        }
        return counters, rest

    def restore(self, counters: NDArray[np.float64], rest: dict[str, Any]) -> None:
        """Take back what `parts` copied."""
        self.index = dict(rest["index"])
        n = len(self.index)
        size = max(8, 1 << (n - 1).bit_length())
        self.requests, self.seconds = np.zeros((size, HOURS)), np.zeros((size, HOURS))
        self.running = np.zeros(size)
        self.requests[:n], self.seconds[:n] = counters[:, :HOURS], counters[:, HOURS : 2 * HOURS]
        self.running[:n] = counters[:, -1]
        plain = rest["plain"]
        self.running_s, self.recent, self.eligible = plain[0], (plain[1], plain[2]), plain[8]
        self.level, self.checked = (plain[3], plain[4], plain[5]), (plain[6], plain[7])
        self.hour = tuple(rest["hour"])
        self.profile = np.array(rest["profile"])

    def check(self) -> None:
        """Nothing counted is ever negative, and no placement was counted beyond the node."""
        n = len(self.index)
        assert (self.requests[:n] >= 0).all()
        assert (self.seconds[:n] >= 0).all()
        assert self.running[1:n].sum() <= self.running[0] + 1e-6
        assert math.isfinite(self.rate)
