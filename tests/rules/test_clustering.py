"""Clusters that go on. Goal: hidden groups are found, and a fit changes no more than it may."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.rules import clustering
from app.rules.projection_plain import nearest_plain, unit


def clouds(
    groups: int, count: int, spread: float = 0.05, seed: int = 1
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    random = np.random.default_rng(seed)
    middles = unit(random.normal(size=(groups, 16)))
    of = random.integers(0, groups, count)
    return middles[of] + spread * random.normal(size=(count, 16)), of


def test_hidden_groups_are_found() -> None:
    points, of = clouds(8, 4_000)
    found = nearest_plain(points, clustering.grown(points, np.zeros((0, 16)), 8, seed=1))
    purity = sum(np.bincount(of[found == at]).max() for at in set(found.tolist())) / len(points)
    assert len(set(found.tolist())) == 8 and purity > 0.95


def test_it_is_as_good_as_the_librarys() -> None:
    """Where scikit-learn is there to compare with; it is no dependency of a node."""
    library = pytest.importorskip("sklearn.cluster")
    points, _ = clouds(8, 4_000, spread=0.3)
    theirs = library.MiniBatchKMeans(8, n_init=3, random_state=1).fit(points).cluster_centers_
    ours = clustering.grown(points, np.zeros((0, 16)), 8, seed=1)
    assert _distortion(points, ours) < 1.05 * _distortion(points, theirs)


def _distortion(points: NDArray[np.float64], centroids: NDArray[np.float64]) -> float:
    return float(((points - centroids[nearest_plain(points, centroids)]) ** 2).sum())


def test_the_same_seed_finds_the_same() -> None:
    points, _ = clouds(4, 500)
    one, other = (clustering.grown(points, np.zeros((0, 16)), 4, seed=7) for _ in range(2))
    assert np.array_equal(one, other)


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.01, 0.05, 0.2]))
def test_a_fit_changes_no_more_than_it_may(seed: int, most: float) -> None:
    points, _ = clouds(5, 400, spread=0.4, seed=seed)
    random = np.random.default_rng(seed)
    before, after = random.normal(size=(5, 16)), random.normal(size=(5, 16))
    fit = clustering.bounded(points, before, after, most)
    assert fit.changed <= most
    assert fit.changed == (nearest_plain(points, before) != fit.assigned).mean()


def test_further_clusters_may_change_more() -> None:
    points, _ = clouds(8, 800)
    before = clustering.seeded(points, np.zeros((0, 16)), 2, seed=1)
    fit = clustering.bounded(points, before, clustering.seeded(points, before, 8, seed=1), 0.01)
    assert fit.changed > 0.01 and len(fit.centroids) == 8


def test_of_those_elsewhere_the_ones_that_gain_most_move() -> None:
    centroids = np.array([[0.0], [10.0]])
    points = np.array([[9.0], [6.0], [1.0], [1.0], [8.0]])
    was = np.array([0, 0, 0, 0, -1])
    assert clustering.moved_within(points, was, centroids, 0.25).tolist() == [1, 0, 0, 0, 1]


def test_means_of_nothing_are_nothing() -> None:
    points = np.array([[2.0], [4.0]])
    assert clustering.means(points, np.array([1, 1]), 3).tolist() == [[0.0], [3.0], [0.0]]
