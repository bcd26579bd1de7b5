"""Invalid traffic as people watch it: gross and net, for which reasons, and where most of it comes from.

Counts are those of reports. A source is a publisher, a placement or a creative: what a report names, never
a person or an address.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from app.domain.ids import HOUR_MS
from app.domain.keys import Caller
from app.flows.campaigns import Row, read_report
from app.flows.reporting import Asked, reports
from app.rules.intervals import wilson
from app.rules.invalid_traffic import REASONS

if TYPE_CHECKING:
    from app.flows.node import Node

KINDS = ("impressions", "clicks", "conversions")
SOURCES = ("publisher", "placement", "campaign", "creative")
# What stands under `invalid` in a report without being a finding of these rules.
OTHERS = {
    "refunded": "taken back by a refund",
    "forgotten": "too old to be judged any more",
    "expired": "held for its impression until it was too late",
    "invalid": "no reason is kept",
}


class Count(Struct, frozen=True, kw_only=True):
    """Events of one kind: whatever was reported, and without what was found invalid, with its interval."""

    kind: str
    gross: int
    net: int
    share: float | None
    low: float | None
    high: float | None


class Reason(Struct, frozen=True):
    """How many events one reason took, and what it means."""

    code: str
    count: int
    why: str


class Source(Struct, frozen=True, kw_only=True):
    """Where invalid events come from. `share` is of all that came from there; the reason is the commonest."""

    kind: str
    id: str
    gross: int
    invalid: int
    share: float
    low: float
    high: float
    reason: str


class InvalidTraffic(Struct, frozen=True, kw_only=True):
    """A stretch of time: counts by kind, reasons, sources by kind of source, rows by hour as in a report."""

    mode: str
    from_ms: int
    counts: list[Count]
    reasons: list[Reason]
    sources: dict[str, list[Source]]
    hours: list[Row]


async def invalid_traffic(node: Node, caller: Caller, hours: int = 24, most: int = 10) -> InvalidTraffic:
    """Tell what was found invalid in the last hours, of a bound caller's ads alone.

    Errors  Busy as of `report`.
    """
    now_ms = node.now_ms()
    bound = None if caller.advertiser_ids is None else tuple(sorted(caller.advertiser_ids))
    asked = Asked(
        from_ms=max(0, now_ms + 1 - hours * HOUR_MS), to_ms=now_ms + 1, by=("hour",),
        zone=node.settings.fold.time_zone, advertisers=bound,
    )  # fmt: skip
    all_asked = [asked, *(msgspec.structs.replace(asked, by=(name,)) for name in SOURCES)]
    by_hour, *by_source = (read_report(body) for body in await reports(node, all_asked))
    total = by_hour["totals"]
    return InvalidTraffic(
        mode=node.state.settings.invalid_traffic, from_ms=asked.from_ms,
        counts=[count_of(kind, total) for kind in KINDS], reasons=reasons_of(total),
        sources={
            name: sources_of(name, told["rows"])[:most] for name, told in zip(SOURCES, by_source, strict=True)
        },
        hours=by_hour["rows"],
    )  # fmt: skip


def count_of(kind: str, row: Row) -> Count:
    """Tell gross and net of one kind of event, off a report's row."""
    gross, net = row[f"gross_{kind}"], row[f"net_{kind}"]
    low, high = wilson(gross - net, gross)
    share = (gross - net) / gross if gross else None
    return Count(kind=kind, gross=gross, net=net, share=share, low=low, high=high)


def reasons_of(row: Row) -> list[Reason]:
    """List the reasons of a report's row, the commonest first.

    >>> reasons_of({"invalid": {"bot": 3, "refunded": 5}})[0]
    Reason(code='refunded', count=5, why='taken back by a refund')
    """
    counts = sorted(row["invalid"].items(), key=lambda pair: (-pair[1], pair[0]))
    return [Reason(code, count, REASONS.get(code) or OTHERS.get(code, "")) for code, count in counts]


def sources_of(kind: str, rows: Sequence[Row]) -> list[Source]:
    """Rank what a report names by its invalid events, the most first; what has none is left out."""
    found = []
    for row in rows:
        gross = sum(row[f"gross_{each}"] for each in KINDS)
        invalid = gross - sum(row[f"net_{each}"] for each in KINDS)
        if invalid:
            low, high = wilson(invalid, gross)
            assert low is not None
            assert high is not None
            source = Source(
                kind=kind, id=row[kind], gross=gross, invalid=invalid, share=invalid / gross, low=low,
                high=high, reason=max(row["invalid"].items(), key=lambda pair: pair[1])[0],
            )  # fmt: skip
            found.append(source)
    return sorted(found, key=lambda source: (-source.invalid, source.id))
