"""`python -m loadtest clusters`: what clusters of people cost a request, what they bring, and how they drift.

People of hidden tastes tell words out of 200,000; what they click depends on taste and ad. Clusters are
fitted as a node fits them. Targets: a profile finds its cluster in under 50 us; the cluster's row brings the
model nearer to the truth than the words' own rows do; while tastes turn, no fit changes more than it may.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from app.domain.lines import Clustered
from app.domain.requests import Person
from app.rules import clustering
from app.rules.evaluation import measure
from app.rules.features import BLOCKS
from app.rules.ftrl_learner import ftrl_learner
from app.rules.learner import Samples, Space, fields_of, filled_behind
from app.rules.projection_plain import PROJECTION, hashes_of, nearest_plain, project_plain
from app.state.clusters import Clusters
from loadtest.client import percentile
from loadtest.machine import SERVER_CORE, facts, on_core, say, target

TASTES, ADS, CLUSTERS = 40, 50, 64
VOCABULARY, FAVOURED, WORDS, OWN_SHARE = 200_000, 300, 30, 0.7
LIT_WORDS = 16
LIMIT_US = 50.0
MOST_CHANGED, ROUNDS = 0.01, 10
INTERCEPT, AD_SD, CROSS_SD = -3.2, 0.3, 0.8

I64 = NDArray[np.int64]


class Town:
    """People with a taste each, and what they tell. Shape: words (people, WORDS), taste (people,)"""

    def __init__(self, people: int, seed: int) -> None:
        self.random = np.random.default_rng([seed, 40])
        self.favoured = self.random.integers(0, VOCABULARY, (TASTES, FAVOURED))
        self.taste = self.random.integers(0, TASTES, people)
        self.words = self.drawn(self.taste)

    def drawn(self, tastes: I64) -> I64:
        """Draw words for people of these tastes: most of them favoured by the taste, few by chance."""
        shape = len(tastes), WORDS
        rank = (FAVOURED * self.random.random(shape) ** 3).astype(np.int64)  # some are told far more often
        own = self.favoured[tastes[:, None], rank]
        others = self.random.integers(0, VOCABULARY, shape)
        return np.asarray(np.where(self.random.random(shape) < OWN_SHARE, own, others))

    def profiles(self, words: I64) -> list[tuple[str, ...]]:
        """Write words as a profile has them."""
        return [tuple(f"w{word}" for word in each) for each in words.tolist()]


def run(argv: Sequence[str]) -> int:
    """Print the report; 0 when every target is met."""
    parser = argparse.ArgumentParser(prog="loadtest clusters", description=__doc__)
    parser.add_argument("--people", type=int, default=20_000)
    parser.add_argument("--samples", type=int, default=300_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(argv)
    say(facts("clusters", argv))
    with on_core(SERVER_CORE) as core:
        town = Town(options.people, options.seed)
        started = perf_counter()
        points = project_plain([hashes_of(each, ()) for each in town.profiles(town.words)])
        projected = perf_counter()
        centroids = clustering.grown(points, np.zeros((0, points.shape[1])), CLUSTERS, options.seed)
        fitted = perf_counter()
        say(
            f"{options.people:,} people, {WORDS} words each of {VOCABULARY:,}, {TASTES} tastes; {core}\n"
            f"projected in {projected - started:.1f} s, {CLUSTERS} clusters in {fitted - projected:.1f} s\n"
        )
        met = [
            _cost(town, centroids),
            _worth(town, nearest_plain(points, centroids), options.samples, options.seed),
            _drift(town, centroids, options.seed),
        ]
    return 0 if all(met) else 1


def _cost(town: Town, centroids: NDArray[np.float64]) -> bool:
    """Time the look-up as a request makes it: of a profile never met, and of one met before."""
    clusters = Clusters()
    clusters.take(
        Clustered(
            at_ms=0,
            centroids=centroids.astype("<f4").tobytes(),
            people=(60,) * CLUSTERS,
            projection=PROJECTION,
        )
    )
    say(f"  {'us to find the cluster of':44}{'median':>12}{'p99':>12}")
    worst = 0.0
    for count in (4, 16, 30, 128):
        words = town.drawn(np.resize(town.taste, 2_000 * 5))[:, :WORDS].reshape(2_000, -1)[:, :count]
        people = [Person(interests=told) for told in town.profiles(words)]
        clusters.row_of_person(Person(interests=("first",)))
        for name, what in ((f"{count} words, never met", people), (f"{count} words, met before", people)):
            times = [_timed(clusters, person) for person in what]
            say(f"  {name:44}{percentile(times, 0.5):>12.2f}{percentile(times, 0.99):>12.2f}")
            worst = max(worst, percentile(times, 0.5))
    say()
    return target(f"a profile of any of these finds its cluster in under {LIMIT_US:.0f} us: {worst:.1f}",
                  worst < LIMIT_US)  # fmt: skip


def _timed(clusters: Clusters, person: Person) -> float:
    started = perf_counter()
    clusters.row_of_person(person)
    return (perf_counter() - started) * 1e6


def _worth(town: Town, cluster: I64, samples: int, seed: int) -> bool:
    """Learn the same clicks with rows of words, of clusters, of both, and of the tastes themselves."""
    random = np.random.default_rng([seed, 41])
    who, ads = random.integers(0, len(town.taste), samples), random.integers(0, ADS, samples)
    effects = random.normal(0, AD_SD, ADS) + random.normal(0, CROSS_SD, (TASTES, ADS))
    truth = 1.0 / (1.0 + np.exp(-(INTERCEPT + effects[town.taste[who], ads])))
    clicks = (random.random(samples) < truth).astype(np.float64)
    block = BLOCKS["interest"].size
    word_rows = 1 + np.asarray(town.words[:, :LIT_WORDS] * 2_654_435_761 % 2**32 % block)
    cluster_rows = 1 + block + cluster[:, None]
    taste_rows = 1 + block + town.taste[:, None]
    row_count = 1 + block + max(CLUSTERS, TASTES)
    columns = np.stack([np.zeros(samples, np.int64), 1 + ads], axis=1).astype(np.int32)
    space = Space(np.minimum(np.arange(row_count), 2).astype(np.int32), fields_of((ADS,)), 0.04)
    nothing = np.zeros((len(town.taste), 0), np.int64)
    ways = {
        "no audience rows": nothing,
        f"rows of the first {LIT_WORDS} words ({block} rows)": word_rows,
        "the cluster's row": cluster_rows,
        "both, as a node": np.concatenate([word_rows, cluster_rows], axis=1),
        "the hidden taste's row": taste_rows,
    }
    half = slice(samples // 2, None)
    ones = np.ones(samples)
    say(f"\n  {f'{samples:,} samples, {int(clicks.sum()):,} clicks; second half':44}{'NE':>12}{'AUC':>12}")
    best = measure(truth[half], ones[half], clicks[half])
    say(f"  {'the truth itself':44}{best.ne:>12.4f}{best.auc:>12.4f}")
    found = {}
    for name, rows in ways.items():
        lit = np.concatenate([np.zeros((samples, 1), np.int64), rows[who]], axis=1).astype(np.int32)
        learner = ftrl_learner(space)
        p = learner.learn(learner.fresh(), Samples(_distinct(lit), columns, ones, clicks))
        one = measure(p[half], ones[half], clicks[half])
        found[name] = one.ne or np.inf
        say(f"  {name:44}{one.ne:>12.4f}{one.auc:>12.4f}")
    words, cluster_ne = list(found.values())[1:3]
    say()
    return target("the cluster's row brings more than the words' rows", cluster_ne < words)


def _distinct(lit: NDArray[np.int32]) -> NDArray[np.int32]:
    """Light no row twice."""
    lit = np.sort(lit, axis=1)
    lit[:, 1:][lit[:, 1:] == lit[:, :-1]] = -1
    return filled_behind(lit)


def _drift(town: Town, centroids: NDArray[np.float64], seed: int) -> bool:
    """Turn a tenth of each taste's favourites at each round, and fit again, bounded and at will."""
    say(f"\n  {'tastes turn; people put elsewhere by':44}{'a fit':>12}{'at will':>12}{'distortion':>12}")
    most = 0.0
    for number in range(ROUNDS):
        turned = town.random.random(town.favoured.shape) < 0.1
        town.favoured = np.where(turned, town.random.integers(0, VOCABULARY, turned.shape), town.favoured)
        points = project_plain(
            [hashes_of(each, ()) for each in town.profiles(town.drawn(town.taste[:5_000]))]
        )
        wanted = clustering.fitted(points, centroids, seed + number)
        free = float((nearest_plain(points, wanted) != nearest_plain(points, centroids)).mean())
        fit = clustering.bounded(points, centroids, wanted, MOST_CHANGED)
        centroids = fit.centroids
        most = max(most, fit.changed)
        lost = clustering.distances(points, centroids).sum() / clustering.distances(points, wanted).sum()
        say(f"  {f'round {number + 1}':44}{fit.changed:>12.4f}{free:>12.4f}{lost:>12.3f}")
    say()
    return target(f"no fit changes more than {MOST_CHANGED:.0%}: {most:.2%}", most <= MOST_CHANGED)
