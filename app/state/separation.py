"""What a placement keeps apart: ads of one advertiser, or of competing categories, on one page.

A creative stands once in a request whatever the placement asks. Two ads compete when they share a top-level
category: IAB2-1 and IAB2-3 both sell cars. An ad's categories are its creative's and its advertiser's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from app.domain.catalogue import Placement
from app.domain.decisions import REASON_NUMBER
from app.rules.eligibility import EVERYONE, Clause, program
from app.state.catalogue import Catalogue
from app.state.sets import SAME_ADVERTISER, SAME_CATEGORY

_SAME_ADVERTISER = REASON_NUMBER["same_advertiser"]
_SAME_CATEGORY = REASON_NUMBER["same_category"]
_RIVALS = {_SAME_ADVERTISER: SAME_ADVERTISER, _SAME_CATEGORY: SAME_CATEGORY}  # scratch rows of the sets


def program_of(catalogue: Catalogue, placement: Placement, above: Sequence[int]) -> NDArray[np.int32]:
    """Write what a placement keeps away from the ads that the request has placed above it, for the kernel."""
    clauses = []
    for code, bits in rivals(catalogue, placement, above):
        row = catalogue.ads.sets.rows[_RIVALS[code]]
        row[:] = 0
        row[: bits.size] = bits
        clauses.append(Clause(code, EVERYONE, (), (_RIVALS[code],)))
    return program(clauses)


def rivals(
    catalogue: Catalogue, placement: Placement, above: Sequence[int]
) -> Iterator[tuple[int, NDArray[np.uint64]]]:
    """Name the ads that may not stand below those above: a reason and a set of ads, for each separation.

    Shape   above are places of ads; a set (words,) has one bit per ad, none for those above themselves.
    Cost    nothing where the placement asks for nothing; some microseconds for a separation.
    """
    ads = catalogue.ads
    words = -(-ads.count // 64)
    if "advertiser" in placement.separation:
        names = {campaign.advertiser_id for at in above if (campaign := ads.campaigns[at]) is not None}
        yield _SAME_ADVERTISER, _any_of(catalogue, "advertiser", names, above, words)
    if "category" in placement.separation:
        yield _SAME_CATEGORY, _any_of(catalogue, "category", _top_categories(catalogue, above), above, words)


def _any_of(
    catalogue: Catalogue, family: str, names: Iterable[str], above: Sequence[int], words: int
) -> NDArray[np.uint64]:
    """Join the sets of some names, without those above themselves."""
    sets = catalogue.ads.sets
    bits: NDArray[np.uint64] = np.bitwise_or.reduce(
        sets.rows[list(sets.known(family, names)), :words], axis=0
    )
    for place in above:
        bits[place // 64] &= ~np.uint64(1 << place % 64)
    return bits


def _top_categories(catalogue: Catalogue, above: Sequence[int]) -> list[str]:
    tops: dict[str, None] = {}
    for at in above:
        creative, group = catalogue.ads.creatives[at], catalogue.ads.groups[at]
        assert creative is not None
        assert group is not None
        advertiser = catalogue.above(group)[1]
        codes = (*creative.categories, *((advertiser.category,) if advertiser.category else ()))
        tops.update((code.split("-")[0], None) for code in codes)
    return list(tops)
