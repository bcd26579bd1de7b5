"""Indexes given out, lowest first, and taken back: a freed one rests before it is given again.

"Index" is a place in an array. A token may still name the old owner's index, so it rests for longer than
any token lives; what the old owner left there is cleared before it is free.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from typing import Any


class Places:
    """Which index belongs to which key."""

    def __init__(self, capacity: int, reserved: int = 0) -> None:
        self.capacity = capacity
        self.used = reserved  # indexes below this were given out at least once
        self.by_key: dict[Hashable, int] = {}
        self.free: list[int] = []
        self.resting: dict[Hashable, int] = {}  # key -> since when (ms)
        self.generation: dict[int, int] = {}

    @property
    def left(self) -> int:
        """Count the indexes that new keys may still get."""
        return self.capacity - self.used + len(self.free)

    def take(self, key: Hashable) -> int:
        """Give a key its index; one that still rests under the same key is given back to it.

        Errors  AssertionError when full: the catalogue's check comes first.
        """
        self.resting.pop(key, None)
        held = self.by_key.get(key)
        if held is not None:
            return held
        if self.free:
            index = heapq.heappop(self.free)
        else:
            assert self.used < self.capacity, "no index left"
            index = self.used
            self.used += 1
        self.by_key[key] = index
        return index

    def rest(self, key: Hashable, at_ms: int) -> None:
        """Take a key's index out of use; it may be given to another after its rest."""
        if key in self.by_key:
            self.resting.setdefault(key, at_ms)

    def rested(self, before_ms: int) -> Hashable | None:
        """Name the key that has rested longest, if that was since before `before_ms`."""
        key = next(iter(self.resting), None)
        return key if key is not None and self.resting[key] <= before_ms else None

    def release(self, key: Hashable) -> int:
        """Free a rested key's index; the caller has cleared what stood there."""
        del self.resting[key]
        index = self.by_key.pop(key)
        self.generation[index] = self.generation.get(index, 0) + 1
        heapq.heappush(self.free, index)
        return index

    def parts(self) -> dict[str, Any]:
        """Copy who has which index, in plain values."""
        return {
            "used": self.used,
            "by_key": sorted(self.by_key.items(), key=lambda pair: pair[1]),
            "free": sorted(self.free),
            "resting": list(self.resting.items()),
            "generation": sorted(self.generation.items()),
        }

    def restore(self, part: dict[str, Any]) -> None:
        """Take back what `parts` copied; a key that is a tuple comes back from a file as a list."""
        self.used = part["used"]
        self.by_key = {_key(key): index for key, index in part["by_key"]}
        self.free = list(part["free"])
        self.resting = {_key(key): at_ms for key, at_ms in part["resting"]}
        self.generation = dict(part["generation"])


def _key(key: Any) -> Hashable:
    return tuple(key) if isinstance(key, list) else key


class GroupedPlaces(Places):
    """Indexes given out in runs of 64 to keys of one group (ads of one shape), so that those who compete for
    the same slots stand side by side: an auction then reads few stretches of memory.

    When no run is left, an index of another group's run is given.
    """

    RUN = 64

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity - capacity % self.RUN)
        self.free_of: dict[Hashable, list[int]] = {}
        self.group_of_run: list[Hashable] = []

    @property
    def left(self) -> int:
        """Count the indexes that new keys may still get."""
        return self.capacity - self.used + sum(len(free) for free in self.free_of.values())

    def take_in(self, group: Hashable, key: Hashable) -> int:
        """Give a key its index, in its group's run where one has room."""
        if key not in self.by_key:
            free = self.free_of.setdefault(group, [])
            if not free and self.used < self.capacity:
                free.extend(range(self.used, self.used + self.RUN))
                self.used += self.RUN
                self.group_of_run.append(group)
            self.free = free or min(filter(None, self.free_of.values()), default=[])
        return self.take(key)

    def release(self, key: Hashable) -> int:
        """Free a rested key's index: it goes back to its run's group."""
        self.free = self.free_of[self.group_of_run[self.by_key[key] // self.RUN]]
        return super().release(key)

    def parts(self) -> dict[str, Any]:
        """Copy who has which index, and whose each run is."""
        free = sorted((group, sorted(free)) for group, free in self.free_of.items())
        return {**super().parts(), "free": [], "free_of": free, "groups": self.group_of_run}

    def restore(self, part: dict[str, Any]) -> None:
        """Take back what `parts` copied."""
        super().restore(part)
        self.free_of = {group: list(free) for group, free in part["free_of"]}
        self.group_of_run = list(part["groups"])
