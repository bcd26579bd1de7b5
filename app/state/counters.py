"""Counters by person, tens of millions of them: 1,024 small tables that grow and are swept one by one.

A table grows by a quarter when seven eighths full, so no single step moves more than a 1,024th of everything.
What is over is swept out on ticks. Which counters are there depends on the lines alone, never on the
tables' sizes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.rules import counters

SEGMENTS = 1_024
SWEPT_A_TICK = 4
LEAST_SLOTS = 16
GROWTH = 1.25
FULL = 0.875
_SPREAD = 0x9E3779B97F4A7C15F39CC0605CEDC835  # odd, 2^128 / golden ratio


def mark_of(key: bytes) -> int:
    """Turn a person's key into the mark of its slots: 64 bits, signed, never 0.

    Two persons in 20 million share one with a probability of 1 in 100,000.

    >>> mark_of(b"0123456789ab") == mark_of(b"0123456789ab"), mark_of(b"0123456789ac") == mark_of(b"0")
    (True, False)
    """
    mark = (int.from_bytes(key, "little") * _SPREAD >> 64) & (1 << 64) - 1
    return (mark - (1 << 64) if mark >> 63 else mark) or 1


def _segment_of(mark: int) -> int:
    return mark >> 54 & SEGMENTS - 1


class UserCounters:
    """All counters of all persons; `limit` is how many there may be.

    When a table has no room left, what is over goes first, then views, then nothing more is counted there:
    `lost` says how often.
    """

    def __init__(self, limit: int, kept_hours: int) -> None:
        self.limit, self.kept_hours = limit, kept_hours
        self.tables: list[NDArray[np.int64] | None] = [None] * SEGMENTS
        self.used = np.zeros(SEGMENTS, dtype=np.int64)
        self.lost = 0
        self._swept = 0  # tables swept so far, over and over
        self._found: NDArray[np.int64] = np.zeros((256, 2), dtype=np.int64)

    @property
    def total(self) -> int:
        """How many counters there are."""
        return int(self.used.sum())

    @property
    def size_bytes(self) -> int:
        """How much memory the tables take."""
        return sum(table.nbytes for table in self.tables if table is not None)

    # What choose reads.

    def of(self, keys: Iterable[bytes]) -> tuple[NDArray[np.int64], int]:
        """Gather the counters of one person, by all its keys: the array (good until the next call), how many.

        Cost    about 2 us, more for someone with hundreds of them.
        """
        count = 0
        for key in keys:
            mark = mark_of(key)
            table = self.tables[_segment_of(mark)]
            if table is not None:
                before = count
                count = counters.gather(table, mark, self._found, before)
                if count > len(self._found):
                    grown = np.zeros((2 * count, 2), dtype=np.int64)
                    grown[:before] = self._found[:before]
                    self._found = grown
                    count = counters.gather(table, mark, self._found, before)
        return self._found, count

    # What apply writes.

    def count(self, key: bytes, whats: NDArray[np.int64], at_ms: int, day: int) -> int:
        """Count one impression to a person under each of `whats`; returns a digest of what was written.

        Cost    about 3 us; where a table grows, up to a millisecond with 20 million counters.
        """
        if not whats.size:
            return 0
        mark = mark_of(key)
        table = self._with_room(mark, whats.size, at_ms)
        if table is None:
            self.lost += 1
            return self.lost
        made, digest = counters.count(table, mark, whats, at_ms, day, mark)
        self.used[_segment_of(mark)] += made
        return int(digest)

    def uncount(self, key: bytes, whats: NDArray[np.int64], at_ms: int, day: int) -> int:
        """Take one impression back; returns a digest of what was written."""
        mark = mark_of(key)
        table = self.tables[_segment_of(mark)]
        return 0 if table is None else int(counters.uncount(table, mark, whats, at_ms, day, 0))

    def rename(self, former: bytes, present: bytes, at_ms: int) -> int:
        """Move a person's counters from its former key to the present one; returns how many."""
        entries, count = self.of((former,))
        if not count:
            return 0
        mark = mark_of(present)
        table = self._with_room(mark, count, at_ms)
        if table is None:
            self.lost += 1
            return 0
        self.used[_segment_of(mark)] += counters.take_in(table, mark, entries, count)
        self.forget(former)
        return count

    def forget(self, key: bytes) -> None:
        """Erase everything counted about a person."""
        mark = mark_of(key)
        self._remake(_segment_of(mark), but_mark=mark)

    def sweep(self, clock_ms: int) -> int:
        """Drop what is over from the next few tables; returns how many counters went.

        Cost    under 1 ms with 20 million counters; every table has its turn in four minutes of ticks.
        """
        before = self.total
        for _ in range(SWEPT_A_TICK):
            segment = self._swept % SEGMENTS
            self._swept += 1
            table = self.tables[segment]
            if table is not None and counters.count_over(table, clock_ms, self.kept_hours):
                self._remake(segment, clock_ms=clock_ms)
        return before - self.total

    def _with_room(self, mark: int, more: int, clock_ms: int) -> NDArray[np.int64] | None:
        """Find a person's table with room for some more counters; None when it may not grow."""
        segment = _segment_of(mark)
        most = max(64, self.limit // SEGMENTS)
        if self.used[segment] + more > most:
            self._remake(segment, clock_ms=clock_ms)
            if self.used[segment] + more > most:
                self._remake(segment, but_views=True)
            if self.used[segment] + more > most:
                return None
        wanted = int(self.used[segment]) + more
        table = self.tables[segment]
        if table is None or wanted > FULL * len(table):
            self.grow(segment, int(wanted / FULL) + 1)
        return self.tables[segment]

    def grow(self, segment: int, slots: int = 0) -> None:
        """Give a table a quarter more slots, or at least so many."""
        table = self.tables[segment]
        old_slots = 0 if table is None else len(table)
        self._remake(segment, slots=max(LEAST_SLOTS, int(old_slots * GROWTH), slots))

    def _remake(
        self, segment: int, *, slots: int = 0, but_mark: int = 0, but_views: bool = False, clock_ms: int = -1
    ) -> None:
        old = self.tables[segment]
        if old is None and not slots:
            return
        new = counters.empty(slots or len(old if old is not None else ()))
        if old is not None:
            self.used[segment] = counters.move(old, new, but_mark, but_views, clock_ms, self.kept_hours)
        fitting = max(LEAST_SLOTS, int(self.used[segment] / FULL * 1.1) + 1)
        if not slots and GROWTH * fitting < len(new):  # something went: give free memory back
            large, new = new, counters.empty(fitting)
            counters.move(large, new, 0, False, -1, 0)
        self.tables[segment] = new if slots or self.used[segment] else None

    # Snapshots.

    def parts(self) -> NDArray[np.int64]:
        """Copy all counters, table by table, in an order that does not depend on how they came.

        Shape   (total, 3). Cost: seconds for 20 million; for followers, not for the loop.
        """
        packed = np.empty((self.total, 3), dtype=np.int64)
        at = 0
        for table in self.tables:
            if table is not None:
                rows = table[table[:, 0] != 0]
                packed[at : at + len(rows)] = rows[np.lexsort((rows[:, 1] >> 32, rows[:, 0]))]
                at += len(rows)
        return packed

    def facts(self) -> tuple[int, int]:
        """Copy what is known beside the counters: how many were lost, how far the sweep is."""
        return self.lost, self._swept

    def restore(self, packed: NDArray[np.int64], facts: tuple[int, int]) -> None:
        """Take back what `parts` and `facts` copied."""
        self.lost, self._swept = facts
        if not len(packed):
            return
        segments = packed[:, 0] >> 54 & SEGMENTS - 1
        starts = np.flatnonzero(np.diff(segments, prepend=-1))
        for start, end in zip(starts, [*starts[1:], len(packed)], strict=True):
            segment = int(segments[start])
            rows = packed[start:end]
            table = counters.empty(max(LEAST_SLOTS, int(len(rows) / FULL * 1.1) + 1))
            self.used[segment] = counters.move(rows, table, 0, False, -1, 0)
            self.tables[segment] = table

    def check(self) -> None:
        """Every table holds as many counters as it says, and finds each of them."""
        for segment, table in enumerate(self.tables):
            if table is None:
                assert self.used[segment] == 0
                continue
            taken: Any = np.flatnonzero(table[:, 0])
            assert 0 < len(taken) == self.used[segment] < len(table)
            for at in taken[:8]:
                assert counters.find(table, table[at, 0], table[at, 1] >> 32) == at
