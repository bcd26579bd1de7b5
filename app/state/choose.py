"""The decision: from an enriched request to the ads worth most, at one exact journal position.

It reads the state and the request, nothing else: chance comes from the request's key, time from the last
tick (or, for a preview, from the arguments). The same call on an equal state gives the same bits.
"""

from __future__ import annotations

from typing import NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from app.domain import ids
from app.domain.catalogue import Placement
from app.domain.decisions import REASON_CODES, REASON_NUMBER, Choice, Placed, Win
from app.domain.requests import MAX_LIT_VALUES, AdRequest, Ask
from app.rules import eligibility, features, pricing, ranking
from app.rules.standing import Moment
from app.state.clauses import LONG, clauses_of
from app.state.state import State

MAX_LIT_CATEGORIES = 4
_DEAL = REASON_NUMBER["deal"]
_SAME = REASON_NUMBER["same_creative"]
_BLOCKED = REASON_NUMBER["creative_blocked"]
_BELOW_FLOOR = REASON_NUMBER["below_floor"]
_OUTBID = REASON_NUMBER["outbid"]


class Preview(NamedTuple):
    """Another time to decide for: the wall clocks then, and each group's standing then."""

    moments: list[Moment]
    standing: NDArray[np.uint8]


class Slate(NamedTuple):
    """One placement's auction: who it is for, the lit rows, their summed weights and the prior."""

    ask: Ask
    placement: Placement | None
    rows: list[int]
    sums: NDArray[np.float32]
    prior_logit: float
    floor_micros: int


class Chooser:
    """Decides on one state. Owns the scratch arrays, and the counts of losers since it was made.

    Shape   reason, passing, bound (capacity,): of the last placement decided; funnel (campaigns, reasons).
    """

    def __init__(self, state: State) -> None:
        self.state = state
        capacity = state.catalogue.columns.capacity
        self.reason = np.zeros(capacity, dtype=np.uint8)
        self.passing = np.zeros(capacity, dtype=np.uint8)
        self.bound = np.zeros(capacity, dtype=np.float32)
        self.common = np.zeros(state.model.stride, dtype=np.float32)
        self.sums = np.zeros(state.model.stride, dtype=np.float32)
        self.funnel = np.zeros((64, len(REASON_CODES)), dtype=np.int64)
        self.totals = np.zeros(len(REASON_CODES), dtype=np.int64)

    def choose(
        self, request: AdRequest, request_key: bytes, clock_ms: int, preview: Preview | None = None
    ) -> Choice:
        """Fill the request's placements, in the order asked.

        Cost    10,000 live ads, one placement: under 0.1 ms, most of it reading the lit rows.
        Ties    by (ad place + hash of the decision id) modulo the number of places, lowest first.
        """
        common = self._common_rows(request, preview)
        width = self.state.catalogue.columns.used
        self.common[:width] = 0
        ranking.add_rows(self.state.model.w, np.array(common, dtype=np.int32), width, self.common)
        taken: list[int] = []
        placed = tuple(
            self._place(request, ask, ids.decision_id(request_key, ordinal), common, taken, preview)
            for ordinal, ask in enumerate(request.asks)
        )
        return Choice(position=self.state.position, clock_ms=clock_ms, variant=0, placed=placed)

    def _common_rows(self, request: AdRequest, preview: Preview | None) -> list[int]:
        """List the rows that all placements of a request share."""
        moment = (preview.moments if preview else self.state.moments)[0]
        person, place = request.person, request.surroundings
        rows = [0, *features.moment_rows(moment.hour, moment.weekday)]
        rows += features.surrounding_rows(place.device, place.os, place.site_category[:MAX_LIT_CATEGORIES])
        if person is not None:
            interests = person.interests[:MAX_LIT_VALUES]
            segments = person.segments[: MAX_LIT_VALUES - len(interests)]
            rows += features.person_rows(person.gender, person.age, person.region, interests, segments)
        return list(dict.fromkeys(rows))

    def slate(self, ask: Ask, common: list[int]) -> Slate:
        """Sum the rows of one placement: what every ad's score there is made of."""
        state = self.state
        placement = None if ask.unregistered else state.catalogue.get("placement", ask.placement_id)
        assert placement is None or isinstance(placement, Placement)
        publisher = placement.publisher_id if placement else ask.publisher_id
        own = [state.row_of(ask.placement_id)]
        if publisher:
            own.append(features.hashed_row("publisher", publisher))
        width = state.catalogue.columns.used
        self.sums[:width] = self.common[:width]
        ranking.add_rows(state.model.w, np.array(own, dtype=np.int32), width, self.sums)
        floor = max(ask.floor_micros, placement.floor_micros if placement else 0)
        return Slate(ask, placement, common + own, self.sums, state.prior_of(ask.placement_id), floor)

    def _place(
        self, request: AdRequest, ask: Ask, decision_id: bytes, common: list[int], taken: list[int],
        preview: Preview | None,
    ) -> Placed:  # fmt: skip
        state = self.state
        stored = state.catalogue.get("placement", ask.placement_id)
        if not ask.unregistered and (stored is None or stored.status == "archived"):
            return _nothing(ask, decision_id, "unknown_placement")
        slate = self.slate(ask, common)
        if slate.placement is not None and slate.placement.status == "paused":
            return _nothing(ask, decision_id, "placement_paused")
        self.screen(request, slate, taken, preview)
        wins = self._fill(slate, decision_id, taken)
        reasons = self._count_losers(wins)
        candidates = len(wins) + reasons.get("outbid", 0)
        code = "" if wins else max(reasons, key=lambda reason: reasons[reason], default="no_ads")
        publisher = slate.placement.publisher_id if slate.placement else ask.publisher_id
        return Placed(
            name=ask.name, placement_id=ask.placement_id, publisher_id=publisher, decision_id=decision_id,
            wins=tuple(wins), code=code, reasons=reasons, rows=tuple(slate.rows), candidates=candidates,
        )  # fmt: skip

    def screen(self, request: AdRequest, slate: Slate, taken: list[int], preview: Preview | None) -> None:
        """Judge and score every ad for a placement.

        Leaves `reason` (0: still in) and `bound` written for the places given out.
        """
        catalogue, ads = self.state.catalogue, self.state.catalogue.ads
        view = ads.view()
        n = view.places
        reason, bound = self.reason[:n], self.bound[:n]
        if preview is None:
            reason[:] = view.reason
        else:
            reason[:] = np.where(ads.own[:n] != 0, ads.own[:n], preview.standing[view.group])
        if slate.ask.demands:
            ads.sets.rows[LONG, :n] = 0
        clauses = clauses_of(catalogue, request, slate.ask, slate.placement)
        eligibility.judge(eligibility.program(clauses), ads.sets.rows, reason, self.passing[:n])
        blocks = [request.blocked] + ([slate.placement.blocked] if slate.placement else [])
        for block in blocks:
            self._drop([ads.places.by_key.get(creative) for creative in block.creatives], _BLOCKED)
        if slate.ask.deal_only:
            reason[reason == 0] = _DEAL
        self._drop(taken, _SAME)
        ranking.bound_all(
            slate.sums, view.columns, slate.prior_logit, view.log_bid, view.log_quality, view.slope,
            reason, bound,
        )  # fmt: skip
        if slate.floor_micros > 0:
            ranking.drop_below_floor(
                slate.sums, view.columns, slate.prior_logit, view.bid, view.log_quality, view.slope,
                float(slate.floor_micros), _BELOW_FLOOR, reason, bound,
            )  # fmt: skip

    def _drop(self, places: list[int] | list[int | None], code: int) -> None:
        for place in places:
            if place is not None and self.reason[place] == 0:
                self.reason[place] = code

    def pick(self, slate: Slate, decision_id: bytes) -> ranking.Pick:
        """Find the best of those still in, and its rival, by the decision's order of ties."""
        view = self.state.catalogue.ads.view()
        by_group = self.state.settings.self_competition != "advertiser"
        party = view.group if by_group else view.advertiser  # whose bid it is: never sets its own price
        return ranking.Pick(
            *ranking.pick_best(
                slate.sums, view.columns, slate.prior_logit, view.bid, view.slope, view.quality, party,
                self.bound[: view.places], ranking.tie_start(crc32(decision_id), view.places),
            )
        )  # fmt: skip

    def _fill(self, slate: Slate, decision_id: bytes, taken: list[int]) -> list[Win]:
        """Fill the slots from the top: at each the best ad left, priced by the best of another party."""
        wins: list[Win] = []
        for ad_index in range(slate.ask.count):
            pick = self.pick(slate, decision_id)
            if pick.best < 0:
                break
            wins.append(self._price(slate, pick, ad_index))
            taken.append(pick.best)
            self.bound[pick.best] = -np.inf
            self.reason[pick.best] = _SAME
        return wins

    def _price(self, slate: Slate, pick: ranking.Pick, ad_index: int) -> Win:
        ads = self.state.catalogue.ads
        at = pick.best
        creative, group, campaign = ads.creatives[at], ads.groups[at], ads.campaigns[at]
        assert creative is not None
        assert group is not None
        assert campaign is not None
        bid = group.pricing.bid_micros
        v = 1000.0 * pick.pctr if ads.slope[at] else 1.0
        price = pricing.least_bid(bid, v, float(ads.quality[at]), slate.floor_micros, pick.rival_score)
        return Win(
            ad_index=ad_index, creative_index=at, creative_id=creative.id, ad_group_id=group.id,
            campaign_id=campaign.id, advertiser_id=campaign.advertiser_id, kind=group.pricing.kind,
            bid_micros=bid, price_micros=price, ecpm_micros=round(bid * v),
            cleared_ecpm_micros=pricing.expected_ecpm_micros(price, v), pctr=pick.pctr,
            columns=tuple(ads.columns[:, at].tolist()), generation=ads.places.generation.get(at, 0),
            rival_index=pick.rival,
        )  # fmt: skip

    def _count_losers(self, wins: list[Win]) -> dict[str, int]:
        """Count who lost and why, for the placement and for each campaign. Winners are nobody's loss."""
        view = self.state.catalogue.ads.view()
        reason = self.reason[: view.places]
        for win in wins:
            reason[win.creative_index] = 1  # not counted
        campaigns = self.state.catalogue.campaign_accounts.count
        if campaigns > len(self.funnel):
            grown = np.zeros((max(campaigns, 2 * len(self.funnel)), self.funnel.shape[1]), dtype=np.int64)
            grown[: len(self.funnel)] = self.funnel
            self.funnel = grown
        self.totals[:] = 0
        eligibility.tally(reason, view.campaign, _OUTBID, self.funnel, self.totals)
        totals: list[int] = self.totals.tolist()
        return {code: count for code, count in zip(REASON_CODES, totals, strict=True) if count}


def _nothing(ask: Ask, decision_id: bytes, code: str) -> Placed:
    return Placed(
        name=ask.name, placement_id=ask.placement_id, publisher_id=ask.publisher_id,
        decision_id=decision_id, wins=(), code=code, reasons={}, rows=(), candidates=0,
    )  # fmt: skip
