"""The ranking kernels against their plain twins: ties, groups, extreme logits, CPM beside CPC."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.rules import ranking
from app.rules.calibration import KNOTS, NO_CURVE, calibrated_plain, curve_of
from app.rules.eligibility import bits_of, name_all
from app.rules.ranking import (
    MARGIN,
    TANGENT_GAP,
    Conversion,
    Pick,
    bound_all,
    bound_conversions,
    pick_best,
    pick_best_plain,
    tie_start,
)

WIDTH = 9
# Multiples of 1/8, so that every order of summing gives the same bits and equal ads tie exactly.
DYADIC = [0.0, 0.0, 0.125, -0.125, 1.5, -4.5, 12.0, -30.0, 60.0, -90.0]

exact_weights = st.sampled_from(DYADIC)


class Auction(NamedTuple):
    """Arrays of one auction, as the state keeps them."""

    sums: NDArray[np.float32]
    columns: NDArray[np.uint16]
    base: float
    curve: NDArray[np.float64]
    bid: NDArray[np.float64]
    slope: NDArray[np.uint8]
    quality: NDArray[np.float64]
    party: NDArray[np.int32]
    reason: NDArray[np.uint8]
    conversion: Conversion

    def places(self) -> NDArray[np.int32]:
        """The places of those still in."""
        return np.flatnonzero(self.reason == 0).astype(np.int32)

    def bound(self) -> NDArray[np.float32]:
        """The bounds of those still in, in the order of their places."""
        worth = self.bid * np.where(self.slope > 0, 1000.0, 1.0) * self.quality
        index = self.places()
        out = np.zeros(index.size, np.float32)
        log_score = np.log(worth).astype(np.float32)
        bound_all(
            self.sums, self.columns, self.base, self.curve, log_score, self.slope, index, index.size, out
        )
        bound_conversions(self.conversion, self.columns, index, index.size, out)
        return out

    def logit(self, ad: int) -> float:
        return self.base + sum(float(self.sums[column]) for column in self.columns[:, ad])

    def worth(self, ad: int) -> float:
        logit = calibrated_plain(self.logit(ad), self.curve)
        v = 1000.0 / (1.0 + math.exp(-logit)) if self.slope[ad] else 1.0
        if self.conversion.paid[ad]:
            second = sum(float(self.conversion.sums[column]) for column in self.columns[:, ad])
            v /= 1.0 + math.exp(-(self.conversion.prior_logit[ad] + second))
        return float(min(self.bid[ad] * v, self.conversion.most))


@st.composite
def curves(draw: Any) -> NDArray[np.float64]:
    if draw(st.booleans()):
        return NO_CURVE
    ratio = np.array(draw(st.lists(st.sampled_from([0.3, 1.0, 1.0, 2.5]), min_size=KNOTS, max_size=KNOTS)))
    return curve_of(ratio, np.ones(KNOTS))


@st.composite
def auctions(draw: Any, weights: st.SearchStrategy[float] = exact_weights) -> Auction:
    count = draw(st.integers(0, 9))

    def array(values: st.SearchStrategy[Any], dtype: Any, size: int = count) -> Any:
        return np.array(draw(st.lists(values, min_size=size, max_size=size)), dtype=dtype)

    sums = array(weights, np.float32, WIDTH)
    columns = array(st.integers(1, WIDTH - 1), np.uint16, 6 * count).reshape(6, count)
    columns[0] = 0
    slope = array(st.integers(0, 1), np.uint8)
    conversion = Conversion(
        sums=array(weights, np.float32, WIDTH),
        prior_logit=array(st.sampled_from([0.0, -4.0]), np.float64),
        paid=slope * array(st.integers(0, 1), np.uint8),
        most=draw(st.sampled_from([math.inf, math.inf, 5e5, 1e12])),
    )
    return Auction(
        sums=sums, columns=columns, base=draw(st.sampled_from([0.0, -4.625, 3.25])), curve=draw(curves()),
        bid=array(st.sampled_from([1.0, 500.0, 500.0, 2e9, 1e15]), np.float64),
        slope=slope, conversion=conversion,
        quality=array(st.sampled_from([1.0, 1.0, 0.5, 2.0]), np.float64),
        party=array(st.integers(0, 3), np.int32),
        reason=array(st.sampled_from([0, 0, 0, 5]), np.uint8),
    )  # fmt: skip


def picked(auction: Auction, start: int) -> Pick:
    return Pick(
        *pick_best(
            auction.sums, auction.columns, auction.base, auction.curve, auction.bid, auction.slope,
            auction.conversion, auction.quality, auction.party, auction.places(), auction.places().size,
            auction.bound(), start,
        )
    )  # fmt: skip


def picked_plainly(auction: Auction, start: int) -> Pick:
    return pick_best_plain(
        auction.sums, auction.columns, auction.base, auction.curve, auction.bid, auction.slope,
        auction.conversion, auction.quality, auction.party, auction.reason == 0, start,
    )  # fmt: skip


@given(auctions(), st.data())
def test_the_kernel_picks_the_exact_best_and_its_rival(auction: Auction, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, max(0, auction.places().size - 1)))
    fast, plain = picked(auction, start), picked_plainly(auction, start)
    assert (fast.at, fast.best, fast.rival) == (plain.at, plain.best, plain.rival)
    assert fast.score == pytest.approx(plain.score, rel=1e-12)
    assert fast.rival_score == pytest.approx(plain.rival_score, rel=1e-12)
    assert fast.pctr == pytest.approx(plain.pctr, rel=1e-12)
    assert fast.pcvr == pytest.approx(plain.pcvr, rel=1e-12)


@given(auctions(st.floats(-20, 20, width=32)))
def test_with_any_weights_nobody_is_better_than_the_best(auction: Auction) -> None:
    fast, plain = picked(auction, 0), picked_plainly(auction, 0)
    assert fast.score == pytest.approx(plain.score, rel=1e-12)
    assert fast.rival_score == pytest.approx(plain.rival_score, rel=1e-12)


@given(auctions(), st.data())
def test_the_rival_is_of_another_party_and_both_are_eligible(auction: Auction, data: st.DataObject) -> None:
    pick = picked(auction, data.draw(st.integers(0, max(0, auction.places().size - 1))))
    parties = set(auction.party[auction.reason == 0].tolist())
    assert (pick.best >= 0) == bool(parties)
    assert (pick.rival >= 0) == (len(parties) > 1)
    if pick.rival >= 0:
        assert auction.party[pick.rival] != auction.party[pick.best]
        assert auction.reason[pick.best] == auction.reason[pick.rival] == 0


@given(auctions(st.floats(-30, 30, width=32)))
def test_the_bound_is_above_the_score_and_close_to_it(auction: Auction) -> None:
    for ad, bound in zip(auction.places().tolist(), auction.bound().tolist(), strict=True):
        exact = math.log(auction.worth(ad)) + math.log(auction.quality[ad])
        assert bound >= exact - MARGIN
        if auction.worth(ad) < auction.conversion.most:
            assert bound <= exact + TANGENT_GAP * (1 + auction.conversion.paid[ad]) + MARGIN


def test_softplus_is_bounded_from_below_within_the_gap() -> None:
    x = np.concatenate([np.linspace(-12, 12, 24_001), np.linspace(-100, 100, 401)]).astype(np.float32)
    bounds = np.array([float(ranking.softplus_below(value)) for value in x])
    gap = np.logaddexp(0.0, x.astype(np.float64)) - bounds
    assert gap.min() >= -1e-5, "float32 rounding aside, never above"
    assert 0.085 < gap.max() <= TANGENT_GAP


@given(st.data())
def test_rows_are_summed_where_an_ad_may_look(data: st.DataObject) -> None:
    shared, first, words = data.draw(st.integers(0, 70)), 70, 4
    weights = (np.arange(14 * 330, dtype=np.float32).reshape(14, 330) - 60) / 8
    touched = np.array(data.draw(st.lists(st.booleans(), min_size=14, max_size=14)))
    weights[~touched] = 0
    rows = np.array(data.draw(st.permutations(range(14)))[: data.draw(st.integers(0, 12))], dtype=np.int32)
    alive = np.array(data.draw(st.lists(st.sampled_from([0, 1, 2**63]), min_size=words, max_size=words)))
    sums = np.full(330, 0.5, dtype=np.float32)
    ranking.sum_rows(weights, touched, rows, shared, first, alive.astype(np.uint64), sums)
    looked_at = {*range(shared)}
    for word in np.flatnonzero(alive):
        looked_at |= {*range(first + 64 * int(word), first + 64 * int(word) + 64)}
    plain = [sum(float(weights[row, c]) for row in rows) if c in looked_at else 0.5 for c in range(330)]
    assert sums.tolist() == plain


def dropped(auction: Auction, floor: float) -> list[int]:
    index, bound = auction.places(), auction.bound()
    before = dict(zip(index.tolist(), bound.tolist(), strict=True))
    alive = bits_of(auction.reason == 0, -(-auction.bid.size // 64))
    left = ranking.drop_below_floor(
        auction.sums, auction.columns, auction.base, auction.curve, auction.bid, auction.quality,
        auction.slope, auction.conversion, floor, index, index.size, bound, alive,
    )  # fmt: skip
    kept = index[:left].tolist()
    assert kept == sorted(kept), "who is left keeps its order"
    assert [before[ad] for ad in kept] == bound[:left].tolist(), "and its bound"
    named = np.zeros(auction.bid.size, np.int32)
    assert named[: name_all(alive, named)].tolist() == kept, "and its bit"
    reason = auction.reason.tolist()
    return [0 if ad in kept else (9 if ad in before else reason[ad]) for ad in range(len(reason))]


@given(auctions(), st.data())
def test_the_floor_is_exact_at_its_edge_and_knows_no_quality(auction: Auction, data: st.DataObject) -> None:
    worths = [auction.worth(ad) for ad in range(auction.bid.size)]
    near = data.draw(st.sampled_from([*worths, 500.0]))
    # The twin's exponential may differ in its last bits: an edge is tried where they do not matter.
    floor = near * data.draw(st.sampled_from([1 - 1e-9, 1 + 1e-9, 0.9, 1.1, 0.5, 2.0]))
    if floor <= 0 or floor > auction.conversion.most:
        return
    expected = [code or (9 if worths[ad] < floor else 0) for ad, code in enumerate(auction.reason.tolist())]
    assert dropped(auction, floor) == expected


@given(st.sampled_from([1.0, 499.0, 2e9, 1e15]))
def test_a_cpm_bid_meets_its_own_floor_and_not_one_above(bid: float) -> None:
    one = np.ones(1)
    auction = Auction(
        np.zeros(WIDTH, np.float32), np.zeros((6, 1), np.uint16), 0.0, NO_CURVE, one * bid,
        np.zeros(1, np.uint8), one, np.zeros(1, np.int32), np.zeros(1, np.uint8), ranking.no_conversions(1),
    )  # fmt: skip
    assert dropped(auction, bid) == [0]
    assert dropped(auction, math.nextafter(bid, math.inf)) == [9]


@given(st.integers(0, 2**32 - 1), st.integers(1, 50))
def test_the_order_of_ties_begins_at_the_lowest_index_plus_hash(digest: int, count: int) -> None:
    start = tie_start(digest, count)
    order = [*range(start, count), *range(start)]
    assert order == sorted(range(count), key=lambda ad: (ad + digest) % count)


def test_equal_ads_win_about_equally_often_and_always_the_same_decision() -> None:
    count, decisions = 7, 3_500
    even = Auction(
        np.zeros(WIDTH, np.float32), np.zeros((6, count), np.uint16), -4.5, NO_CURVE,
        np.full(count, 2e9), np.ones(count, np.uint8), np.ones(count), np.arange(count, dtype=np.int32),
        np.zeros(count, np.uint8), ranking.no_conversions(count),
    )  # fmt: skip
    starts = [tie_start(crc32(number.to_bytes(15, "big")), count) for number in range(decisions)]
    wins = Counter(picked(even, start).best for start in starts)
    assert set(wins) == set(range(count))
    for won in wins.values():  # six standard deviations of a fair draw
        assert abs(won - decisions / count) < 6 * math.sqrt(decisions / count * (1 - 1 / count))
    assert Counter(picked(even, start).best for start in starts) == wins
