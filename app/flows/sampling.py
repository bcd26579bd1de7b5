"""What a sample of the kept decisions says of a targeting and a bid: who fits, and what it takes to win.

Runs in a worker, which needs the words of this file and not a node's kernels.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import Struct

from app.domain.catalogue import Placement, Targeting
from app.domain.decisions import Placed, Record
from app.domain.requests import Ask
from app.journal.decisions import DecisionReader
from app.rules import targeting

SAMPLE = 2_000
LARGER_SAMPLE = 20_000  # where those who fit are few: half a second, before they are said to be too few
PRIOR_CVR = 0.02
Shape = tuple[str, int | None, int | None]


class Asked(Struct, frozen=True, kw_only=True):
    """What is to be forecast: [from_ms, to_ms) for a targeting, in a time zone, with or without a bid.

    `shapes` are the creatives' (format, width, height), any of which may fit; `own_group` is the ad group
    asked about, whose own wins are no rivals.
    """

    from_ms: int
    to_ms: int
    zone: str
    targeting: Targeting = Targeting()
    kind: str = "cpm"
    bid_micros: int | None = None
    shapes: tuple[Shape, ...] = ()
    pctr: float | None = None
    pcvr: float | None = None
    own_group: str | None = None


class Sampled(Struct, frozen=True):
    """What the sample said, counted: placements asked about, those that fit, those won, their cost.

    `people` are those who fit, apart as far as they have an id: without one each request is somebody.
    """

    asked: int = 0
    fitting: int = 0
    won: int = 0
    cost_micros: float = 0.0
    people: int = 0


def run_sample(data: Path, packed: bytes) -> bytes:
    """Evaluate a sample of the decisions that are kept, a larger one where few people fit, or few do not."""
    kind = tuple[Asked, dict[str, Placement], list[str] | None, float, int]
    asked, placements, named, prior_ctr, least_people = msgspec.msgpack.decode(packed, type=kind)
    count = Counting(asked, placements, named, prior_ctr)
    reader = DecisionReader(data / "decisions.db")
    try:
        fitting, others = count.over(reader.sample(SAMPLE, seed=1))
        if targeting.chooses_people(asked.targeting) and min(fitting.people, others.people) < least_people:
            fitting, others = count.over(reader.sample(LARGER_SAMPLE, seed=1))
    finally:
        reader.close()
    if 0 < others.people < least_people:  # whoever knows of all and of these knows of the others, too
        fitting = fitting.with_(others)
    return msgspec.msgpack.encode(Sampled(count.asked_about, *fitting))


class Sum(NamedTuple):
    """Requests of some people: how many, how many won, what those cost, and how many people they are."""

    fitting: int = 0
    won: int = 0
    cost_micros: float = 0.0
    people: int = 0

    def with_(self, other: Sum) -> Sum:
        """Add those of others."""
        return Sum(
            self.fitting + other.fitting, self.won + other.won, self.cost_micros + other.cost_micros,
            self.people + other.people,
        )  # fmt: skip


class Counting:
    """Counts what fits what is asked; `named` are the placements that the targeting means (None: all)."""

    def __init__(
        self, asked: Asked, placements: dict[str, Placement], named: list[str] | None, prior_ctr: float
    ) -> None:
        self.asked = asked
        self.of_places = targeting.of_places(asked.targeting)
        self.placements = placements
        self.named = None if named is None else frozenset(named)
        self.prior_ctr = prior_ctr
        self.asked_about = 0

    def over(self, records: Iterable[Record]) -> tuple[Sum, Sum]:
        """Go through decisions, placement by placement: what fits, and what would but for who asks."""
        self.asked_about = 0
        counts, people = [[0, 0, 0], [0, 0, 0]], (set[bytes](), set[bytes]())
        cost_micros, now = [0.0, 0.0], dict[bytes, bytes]()
        for record in records:
            for ask, placed in zip(record.request.asks, record.choice.placed, strict=True):
                if placed.code == "unknown_placement" or not self._is_named(ask):
                    continue
                self.asked_about += 1
                placement = None if ask.unregistered else self.placements.get(ask.placement_id)
                which = self._fits(record, ask, placement)
                if which is None:
                    continue
                counts[which][0] += 1
                person = record.request.person
                if person is None or person.key is None:
                    counts[which][2] += 1
                else:
                    people[which].add(person.key)
                    if person.former_key is not None:
                        now[person.former_key] = person.key
                price = price_of(self.asked, ask, placement, placed, self.prior_ctr)
                if price is not None:
                    counts[which][1] += 1
                    cost_micros[which] += price
        # A person's key changes with the period.
        known = [len({now.get(key, key) for key in keys}) for keys in people]
        fitting, others = (
            Sum(counts[at][0], counts[at][1], cost_micros[at], known[at] + counts[at][2]) for at in (0, 1)
        )
        return fitting, others

    def _is_named(self, ask: Ask) -> bool:
        return self.named is None or ask.placement_id in self.named

    def _fits(self, record: Record, ask: Ask, placement: Placement | None) -> int | None:
        """Say whether a request fits (0), would but for who asks (1), or not at all."""
        told, keys = targeting.told_by(record.request, ask, placement), record.request.surroundings.keys
        if not targeting.takes_shape(self.asked.shapes, ask, placement):
            return None
        if targeting.meets(self.asked.targeting, told, keys):
            return 0
        return 1 if targeting.meets(self.of_places, told, keys) else None


def worth_of(asked: Asked, pctr: float) -> float:
    """Tell what 1,000 impressions are worth at the bid; 0 without one. Units: micros."""
    pctr = asked.pctr or pctr
    v = {"cpm": 1.0, "cpc": 1000 * pctr}.get(asked.kind, 1000 * pctr * (asked.pcvr or PRIOR_CVR))
    return (asked.bid_micros or 0) * v


def price_of(
    asked: Asked, ask: Ask, placement: Placement | None, placed: Placed, prior_ctr: float
) -> float | None:
    """Say what an impression would have cost, or None where the bid would not have won its slot.

    It beats whoever stood in the last slot, or fills one that was left empty; it pays what it took.
    """
    own = next((win for win in placed.wins if win.ad_group_id == asked.own_group), None)
    worth = worth_of(asked, own.pctr if own is not None else prior_ctr)
    least = float(max(ask.floor_micros, placement.floor_micros if placement else 0))
    rivals = [float(win.ecpm_micros) for win in placed.wins if win.ad_group_id != asked.own_group]
    if len(rivals) >= ask.count:
        least = max(least, min(rivals))
    elif own is not None:
        least = max(least, float(own.cleared_ecpm_micros))
    return least / 1000 if worth >= least and worth > 0 else None
