"""Clicks that may yet convert: how late a campaign's conversions come, and how ripe each click is as a trial.

A ring over the clicks of the last week, in the order in which they counted, and a mark for each age at which
they grow riper: so a tick looks at those alone that just came of age. Nothing here belongs to a person: what
a click lit is kept, as in the journal's line, and not whose it was.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.rules.delays import (
    AGES_S,
    BINS,
    EDGES_S,
    WIDTHS_S,
    bin_of,
    exponential_shares,
    ripeness_of,
    shares_of,
)

MEMORY_MS = 28 * 86_400_000  # of what is counted, by campaign
LIT_A_CLICK = 32  # as many lit rows and columns find room, in the mean
OTHER, CPA, OCPM = range(3)
KINDS = {"cpa": CPA, "ocpm": OCPM}
OPEN = np.dtype(
    [
        ("position", "<i8"),
        ("at_ms", "<i8"),
        ("lit", "<i8"),  # where its rows and columns begin
        ("lesson", "<i8"),  # which lesson of the conversion model its first part was
        ("campaign", "<i4"),
        ("group", "<i4"),
        ("rows", "<u2"),
        ("columns", "<u2"),
        ("kind", "u1"),
        ("counts", "u1"),  # 0: taken back
        ("teaches", "u1"),
        ("ripe", "<f8"),
        ("parts", "<f4", (BINS + 1,)),  # how much it became riper at each age
        ("parts_p", "<f4", (BINS + 1,)),  # the p that each part was learned with; nan where it was not
    ]
)


class Delays:
    """The open clicks of `capacity` at most, and counts by campaign (index of its account) and bin of age.

    Shape   (campaigns, BINS): conversions and shares, see `app.rules.delays`; passed: clicks that have left a
            bin behind; open: those in it now, since_ms: the sum of their times. ripeness (campaigns,
            BINS + 1). reached (BINS,): the place of the click that is next to come to each age. Places grow
            without end; modulo capacity they are indexes.
    Cost    135 bytes a click, and 64 for what it lit.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.ring: NDArray[Any] = np.zeros(capacity, dtype=OPEN)
        self.lit: NDArray[np.uint16] = np.zeros(capacity * LIT_A_CLICK, dtype=np.uint16)
        self.next = 0
        self.lit_next = 0
        self.reached = [0] * BINS
        self.campaigns = 0
        self.expected_s = 86_400.0  # the setting's, once configured
        self.counts = np.zeros((4, 0, BINS))
        self.since_ms = np.zeros((0, BINS), dtype=np.int64)
        self.ripeness = np.zeros((0, BINS + 1))

    conversions = property(lambda self: self.counts[0])
    passed = property(lambda self: self.counts[1])
    open = property(lambda self: self.counts[2])
    shares = property(lambda self: self.counts[3])

    @property
    def first(self) -> int:
        """The oldest place still open."""
        return self.reached[-1]

    def make_room(self, campaigns: int) -> None:
        """Have places for so many campaigns."""
        new = campaigns - self.campaigns
        if new <= 0:
            return
        self.counts = np.concatenate([self.counts, np.zeros((4, new, BINS))], axis=1)
        expected = exponential_shares(self.expected_s)
        self.counts[3, self.campaigns :] = expected
        self.since_ms = np.concatenate([self.since_ms, np.zeros((new, BINS), dtype=np.int64)])
        fresh = np.broadcast_to(ripeness_of(expected), (new, BINS + 1))
        self.ripeness = np.concatenate([self.ripeness, fresh])
        self.campaigns = campaigns

    # Clicks.

    def full(self, lit_count: int) -> bool:
        """Say whether the oldest click must leave before one with so many rows and columns can come."""
        if self.first == self.next:
            return False
        oldest = self.ring[self.first % self.capacity]
        crowded = self.lit_next + lit_count - int(oldest["lit"]) > self.lit.size
        return crowded or self.next - self.first == self.capacity

    def add(
        self, position: int, at_ms: int, campaign: int, group: int, kind: str, rows: bytes, columns: bytes,
        lesson: int, *, teaches: bool,
    ) -> int:  # fmt: skip
        """Take in a click; there is room. Returns its place."""
        place, lit = self.next, np.frombuffer(rows + columns, dtype="<u2")
        if place > self.first:  # a click that was held is as old as those beside it
            at_ms = max(at_ms, int(self.ring[(place - 1) % self.capacity]["at_ms"]))
        row = self.ring[place % self.capacity]
        row["position"], row["at_ms"], row["lit"], row["lesson"] = position, at_ms, self.lit_next, lesson
        row["campaign"], row["group"], row["kind"] = campaign, group, KINDS.get(kind, OTHER)
        row["rows"], row["columns"] = len(rows) // 2, len(columns) // 2
        row["counts"], row["teaches"], row["ripe"] = 1, teaches, 0.0
        row["parts"], row["parts_p"] = 0.0, math.nan
        self.lit[(self.lit_next + np.arange(lit.size)) % self.lit.size] = lit
        self.lit_next += lit.size
        self.next += 1
        self._enter(campaign, 0, at_ms)
        return place

    def find(self, position: int) -> int | None:
        """Find the place of the click at a journal position, while it is open. Cost: a look at each."""
        used = self.ring["position"][: min(self.next, self.capacity)]
        for index in np.flatnonzero(used == position).tolist():
            place = self.next - 1 - (self.next - 1 - index) % self.capacity
            if place >= self.first:
                return int(place)
        return None

    def at(self, place: int) -> Any:
        """Give the record at a place, writable."""
        return self.ring[place % self.capacity]

    def lit_by(self, record: Any) -> tuple[bytes, bytes]:
        """Give the rows and columns that a click lit."""
        count = int(record["rows"]) + int(record["columns"])
        lit = self.lit[(int(record["lit"]) + np.arange(count)) % self.lit.size].tobytes()
        return lit[: 2 * int(record["rows"])], lit[2 * int(record["rows"]) :]

    def age_of(self, place: int) -> int:
        """Say which of AGES_S a click has come to."""
        return sum(place < reached for reached in self.reached)

    def come_of_age(self, clock_ms: int, most: int) -> Iterator[tuple[int, int]]:
        """Move on the clicks that came to another age, `most` of them; gives place and age of each."""
        for edge in range(BINS):
            before_ms = clock_ms - int(EDGES_S[edge] * 1000)
            while most > 0 and self.reached[edge] < (self.reached[edge - 1] if edge else self.next):
                place = self.reached[edge]
                if int(self.at(place)["at_ms"]) > before_ms:
                    break
                self._move(place, edge)
                most -= 1
                yield place, edge + 1

    def leave(self) -> int:
        """Have the oldest click come to the last age, whatever it is; returns its place."""
        place = self.first
        for edge in range(self.age_of(place), BINS):
            self._move(place, edge, lived=False)
        return place

    def _move(self, place: int, edge: int, *, lived: bool = True) -> None:
        self.reached[edge] += 1
        record = self.at(place)
        if not record["counts"]:
            return
        campaign, at_ms = int(record["campaign"]), int(record["at_ms"])
        self._enter(campaign, edge, at_ms, -1)
        self.passed[campaign, edge] += lived
        if edge + 1 < BINS:
            self._enter(campaign, edge + 1, at_ms)

    def _enter(self, campaign: int, age: int, at_ms: int, by: int = 1) -> None:
        self.open[campaign, age] += by
        self.since_ms[campaign, age] += by * at_ms

    def take_back(self, place: int) -> None:
        """Count a click no longer, nor what it lived through."""
        record, age = self.at(place), self.age_of(place)
        record["counts"] = 0
        campaign = int(record["campaign"])
        self._enter(campaign, age, int(record["at_ms"]), -1)
        self.passed[campaign, :age] = np.maximum(self.passed[campaign, :age] - 1.0, 0.0)

    # What is learned.

    def came(self, campaign: int, late_s: float, by: float = 1.0) -> None:
        """Count a click's first conversion, so late after it (below 0: take it back)."""
        at = campaign, bin_of(late_s)
        self.conversions[at] = max(0.0, float(self.conversions[at]) + by)

    def lived(self, now_ms: int) -> NDArray[np.float64]:
        """Say how many clicks have lived through each bin, those in the midst of it by their part."""
        within_s = self.open * (now_ms / 1000.0 - AGES_S[:-1]) - self.since_ms / 1000.0
        return np.asarray(self.passed + np.clip(within_s / WIDTHS_S, 0.0, self.open))

    def learn(self, now_ms: int, elapsed_ms: int) -> None:
        """Work out the shares anew, and so how ripe clicks are at which age; what is counted fades."""
        self.counts[:2] *= math.exp(-elapsed_ms / MEMORY_MS)
        self.shares[:] = shares_of(self.conversions, self.lived(now_ms), self.expected_s)
        self.ripeness[:] = ripeness_of(self.shares)

    def to_come(self, campaign: int, prior_cvr: float, now_ms: int) -> float:
        """Say how many conversions the open clicks of a campaign are expected to bring yet."""
        ripe = float((self.lived(now_ms)[campaign] * self.shares[campaign]).sum())
        rate = min(1.0, (float(self.conversions[campaign].sum()) + 1.0) / (ripe + 1.0 / prior_cvr))
        return rate * float((self.open[campaign] * (1.0 - self.ripeness[campaign, :BINS])).sum())

    # Snapshots.

    def parts(self) -> dict[str, NDArray[Any]]:
        """Copy the open clicks, oldest first, what they lit, and all counts."""
        clicks: NDArray[Any] = self.ring[np.arange(self.first, self.next) % self.capacity]
        first_lit = int(clicks[0]["lit"]) if clicks.size else self.lit_next
        lit = self.lit[np.arange(first_lit, self.lit_next) % self.lit.size]
        sums = {"counts": self.counts.copy(), "since_ms": self.since_ms.copy()}
        return {"clicks": clicks.view(np.uint8), "lit": lit, **sums}

    def rest(self) -> tuple[int, int, list[int]]:
        """Give what `restore` needs beside the parts."""
        return self.next, self.lit_next, self.reached

    def restore(self, parts: dict[str, NDArray[Any]], rest: tuple[int, int, list[int]]) -> None:
        """Take back what `parts` and `rest` gave."""
        self.next, self.lit_next, self.reached = rest[0], rest[1], list(rest[2])
        clicks, lit = parts["clicks"].view(OPEN), parts["lit"]
        self.ring[np.arange(self.next - clicks.size, self.next) % self.capacity] = clicks
        self.lit[np.arange(self.lit_next - lit.size, self.lit_next) % self.lit.size] = lit
        self.counts = np.array(parts["counts"], dtype=np.float64)
        self.since_ms = np.array(parts["since_ms"], dtype=np.int64)
        self.campaigns = self.counts.shape[1]
        self.ripeness = ripeness_of(self.shares)

    def check(self) -> None:
        """Every click is of an age, counted once, and no riper than whole; shares add up."""
        assert sorted(self.reached, reverse=True) == self.reached
        assert self.first <= self.reached[0] <= self.next <= self.first + self.capacity
        counted = np.zeros_like(self.open)
        for place in range(self.first, self.next):
            record = self.at(place)
            counted[record["campaign"], self.age_of(place)] += record["counts"]
        assert np.array_equal(counted, self.open), "open clicks"
        assert (self.since_ms[counted == 0] == 0).all()
        used = self.ring[np.arange(self.first, self.next) % self.capacity]
        assert ((used["ripe"] >= 0.0) & (used["ripe"] <= 1.0)).all()
        assert (np.diff(used["at_ms"]) >= 0).all()
        assert (self.counts >= 0.0).all()
        assert np.allclose(self.shares.sum(axis=1), 1.0)
