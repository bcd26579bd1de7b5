"""What a winner pays: the least bid that would still have kept its slot (Vickrey 1961, with a reserve).

Units: micros of the account currency. A CPM bid and price are per 1,000 impressions, a CPC one per click, a
CPA or oCPM one per conversion. v is the eCPM per unit of bid: 1 for cpm, 1000 x pCTR for cpc, and times pCVR
for cpa and ocpm. Floats end here.
"""

from __future__ import annotations

import math

# What is promised to be paid for, by the kind of the price.
CHARGED_ACTION = {"cpm": "impression", "ocpm": "impression", "cpc": "click", "cpa": "conversion"}


def ecpm_per_bid(kind: str, pctr: float, pcvr: float) -> float:
    """Give v: the eCPM per unit of bid, in the auction's own arithmetic.

    >>> [round(ecpm_per_bid(kind, 0.01, 0.5), 9) for kind in ("cpm", "cpc", "cpa", "ocpm")]
    [1.0, 10.0, 5.0, 5.0]
    """
    if kind == "cpm":
        return 1.0
    return 1000.0 * pctr if kind == "cpc" else 1000.0 * pctr * pcvr


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


def impression_price(kind: str, price_micros: int, pctr: float, pcvr: float) -> int:
    """Price one impression in thousandths of a micro; 0 where impressions are free.

    A CPM price is per 1,000, so it is that number itself; an oCPM impression costs what its conversion is
    expected to be worth.

    >>> impression_price("cpm", 1_234_567, 0.01, 0.0), impression_price("cpc", 1_234_567, 0.01, 0.0)
    (1234567, 0)
    >>> impression_price("ocpm", 5_000_000_000, 0.01, 0.02)
    1000000000
    """
    if kind == "cpm":
        return price_micros
    return math.ceil(price_micros * (1000.0 * pctr * pcvr)) if kind == "ocpm" else 0


def action_price_micros(kind: str, price_micros: int, pctr: float, pcvr: float) -> int:
    """Say what one charged action costs, rounded up to the micro.

    >>> [action_price_micros(kind, 5_000_000_001, 0.01, 0.02) for kind in ("cpm", "cpc", "cpa", "ocpm")]
    [5000001, 5000000001, 5000000001, 1000001]
    """
    if kind in ("cpm", "ocpm"):
        return -(-impression_price(kind, price_micros, pctr, pcvr) // 1000)
    return price_micros


def expected_charge_micros(kind: str, price_micros: int, pctr: float, pcvr: float) -> float:
    """Say what an ad that was answered is expected to be charged, whatever it is charged for.

    >>> [round(expected_charge_micros(kind, 1_000_000, 0.01, 0.1)) for kind in ("cpm", "cpc", "cpa", "ocpm")]
    [1000, 10000, 1000, 1000]
    """
    return price_micros * ecpm_per_bid(kind, pctr, pcvr) / 1000.0


def impression_charge(price_thousandths: int, carry: int) -> tuple[int, int]:
    """Charge one impression, carrying what does not make a whole micro.

    Units   thousandths of a micro, 0 <= carry < 1000; returns (micros to charge, new carry).
            1,000 impressions at one CPM cost exactly that price, whatever the price.

    >>> impression_charge(1_234_567, 0)
    (1234, 567)
    >>> impression_charge(1_234_567, 567)
    (1235, 134)
    """
    return divmod(price_thousandths + carry, 1000)
