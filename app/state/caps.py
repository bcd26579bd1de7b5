"""Frequency caps as arrays: what each creative, ad group and campaign allows, and which ads that binds.

Compiled when the catalogue changes, never on a request. Of several caps with the same period the least binds.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.domain.catalogue import FrequencyCap
from app.rules import capping, caps, counters
from app.rules.counters import CREATIVE, ENTITY_BITS, KINDS, PLACE_BITS
from app.state.ads import Ads

WINDOWS = len(caps.WINDOWS)


class Bound(NamedTuple):
    """What `capping.judge` reads of the catalogue, shapes as there; `capped_places`: all ads with a cap."""

    limits: NDArray[np.int32]
    zone: NDArray[np.int32]
    tally: NDArray[np.int32]
    entity_of_ad: NDArray[np.int32]
    chain_head: NDArray[np.int32]
    chain_next: NDArray[np.int32]
    capped: NDArray[np.bool_]
    capped_places: NDArray[np.int64]


class Caps:
    """The caps of everything registered, by kind (creative, ad group, campaign) and index."""

    def __init__(self, ads: Ads) -> None:
        self.ads = ads
        self.limits: NDArray[np.int32] = np.zeros((KINDS, WINDOWS, 64), dtype=np.int32)
        self.zone: NDArray[np.int32] = np.zeros((KINDS, 64), dtype=np.int32)
        self.counted: dict[str, NDArray[np.int64]] = {}  # what an impression counts under, by creative id
        self._bound: Bound | None = None

    def put(self, kind: int, index: int, wanted: Iterable[FrequencyCap], zone: int) -> None:
        """Take over a thing's caps; days are those of the time zone of this number."""
        size = self.limits.shape[2]
        if index >= size:
            more = max(size, index + 1 - size)
            self.limits = np.pad(self.limits, ((0, 0), (0, 0), (0, more)))
            self.zone = np.pad(self.zone, ((0, 0), (0, more)))
        self.limits[kind, :, index] = 0
        for cap in wanted:
            window = caps.WINDOWS.index(cap.per)
            most = min(cap.count, caps.MAX_ROLLING_COUNT) if cap.per in caps.ROLLING else cap.count
            known = int(self.limits[kind, window, index])
            self.limits[kind, window, index] = min(known or most, most)
        self.zone[kind, index] = zone
        self.changed()

    def changed(self) -> None:
        """Know that caps were set, or that places have other owners."""
        self._bound = None
        self.counted.clear()

    def bound(self) -> Bound:
        """Give the caps as an auction reads them. Cost: after a change some 50 us for 10,000 ads."""
        if self._bound is None:
            self._bound = self._bind()
        return self._bound

    def _bind(self) -> Bound:
        ads, n = self.ads, self.ads.count
        size = max(self.limits.shape[2], n)
        if size > self.limits.shape[2]:
            self.put(CREATIVE, size - 1, (), 0)
            size = self.limits.shape[2]
        entity = np.arange(n, dtype=np.int32)
        for place, generation in ads.places.generation.items():
            entity[place] = _entity(place, generation)
        head = np.empty((KINDS, size), dtype=np.int32)
        following = np.empty((KINDS, n), dtype=np.int32)
        capped = np.zeros(n, dtype=np.bool_)
        capping.chain(n, self.limits, ads.group, ads.campaign, head, following, capped)
        tally = np.zeros((KINDS, WINDOWS + 1, size), dtype=np.int32)
        places = np.flatnonzero(capped)
        return Bound(self.limits, self.zone, tally, entity, head, following, capped, places)

    def of(self, kind: int, index: int) -> list[int]:
        """List what an impression counts under for one thing: a counter for each of its caps."""
        entity = self._entity_of(index) if kind == CREATIVE else index
        return [
            counters.what_of(caps.code_for(per, int(most)), kind, entity)
            for per, most in zip(caps.WINDOWS, self.limits[kind, :, index], strict=True)
            if most
        ]

    def views_of(self, ad: int) -> int:
        """Name the counter of an ad's views."""
        return counters.what_of(caps.VIEWS, CREATIVE, self._entity_of(ad))

    def _entity_of(self, ad: int) -> int:
        return _entity(ad, self.ads.places.generation.get(ad, 0))


def _entity(place: int, generation: int) -> int:
    """Number the owner of an ad's place: a later owner has counters of its own."""
    return place | generation % (1 << ENTITY_BITS - PLACE_BITS) << PLACE_BITS
