"""Why an ad won or not: the same auction, held again slot by slot with its workings kept.

An `Explainer` is a chooser that writes down what it sees; so what it explains is what was decided, sum for
sum. It owns its scratch arrays and its counts, and leaves the node's alone.
"""

from __future__ import annotations

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from app.domain.catalogue import Placement
from app.domain.decisions import Choice, Win
from app.domain.requests import AdRequest
from app.rules import ranking
from app.rules.calibration import calibrated
from app.rules.pricing import ecpm_per_bid
from app.state.choose import Chooser, Preview
from app.state.columns import column_keys
from app.state.model import Model
from app.state.row_names import RowNames
from app.state.slate import Slate
from app.state.state import State

CANDIDATES = 10
CROSSES = 10


class Cell(Struct, frozen=True):
    """One cell of the matrix where a lit row meets a lit column. `n` is what it has learned from."""

    row: str
    column: str
    weight: float
    n: float


class Candidate(Struct, frozen=True, kw_only=True):
    """An ad that could have won, as the auction saw it.

    Units   bid and ecpm in micros; score = bid x v x quality, v as in DESIGN. An oCPM ad's bid is its target
            cost times its present multiplier; pcvr is 0 where the ad is not paid by conversions. `main` are
            the cells of row 0 or column 0, `crosses` the strongest others, `factors` what field-aware vectors
            add; logit = prior_logit + all of them.
    """

    creative_index: int
    creative_id: str
    ad_group_id: str
    campaign_id: str
    advertiser_id: str
    kind: str
    bid_micros: int
    ecpm_micros: int
    quality: float
    score: float
    pctr: float
    logit: float
    prior_logit: float
    calibrated_logit: float
    columns: list[str]
    main: list[Cell]
    crosses: list[Cell]
    crosses_left_out: int
    crosses_left_out_sum: float
    uncertainty: float
    variance: float
    pcvr: float = 0.0
    target_cpa_micros: int | None = None
    factors: float = 0.0


class Slot(Struct, frozen=True, kw_only=True):
    """What a slot's winner pays, and why: the least bid that meets both terms, rounded up to the micro.

    Units   micros of the pricing kind's unit: floor_term = floor / v, rival_term = rival's score / (v x
            quality). A term that does not bind is null.
    """

    ad_index: int
    creative_id: str
    bid_micros: int
    v: float
    quality: float
    floor_micros: int
    floor_term_micros: float | None
    rival_creative_id: str | None
    rival_score: float | None
    rival_term_micros: float | None
    price_micros: int
    deal_id: str = ""


class Explained(Struct, frozen=True, kw_only=True):
    """One placement's auction. `best` are the worthiest before its first slot was filled."""

    placement: str
    rows: list[str]
    reasons: dict[str, int]
    candidates: int
    best: list[Candidate]
    slots: list[Slot]


class Explainer(Chooser):
    """A chooser that keeps its workings. Make one for each question: it is used once."""

    looks_on = False

    def __init__(self, state: State, best: int = CANDIDATES) -> None:
        super().__init__(state)
        self._count = best
        self._best: dict[bytes, list[Candidate]] = {}
        self._slots: dict[bytes, list[Slot]] = {}
        self._now = b""
        self._named = RowNames(AdRequest(request_id="", asks=()), {})

    def explain(
        self, request: AdRequest, request_key: bytes, clock_ms: int, preview: Preview | None = None
    ) -> tuple[Choice, list[Explained]]:
        """Decide, and tell what was weighed.

        Cost    a choose, and about 0.1 ms for each candidate told.
        """
        named = self._named = self._names_of(request)
        choice = self.choose(request, request_key, clock_ms, preview)
        explained = [
            Explained(
                placement=placed.name, rows=[named.of(row) for row in placed.rows], reasons=placed.reasons,
                candidates=placed.candidates, best=self._best.get(placed.decision_id, []),
                slots=self._slots.get(placed.decision_id, []),
            )
            for placed in choice.placed
        ]  # fmt: skip
        return choice, explained

    def _names_of(self, request: AdRequest) -> RowNames:
        catalogue = self.state.catalogue
        places: dict[int, str] = {}
        publishers = {ask.publisher_id for ask in request.asks if ask.publisher_id}
        for ask in request.asks:
            placement = catalogue.get("placement", ask.placement_id)
            if isinstance(placement, Placement):
                publishers.add(placement.publisher_id)
                if placement.id in catalogue.rows.by_key:
                    places[catalogue.rows.by_key[placement.id]] = placement.id
        return RowNames(request, places, sorted(publishers))

    def _fill(self, slate: Slate, decision_id: bytes, taken: list[int]) -> list[Win]:
        self._now = decision_id
        self._slots[decision_id] = []
        self._best[decision_id] = [self._candidate(slate, at) for at in self._worthiest(slate)]
        return super()._fill(slate, decision_id, taken)

    def _price(self, slate: Slate, pick: ranking.Pick, ad_index: int, propensity: float = 0.0) -> Win:
        win = super()._price(slate, pick, ad_index, propensity)
        ads = self.state.catalogue.ads
        quality = float(slate.view.quality[pick.best])
        v = ecpm_per_bid(win.kind, pick.pctr, pick.pcvr)
        rival = ads.creatives[win.rival_index] if win.rival_index >= 0 else None
        floor = slate.floor_micros
        self._slots[self._now].append(
            Slot(
                ad_index=ad_index, creative_id=win.creative_id, bid_micros=win.bid_micros, v=v,
                quality=quality, floor_micros=floor, floor_term_micros=floor / v if floor > 0 else None,
                rival_creative_id=rival.id if rival else None,
                rival_score=pick.rival_score if rival else None,
                rival_term_micros=pick.rival_score / (v * quality) if rival else None,
                price_micros=win.price_micros, deal_id=win.deal_id,
            )
        )  # fmt: skip
        return win

    def _worthiest(self, slate: Slate) -> list[int]:
        """Find the ads of the highest exact scores among those still in, best first."""
        view = slate.view
        short = self._shortlist(self.index[: self.left], self.bound[: self.left])
        columns = view.columns[:, short]
        raw = slate.prior_logit + slate.sums[columns].sum(axis=0, dtype=np.float64)
        logits = np.array([calibrated(logit, slate.curve) for logit in raw])
        v = np.where(view.per_click[short] != 0, 1000.0 / (1.0 + np.exp(-logits)), 1.0)
        if view.paid.any():
            second = slate.conversion.sums[columns].sum(axis=0, dtype=np.float64)
            pcvr = 1.0 / (1.0 + np.exp(-(view.prior_cvr_logit[short] + second)))
            v = np.where(view.per_conversion[short] != 0, v * pcvr, v)
        worth = np.minimum(view.bid[short] * v, slate.conversion.most)
        order = np.argsort(-worth * view.quality[short], kind="stable")[: self._count]
        finalists: list[int] = short[order].tolist()
        return sorted(finalists, key=lambda at: -self._worth(slate, at)[1])

    def _shortlist(self, index: NDArray[np.int32], bounds: NDArray[np.float32]) -> NDArray[np.int32]:
        """Keep those whose upper bound reaches the best ones' lower bounds."""
        if index.size <= self._count:
            return index
        least = np.partition(bounds, -self._count)[-self._count] - 2 * ranking.TANGENT_GAP - ranking.MARGIN
        return np.compress(bounds >= least, index)

    def _worth(self, slate: Slate, at: int) -> tuple[float, float]:
        """Compute one ad's (ecpm, score) by the auction's own arithmetic."""
        view = slate.view
        worth, _, _ = ranking.worth_at(
            slate.sums, view.columns, slate.prior_logit, slate.curve, view.bid, view.per_click,
            slate.conversion, at,
        )  # fmt: skip
        return float(worth), float(worth * view.quality[at])

    def _candidate(self, slate: Slate, at: int) -> Candidate:
        ads = self.state.catalogue.ads
        creative, group, campaign = ads.creatives[at], ads.groups[at], ads.campaigns[at]
        assert creative is not None
        assert group is not None
        assert campaign is not None
        ecpm, score = self._worth(slate, at)
        _, pctr, pcvr = slate.expected(at)
        columns = ads.columns[:, at].tolist()
        own = self.frequency.own_row(at)
        rows = [*slate.rows, own] if own else [*slate.rows]
        logit = ranking.logit_at(slate.means, slate.view.columns, slate.prior_logit, at)
        advertiser = self.state.catalogue.above(group)[1]
        keys = column_keys(creative, group, campaign, advertiser)
        names = ["any", *(f"{what}:{which}" for what, which in keys), f"creative:{creative.id}"]
        main, crosses, left_out = self._cells(slate.model, rows, columns, names)
        uncertainty, variance = self._doubt(slate.model, rows, columns)
        return Candidate(
            creative_index=at, creative_id=creative.id, ad_group_id=group.id, campaign_id=campaign.id,
            advertiser_id=campaign.advertiser_id, kind=group.pricing.kind,
            bid_micros=int(slate.view.bid[at]), ecpm_micros=round(ecpm),
            quality=float(slate.view.quality[at]),
            score=score, pctr=pctr, logit=float(logit), prior_logit=slate.prior_logit,
            calibrated_logit=float(calibrated(logit, slate.curve)), columns=names, main=main,
            crosses=crosses, crosses_left_out=len(left_out),
            crosses_left_out_sum=sum(left_out),
            uncertainty=uncertainty, variance=variance, pcvr=pcvr,
            target_cpa_micros=int(ads.target[at]) or None,
            factors=slate.model.added_by_factors(np.array(rows, np.int32), np.array(columns, np.int32)),
        )  # fmt: skip

    def _cells(
        self, model: Model, lit_rows: list[int], columns: list[int], names: list[str]
    ) -> tuple[list[Cell], list[Cell], list[float]]:
        """List the main cells, the strongest crosses, and the weights of the crosses left out."""
        lit = np.ix_(np.array(lit_rows), np.array(columns))
        weights: list[list[float]] = model.w[lit].tolist()
        counts: list[list[float]] = model.n[lit].tolist()
        main: list[tuple[int, int]] = []
        crosses: list[tuple[int, int]] = []
        for i, row in enumerate(lit_rows):
            for k, column in enumerate(columns):
                (main if row == 0 or column == 0 else crosses).append((i, k))
        crosses.sort(key=lambda at: -abs(weights[at[0]][at[1]]))

        def told(cells: list[tuple[int, int]]) -> list[Cell]:
            rows = [self._named.of(row) for row in lit_rows]
            return [Cell(rows[i], names[k], weights[i][k], counts[i][k]) for i, k in cells]

        return told(main), told(crosses[:CROSSES]), [weights[i][k] for i, k in crosses[CROSSES:]]

    def _doubt(self, model: Model, rows: list[int], columns: list[int]) -> tuple[float, float]:
        """Tell how far one more sample could move the logit, and its variance.

        Source  McMahan et al. 2013, section 6: the sum of the lit cells' learning rates. The variance is
                Laplace's, cell by cell: 1 / (prior precision + n), FTRL's prior precision being beta / alpha
                + l2, and n the sum of squared gradients, which is expected to be that of p (1 - p).
        """
        alpha_main, alpha_cross, beta, _, _, l2 = model.hyper.tolist()
        lit, columns_lit = np.array(rows), np.array(columns)
        n = model.n[np.ix_(lit, columns_lit)]
        main = (lit == 0)[:, None] | (columns_lit == 0)[None, :]
        alpha = np.where(main, alpha_main, alpha_cross)
        rates = alpha / (beta + np.sqrt(n))
        variance = 1.0 / (beta / alpha + l2 + n)
        return float(rates.sum()), float(variance.sum())
