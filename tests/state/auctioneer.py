"""A whole request auctioned in plain Python: slow and plainly right, the twin of `Chooser`.

Written from the rules of what wins and what it pays (README, API), ad by ad; it reads things, weights and the
request, nothing of sets, bounds or kernels. Worth is compared in floating point, as the auction compares it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple
from zlib import crc32

from app.domain import ids
from app.domain.catalogue import AdGroup, Advertiser, Campaign, Creative, Placement
from app.domain.requests import AdRequest, Ask, Deal
from tests.state.offline import moment_reason, reason_of
from tests.state.world import World


@dataclass(frozen=True)
class Entrant:
    """An ad with all above it, and what it is worth on one placement.

    Units   v is the worth of 1,000 impressions per unit of bid; bid in micros. `most` is what a worth counts
            at most.
    """

    place: int
    creative: Creative
    group: AdGroup
    campaign: Campaign
    advertiser: Advertiser
    pctr: float
    v: float
    quality: float
    most: float

    @property
    def bid(self) -> int:
        return self.group.pricing.bid_micros

    @property
    def worth(self) -> float:
        return min(float(self.bid) * self.v, self.most)

    @property
    def score(self) -> float:
        return self.worth * self.quality

    @property
    def top_categories(self) -> set[str]:
        codes = [*self.creative.categories, *([self.advertiser.category] if self.advertiser.category else [])]
        return {code.split("-")[0] for code in codes}


class Sold(NamedTuple):
    """One ad sold: what it pays, whose offer set the price ("" the floor's), by which deal."""

    creative_id: str
    price_micros: int
    rival_id: str
    deal_id: str


class Held(NamedTuple):
    """One placement: its ads, slots first and deals behind, and how many lost for each reason."""

    sold: list[Sold]
    reasons: dict[str, int]


class Auctioneer:
    """Holds the auctions of requests on a world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.by_advertiser = world.settings.self_competition == "advertiser"

    def hold(self, request: AdRequest, key: bytes) -> list[Held]:
        """Hold the auctions of all placements of a request, in the order asked."""
        above: list[Entrant] = []
        return [
            self._place(request, ask, crc32(ids.decision_id(key, ordinal)), above)
            for ordinal, ask in enumerate(request.asks)
        ]

    def _place(self, request: AdRequest, ask: Ask, chance: int, above: list[Entrant]) -> Held:
        placement = self.world.state.catalogue.get("placement", ask.placement_id)
        assert isinstance(placement, Placement)
        lost: Counter[str] = Counter()
        entrants: list[Entrant] = []
        for entrant in self._everybody(ask):
            reason = self._reason(entrant, request, ask, placement, above)
            if reason is None:
                entrants.append(entrant)
            elif reason != "archived":
                lost[reason] += 1
        floor = max(ask.floor_micros, placement.floor_micros)
        for_deals = [e for e in entrants if e.group.targeting.deal.include]
        open_ = [e for e in entrants if not e.group.targeting.deal.include]
        reaching = [e for e in open_ if e.worth >= floor]
        lost["below_floor"] += len(open_) - len(reaching)
        sold, kept_away, taken = self._slots(reaching, ask.count, placement, floor, chance)
        lost += kept_away
        lost["outbid"] += len(reaching) - len(taken) - sum(kept_away.values())
        above += taken
        dealt, winners, over = self._deals(for_deals, ask, chance)
        losers = {e.place for e in for_deals} - {e.place for e in winners}
        lost["outbid"] += len(losers & over)
        lost["below_deal_floor"] += len(losers - over)
        above += [e for k, e in enumerate(winners) if e not in winners[:k]]
        return Held(sold + dealt, {reason: count for reason, count in lost.items() if count})

    def _everybody(self, ask: Ask) -> list[Entrant]:
        catalogue, everybody = self.world.state.catalogue, []
        for creative_id, place in sorted(catalogue.ads.places.by_key.items(), key=lambda pair: pair[1]):
            creative = catalogue.get("creative", str(creative_id))
            assert isinstance(creative, Creative)
            group, campaign = catalogue.payers(creative.id)
            pctr = self._pctr(ask, place)
            v = 1.0 if group.pricing.kind == "cpm" else 1000.0 * pctr
            if group.pricing.kind in ("cpa", "ocpm"):
                v *= self._pcvr(campaign)
            quality = float(catalogue.ads.quality[place])
            advertiser = catalogue.above(group)[1]
            most = self.world.settings.max_ecpm_micros or math.inf
            everybody.append(Entrant(place, creative, group, campaign, advertiser, pctr, v, quality, most))
        return everybody

    def _pctr(self, ask: Ask, place: int) -> float:
        """Only weights of row 0 stand in these worlds, so that a column's sum is one weight, exactly."""
        state = self.world.state
        logit = state.prior_of(ask.placement_id)
        for column in state.catalogue.ads.columns[:, place].tolist():
            logit += float(state.model.w[0, column])
        return 1.0 / (1.0 + math.exp(-logit))

    @staticmethod
    def _pcvr(campaign: Campaign) -> float:
        """Nothing was learned of conversions: the campaign's prior, by way of its logit."""
        assert campaign.prior_cvr is not None
        return 1.0 / (1.0 + math.exp(-math.log(campaign.prior_cvr / (1.0 - campaign.prior_cvr))))

    def _reason(
        self, e: Entrant, request: AdRequest, ask: Ask, placement: Placement, above: Sequence[Entrant]
    ) -> str | None:
        things = (e.creative, e.group, e.campaign, e.advertiser)
        reason = reason_of(things, request, ask, placement, self.world.now_ms)
        if reason is not None or moment_reason(e.group, e.campaign, self.world.now_ms) is not None:
            return reason
        if any(e.place == other.place for other in above):
            return "same_creative"
        return self._apart(e, above, placement)

    def _apart(self, e: Entrant, above: Sequence[Entrant], placement: Placement) -> str | None:
        """Name what keeps an ad from standing below others."""
        if "advertiser" in placement.separation and any(e.advertiser.id == o.advertiser.id for o in above):
            return "same_advertiser"
        if "category" in placement.separation and any(e.top_categories & o.top_categories for o in above):
            return "same_category"
        return None

    def _slots(
        self, entrants: list[Entrant], count: int, placement: Placement, floor: int, chance: int
    ) -> tuple[list[Sold], Counter[str], list[Entrant]]:
        order = self._in_order(entrants, chance)
        left, taken, sold = list(order), list[Entrant](), list[Sold]()
        kept_away: Counter[str] = Counter()
        while len(taken) < count:
            if taken:
                reasons = {e.place: self._apart(e, taken[-1:], placement) for e in left}
                kept_away.update(reason for reason in reasons.values() if reason is not None)
                left = [e for e in left if reasons[e.place] is None]
            if not left:
                break
            winner, bought = self._sell(left, floor, None)
            taken.append(winner)
            sold.append(bought)
            left.remove(winner)
        return sold, kept_away, taken

    def _deals(
        self, entrants: list[Entrant], ask: Ask, chance: int
    ) -> tuple[list[Sold], list[Entrant], set[int]]:
        """Hold each deal's auction; returns what was sold, to whom, and who reached a deal's floor."""
        sold: list[Sold] = []
        winners: list[Entrant] = []
        over: set[int] = set()
        for deal in dict.fromkeys(ask.deals):
            able = [e for e in entrants if self._may(e, deal) and e.worth >= deal.floor_micros]
            over |= {e.place for e in able}
            if able:
                winner, bought = self._sell(self._in_order(able, chance), deal.floor_micros, deal)
                winners.append(winner)
                sold.append(bought)
        return sold, winners, over

    @staticmethod
    def _may(e: Entrant, deal: Deal) -> bool:
        rule, names = e.group.targeting.deal, {e.advertiser.id, e.advertiser.domain}
        return (
            deal.id in rule.include
            and (not deal.seats or (e.advertiser.seat or "") in deal.seats)
            and (not deal.advertisers or bool(names & set(deal.advertisers)))
        )

    @staticmethod
    def _in_order(entrants: list[Entrant], chance: int) -> list[Entrant]:
        """Put candidates in the decision's order of ties: the lowest (number + hash) mod count first."""
        count = len(entrants)
        return [e for _, e in sorted(enumerate(entrants), key=lambda pair: (pair[0] + chance) % count)]

    def _sell(self, order: list[Entrant], floor: int, deal: Deal | None) -> tuple[Entrant, Sold]:
        """Sell to the best, at the least whole number of micros that would have kept the place."""
        winner = max(order, key=lambda e: e.score)  # the first of equals
        mine = winner.advertiser.id if self.by_advertiser else winner.group.id
        others = [e for e in order if (e.advertiser.id if self.by_advertiser else e.group.id) != mine]
        rival = max(others, key=lambda e: e.score, default=None)
        if deal is not None and deal.at == 3:
            rival = None

        def keeps(bid: int) -> bool:
            worth = float(bid) * winner.v
            return worth >= floor and (rival is None or worth * winner.quality >= rival.score)

        low, high = -1, winner.bid
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if keeps(middle) else (middle, high)
        rival_id = rival.creative.id if rival is not None else ""
        return winner, Sold(winner.creative.id, high, rival_id, deal.id if deal is not None else "")
