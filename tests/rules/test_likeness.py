"""Likeness to a list. Goal: a hidden taste is found from some of those who share it, by either way."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from app.rules import likeness
from app.rules.projection_plain import hashes_of, project_plain

POOLS = tuple(tuple(f"{taste}-{n}" for n in range(200)) for taste in ("garden", "boat", "chess", "opera"))


def people(count: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Draw people of four tastes, a fifth, fourth ... of their words being everybody's."""
    random = np.random.default_rng(seed)
    tastes = random.integers(0, 4, count)
    words = [
        tuple(POOLS[taste][n] for n in random.integers(0, 200, 12))
        + tuple(f"common-{n}" for n in random.integers(0, 400, 4))
        for taste in tastes
    ]
    return project_plain([hashes_of(each, ()) for each in words]), tastes


def test_the_model_reaches_those_of_the_same_taste() -> None:
    members, tastes = people(800, 1)
    everybody, hidden = people(3_000, 2)
    found = likeness.modelled(members[tastes == 2], everybody, reach=0.1)
    alike = everybody @ found.weights >= found.threshold
    assert abs(alike.mean() - 0.1) < 0.01, "the share that was asked for"
    assert (hidden[alike] == 2).mean() > 0.65 > 2.5 * (hidden == 2).mean()
    assert found.auc is not None and found.auc > 0.7, "a quarter of everybody is alike, too"


def test_members_of_every_taste_are_like_nobody_in_particular() -> None:
    members, _ = people(600, 3)
    found = likeness.modelled(members, people(2_000, 4)[0], reach=0.1)
    assert found.auc is not None and 0.4 < found.auc < 0.6


#   members              everybody                     reach  chosen  why
TABLE = [
    ([0, 0, 1], [0, 1, 1, 1, 2, 2, 2, 2], 0.25, [0], "most often found there"),
    ([0, 0, 1], [0, 1, 1, 1, 2, 2, 2, 2], 0.5, [0, 1], "and then there, while there is room"),
    ([0, 0, 1], [0, 1, 1, 1, 2, 2, 2, 2], 1.0, [0, 1], "never where no member is"),
    ([1, 1], [0, 1, 1, 1, 1, 1, 1, 2], 0.1, [1], "one cluster at least, however large"),
    ([-1, -1], [0, 1, 2], 0.5, [], "members without a cluster say nothing"),
]  # fmt: skip


def test_clusters_are_chosen_by_how_often_members_are_there() -> None:
    for members, everybody, reach, chosen, why in TABLE:
        found = likeness.clusters_of(np.array(members), np.array(everybody), 3, reach)
        assert found.tolist() == chosen, why
