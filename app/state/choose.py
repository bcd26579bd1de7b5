"""The decision: from an enriched request to the ads worth most, at one exact journal position.

It reads the state and the request, nothing else: chance comes from the request's key, time from the last
tick (or, for a preview, from the arguments). The same call on an equal state gives the same bits.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from app.domain import ids
from app.domain.catalogue import Placement
from app.domain.decisions import REASON_CODES, REASON_NUMBER, Choice, Lot, Placed, Shadowed, Win
from app.domain.requests import FIXED_PRICE, AdRequest, Ask, Person
from app.rules import eligibility, features, pricing, ranking, screening
from app.rules.standing import Moment
from app.state import deals, dismissals, separation
from app.state.arms import Arm, reserve_of
from app.state.clauses import program_of
from app.state.frequency import Frequency
from app.state.losers import Losers
from app.state.slate import Slate, lot_of
from app.state.state import State
from app.state.view import View

MAX_LIT_CATEGORIES = 4
_FREQUENCY = REASON_NUMBER["frequency"]
_SAME = REASON_NUMBER["same_creative"]
_BELOW_DEAL_FLOOR = REASON_NUMBER["below_deal_floor"]
_BELOW_FLOOR = REASON_NUMBER["below_floor"]
_OUTBID = REASON_NUMBER["outbid"]
_NOBODY = np.zeros(0, dtype=np.int64)
_UNKNOWN = Person()
_MIXING = 0x9E3779B1
_MEASURED = 15  # a mask: what exploration costs is measured in one decision of 16


class Preview(NamedTuple):
    """Another time to decide for: the wall clocks then, and each group's standing then."""

    moments: list[Moment]
    standing: NDArray[np.uint8]


class Chooser:
    """Decides on one state. Owns the scratch arrays, and the counts of losers since it was made.

    Shape   index and bound: the candidates of the last placement decided, `left` of them, alive their bits;
            totals (reasons,): its losers; offers: its deals with the ads of each.
    """

    looks_on = True  # whether shadows look on

    def __init__(self, state: State) -> None:
        self.state = state
        capacity, words = state.catalogue.ads.places.capacity, state.catalogue.ads.sets.words
        self.alive = np.zeros(words, dtype=np.uint64)
        self.passing = np.zeros_like(self.alive)
        self.index = np.zeros(capacity, dtype=np.int32)
        self.bound = np.zeros(capacity, dtype=np.float32)
        self.greedy_bound = np.zeros_like(self.bound)
        self.left = 0
        self.measured = (0, 0)
        self.lots: tuple[Lot, ...] = ()
        self.offers: list[deals.Offer] = []
        self.means = np.zeros(state.model.stride, dtype=np.float32)
        self.sums = np.zeros_like(self.means)
        self.conversion_sums = np.zeros_like(self.means)
        self.totals = np.zeros(len(REASON_CODES), dtype=np.int64)
        self.losers = self.counting = Losers(state.catalogue.ads)
        self.frequency = Frequency(state)
        self.arm: Arm | None = None  # whose way the present request is decided; None: the default's

    def choose(
        self, request: AdRequest, request_key: bytes, clock_ms: int, preview: Preview | None = None
    ) -> Choice:
        """Fill the request's placements, in the order asked.

        Cost    10,000 live ads, one placement: under 0.1 ms, most of it reading the lit rows.
        Ties    by (number among the candidates + hash of the decision id) modulo their count, lowest first.
        """
        ads = self.state.catalogue.ads
        view = ads.view() if preview is None else ads.view_at(preview.standing)
        if request.person is not None and request.person.audiences:
            view = ads.boosts.applied(view, request.person.audiences)
        self.counting = self.losers if preview is None else Losers(ads)
        experiments = self.state.experiments
        self.arm, number = experiments.arm_for(request, request_key)
        common = self._common_rows(request, preview)
        days = np.array([moment.day for moment in preview.moments]) if preview else self.state.days
        placed = self._place_all(request, request_key, clock_ms, view, common, days)
        shadows = []
        for shadow, arm in experiments.lookers_on(number, request_key) if self.looks_on else ():
            self.arm, self.counting = arm, Losers(ads)
            would_be = self._place_all(request, request_key, clock_ms, view, common, days)
            shadows.append((shadow, tuple(_would_be(each) for each in would_be)))
        return Choice(
            position=self.state.position, clock_ms=clock_ms, variant=number, placed=placed,
            shadows=tuple(shadows),
        )  # fmt: skip

    def _place_all(
        self, request: AdRequest, request_key: bytes, clock_ms: int, view: View, common: tuple[int, ...],
        days: NDArray[np.int64],
    ) -> tuple[Placed, ...]:  # fmt: skip
        """Fill the placements in order, the way of the present arm."""
        taken: list[int] = []
        self.frequency.ask(request, clock_ms, days)
        return tuple(
            self._place(request, ask, ids.decision_id(request_key, ordinal), view, common, taken)
            for ordinal, ask in enumerate(request.asks)
        )

    def _common_rows(self, request: AdRequest, preview: Preview | None) -> tuple[int, ...]:
        """List the rows that all placements of a request share."""
        moment = (preview.moments if preview else self.state.moments)[0]
        person, place = request.person or _UNKNOWN, request.surroundings
        interests, segments = self.state.admission.lit(person)
        return features.common_rows(
            moment.hour, moment.weekday, place.device, place.os, place.site_category[:MAX_LIT_CATEGORIES],
            person.gender, person.age, person.region, interests,
            segments, self.state.clusters.row_of_person(person),
        )  # fmt: skip

    def slate(self, ask: Ask, placement: Placement | None, view: View, common: tuple[int, ...]) -> Slate:
        """Lay out one placement's auction; its sums are written once it is known who is in it (`screen`)."""
        state = self.state
        publisher = placement.publisher_id if placement else ask.publisher_id
        own_row = state.row_of(ask.placement_id)
        rows = (*common, own_row)
        if publisher:
            rows += (features.hashed_row("publisher", publisher),)
        if cluster_row := state.clusters.row_of_placement(ask.placement_id):
            rows += (cluster_row,)
        settings = state.settings
        own_floor = placement.floor_micros if placement else 0
        floor = reserve_of(ask, own_floor, settings.floor_factor, settings.floor_micros)
        most = float(settings.max_ecpm_micros) or np.inf
        conversion = ranking.Conversion(self.conversion_sums, view.prior_cvr_logit, view.per_conversion, most)
        scale = state.exploration.scale(settings)
        party = view.advertiser if settings.self_competition == "advertiser" else view.group
        slate = Slate(
            ask, placement, publisher, view, rows, self.means, self.sums if scale else self.means, scale,
            state.prior_of(ask.placement_id), state.calibration.curve(own_row), floor, conversion,
            party, state.model,
        )  # fmt: skip
        return slate if self.arm is None else self.arm.of(slate, settings, self.sums, own_row)

    def placement_of(self, ask: Ask) -> Placement | None:
        """Find the registered placement that is asked for."""
        placement = None if ask.unregistered else self.state.catalogue.get("placement", ask.placement_id)
        assert placement is None or isinstance(placement, Placement)
        return placement

    def _place(
        self, request: AdRequest, ask: Ask, decision_id: bytes, view: View, common: tuple[int, ...],
        taken: list[int],
    ) -> Placed:  # fmt: skip
        placement = self.placement_of(ask)
        if placement is None:
            if not ask.unregistered:
                return _nothing(ask, decision_id, "unknown_placement")
        elif placement.status != "active":
            archived = placement.status == "archived"
            return _nothing(ask, decision_id, "unknown_placement" if archived else "placement_paused")
        slate = self.slate(ask, placement, view, common)
        self.measured, self.lots = (0, 0), ()
        self.frequency.given(taken)
        self.screen(request, slate, taken, crc32(decision_id))
        candidates = self.left
        wins = self._fill(slate, decision_id, taken)
        self._count_outbid(view, taken)
        if self.offers:
            candidates += self._sell_deals(slate, decision_id, wins, taken)
        reasons = self._told_losers()
        code = "" if wins else max(reasons, key=lambda reason: reasons[reason], default="no_ads")
        return Placed(
            name=ask.name, placement_id=ask.placement_id, publisher_id=slate.publisher_id,
            decision_id=decision_id, wins=tuple(wins), code=code, reasons=reasons, rows=slate.rows,
            candidates=candidates, greedy_ecpm_micros=self.measured[0], chosen_ecpm_micros=self.measured[1],
            lots=self.lots,
        )  # fmt: skip

    def screen(self, request: AdRequest, slate: Slate, taken: list[int], decision_hash: int) -> None:
        """Judge every ad for a placement and bound the scores of those that may win: `left` candidates."""
        view, model, catalogue = slate.view, slate.model, self.state.catalogue
        conversions = self.state.conversion_model
        self.counting.begin()
        self.offers = deals.offers_of(catalogue, slate.ask) if slate.ask.deals else []
        program = program_of(catalogue, request, slate.ask, slate.placement, decision_hash, self.offers)
        away = self.state.dismissals.away(request.person)
        if away is not dismissals.NOBODY:
            program = np.concatenate([program, dismissals.program_of(catalogue.ads, away)])
        if taken and slate.placement is not None and slate.placement.separation:
            program = np.concatenate([program, separation.program_of(catalogue, slate.placement, taken)])
        floor = 0.0 if self.offers else slate.floor
        self.left = screening.screen(
            program, catalogue.ads.sets.rows, self.frequency.capped,
            np.array(taken, dtype=np.int64) if taken else _NOBODY, view.alive, view.aside, view.aside_codes,
            self.alive,
            self.passing, self.counting.planes, self.totals, _FREQUENCY, _SAME, _BELOW_FLOOR,
            self.frequency.seen, self.frequency.rows,
            model.w, model.touched, np.array(slate.rows, dtype=np.int32), catalogue.columns.used,
            catalogue.first_ad_column, slate.means, model.doubts, slate.scale, decision_hash, slate.sums,
            view.columns, slate.prior_logit, slate.curve, view.bid, view.quality, view.per_click,
            view.log_score, floor, self.index, self.bound, view.paid, conversions.w, conversions.touched,
            slate.conversion, model.factors,
        )  # fmt: skip
        if self.offers:
            self._set_deals_apart(slate)

    def _set_deals_apart(self, slate: Slate) -> None:
        """Leave to the open auction what no deal takes, its floor still to be reached."""
        alive = self.alive[: slate.view.alive.size]
        staying = alive.copy()
        for offer in self.offers:
            offer.ads[:] &= alive
        for offer in self.offers:
            staying &= ~offer.ads
        alive[:] = staying
        self._narrow(slate, alive)
        eligibility.leave(staying, alive, self.counting.planes[_BELOW_FLOOR], self.totals, _BELOW_FLOOR)

    def _narrow(self, slate: Slate, ads: NDArray[np.uint64]) -> None:
        """Make candidates of those ads, of all that were screened, that reach an auction's floor."""
        view = slate.view
        self.left = screening.narrow(
            ads, slate.sums, view.columns, slate.prior_logit, slate.curve, view.bid, view.quality,
            view.per_click, view.log_score, slate.floor, self.index, self.bound, slate.conversion,
        )  # fmt: skip

    def _sell_deals(self, slate: Slate, decision_id: bytes, wins: list[Win], taken: list[int]) -> int:
        """Hold each deal's auction among its own ads; returns how many reached the floor of a deal.

        A deal's winner stands beside the open ones: it takes no slot from them, and only later placements
        keep theirs apart from it. Of several deals one ad may win more than one.
        """
        unsold = np.zeros_like(self.offers[0].ads)
        reaching = np.zeros_like(unsold)
        won: dict[int, None] = {}
        for offer in self.offers:
            unsold |= offer.ads
            auction = slate._replace(floor_micros=offer.deal.floor_micros, deal=offer.deal)
            self._narrow(auction, offer.ads)
            reaching |= offer.ads
            pick = self.pick(auction, decision_id)
            if pick.best >= 0:
                wins.append(self._price(auction, pick, len(wins)))
                won[pick.best] = None
        taken += won
        for place in won:
            unsold[place // 64] &= ~np.uint64(1 << place % 64)
        planes, totals = self.counting.planes, self.totals
        eligibility.leave(unsold, reaching, planes[_BELOW_DEAL_FLOOR], totals, _BELOW_DEAL_FLOOR)
        eligibility.leave(unsold, np.zeros_like(unsold), planes[_OUTBID], totals, _OUTBID)
        return int(np.bitwise_count(reaching).sum())

    def pick(self, slate: Slate, decision_id: bytes) -> ranking.Pick:
        """Find the best of the candidates, and its rival, by the decision's order of ties."""
        return self._pick_by(slate, slate.sums, self.bound, decision_id)

    def _pick_by(
        self, slate: Slate, sums: NDArray[np.float32], bound: NDArray[np.float32], decision_id: bytes
    ) -> ranking.Pick:
        view = slate.view
        return ranking.Pick(
            *ranking.pick_best(
                sums, view.columns, slate.prior_logit, slate.curve, view.bid, view.per_click,
                slate.conversion, view.quality, slate.party, self.index, self.left, bound,
                ranking.tie_start(crc32(decision_id), self.left),
            )
        )  # fmt: skip

    def _fill(self, slate: Slate, decision_id: bytes, taken: list[int]) -> list[Win]:
        """Fill the slots from the top: at each the best ad left, priced by the best of another party.

        What a winner keeps off the page leaves after it was priced: it may well have set that price.
        """
        wins: list[Win] = []
        for ad_index in range(slate.ask.count):
            if wins and slate.placement is not None and slate.placement.separation:
                self._keep_apart(slate, slate.placement, taken[-1])
            if wins:
                self._hold_caps(taken)
            pick = self.pick(slate, decision_id)
            if pick.best < 0:
                break
            propensity = 0.0
            if slate.scale and not wins:
                pick, propensity = self._draw_lots(slate, decision_id, pick)
                self._measure(slate, decision_id, pick.best)
            wins.append(self._price(slate, pick, ad_index, propensity))
            taken.append(pick.best)
            self.bound[pick.at] = -np.inf
        return wins

    def _draw_lots(self, slate: Slate, decision_id: bytes, pick: ranking.Pick) -> tuple[ranking.Pick, float]:
        """In a share of the decisions, let chance choose among the best; returns the pick and its chance.

        The chance is 0 in all other decisions. Such a winner pays the least that keeps it among the best:
        what outbids the first who is not.
        """
        settings = self.state.settings
        chance = crc32(decision_id) * _MIXING % 2**32  # its own top bits already name who takes part
        if chance >= settings.uniform_share * 2**32:
            return pick, 0.0
        best: list[ranking.Pick] = []
        bounds: list[float] = []
        while pick.best >= 0 and len(best) < settings.uniform_best:
            best.append(pick)
            bounds.append(float(self.bound[pick.at]))
            self.bound[pick.at] = -np.inf
            pick = self.pick(slate, decision_id)
        for each, bound in zip(best, bounds, strict=True):
            self.bound[each.at] = bound
        self.lots = tuple(
            lot_of(slate, self.state.catalogue.ads, each.best, self.frequency.own_row(each.best))
            for each in best
        )
        lot = int.from_bytes(blake2b(decision_id, digest_size=8, person=b"lots").digest(), "little")
        drawn = best[lot % len(best)]
        edge = pick.best, pick.score
        if pick.best >= 0 and slate.party[pick.best] == slate.party[drawn.best]:
            edge = pick.rival, pick.rival_score
        return drawn._replace(rival=edge[0], rival_score=edge[1]), 1.0 / len(best)

    def _measure(self, slate: Slate, decision_id: bytes, chosen: int) -> None:
        """In some decisions, note what the best by the means alone was to bring, and what the chosen is."""
        if crc32(decision_id) >> 16 & _MEASURED:
            return
        view = slate.view
        ranking.bound_all(
            slate.means, view.columns, slate.prior_logit, slate.curve, view.log_score, view.per_click,
            self.index, self.left, self.greedy_bound,
        )  # fmt: skip
        ranking.bound_conversions(slate.conversion, view.columns, self.index, self.left, self.greedy_bound)
        greedy = self._pick_by(slate, slate.means, self.greedy_bound, decision_id).best
        self.measured = round(slate.expected(greedy)[0]), round(slate.expected(chosen)[0])

    def _keep_apart(self, slate: Slate, placement: Placement, above: int) -> None:
        """Let the candidates go that may not stand below an ad."""
        alive = self.alive[: slate.view.alive.size]
        for code, rivals in separation.rivals(self.state.catalogue, placement, [above]):
            screening.part_with(
                rivals, self.index, self.left, self.bound, alive, self.counting.planes, self.totals, code
            )

    def _hold_caps(self, taken: list[int]) -> None:
        """Let the candidates go that a cap forbids now that these ads were given to this request, too."""
        self.frequency.given(taken)
        if self.frequency.capped.size:
            screening.drop(
                self.frequency.capped, np.array(taken, dtype=np.int64), self.index, self.left, self.bound,
                self.alive, self.counting.planes, self.totals, _FREQUENCY,
            )  # fmt: skip

    def _price(self, slate: Slate, pick: ranking.Pick, ad_index: int, propensity: float = 0.0) -> Win:
        ads = self.state.catalogue.ads
        at = pick.best
        creative, group, campaign = ads.creatives[at], ads.groups[at], ads.campaigns[at]
        assert creative is not None
        assert group is not None
        assert campaign is not None
        bid, kind = int(slate.view.bid[at]), group.pricing.kind
        v = pricing.ecpm_per_bid(kind, pick.pctr, pick.pcvr)
        quality = float(slate.view.quality[at])
        fixed = slate.deal is not None and slate.deal.at == FIXED_PRICE
        if fixed:
            pick = pick._replace(rival=-1, rival_score=-np.inf)
        price = pricing.least_bid(bid, v, quality, slate.floor_micros, pick.rival_score)
        pctr, pcvr = pick.pctr, pick.pcvr
        if slate.scale:  # the auction goes by what was drawn, all else by what is expected
            _, pctr, pcvr = slate.expected(at)
        cleared = slate.floor_micros if fixed else pricing.expected_ecpm_micros(price, v)
        return Win(
            ad_index=ad_index, creative_index=at, creative_id=creative.id, ad_group_id=group.id,
            campaign_id=campaign.id, advertiser_id=campaign.advertiser_id, kind=kind, bid_micros=bid,
            price_micros=price, ecpm_micros=round(min(bid * v, slate.conversion.most)),
            cleared_ecpm_micros=cleared, pctr=pctr,
            columns=tuple(ads.columns[:, at].tolist()), generation=ads.places.generation.get(at, 0),
            rival_index=pick.rival, deal_id=slate.deal.id if slate.deal is not None else "", pcvr=pcvr,
            own_row=self.frequency.own_row(at), propensity=propensity,
        )  # fmt: skip

    def _count_outbid(self, view: View, taken: list[int]) -> None:
        if self.left:
            screening.count_outbid(
                np.array(taken, dtype=np.int64), view.alive.size, self.alive, self.counting.planes,
                self.totals, _OUTBID,
            )  # fmt: skip

    def _told_losers(self) -> dict[str, int]:
        """Tell the placement's losers by reason. Winners are nobody's loss."""
        return {REASON_CODES[at]: int(self.totals[at]) for at in self.totals.nonzero()[0].tolist()}


def _would_be(placed: Placed) -> Shadowed:
    """Tell what a shadow would have put on top."""
    if not placed.wins:
        return Shadowed(-1, 0.0, 0)
    top = placed.wins[0]
    return Shadowed(top.creative_index, top.pctr, top.cleared_ecpm_micros)


def _nothing(ask: Ask, decision_id: bytes, code: str) -> Placed:
    return Placed(
        name=ask.name, placement_id=ask.placement_id, publisher_id=ask.publisher_id,
        decision_id=decision_id, wins=(), code=code, reasons={}, rows=(), candidates=0,
    )  # fmt: skip
