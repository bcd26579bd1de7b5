"""What a winner pays: the least bid that would still have kept its slot (Vickrey 1961, with a reserve).

Units: micros of the account currency. A CPM bid and price are per 1,000 impressions, a CPC one per click.
v is the eCPM per unit of bid: 1 for cpm, 1000 x pCTR for cpc. Floats end here.
"""

from __future__ import annotations

import math


def least_bid(bid_micros: int, v: float, quality: float, floor_micros: int, rival_score: float) -> int:
    """Find the least bid, in whole micros, that meets the floor and the rival's score.

    The auction compares floating-point scores, so the answer is the least integer for which those same
    comparisons hold: max(floor / v, rival / (v x quality)) rounded up, then put right by a micro where
    the division rounded across it. `rival_score` is -inf when nobody else came.

    Errors  AssertionError when the bid itself would not have won: a bug in the ranking.

    >>> least_bid(2_000_000_000, 1000 * 0.017, 1.0, 0, 2_000_000_000 * (1000 * 0.015))
    1764705883
    """
    least = 0
    if floor_micros > 0:
        least = _least_reaching(floor_micros, v, 1.0)
    if rival_score > 0 and math.isfinite(rival_score):
        least = max(least, _least_reaching(rival_score, v, quality))
    assert least <= bid_micros, (least, bid_micros, v, quality, floor_micros, rival_score)
    return least


def _least_reaching(target: float, v: float, quality: float) -> int:
    """Find the least integer b with b x v x quality >= target, in the auction's own arithmetic."""
    guess = math.ceil(target / (v * quality))
    while guess > 0 and (guess - 1) * v * quality >= target:
        guess -= 1
    while guess * v * quality < target:
        guess += 1
    return guess


def expected_ecpm_micros(price_micros: int, v: float) -> int:
    """Turn a price into what 1,000 impressions are expected to bring, rounded up to the micro.

    >>> expected_ecpm_micros(1_764_705_883, 1000 * 0.017)
    30000000011
    """
    return math.ceil(price_micros * v)


def impression_charge(cpm_price_micros: int, carry: int) -> tuple[int, int]:
    """Charge one impression at a CPM price, carrying what does not divide.

    Units   carry in thousandths of a micro, 0 <= carry < 1000; returns (micros to charge, new carry).
            1,000 impressions at one price cost exactly that price, whatever the price.

    >>> impression_charge(1_234_567, 0)
    (1234, 567)
    >>> impression_charge(1_234_567, 567)
    (1235, 134)
    """
    return divmod(cpm_price_micros + carry, 1000)
