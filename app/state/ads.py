"""The live ads as arrays, a place for each: what scoring, eligibility and pricing read.

An ad is a creative with everything above it. Its arrays and sets are compiled when the catalogue changes,
never on a request.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.domain.catalogue import AdGroup, Advertiser, Campaign, Creative
from app.domain.decisions import REASON_NUMBER
from app.rules.ranking import COLUMNS_PER_AD
from app.state.places import Places
from app.state.sets import Dimension, Sets

ARCHIVED = REASON_NUMBER["archived"]
PAUSED = REASON_NUMBER["paused"]
TARGETED = (
    "gender", "age", "region", "interest", "segment", "device", "os", "placement", "publisher",
    "site_category",
)  # fmt: skip


@lru_cache(maxsize=65_536)
def parents_and_self(code: str) -> tuple[str, ...]:
    """Name a code and what it lies under: IAB25-3, then IAB25; KR-11, then KR.

    >>> parents_and_self("IAB25-3")
    ('IAB25-3', 'IAB25')
    """
    parts = code.split("-")
    return tuple("-".join(parts[:count]) for count in range(len(parts), 0, -1))


class View(NamedTuple):
    """The ads' arrays, cut to the places given out. Shape: as in Ads, `places` of them."""

    places: int
    columns: NDArray[np.int32]
    bid: NDArray[np.float64]
    log_bid: NDArray[np.float32]
    slope: NDArray[np.float32]
    quality: NDArray[np.float64]
    log_quality: NDArray[np.float32]
    group: NDArray[np.int32]
    campaign: NDArray[np.int32]
    advertiser: NDArray[np.int32]
    reason: NDArray[np.uint8]


class Ads:
    """Arrays over ad places; `count` places were given out so far.

    Shape   columns (6, capacity) int32; the others (capacity,). own is the code of the creative's own
            status, reason the one that holds now (own, else its group's standing).
    """

    def __init__(self, capacity: int) -> None:
        self.places = Places(capacity)
        self.sets = Sets(capacity)
        self.dimensions = {name: Dimension(name) for name in TARGETED}
        self.key_dimensions: dict[str, Dimension] = {}
        self.columns = np.zeros((COLUMNS_PER_AD, capacity), dtype=np.int32)
        self.bid = np.ones(capacity, dtype=np.float64)
        self.log_bid = np.zeros(capacity, dtype=np.float32)
        self.slope = np.zeros(capacity, dtype=np.float32)
        self.quality = np.ones(capacity, dtype=np.float64)
        self.log_quality = np.zeros(capacity, dtype=np.float32)
        self.group = np.zeros(capacity, dtype=np.int32)
        self.campaign = np.zeros(capacity, dtype=np.int32)
        self.advertiser = np.zeros(capacity, dtype=np.int32)
        self.duration_s = np.full(capacity, -1, dtype=np.int32)
        self.own = np.full(capacity, ARCHIVED, dtype=np.uint8)
        self.reason = np.full(capacity, ARCHIVED, dtype=np.uint8)
        self._view: View | None = None
        self.creatives: list[Creative | None] = []
        self.groups: list[AdGroup | None] = []
        self.campaigns: list[Campaign | None] = []

    @property
    def count(self) -> int:
        """How many places were given out so far; those behind are in no auction."""
        return self.places.used

    def view(self) -> View:
        """Cut the arrays to the places given out; kept until another is."""
        n = self.places.used
        if self._view is None or self._view.places != n:
            self._view = View(
                n, self.columns[:, :n], self.bid[:n], self.log_bid[:n], self.slope[:n], self.quality[:n],
                self.log_quality[:n], self.group[:n], self.campaign[:n], self.advertiser[:n], self.reason[:n],
            )  # fmt: skip
        return self._view

    def open(self, creative_id: str) -> int:
        """Give a creative its place."""
        ad = self.places.take(creative_id)
        self.open_all()
        return ad

    def open_all(self) -> None:
        """Make the lists as long as places were given out."""
        for owners in (self.creatives, self.groups, self.campaigns):
            owners.extend([None] * (self.count - len(owners)))

    def compile(
        self, ad: int, creative: Creative, group: AdGroup, campaign: Campaign, advertiser: Advertiser
    ) -> None:
        """Write what a creative and those above it mean for its place (not its columns, nor standing)."""
        self.creatives[ad], self.groups[ad], self.campaigns[ad] = creative, group, campaign
        per_click = group.pricing.kind == "cpc"
        self.bid[ad] = group.pricing.bid_micros
        self.slope[ad] = 1.0 if per_click else 0.0
        self.log_bid[ad] = math.log(group.pricing.bid_micros * (1000.0 if per_click else 1.0))
        self.duration_s[ad] = -1 if creative.duration_s is None else creative.duration_s
        self.sets.place(ad, self._keys(creative, group, advertiser))

    def _keys(self, creative: Creative, group: AdGroup, advertiser: Advertiser) -> list[Hashable]:
        keys = creative_keys(creative)
        codes = (*creative.categories, *((advertiser.category,) if advertiser.category else ()))
        keys += [("category", code) for code in dict.fromkeys(c for x in codes for c in parents_and_self(x))]
        keys.append(("seat", advertiser.seat or ""))
        for name in TARGETED:
            keys += self.dimensions[name].keys(getattr(group.targeting, name))
        for name, rule in group.targeting.keys.items():
            dimension = self.key_dimensions.get(name)
            if dimension is None:
                dimension = self.key_dimensions[name] = Dimension(f"keys.{name}")
            keys += dimension.keys(rule)
        if group.targeting.deal.include:
            keys.append(("deal", "restricted"))
        return keys

    def close(self, ad: int) -> None:
        """Take an ad out of every auction; its place rests."""
        self.own[ad] = self.reason[ad] = ARCHIVED
        self.sets.place(ad, ())

    def stand(self, standing: NDArray[np.uint8]) -> None:
        """Take over the ad groups' standing. Cost: some 10 us for 10,000 ads."""
        n = self.count
        if n:
            self.reason[:n] = np.where(self.own[:n] != 0, self.own[:n], standing[self.group[:n]])

    def stand_one(self, creative_id: str, standing: NDArray[np.uint8]) -> None:
        """Take over the group's standing for one creative that was just compiled."""
        ad = self.places.by_key.get(creative_id)
        if ad is not None:
            self.reason[ad] = self.own[ad] or standing[self.group[ad]]


def creative_keys(creative: Creative) -> list[Hashable]:
    """List the sets that a creative's own properties put it into; "" stands for "none stated"."""
    shape = (creative.format, creative.width, creative.height)
    keys: list[Hashable] = [("format", creative.format), ("shape", shape)]
    keys += [("mime", value) for value in creative.mimes or ("",)]
    keys += [("protocol", value) for value in creative.protocols or ("",)]
    keys += [("api", value) for value in creative.api or ("",)]
    keys += [("attribute", (creative.format, value)) for value in creative.attributes]
    keys.append(("language", (creative.language or "").lower()))
    if creative.secure:
        keys.append(("secure", True))
    if creative.native is not None:
        parts = ("title", "body", "sponsored", "cta", "icon_url", "image_url")
        keys += [("asset", part) for part in parts if getattr(creative.native, part)]
    return list(dict.fromkeys(keys))
