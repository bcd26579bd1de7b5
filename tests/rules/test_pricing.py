"""The second price: the issue's table, the worked example, and the laws of what a winner pays.

Every price here comes out of the real kernels and `least_bid`; expectations are written from the rules.
"""

from __future__ import annotations

import math
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.domain.money import to_decimal
from app.rules.calibration import NO_CURVE
from app.rules.pricing import expected_ecpm_micros, impression_charge, least_bid
from app.rules.ranking import bound_all, drop_below_floor, no_conversions, pick_best

WON = 1_000_000


class Offer(NamedTuple):
    """One ad in an auction; `pctr` None pays per 1,000 impressions."""

    bid_micros: int
    pctr: float | None = None
    party: int = 0
    quality: float = 1.0

    def v(self) -> float:
        return 1.0 if self.pctr is None else 1000.0 * self.pctr

    def ecpm(self) -> float:
        return self.bid_micros * self.v()

    def score(self) -> float:
        return self.ecpm() * self.quality


class Sale(NamedTuple):
    winner: int
    price_micros: int
    ecpm_micros: int


def sell(offers: list[Offer], floor_micros: int, start: int = 0) -> Sale | None:
    """Hold one auction through the real functions: each ad has one column, its logit (float32) in the sum."""
    count = len(offers)
    logits = [math.log(o.pctr / (1 - o.pctr)) if o.pctr is not None else -4.0 for o in offers]
    sums = np.array([0.0, *logits], dtype=np.float32)
    columns = np.zeros((6, count), dtype=np.uint16)
    columns[5] = np.arange(1, count + 1)
    bid = np.array([offer.bid_micros for offer in offers], dtype=np.float64)
    per_click = np.array([offer.pctr is not None for offer in offers], dtype=np.uint8)
    quality = np.array([offer.quality for offer in offers], dtype=np.float64)
    log_score = np.log(bid * np.where(per_click > 0, 1000.0, 1.0) * quality).astype(np.float32)
    party = np.array([offer.party for offer in offers], dtype=np.int32)
    index, bound = np.arange(count, dtype=np.int32), np.zeros(count, np.float32)
    sums[0] = 0.0
    bound_all(sums, columns, 0.0, NO_CURVE, log_score, per_click, index, count, bound)
    left, none = count, no_conversions(count)
    if floor_micros > 0:
        alive = np.zeros(-(-count // 64), np.uint64)
        left = drop_below_floor(
            sums, columns, 0.0, NO_CURVE, bid, quality, per_click, none, float(floor_micros), index, left,
            bound, alive,
        )  # fmt: skip
    turn = int(np.searchsorted(index[:left], start))  # ties begin at this ad, whoever the floor took out
    _, best, _, _, rival_score, pctr, _ = pick_best(
        sums, columns, 0.0, NO_CURVE, bid, per_click, none, quality, party, index, left, bound, turn
    )
    if best < 0:
        return None
    v = 1000.0 * pctr if offers[best].pctr is not None else 1.0
    price = least_bid(offers[best].bid_micros, v, offers[best].quality, floor_micros, rival_score)
    return Sale(best, price, round(offers[best].bid_micros * v))


#   offers            floor  answer     why
TABLE: list[tuple[list[int], int, tuple[int, int] | None, str]] = [
    ([],              100,   None,      "nobody came"),
    ([100],           100,   (0, 100),  "the floor itself is enough"),
    ([500],           100,   (0, 100),  "alone: pays the floor, not its offer"),
    ([500, 90],       100,   (0, 100),  "a rival under the floor is no rival"),
    ([300, 500, 400], 100,   (1, 400),  "pays the runner-up"),
    ([500, 500],      100,   (0, 500),  "tie: first in order, full price"),
    ([99],            100,   None,      "nobody reaches the floor"),
    ([500],           0,     (0, 0),    "alone without a floor: pays nothing"),
]  # fmt: skip


@pytest.mark.parametrize(("offers", "floor", "answer", "why"), TABLE, ids=[row[3] for row in TABLE])
def test_second_price(offers: list[int], floor: int, answer: tuple[int, int] | None, why: str) -> None:
    sale = sell([Offer(bid, party=party) for party, bid in enumerate(offers)], floor)
    assert (sale and (sale.winner, sale.price_micros)) == answer, why


def test_a_tie_goes_to_the_first_in_the_rotated_order() -> None:
    offers = [Offer(500, party=party) for party in range(3)]
    assert [sell(offers, 0, start) for start in range(3)] == [Sale(k, 500, 500) for k in range(3)]


def test_the_worked_example_of_two_ads_at_two_thousand_won() -> None:
    """Ad A: 1,500 clicks of 100,000; ad B: 1,200 of 70,000, taken as 1.5 % and 1.7 %; both bid 2,000."""
    sale = sell([Offer(2_000 * WON, 0.015, 0), Offer(2_000 * WON, 0.017, 1)], 0)
    assert sale is not None
    assert sale.winner == 1
    assert round(sale.ecpm_micros / WON) == 34_000
    assert to_decimal(sale.price_micros).quantize(Decimal(1), ROUND_HALF_UP) == 1_765
    alone = sell([Offer(2_000 * WON, 0.015, 0)], 0)
    assert alone is not None
    assert round(alone.ecpm_micros / WON) == 30_000


def test_the_worked_example_to_the_micro() -> None:
    price = least_bid(2_000 * WON, 1000 * 0.017, 1.0, 0, 2_000 * WON * (1000 * 0.015))
    assert str(to_decimal(price)) == "1764.705883"  # 2,000 x 30,000 / 34,000 = 1,764.705882...


def test_a_second_equal_ad_of_the_winner_s_group_leaves_the_price_unchanged() -> None:
    rival, winner = Offer(2_000 * WON, 0.015, 0), Offer(2_000 * WON, 0.017, 1)
    one, two = sell([rival, winner], 0), sell([rival, winner, winner], 0)
    assert one is not None
    assert two is not None
    assert two.price_micros == one.price_micros
    assert two.winner in (1, 2)


def test_quality_lowers_the_price_of_the_better_ad() -> None:
    """Rival worth 100; the winner's bid counts double, so half of 100 keeps its place."""
    assert sell([Offer(100, None, 0), Offer(90, None, 1, 2.0)], 0) == Sale(1, 50, 90)


def test_quality_does_not_lift_an_ad_over_the_floor() -> None:
    assert sell([Offer(90, None, 0, 2.0)], 100) is None
    assert sell([Offer(100, None, 0, 0.5)], 100) == Sale(0, 100, 100)


@st.composite
def offers_of(draw: Any) -> list[Offer]:
    pctr = st.none() | st.floats(1e-6, 0.9)
    one = st.builds(
        Offer, st.integers(1, 10**13), pctr, st.integers(0, 3), st.sampled_from([1.0, 0.5, 2.0, 1.1])
    )
    return draw(st.lists(one, min_size=1, max_size=6))  # type: ignore[no-any-return]


@given(st.integers(1, 10**15), st.floats(1e-9, 1000), st.floats(0.5, 2), st.integers(0, 10**15), st.data())
def test_the_winner_pays_the_least_that_keeps_its_slot(
    bid: int, v: float, quality: float, floor: int, data: st.DataObject
) -> None:
    assume(bid * v >= floor)
    rival = data.draw(st.just(-math.inf) | st.floats(0, bid * v * quality))
    price = least_bid(bid, v, quality, floor, rival)
    assert 0 <= price <= bid, "never above the bid"
    assert price * v >= floor, "never below the floor"
    assert price * v * quality >= rival, "still worth as much as the rival"
    if price > 0:
        less = price - 1
        assert less * v < floor or less * v * quality < rival, "one micro less and the slot is lost"


@given(offers_of(), st.integers(0, 10**10))
def test_no_winner_pays_more_than_its_bid_or_less_than_the_floor(offers: list[Offer], floor: int) -> None:
    sale = sell(offers, floor)
    if sale is None:
        assert all(offer.ecpm() <= floor * (1 + 1e-5) for offer in offers)
        return
    winner = offers[sale.winner]
    assert 0 <= sale.price_micros <= winner.bid_micros
    assert sale.price_micros * winner.v() >= floor * (1 - 1e-5)  # its logit passed through a float32
    allowed = [o.score() for o in offers if o.party != winner.party and o.ecpm() >= floor * (1 + 1e-5)]
    assert all(sale.price_micros * winner.v() * winner.quality >= s * (1 - 1e-5) for s in allowed)


@given(offers_of(), st.integers(0, 10**10), st.integers(1, 10**13))
def test_bidding_more_while_winning_changes_nothing(offers: list[Offer], floor: int, more: int) -> None:
    sale = sell(offers, floor)
    assume(sale is not None)
    assert sale is not None
    higher = offers.copy()
    higher[sale.winner] = offers[sale.winner]._replace(bid_micros=offers[sale.winner].bid_micros + more)
    again = sell(higher, floor)
    assert again is not None
    assert (again.winner, again.price_micros) == (sale.winner, sale.price_micros)


@given(offers_of(), st.integers(0, 10**10), st.data())
def test_bidding_less_keeps_the_slot_down_to_the_price_and_loses_it_below(
    offers: list[Offer], floor: int, data: st.DataObject
) -> None:
    sale = sell(offers, floor)
    assume(sale is not None)
    assert sale is not None
    mine = offers[sale.winner]
    # Of its own party's ads none may step in, and the order of ties begins with it.
    field = [o if k == sale.winner or o.party != mine.party else None for k, o in enumerate(offers)]
    rest = [offer for offer in field if offer is not None]
    at = [k for k, offer in enumerate(field) if offer is not None].index(sale.winner)
    bid = data.draw(st.integers(max(1, sale.price_micros), mine.bid_micros))
    kept = sell([*rest[:at], mine._replace(bid_micros=bid), *rest[at + 1 :]], floor, start=at)
    assert kept is not None
    assert (kept.winner, kept.price_micros) == (at, sale.price_micros)
    if sale.price_micros > 1:
        less = mine._replace(bid_micros=sale.price_micros - 1)
        lost = sell([*rest[:at], less, *rest[at + 1 :]], floor, start=at)
        assert lost is None or lost.winner != at


@given(st.integers(0, 10**15), st.integers(0, 999))
def test_a_thousand_impressions_cost_exactly_the_cpm(price: int, carry: int) -> None:
    charged, first_carry = 0, carry
    for _ in range(1000):
        micros, carry = impression_charge(price, carry)
        assert price // 1000 <= micros <= price // 1000 + 1
        assert 0 <= carry < 1000
        charged += micros
    assert (charged, carry) == (price, first_carry)


@given(st.lists(st.integers(0, 10**12), max_size=40))
def test_the_carry_loses_nothing_when_prices_change(prices: list[int]) -> None:
    charged, carry = 0, 0
    for price in prices:
        micros, carry = impression_charge(price, carry)
        charged += micros
    assert charged * 1000 + carry == sum(prices)


@given(st.integers(0, 10**13), st.floats(1e-6, 1000))
def test_the_cleared_ecpm_is_rounded_up_to_the_micro(price: int, v: float) -> None:
    assert 0 <= expected_ecpm_micros(price, v) - price * v <= 1
