"""The live ads as arrays, a place for each: what scoring, eligibility and pricing read.

An ad is a creative with everything above it. Its arrays and sets are compiled when the catalogue changes,
never on a request.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from app.domain.catalogue import AdGroup, Advertiser, Campaign, Creative, Rule
from app.domain.decisions import REASON_NUMBER
from app.rules.eligibility import bits_of
from app.rules.ranking import COLUMNS_PER_AD
from app.state.boosts import Boosts
from app.state.participation import Participation
from app.state.places import GroupedPlaces
from app.state.sets import Dimension, Sets
from app.state.view import View

ARCHIVED = REASON_NUMBER["archived"]
PAUSED = REASON_NUMBER["paused"]
PLACE_TARGETED = ("device", "os", "placement", "publisher", "site_category")
PERSON_TARGETED = ("gender", "age", "region", "interest", "segment", "audience")
PAGE_TARGETED = ("browser", "site", "app", "keyword")
TARGETED = (*PLACE_TARGETED, *PAGE_TARGETED, *PERSON_TARGETED)


@lru_cache(maxsize=65_536)
def parents_and_self(code: str) -> tuple[str, ...]:
    """Name a code and what it lies under: IAB25-3, then IAB25; KR-11, then KR.

    >>> parents_and_self("IAB25-3")
    ('IAB25-3', 'IAB25')
    """
    parts = code.split("-")
    return tuple("-".join(parts[:count]) for count in range(len(parts), 0, -1))


class Ads:
    """Arrays over ad places; `count` places were given out so far.

    Shape   columns (6, capacity) int32; the others (capacity,). own is the code of the creative's own
            status, reason the one that holds now (own, else its group's standing). per_click says whether
            the worth depends on the pCTR, per_conversion whether on the pCVR, too.
    Units   bid in micros as the auction takes it; target is an oCPM ad's target cost, else 0.
    """

    def __init__(self, capacity: int) -> None:
        self.places = GroupedPlaces(capacity)
        self.sets = Sets(capacity)
        self.participation = Participation(self.sets)
        self.boosts = Boosts()
        self.dimensions = {name: Dimension(name) for name in TARGETED}
        self.key_dimensions: dict[str, Dimension] = {}
        self.deals = Dimension("deal")
        self.place_targeted = [(self.dimensions[name], REASON_NUMBER[name]) for name in PLACE_TARGETED]
        self.page_targeted = [(self.dimensions[name], REASON_NUMBER[name]) for name in PAGE_TARGETED]
        self.person_targeted = [(self.dimensions[name], REASON_NUMBER[name]) for name in PERSON_TARGETED]
        self.columns = np.zeros((COLUMNS_PER_AD, capacity), dtype=np.uint16)
        self.bid = np.ones(capacity, dtype=np.float64)
        self.per_click = np.zeros(capacity, dtype=np.uint8)
        self.per_conversion = np.zeros(capacity, dtype=np.uint8)
        self.target = np.zeros(capacity, dtype=np.int64)
        self.prior_cvr_logit = np.zeros(capacity, dtype=np.float64)
        self.default_prior_cvr_logit = 0.0
        self.quality = np.ones(capacity, dtype=np.float64)
        self.log_worth = np.zeros(capacity, dtype=np.float64)  # ln(bid), x 1000 where it is per click
        self.log_score = np.zeros(capacity, dtype=np.float32)
        self.group = np.zeros(capacity, dtype=np.int32)
        self.campaign = np.zeros(capacity, dtype=np.int32)
        self.advertiser = np.zeros(capacity, dtype=np.int32)
        self.duration_s = np.full(capacity, -1, dtype=np.int32)
        self.own = np.full(capacity, ARCHIVED, dtype=np.uint8)
        self.reason = np.full(capacity, ARCHIVED, dtype=np.uint8)
        self._view: View | None = None
        self.weighed = 0  # counts what changes bids or quality
        self.creatives: list[Creative | None] = []
        self.groups: list[AdGroup | None] = []
        self.campaigns: list[Campaign | None] = []

    @property
    def count(self) -> int:
        """How many places were given out so far; those behind are in no auction."""
        return self.places.used

    def view(self) -> View:
        """Give the ads as an auction reads them; worked out anew when who stands has changed."""
        if self._view is None:
            self._view = self._look()
        return self._view

    def _look(self, reason: NDArray[np.uint8] | None = None) -> View:
        n = self.places.used
        reason = self.reason[:n] if reason is None else reason
        words = -(-n // 64)
        codes = np.flatnonzero(np.bincount(reason, minlength=ARCHIVED + 1)[ARCHIVED + 1 :]) + ARCHIVED + 1
        aside = [bits_of(reason == code, words) for code in codes.tolist()]
        return View(
            places=n, columns=self.columns[:, :n], bid=self.bid[:n], log_score=self.log_score[:n],
            per_click=self.per_click[:n], quality=self.quality[:n], group=self.group[:n],
            campaign=self.campaign[:n], advertiser=self.advertiser[:n],
            alive=bits_of(reason == 0, words), paid=bits_of(self.per_conversion[:n] != 0, words),
            per_conversion=self.per_conversion[:n], prior_cvr_logit=self.prior_cvr_logit[:n],
            aside=np.array(aside, dtype=np.uint64).reshape(codes.size, words), aside_codes=codes,
        )  # fmt: skip

    def view_at(self, standing: NDArray[np.uint8]) -> View:
        """Give the ads as an auction at another time would read them, by each group's standing then."""
        n = self.places.used
        return self._look(np.where(self.own[:n] != 0, self.own[:n], standing[self.group[:n]]))

    def open(self, creative: Creative) -> int:
        """Give a creative its place, beside others of its shape."""
        shape = f"{creative.format}:{creative.width}x{creative.height}"
        ad = self.places.take_in(shape, creative.id)
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
        self.price(ad, creative, group, campaign)
        self.duration_s[ad] = -1 if creative.duration_s is None else creative.duration_s
        self.sets.place(ad, self._keys(creative, group, campaign, advertiser))
        self.participation.place(ad, int(self.campaign[ad]))

    def price(self, ad: int, creative: Creative, group: AdGroup, campaign: Campaign) -> None:
        """Write what an ad bids for, and who says so."""
        self.creatives[ad], self.groups[ad], self.campaigns[ad] = creative, group, campaign
        kind = group.pricing.kind
        self.per_click[ad] = kind != "cpm"
        self.per_conversion[ad] = kind in {"cpa", "ocpm"}
        self.target[ad] = group.pricing.bid_micros if kind == "ocpm" else 0
        own = campaign.prior_cvr
        self.prior_cvr_logit[ad] = self.default_prior_cvr_logit if own is None else math.log(own / (1 - own))
        self.bid[ad] = group.pricing.bid_micros
        self.weigh(ad)
        self.boosts.place(ad, group.targeting.boost)

    def take_quality(self, quality: NDArray[np.float64]) -> None:
        """Take a new quality index for the first places; scores follow. Cost: ~0.1 ms for 10,000 ads."""
        n = quality.size
        self.weighed += 1
        self.quality[:n] = quality
        self.log_score[:n] = self.log_worth[:n] + np.log(quality)
        self.boosts.forget()

    def weigh(self, ad: int) -> None:
        """Work an ad's bid and quality into what its score is bounded with."""
        self.weighed += 1
        self.log_worth[ad] = math.log(float(self.bid[ad]) * (1000.0 if self.per_click[ad] else 1.0))
        self.log_score[ad] = self.log_worth[ad] + math.log(self.quality[ad])
        self.boosts.forget()

    def rebid(self, percent: NDArray[np.int64]) -> None:
        """Have oCPM ads bid so many percent of their targets, at least a micro.

        Shape   percent (ad groups,). Cost: some 50 us for 10,000 ads, and a microsecond for each that moves.
        """
        n = self.count
        bids = np.maximum(1, self.target[:n] * percent[self.group[:n]] // 100)
        for ad in np.flatnonzero((self.target[:n] > 0) & (self.bid[:n] != bids)).tolist():
            self.bid[ad] = bids[ad]
            self.weigh(ad)

    def set_prior_cvr(self, prior_logit: float) -> None:
        """Take a new prior CVR for the campaigns without one of their own."""
        self.default_prior_cvr_logit = prior_logit
        for ad, campaign in enumerate(self.campaigns):
            if campaign is not None and campaign.prior_cvr is None:
                self.prior_cvr_logit[ad] = prior_logit

    def _keys(
        self, creative: Creative, group: AdGroup, campaign: Campaign, advertiser: Advertiser
    ) -> list[Hashable]:
        keys = creative_keys(creative)
        codes = (*creative.categories, *((advertiser.category,) if advertiser.category else ()))
        keys += [("category", code) for code in dict.fromkeys(c for x in codes for c in parents_and_self(x))]
        keys.append(("seat", advertiser.seat or ""))
        keys.append(("advertiser", advertiser.id))
        for name in TARGETED:
            keys += self.dimensions[name].keys(_rule(group, campaign, name))
        for name, rule in group.targeting.keys.items():
            dimension = self.key_dimensions.get(name)
            if dimension is None:
                dimension = self.key_dimensions[name] = Dimension(f"keys.{name}")
            keys += dimension.keys(rule)
        return keys + self.deals.keys(group.targeting.deal)

    def close(self, ad: int) -> None:
        """Take an ad out of every auction; its place rests."""
        self.own[ad] = self.reason[ad] = ARCHIVED
        self.sets.place(ad, ())
        self.boosts.place(ad, ())
        self._view = None

    def stand(self, standing: NDArray[np.uint8]) -> None:
        """Take over the ad groups' standing. Cost: some 10 us for 10,000 ads."""
        n = self.count
        if n:
            self.reason[:n] = np.where(self.own[:n] != 0, self.own[:n], standing[self.group[:n]])
        self._view = None

    def stand_one(self, creative_id: str, standing: NDArray[np.uint8]) -> None:
        """Take over the group's standing for one creative that was just compiled."""
        ad = self.places.by_key.get(creative_id)
        if ad is not None:
            self.reason[ad] = self.own[ad] or standing[self.group[ad]]
        self._view = None


def act_label(kind: str, campaign_id: str) -> str:
    """Name what somebody did, as an audience of its own.

    >>> act_label("click", "c-1")
    'click@c-1'
    """
    return f"{kind}@{campaign_id}"  # no audience's id has an @


def _rule(group: AdGroup, campaign: Campaign, name: str) -> Rule:
    rule: Rule = getattr(group.targeting, name)
    if name == "audience" and group.targeting.exclude_after:
        acted = act_label(group.targeting.exclude_after, campaign.id)
        return Rule(include=rule.include, exclude=(*rule.exclude, acted))
    return rule


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
