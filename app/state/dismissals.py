"""What each user wants to see no more: creatives and advertisers that stay away from that user for a time.

A ring of small records in the order they came, which is the order in which they expire, and for each user the
places of theirs. The oldest leave when it is full: `CAPACITY` records are 6.6 MB, and about 0.2 KB a user.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.domain.decisions import REASON_NUMBER
from app.domain.requests import USER_KEY_BYTES, Person
from app.rules.eligibility import EVERYONE, Clause, bits_of, program
from app.state.ads import Ads
from app.state.sets import DISMISSED

CAPACITY = 1 << 18
PER_USER = 64
RECORD = np.dtype(
    [("user", f"V{USER_KEY_BYTES}"), ("kind", "u1"), ("index", "<u4"), ("generation", "<u4"), ("at_s", "<u4")]
)
GONE, CREATIVE, ADVERTISER = range(3)  # the kinds of a record; GONE was forgotten before its time


class Away(NamedTuple):
    """What stays away from a person: ad places with the generation they had, and advertisers' indexes."""

    creatives: list[tuple[int, int]]
    advertisers: list[int]


NOBODY = Away([], [])


def program_of(ads: Ads, away: Away) -> NDArray[np.int32]:
    """Write what stays away from a person, for the kernel.

    A place that was given to another ad since is not what they meant.
    Cost    some 10 us at 10,000 ads, for a person who dismissed something.
    """
    row = ads.sets.rows[DISMISSED]
    row[:] = 0
    if away.advertisers:
        advertiser = ads.advertiser[: ads.count]
        theirs = np.zeros(max(int(advertiser.max()), *away.advertisers) + 1, dtype=np.bool_)
        theirs[away.advertisers] = True
        bits = bits_of(theirs[advertiser], ads.sets.words)
        row[: bits.size] = bits
    generation = ads.places.generation
    for at, then in away.creatives:
        if generation.get(at, 0) == then:
            row[at // 64] |= np.uint64(1 << at % 64)
    return program([Clause(REASON_NUMBER["dismissed"], EVERYONE, (), (DISMISSED,))])


class Dismissals:
    """Records by user. Places grow without end; place modulo capacity is the ring's index."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.capacity = capacity
        self.ring: NDArray[Any] = np.zeros(capacity, dtype=RECORD)
        self.first = 0
        self.next = 0
        self.by_user: dict[bytes, list[int]] = {}

    def add(self, user: bytes, kind: int, index: int, generation: int, at_ms: int) -> None:
        """Keep a thing away from a user. The user's oldest record, or anybody's, makes room."""
        if self.next - self.first == self.capacity:
            self._leave()
        self.ring[self.next % self.capacity] = (user, kind, index, generation, at_ms // 1000)
        places = self.by_user.setdefault(user, [])
        places.append(self.next)
        self.next += 1
        if len(places) > PER_USER:
            self.ring[places.pop(0) % self.capacity] = np.zeros((), dtype=RECORD)

    def away(self, person: Person | None) -> Away:
        """Tell what stays away from a person, under either of their keys.

        Cost    a look-up or two for who never dismissed anything; ~1 us for each record of who did.
        """
        if not self.by_user or person is None or person.key is None:
            return NOBODY
        places = self.by_user.get(person.key, ())
        if person.former_key is not None:
            places = [*places, *self.by_user.get(person.former_key, ())]
        if not places:
            return NOBODY
        records = self.ring[[place % self.capacity for place in places]]
        creatives = records[records["kind"] == CREATIVE]
        advertisers = records["index"][records["kind"] == ADVERTISER]
        pairs = zip(creatives["index"].tolist(), creatives["generation"].tolist(), strict=True)
        return Away(list(pairs), advertisers.tolist())

    def rekey(self, former: bytes, user: bytes) -> None:
        """Move a user's records to the key of the new period."""
        if former == user or former not in self.by_user:
            return
        places = self.by_user.pop(former)
        self.ring["user"][[place % self.capacity for place in places]] = np.void(user)
        mine = sorted([*self.by_user.get(user, ()), *places])
        self.by_user[user] = mine[-PER_USER:]
        for place in mine[:-PER_USER]:
            self.ring[place % self.capacity] = np.zeros((), dtype=RECORD)

    def forget(self, user: bytes) -> None:
        """Leave nothing of a user."""
        for place in self.by_user.pop(user, ()):
            self.ring[place % self.capacity] = np.zeros((), dtype=RECORD)

    def expire(self, before_ms: int) -> None:
        """Let go of what came before a time. Cost: ~1 us a record, each once."""
        while self.first < self.next:
            record = self.ring[self.first % self.capacity]
            if record["kind"] != GONE and int(record["at_s"]) * 1000 >= before_ms:
                break
            self._leave()

    def _leave(self) -> None:
        """Take the oldest record out."""
        record = self.ring[self.first % self.capacity]
        if record["kind"] != GONE:
            user = record["user"].tobytes()
            places = self.by_user[user]
            places.remove(self.first)
            if not places:
                del self.by_user[user]
            self.ring[self.first % self.capacity] = np.zeros((), dtype=RECORD)
        self.first += 1

    def parts(self) -> NDArray[Any]:
        """Copy the records, oldest first, as their bytes."""
        records: NDArray[Any] = self.ring[np.arange(self.first, self.next) % self.capacity]
        return records.view(np.uint8)

    def restore(self, part: NDArray[Any], first: int) -> None:
        """Take back what `parts` copied; the oldest stands at place `first`."""
        records = np.ascontiguousarray(part).view(RECORD)
        self.first, self.next = first, first + len(records)
        self.ring[np.arange(self.first, self.next) % self.capacity] = records
        for place, record in enumerate(records, first):
            if record["kind"] != GONE:
                self.by_user.setdefault(record["user"].tobytes(), []).append(place)

    def check(self) -> None:
        """Every record stands under its user, and nobody has more than allowed."""
        count = 0
        for user, places in self.by_user.items():
            assert 0 < len(places) <= PER_USER
            assert places == sorted(places)
            assert self.first <= places[0]
            assert places[-1] < self.next
            found = self.ring["user"][[place % self.capacity for place in places]]
            assert all(one.tobytes() == user for one in found)
            count += len(places)
        window = np.arange(self.first, self.next) % self.capacity
        assert count == int((self.ring["kind"][window] != GONE).sum())
