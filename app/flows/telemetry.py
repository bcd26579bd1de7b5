"""The last quarter of an hour of a node, a row a second, for people who look at it.

Telemetry, not knowledge: it is sampled from the counters once a tick, lives in memory alone, and a restart
begins anew. No request pays for it. Cost: some 150 us a second, 4 MiB at most.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from operator import sub
from typing import Any

from msgspec import Struct
from prometheus_client import Counter

from app.flows.counters import SECONDS, Counters
from app.flows.histograms import Series, quantile

KEPT_S = 900
ROUTES = ("/v1/ads", "/openrtb2/bid")
_FILLED = frozenset({"filled", "bid"})
_UNFILLED = frozenset({"no_ad", "no_bid"})
Buckets = tuple[int, ...]
_NONE: Buckets = (0,) * (len(SECONDS) + 1)


class Stretch(Struct, frozen=True):
    """What happened in a stretch of time that ended at `at_ms`. Buckets are those of the histograms.

    Units   `took_s` seconds; `spend_micros` micros. `refused` ad requests were answered by neither an ad nor
            the lack of one.
    """

    at_ms: int = 0
    took_s: float = 0.0
    requests: int = 0
    filled: int = 0
    unfilled: int = 0
    spend_micros: int = 0
    impressions: int = 0
    events: int = 0
    invalid: int = 0
    answered_in: Buckets = _NONE
    visible_in: Buckets = _NONE
    committed_in: Buckets = _NONE
    loop_lag_s: float = 0.0  # the worst

    @property
    def requests_per_s(self) -> float | None:
        """How many ad requests a second."""
        return self.requests / self.took_s if self.took_s else None

    @property
    def fill(self) -> float | None:
        """The share of answers to ad requests with an ad in them."""
        answers = self.filled + self.unfilled
        return self.filled / answers if answers else None

    @property
    def refused(self) -> int:
        """How many ad requests were refused, failed or came too late."""
        return max(0, self.requests - self.filled - self.unfilled)

    @property
    def invalid_share(self) -> float | None:
        """The share of events found invalid."""
        return self.invalid / self.events if self.events else None

    @property
    def ecpm_micros(self) -> float | None:
        """What 1,000 impressions brought."""
        return 1000 * self.spend_micros / self.impressions if self.impressions else None

    def answered_ms(self, share: float) -> float | None:
        """Within how long that share of ad requests was answered, as well as the buckets tell."""
        return _ms(self.answered_in, share)

    def visible_ms(self, share: float) -> float | None:
        """Within how long that share of events had their effect on decisions."""
        return _ms(self.visible_in, share)

    def committed_ms(self, share: float) -> float | None:
        """Within how long that share of the journal's commits was durable."""
        return _ms(self.committed_in, share)


class Telemetry:
    """The newest stretches of about a second, oldest first."""

    def __init__(self) -> None:
        self.rows: deque[Stretch] = deque(maxlen=KEPT_S)
        self.since_ms: int | None = None  # of the first sample
        self._before: Stretch | None = None  # counts since the start

    def sample(self, counters: Counters, now_ms: int, loop_lag_s: float = 0.0) -> None:
        """Note what the counters say more than at the last call."""
        total, before = _totals(counters, now_ms), self._before
        self._before = total
        if before is None:
            self.since_ms = total.at_ms
        else:
            self.rows.append(_between(before, total, loop_lag_s))

    def lately(self, seconds: int) -> Stretch:
        """Add up the last so many rows."""
        return added(list(self.rows)[-seconds:])

    def steps(self, step_s: int) -> list[Stretch]:
        """Add the rows up by steps of the clock, oldest first; the step that has not ended is left out."""
        told: list[Stretch] = []
        some: list[Stretch] = []
        for row in self.rows:
            if some and row.at_ms // (step_s * 1000) != some[0].at_ms // (step_s * 1000):
                told.append(added(some))
                some = []
            some.append(row)
        return told


def added(rows: Iterable[Stretch]) -> Stretch:
    """Add stretches up; together they end where the last one ends.

    >>> added([Stretch(took_s=1.0, requests=3), Stretch(took_s=1.0, requests=5)]).requests_per_s
    4.0
    """
    rows = list(rows)
    if not rows:
        return Stretch()
    buckets: dict[str, Any] = {
        name: tuple(map(sum, zip(*(getattr(row, name) for row in rows), strict=True))) for name in _BUCKETS
    }
    counts = {name: sum(getattr(row, name) for row in rows) for name in _COUNTS}
    return Stretch(
        at_ms=rows[-1].at_ms, took_s=sum(row.took_s for row in rows),
        loop_lag_s=max(row.loop_lag_s for row in rows), **counts, **buckets,
    )  # fmt: skip


_BUCKETS = ("answered_in", "visible_in", "committed_in")
_COUNTS = ("requests", "filled", "unfilled", "spend_micros", "impressions", "events", "invalid")


def _between(before: Stretch, after: Stretch, loop_lag_s: float) -> Stretch:
    buckets: dict[str, Any] = {
        name: tuple(map(sub, getattr(after, name), getattr(before, name))) for name in _BUCKETS
    }
    counts = {name: getattr(after, name) - getattr(before, name) for name in _COUNTS}
    took_s = max(0.001, (after.at_ms - before.at_ms) / 1000)
    return Stretch(at_ms=after.at_ms, took_s=took_s, loop_lag_s=loop_lag_s, **counts, **buckets)


def _totals(counters: Counters, now_ms: int) -> Stretch:
    """Read the counters as they stand."""
    requests = filled = unfilled = impressions = events = 0
    for labels, count in _samples(counters.requests):
        if labels["route"] in ROUTES:
            requests += count
            filled += count if labels["outcome"] in _FILLED else 0
            unfilled += count if labels["outcome"] in _UNFILLED else 0
    for labels, count in _samples(counters.events):
        if labels["status"] != "repeat":
            events += count if labels["kind"] in {"impression", "click", "conversion"} else 0
            impressions += count if labels["kind"] == "impression" else 0
    return Stretch(
        at_ms=now_ms, requests=requests, filled=filled, unfilled=unfilled, events=events,
        impressions=impressions, spend_micros=_total(counters.spend), invalid=_total(counters.invalid),
        answered_in=_buckets(*(counters.request_seconds.labels(route) for route in ROUTES)),
        visible_in=_buckets(counters.visible_seconds.labels("")),
        committed_in=_buckets(counters.commit_seconds.labels("")),
    )  # fmt: skip


def _samples(counter: Counter) -> list[tuple[dict[str, str], int]]:
    [family] = counter.collect()
    return [(one.labels, int(one.value)) for one in family.samples if one.name.endswith("_total")]


def _total(counter: Counter) -> int:
    return sum(count for _, count in _samples(counter))


def _buckets(*series: Series) -> Buckets:
    return tuple(map(sum, zip(*(one.counts for one in series), strict=True)))


def _ms(buckets: Buckets, share: float) -> float | None:
    found = quantile(SECONDS, buckets, share)
    return None if found is None else 1000 * found
