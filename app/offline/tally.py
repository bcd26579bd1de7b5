"""What a simulated audience counts: requests, answers, money, and predictions against the hidden truth.

Sums only, so that a demo may run for days; a tally is made for each second and they add up.
"""

import math
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise

from msgspec import Struct, field

SMALLEST_P = 1e-15
EDGE_S = 10  # the first and the last seconds that are told apart
LATENCY_BINS_PER_MS = 20
HISTORY_LENGTH = 120
Figure = float | None


class Shown(Struct, frozen=True):
    """One impression: what the node promised and charged, and what the truth says.

    Units   charged in account currency, once its click (or none) is known; worth per 1,000 impressions:
            what the advertiser would pay for this ad under the true click probability.
    """

    pctr: float
    truth: float
    clicked: bool
    charged: float
    worth: float


class Tally(Struct):
    """Sums over a span of time."""

    requests: int = 0
    failed: int = 0
    asked: int = 0
    filled: int = 0
    impressions: int = 0
    clicks: int = 0
    predicted: float = 0.0
    charged: float = 0.0
    worth: float = 0.0
    log_loss_sum: float = 0.0
    distance_sum: float = 0.0
    latencies: Counter[int] = field(default_factory=Counter)

    def answered(self, latency_s: float, asked: int, filled: int) -> None:
        """Count an answered ad request, for so many placements."""
        self.requests += 1
        self.asked += asked
        self.filled += filled
        self.latencies[int(latency_s * 1000 * LATENCY_BINS_PER_MS)] += 1

    def shown(self, ad: Shown) -> None:
        """Count an impression."""
        p = min(max(ad.pctr, SMALLEST_P), 1.0 - SMALLEST_P)
        self.impressions += 1
        self.clicks += ad.clicked
        self.predicted += ad.pctr
        self.charged += ad.charged
        self.worth += ad.worth
        self.log_loss_sum -= math.log(p if ad.clicked else 1.0 - p)
        self.distance_sum += abs(math.log(p / ad.truth))

    def add(self, other: "Tally") -> None:
        """Take another span's sums in."""
        self.latencies.update(other.latencies)
        for name in SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def quantile_ms(self, share: float) -> Figure:
        """The latency of ad answers that this share does not exceed; to a twentieth of a millisecond.

        >>> tally = Tally()
        >>> for latency_ms in (1, 2, 3, 40):
        ...     tally.answered(latency_ms / 1000, asked=1, filled=1)
        >>> tally.quantile_ms(0.5), tally.quantile_ms(0.99)
        (2.05, 40.05)
        """
        left = share * self.latencies.total()
        for place in sorted(self.latencies):
            left -= self.latencies[place]
            if left <= 0:
                return (place + 1) / LATENCY_BINS_PER_MS
        return None

    # Rates; None where there is nothing to divide by.

    @property
    def fill(self) -> Figure:
        return _per(self.filled, self.asked)

    @property
    def ctr(self) -> Figure:
        return _per(self.clicks, self.impressions)

    @property
    def ecpm(self) -> Figure:
        return _per(1000 * self.charged, self.impressions)

    @property
    def truth_ecpm(self) -> Figure:
        return _per(self.worth, self.impressions)

    @property
    def log_loss(self) -> Figure:
        return _per(self.log_loss_sum, self.impressions)

    @property
    def calibration(self) -> Figure:
        return _per(self.predicted, self.clicks)

    @property
    def distance(self) -> Figure:
        """Mean of |ln(pctr / truth)|: 0 is knowing, 0.1 is 10 % off."""
        return _per(self.distance_sum, self.impressions)


SUMS = tuple(name for name in Tally.__struct_fields__ if name != "latencies")


def _per(part: float, whole: float) -> Figure:
    return part / whole if whole else None


def added(tallies: Iterable[Tally]) -> Tally:
    """Add tallies up into a new one."""
    total = Tally()
    for tally in tallies:
        total.add(tally)
    return total


class Ledger:
    """Tallies by second: the whole, the first seconds, the latest, and a thinned history for pictures.

    An impression counts in the second of its request. Memory is bounded however long it runs.
    """

    def __init__(self) -> None:
        self.total = Tally()
        self.seconds: dict[int, Tally] = {}  # the latest, oldest first
        self.first = Tally()
        self.history: list[Tally] = []
        self.period_s = 1  # how many seconds an entry of the history spans
        self._pooled: list[Tally] = []

    def at(self, elapsed_s: float) -> Tally:
        """Find the tally of a moment. It stays open to late impressions for a few seconds."""
        second = int(elapsed_s)
        if second not in self.seconds:
            for missing in range(max(self.seconds, default=-1) + 1, second + 1):
                self.seconds[missing] = Tally()
            while len(self.seconds) > 2 * EDGE_S:
                self._retire(next(iter(self.seconds)))
        return self.seconds.get(second) or next(iter(self.seconds.values()))

    def _retire(self, second: int) -> None:
        tally = self.seconds.pop(second)
        self.total.add(tally)
        if second < EDGE_S:
            self.first.add(tally)
        self._pooled.append(tally)
        if len(self._pooled) == self.period_s:
            self.history.append(added(self._pooled))
            self._pooled = []
        if len(self.history) == HISTORY_LENGTH:
            self.history = [added(pair) for pair in list(pairwise(self.history))[::2]]
            self.period_s *= 2

    def whole(self) -> Tally:
        """Everything so far."""
        return added([self.total, *self.seconds.values()])

    def beginning(self) -> Tally:
        """The first ten seconds."""
        return added([self.first, *(tally for at, tally in self.seconds.items() if at < EDGE_S)])

    def latest(self, elapsed_s: float, span_s: int = EDGE_S) -> Tally:
        """The ten seconds before a moment (or another span, up to ten more)."""
        start = elapsed_s - span_s
        return added(tally for at, tally in self.seconds.items() if start <= at < elapsed_s)

    def trail(self) -> list[Tally]:
        """The whole run in at most a few hundred tallies, for a picture."""
        pooled = [added(self._pooled)] if self._pooled else []
        return [*self.history, *pooled, *self.seconds.values()]


def summary(ledger: Ledger, seconds: float) -> dict[str, Figure]:
    """Write the figures of a run as `demo --json` prints them; None where there was nothing to count.

    Units   latencies of ad answers in ms, eCPM in account currency; `truth_*` is what advertisers would
            pay for the chosen ads under the true click probabilities.
    """
    whole, first, last = ledger.whole(), ledger.beginning(), ledger.latest(seconds)
    figures: dict[str, Figure] = {
        "seconds": seconds,
        "requests": whole.requests,
        "requests_per_s": _per(whole.requests, seconds),
        "p50_ms": whole.quantile_ms(0.5),
        "p99_ms": whole.quantile_ms(0.99),
        "fill": whole.fill,
        "ctr": whole.ctr,
        "ecpm_first": first.ecpm,
        "ecpm_last": last.ecpm,
        "truth_ecpm_first": first.truth_ecpm,
        "truth_ecpm_last": last.truth_ecpm,
        "log_loss": whole.log_loss,
        "calibration": whole.calibration,
    }
    return {name: round(value, 6) if isinstance(value, float) else value for name, value in figures.items()}
