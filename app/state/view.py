"""The ads as an auction reads them: what the scan, eligibility and pricing take."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class View(NamedTuple):
    """The ads as an auction reads them, cut to the places given out.

    Shape   as in Ads, `places` of them; alive (words,) has the bit of every ad that stands, paid (words,) of
            those paid by conversions; aside (k, words) are those that do not stand, a set for each of the
            reasons aside_codes (k,). Archived ads are in none.
    """

    places: int
    columns: NDArray[np.uint16]
    bid: NDArray[np.float64]
    log_score: NDArray[np.float32]
    per_click: NDArray[np.uint8]
    quality: NDArray[np.float64]
    group: NDArray[np.int32]
    campaign: NDArray[np.int32]
    advertiser: NDArray[np.int32]
    alive: NDArray[np.uint64]
    paid: NDArray[np.uint64]
    per_conversion: NDArray[np.uint8]
    prior_cvr_logit: NDArray[np.float64]
    aside: NDArray[np.uint64]
    aside_codes: NDArray[np.int64]
