"""Fatigue: how often a person saw an ad before is a row that this ad alone lights.

An ad has a column of its own in the summed rows, which no other ad reads: what its own row holds for all of
the ad's columns is added there, and every later step takes it for part of the score.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(nogil=True, cache=True)
def light(weights, touched, columns, ads, rows, alive, sums):  # type: ignore[no-untyped-def]
    """Add to some ads' own columns what their own rows hold.

    Shape   weights (rows, stride) float32; touched (rows,) bool; columns (c, ads) uint16, the last the ad's
            own; ads and rows (k,) int32; alive (words,) uint64 as in eligibility; sums (stride,) float32 is
            added to, once for each ad that is still in.
    """
    own = columns.shape[0] - 1
    for j in range(ads.size):
        ad, row = ads[j], rows[j]
        if touched[row] and alive[ad // 64] >> np.uint64(ad % 64) & np.uint64(1):
            more = np.float32(0.0)
            for k in range(columns.shape[0]):
                more += weights[row, columns[k, ad]]
            sums[columns[own, ad]] += more


def light_plain(
    weights: NDArray[np.float32], columns: NDArray[np.uint16], ads: list[int], rows: list[int],
    sums: NDArray[np.float32],
) -> NDArray[np.float32]:  # fmt: skip
    """The kernel's twin over ads that are all still in; returns the sums after."""
    answer = sums.copy()
    for ad, row in zip(ads, rows, strict=True):
        more = np.float32(0.0)
        for column in columns[:, ad]:
            more = np.float32(more + weights[row, column])
        answer[columns[-1, ad]] += more
    return answer
