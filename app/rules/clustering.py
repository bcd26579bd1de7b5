"""Mini-batch k-means that goes on from the clusters there are, and changes no more than it may.

A cluster's number is a row of the model, with weights of its own. So the centroids are moved, never numbered
anew, and only so far that a bounded share of the points changes its cluster (`bounded`). scikit-learn's own
does neither (it puts starved clusters elsewhere at will), and is 100 MB that no request needs.

Shape, everywhere here: points (m, d) and centroids (k, d) float64. Chance comes in as a seed.
Source  Sculley 2010 (mini-batches, a rate of 1 / count for each centroid); Arthur and Vassilvitskii 2007
        (seeding).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.rules.projection_plain import nearest_plain

BATCH = 1_024
PASSES = 4
HALVINGS = 10
TRIES = 4
F64 = NDArray[np.float64]


class Fit(NamedTuple):
    """New centroids, the points' clusters by them, and the share of points that were in another before."""

    centroids: F64
    assigned: NDArray[np.int64]
    changed: float


def seeded(points: F64, centroids: F64, count: int, seed: int) -> F64:
    """Add centroids up to a count: of some points drawn by their squared distance to the nearest one, the one
    that brings most points nearer.
    """
    random = np.random.default_rng([seed, 1])
    found = list(centroids)
    distance = distances(points, centroids) if found else np.ones(len(points))
    while len(found) < min(count, len(points)) and distance.sum() > 0.0:
        drawn = random.choice(len(points), TRIES, p=distance / distance.sum())
        nearer = [np.minimum(distance, _squares(points, points[one])) for one in drawn]
        best = int(np.argmin([each.sum() for each in nearer]))
        distance = nearer[best]
        found.append(points[drawn[best]])
    return np.array(found).reshape(-1, points.shape[1])


def grown(points: F64, centroids: F64, count: int, seed: int) -> F64:
    """Add centroids up to a count, and move all of them: the best of some tries."""
    tries = [
        fitted(points, seeded(points, centroids, count, seed + number), seed + number)
        for number in range(TRIES if len(centroids) < count else 1)
    ]
    return min(tries, key=lambda one: float(distances(points, one).sum()))


def fitted(points: F64, centroids: F64, seed: int) -> F64:
    """Move centroids through mini-batches of the points, each by the mean of all it has met since.

    Cost    20,000 points, 64 centroids of 64 dimensions: some 0.2 s.
    """
    random, centroids = np.random.default_rng([seed, 2]), centroids.copy()
    met = np.zeros(len(centroids))
    for _ in range(PASSES):
        met *= 0.5  # what the last pass moved was further off
        order = random.permutation(len(points))
        for start in range(0, len(order), BATCH):
            some = points[order[start : start + BATCH]]
            assigned = nearest_plain(some, centroids)
            count = np.bincount(assigned, minlength=len(centroids))
            sums = np.zeros_like(centroids)
            np.add.at(sums, assigned, some)
            met += count
            moved = count > 0
            step = (sums[moved] - count[moved, None] * centroids[moved]) / met[moved, None]
            centroids[moved] += step
    return centroids


def bounded(points: F64, before: F64, after: F64, most: float) -> Fit:
    """Go from `before` as far towards `after` as at most a share of the points changes its cluster.

    `after` may have further clusters behind; with those, all of the way is gone: there is more to tell apart.
    """
    was = nearest_plain(points, before)
    grown = len(after) > len(before)

    def at(share: float) -> Fit:
        centroids = after if grown else before + share * (after - before)
        assigned = nearest_plain(points, centroids)
        return Fit(centroids, assigned, float((assigned != was).mean()) if len(before) else 0.0)

    whole = at(1.0)
    if grown or whole.changed <= most:
        return whole
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if at(middle).changed <= most else (low, middle)
    return at(low)


def moved_within(points: F64, was: NDArray[np.int64], centroids: F64, most: float) -> NDArray[np.int64]:
    """Assign points to centroids, of those that were elsewhere only the share that gains most (one at least).

    Shape   was (m,): the former cluster of each, -1 for none; those are free to go anywhere.
    """
    now = nearest_plain(points, centroids)
    others = np.flatnonzero((was >= 0) & (now >= 0) & (now != was))
    allowed = max(1, int(most * int((was >= 0).sum())))
    gain = _squares(points[others], centroids[was[others]]) - _squares(points[others], centroids[now[others]])
    staying = others[np.argsort(-gain, kind="stable")[allowed:]]
    now[staying] = was[staying]
    return now


def means(points: F64, assigned: NDArray[np.int64], count: int) -> F64:
    """The mean of each cluster's points; zeros where it has none."""
    known = assigned >= 0
    sums = np.zeros((count, points.shape[1]))
    np.add.at(sums, assigned[known], points[known])
    return sums / np.maximum(1, np.bincount(assigned[known], minlength=count))[:, None]


def distances(points: F64, centroids: F64) -> F64:
    """The squared distance of each point to its nearest centroid. Shape (m,)."""
    return _squares(points, centroids[nearest_plain(points, centroids)])


def _squares(points: F64, others: F64) -> F64:
    return np.asarray(((points - others) ** 2).sum(axis=1))
