"""Tables of counters against a dictionary of lists: who is counted, renamed, forgotten, swept or restored.

Method: random lives of a few people (so that they meet in tables) beside a plain memory of every impression;
then a few hundred thousand counters, of which each must be found. The full size: `python -m loadtest caps`.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from app.rules import caps, counters
from app.state.counters import SEGMENTS, SWEPT_A_TICK, UserCounters
from loadtest.caps import all_there, filled

NOW_MS = 1_800_000_000_000
HOUR_MS = 3_600_000
KEPT_HOURS = 48
CODES = (caps.VIEWS, caps.LIFETIME)
WHATS = [counters.what_of(code, kind, entity) for code in CODES for kind in range(3) for entity in (0, 9)]
PEOPLE = [bytes([n]) * 12 for n in range(6)]

Steps = st.lists(
    st.tuples(
        st.sampled_from(["count", "count", "count", "uncount", "rename", "forget", "sweep", "restore"]),
        st.integers(0, 5), st.integers(0, 5), st.sets(st.integers(0, len(WHATS) - 1), min_size=1),
    ),
    max_size=60,
)  # fmt: skip


class Plain:
    """Who saw what, and when last."""

    def __init__(self) -> None:
        self.seen: dict[bytes, Counter[int]] = {key: Counter() for key in PEOPLE}
        self.last: dict[tuple[bytes, int], int] = {}

    def of(self, key: bytes) -> dict[int, int]:
        return {what: count for what, count in self.seen[key].items() if (key, what) in self.last}

    def forget(self, key: bytes) -> None:
        self.seen[key].clear()
        self.last = {pair: hour for pair, hour in self.last.items() if pair[0] != key}


def of(held: UserCounters, key: bytes) -> dict[int, int]:
    entries, count = held.of((key,))
    return dict(zip((entries[:count, 0] >> 32).tolist(), entries[:count, 1].tolist(), strict=True))


@settings(deadline=None)
@given(steps=Steps)
def test_a_life_of_a_few_people(steps: list[tuple[str, int, int, set[int]]]) -> None:
    held, plain, hour = UserCounters(10_000, KEPT_HOURS), Plain(), NOW_MS // HOUR_MS
    for what, one, other, which in steps:
        key, another = PEOPLE[one], PEOPLE[other]
        whats = [WHATS[at] for at in sorted(which)]
        packed = np.array(whats, dtype=np.int64)
        match what:
            case "count":
                held.count(key, packed, hour * HOUR_MS, 0)
                plain.seen[key].update(whats)
                plain.last.update({(key, each): hour for each in whats})
            case "uncount":
                held.uncount(key, packed, hour * HOUR_MS, 0)
                for each in whats:
                    plain.seen[key][each] = max(0, plain.seen[key][each] - 1)
            case "rename" if one != other:
                held.rename(key, another, hour * HOUR_MS)
                for each, count in plain.of(key).items():
                    plain.seen[another][each] += count
                    before = plain.last.get((another, each), 0)
                    plain.last[another, each] = max(before, plain.last[key, each])
                plain.forget(key)
            case "forget":
                held.forget(key)
                plain.forget(key)
            case "sweep":
                hour += 20 + one
                for _ in range(SEGMENTS // SWEPT_A_TICK):
                    held.sweep(hour * HOUR_MS)
                plain.last = {pair: at for pair, at in plain.last.items() if hour - at <= KEPT_HOURS}
                for person in PEOPLE:
                    kept = plain.of(person)
                    plain.seen[person] = Counter(kept)
            case "restore":
                copy = UserCounters(10_000, KEPT_HOURS)
                copy.restore(held.parts(), held.facts())
                assert np.array_equal(copy.parts(), held.parts())
                held = copy
            case _:
                pass
        held.check()
        assert {person: of(held, person) for person in PEOPLE} == {
            person: plain.of(person) for person in PEOPLE
        }


def test_many_are_all_found_again() -> None:
    held = filled(200_000)
    held.check()
    assert held.total == 200_001
    assert all_there(held, 66_667)
    restored = UserCounters(held.limit, held.kept_hours)
    restored.restore(held.parts(), held.facts())
    assert all_there(restored, 66_667)
    assert held.size_bytes / held.total < 36
