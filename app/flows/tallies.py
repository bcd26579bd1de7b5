"""What a report adds up, row by row, and how a row reads. Integers inside; decimals only when written.

Pure: bytes of lines and verdicts come in, rows go out. Which lines, and from where, is the report's flow to
know (`reporting`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from app.domain.decisions import ServedAd
from app.domain.lines import Clicked, Converted, Shown, Ticked, Verdict
from app.domain.money import to_decimal
from app.rules.evaluation import SMALLEST_P
from app.rules.intervals import wilson
from app.rules.splitting import seat_of

DIMENSIONS = (
    "minute", "hour", "day", "advertiser", "campaign", "ad_group", "creative", "placement", "publisher",
    "variant",
)  # fmt: skip
# A request is not yet anybody's: only what is known before the auction can tell requests apart.
OF_REQUESTS = frozenset({"minute", "hour", "day", "placement", "publisher"})
MEASURES = (
    "requests", "impressions", "clicks", "conversions", "spend", "unbilled", "ecpm", "ctr", "ctr_low",
    "ctr_high", "predicted_clicks", "calibration", "log_loss", "ne", "cvr", "cvr_low", "cvr_high", "cpa",
    "gross_impressions", "gross_clicks", "gross_conversions", "net_impressions", "net_clicks",
    "net_conversions", "invalid",
)  # fmt: skip
FORGOTTEN = Verdict("invalid", code="forgotten")
_COUNTS = {Shown: "impressions", Clicked: "clicks", Converted: "conversions"}
_COUNTED = frozenset({"learned", "skipped"})
MINUTE_MS = 60_000  # every time zone is whole minutes off, whatever hour and day its clocks show
TIMES = ("minute", "hour", "day")

Key = tuple[str | int, ...]
Cell = TypeVar("Cell")
# Who stands above a creative: ad group, campaign, advertiser.
Parents = Mapping[str, tuple[str, str, str]]


@dataclass(slots=True)
class Tally:
    """The sums of one row. Units: micros."""

    requests: int = 0
    impressions: int = 0
    clicks: int = 0
    conversions: int = 0
    spend_micros: int = 0
    unbilled_micros: int = 0
    predicted_clicks: float = 0.0  # added in the journal's order: the same report has the same bits
    loss: float = 0.0  # of the pCTR, in nats: an impression adds that of no click, its click what it changes
    invalid: dict[str, int] = field(default_factory=dict)
    gross: dict[str, int] = field(default_factory=dict)  # whatever was reported, by kind
    net: dict[str, int] = field(default_factory=dict)  # without what was found invalid, billed or not

    def add(self, other: Tally) -> None:
        """Add another row's sums."""
        self.requests += other.requests
        self.impressions += other.impressions
        self.clicks += other.clicks
        self.conversions += other.conversions
        self.spend_micros += other.spend_micros
        self.unbilled_micros += other.unbilled_micros
        self.predicted_clicks += other.predicted_clicks
        self.loss += other.loss
        for ours, theirs in ((self.invalid, other.invalid), (self.gross, other.gross), (self.net, other.net)):
            for name, count in theirs.items():
                ours[name] = ours.get(name, 0) + count


class Tallies:
    """Rows by key, for one choice of dimensions.

    `parents` are needed for advertiser, campaign and ad group; `publishers` (of placements) for the
    requests of a publisher.
    """

    def __init__(self, by: Sequence[str], zone: str, parents: Parents, publishers: Mapping[str, str]) -> None:
        self.by = tuple(by)
        self.zone = ZoneInfo(zone)
        self.parents = parents
        self.publishers = publishers
        self.rows: dict[Key, Tally] = {}
        self.advertisers: frozenset[str] | None = None  # that these rows are kept to; None: all
        self._kept: set[str] | None = None  # their creatives
        self.only: tuple[str, str] | None = None  # a dimension, and the one value of it that is told of
        self.counts_requests = OF_REQUESTS.issuperset(by)
        self._labels: dict[str, dict[int, str]] = {name: {} for name in TIMES}
        self._parts = [self._part(name) for name in self.by]

    def keep_to(self, advertisers: Collection[str]) -> None:
        """Tell of the ads of these advertisers alone, and of no requests."""
        self.counts_requests = False
        own = self.advertisers = frozenset(advertisers)
        self._kept = {creative for creative, above in self.parents.items() if above[2] in own}

    def keep_only(self, name: str, identity: str) -> None:
        """Tell of what one dimension names alone; of requests only where that is known before the auction."""
        self.only = name, identity
        self._of_only = self._part(name)
        self.counts_requests = self.counts_requests and name in OF_REQUESTS

    def tells_of(self, ad: ServedAd) -> bool:
        """Say whether an ad's events belong into these rows."""
        if self._kept is not None and ad.creative_id not in self._kept:
            return False
        return self.only is None or self._of_only(ad, 0) == self.only[1]

    def take(self, at_ms: int, line: Shown | Clicked | Converted, verdict: Verdict | None) -> None:
        """Count one event as the fold judged it.

        A held click counts nowhere yet; an event taken back counts under `invalid`, by the rule that found it
        or as `refunded`. What is only marked counts, and stands under `invalid` too.
        """
        ad = line.ad
        tally = self._row(tuple([part(ad, at_ms) for part in self._parts]))
        if verdict is None:  # its id is older than any token lives, and forgotten
            verdict = FORGOTTEN
        kind = _COUNTS[type(line)]
        _count(tally, kind, verdict, 1, ad.pctr, loss_of(kind, ad.pctr))

    def take_events(
        self, at_ms: int, named: Mapping[str, str | int], kind: str, verdict: Verdict, count: int,
        pctr: float, loss: float,
    ) -> None:  # fmt: skip
        """Count many events of one kind and fate, whose sums `verdict`, `pctr` and `loss` tell.

        `named` has the dimensions that are not times; all happened in the minute of `at_ms`.
        """
        key = tuple([self._label(name, at_ms) if name in self._labels else named[name] for name in self.by])
        _count(self._row(key), kind, verdict, count, pctr, loss)

    def take_requests(self, at_ms: int, placement_id: str, requests: int) -> None:
        """Count a placement's requests."""
        if self.only is not None and self._tick_part(self.only[0], placement_id, at_ms) != self.only[1]:
            return
        self._row(
            tuple([self._tick_part(name, placement_id, at_ms) for name in self.by])
        ).requests += requests

    def take_tick(self, at_ms: int, line: Ticked) -> None:
        """Count the requests that a tick brought."""
        for placement_id, requests, _ in line.requests:
            self.take_requests(at_ms, placement_id, requests)

    def total(self) -> Tally:
        """Add all rows up."""
        total = Tally()
        for tally in self.rows.values():
            total.add(tally)
        return total

    def _row(self, key: Key) -> Tally:
        tally = self.rows.get(key)
        if tally is None:
            tally = self.rows[key] = Tally()
        return tally

    def _part(self, name: str) -> Callable[[ServedAd, int], str | int]:
        """Make the function that reads one dimension off an event."""
        match name:
            case "minute" | "hour" | "day":
                return lambda _ad, at_ms: self._label(name, at_ms)
            case "ad_group" | "campaign" | "advertiser":
                place = ("ad_group", "campaign", "advertiser").index(name)
                nobody = ("", "", "")
                return lambda ad, _at_ms: self.parents.get(ad.creative_id, nobody)[place]
            case "creative":
                return lambda ad, _at_ms: ad.creative_id
            case "placement":
                return lambda ad, _at_ms: ad.placement_id
            case "publisher":
                return lambda ad, _at_ms: ad.publisher_id
            case _:
                assert name == "variant", name
                return lambda ad, _at_ms: seat_of(ad.variant)[0]

    def _tick_part(self, name: str, placement_id: str, at_ms: int) -> str:
        if name in self._labels:
            return self._label(name, at_ms)
        return placement_id if name == "placement" else self.publishers.get(placement_id, "")

    def _label(self, name: str, at_ms: int) -> str:
        labels, minute = self._labels[name], at_ms // MINUTE_MS
        label = labels.get(minute)
        if label is None:
            local = datetime.fromtimestamp(minute * MINUTE_MS / 1000, UTC).astimezone(self.zone)
            if name == "hour":
                local = local.replace(minute=0)
            label = labels[minute] = local.date().isoformat() if name == "day" else local.isoformat()
        return label


def loss_of(kind: str, pctr: float) -> float:
    """Tell what an event adds to the log loss: a click comes on top of its impression. Units: nats.

    >>> round(loss_of("impressions", 0.2) + loss_of("clicks", 0.2), 6) == round(-math.log(0.2), 6)
    True
    """
    p = min(max(pctr, SMALLEST_P), 1.0 - SMALLEST_P)
    match kind:
        case "impressions":
            return -math.log1p(-p)
        case "clicks":
            return math.log1p(-p) - math.log(p)
        case _:
            return 0.0


def _count(
    tally: Tally, kind: str, verdict: Verdict, count: int, pctr: float, loss: float
) -> None:  # fmt: skip
    tally.spend_micros += verdict.billed_micros
    tally.unbilled_micros += verdict.unbilled_micros
    if verdict.fate == "held":
        return
    counted = verdict.fate in _COUNTED
    reason = verdict.code or (None if counted else verdict.fate)
    tally.gross[kind] = tally.gross.get(kind, 0) + count
    if reason is None:
        tally.net[kind] = tally.net.get(kind, 0) + count
    else:
        tally.invalid[reason] = tally.invalid.get(reason, 0) + count
    if not counted:
        return
    tally.loss += loss
    match kind:
        case "impressions":
            tally.impressions += count
            tally.predicted_clicks += pctr
        case "clicks":
            tally.clicks += count
        case _:
            tally.conversions += count


def measures_of(tally: Tally, counts_requests: bool) -> dict[str, Any]:
    """Write a row's sums and ratios; a ratio of nothing is null.

    Units   money as decimals of the account currency; calibration is predicted / actual clicks; log loss in
            nats an impression, ne as a share of that of the row's own click rate.
    """
    low, high = wilson(tally.clicks, tally.impressions)
    cvr_low, cvr_high = wilson(tally.conversions, tally.clicks)
    shown, predicted = tally.impressions, tally.predicted_clicks
    return {
        "requests": tally.requests if counts_requests else None,
        "impressions": shown,
        "clicks": tally.clicks,
        "conversions": tally.conversions,
        "spend": to_decimal(tally.spend_micros),
        "unbilled": to_decimal(tally.unbilled_micros),
        "ecpm": ecpm(tally.spend_micros, shown) if shown else None,
        "ctr": tally.clicks / shown if shown else None,
        "ctr_low": low,
        "ctr_high": high,
        "predicted_clicks": predicted,
        "calibration": predicted / tally.clicks if tally.clicks else None,
        "log_loss": tally.loss / shown if shown else None,
        "ne": _normalised(tally),
        "cvr": tally.conversions / tally.clicks if tally.clicks else None,
        "cvr_low": cvr_low,
        "cvr_high": cvr_high,
        "cpa": per_action(tally.spend_micros, tally.conversions) if tally.conversions else None,
        **{f"gross_{kind}": tally.gross.get(kind, 0) for kind in _COUNTS.values()},
        **{f"net_{kind}": tally.net.get(kind, 0) for kind in _COUNTS.values()},
        "invalid": dict(sorted(tally.invalid.items())),
    }


def _normalised(tally: Tally) -> float | None:
    """Divide the log loss by that of always predicting the row's own rate; None where that is 0 or 1."""
    rate = tally.clicks / tally.impressions if tally.impressions else 0.0
    if not 0.0 < rate < 1.0:
        return None
    entropy = -(rate * math.log(rate) + (1.0 - rate) * math.log1p(-rate))
    return tally.loss / tally.impressions / entropy


def ecpm(spend_micros: int, impressions: int) -> Decimal:
    """Tell what 1,000 impressions cost, rounded to the micro.

    >>> ecpm(1_000_000, 3)
    Decimal('333.333333')
    """
    return per_action(spend_micros * 1000, impressions)


def per_action(spend_micros: int, actions: int) -> Decimal:
    """Tell what an action cost, rounded to the micro; a thousandfold spend tells it of 1,000 actions.

    >>> per_action(2_000_000, 3)
    Decimal('0.666667')
    """
    return to_decimal(int((Decimal(spend_micros) / actions).to_integral_value(ROUND_HALF_UP)))
