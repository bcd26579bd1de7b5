"""Deals: which ads enter which deal's auction.

An ad whose group targets deals is sold by those deals alone, each an auction of its own at the deal's floor;
deals never lose to the open auction by price, nor it to them. Nothing here knows of scores.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.domain.requests import Ask, Deal
from app.rules.eligibility import bits_of
from app.state.catalogue import Catalogue

Bits = NDArray[np.uint64]


class Offer(NamedTuple):
    """A deal that somebody may buy by, and the ads that may: (words,) one bit per ad, its own copy."""

    deal: Deal
    ads: Bits


def offers_of(catalogue: Catalogue, ask: Ask) -> list[Offer]:
    """Find the deals of an ask that ads target, and those ads of the seats and advertisers it was made with.

    One offer for each deal id: of a deal that is offered twice, the first that any of our ads may buy by.
    Cost    some microseconds for each deal that an ad targets; one that none does costs a look-up.
    """
    sets = catalogue.ads.sets
    words = -(-catalogue.ads.count // 64)
    offers: list[Offer] = []
    found: set[str] = set()
    for deal in ask.deals:
        row = sets.find(("deal", "include", deal.id))
        if row is not None and deal.id not in found:
            ads = sets.rows[row, :words].copy()
            _admit(catalogue, deal, ads)
            if ads.any():
                found.add(deal.id)
                offers.append(Offer(deal, ads))
    return offers


def _admit(catalogue: Catalogue, deal: Deal, ads: Bits) -> None:
    """Keep the ads of the seats and advertisers that a deal was made with."""
    sets = catalogue.ads.sets
    if deal.seats:
        rows = list(sets.known("seat", deal.seats))
        ads &= np.bitwise_or.reduce(sets.rows[rows, : ads.size], axis=0)
    if deal.advertisers:
        named = catalogue.advertisers_named
        found = {at for name in deal.advertisers for at in named.get(name, ()) or named.get(name.lower(), ())}
        wanted = np.zeros(len(catalogue.advertiser_index), dtype=np.bool_)
        wanted[list(found)] = True
        ads &= bits_of(wanted[catalogue.ads.advertiser[: catalogue.ads.count]], ads.size)
