"""What a worker makes of a sample of the kept decisions: clusters of alike people, and of alike placements.

A plain function of its arguments and the decisions' file; it needs no kernels and no state. Nothing that it
hands back is one person's: a cluster of fewer than `least_people` is not told of.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from app.domain.decisions import Record
from app.domain.lines import Clustered
from app.domain.requests import MAX_LIT_VALUES
from app.journal.decisions import DecisionReader
from app.rules import clustering
from app.rules.projection_plain import DIMENSIONS, PROJECTION, Hashes, hash_of, hashes_of, project_plain, unit

SAMPLE = 20_000  # decisions: some seconds of a worker
LEAST_SEEN = 10  # decisions of a placement in the sample, before it is compared with others
PLACEMENTS_PER_CLUSTER = 4
PEOPLE_PER_CLUSTER = 2  # times the least a cluster must have
F64 = NDArray[np.float64]


class Clustering(Struct, frozen=True, kw_only=True):
    """What there is, and what is wanted.

    Shape   centroids as in a `Clustered` line; placements: the words of each one's catalogue entry;
            placement_clusters: those that have one already.
    """

    at_ms: int
    centroids: bytes
    count: int
    placement_count: int
    most_changed: float
    least_people: int
    placements: dict[str, tuple[str, ...]]
    placement_clusters: dict[str, int]
    seed: int


def run_grouping(data: Path, packed: bytes) -> bytes:
    """Sample the decisions and cluster them."""
    asked = msgspec.msgpack.decode(packed, type=Clustering)
    reader = DecisionReader(data / "decisions.db")
    try:
        seen = Seen(reader.sample(SAMPLE, seed=asked.seed))
    finally:
        reader.close()
    return msgspec.msgpack.encode(grouped(asked, seen))


def grouped(asked: Clustering, seen: Seen) -> Clustered:
    """Go on from the clusters there are to those of what was seen."""
    points, before = project_plain(seen.profiles()), _centroids(asked.centroids)[: asked.count]
    points = points[points.any(axis=1)]
    told = _group_people(asked, points, before)
    return _group_placements(asked, seen, told)


def _group_people(asked: Clustering, points: F64, before: F64) -> Clustered:
    wanted = min(asked.count, len(points) // (PEOPLE_PER_CLUSTER * asked.least_people))
    if not len(points) or (wanted < 2 and not len(before)):  # too few to tell of anybody
        nobody = (0,) * len(before)
        return Clustered(
            at_ms=asked.at_ms,
            centroids=asked.centroids,
            people=nobody,
            sampled=len(points),
            projection=PROJECTION,
        )
    if wanted < min(2 * len(before), asked.count):  # in leaps, since each tells many people apart anew
        wanted = len(before)
    after = clustering.grown(points, before, wanted, asked.seed)
    fit = clustering.bounded(points, before, after, asked.most_changed)
    counts = np.bincount(fit.assigned, minlength=len(fit.centroids))
    return Clustered(
        at_ms=asked.at_ms,
        centroids=fit.centroids.astype("<f4").tobytes(), sampled=len(points), changed=fit.changed,
        people=tuple(int(count) if count >= asked.least_people else 0 for count in counts),
        projection=PROJECTION,
    )  # fmt: skip


def _group_placements(asked: Clustering, seen: Seen, told: Clustered) -> Clustered:
    known = [name for name, count in sorted(seen.asked.items()) if count >= LEAST_SEEN]
    count = min(asked.placement_count, len(known) // PLACEMENTS_PER_CLUSTER)
    was = np.array([asked.placement_clusters.get(name, -1) for name in known], dtype=np.int64)
    highest = int(was.max(initial=-1)) + 1
    if count < 2 and not highest:
        return told
    points = seen.of_placements(known, asked.placements)
    before = clustering.means(points, was, highest)
    if count < min(2 * highest, asked.placement_count):
        count = highest
    fit = clustering.grown(points, before, max(count, highest), asked.seed)
    now = clustering.moved_within(points, was, fit, asked.most_changed if highest == len(fit) else 1.0)
    moved = [(name, int(at)) for name, at, old in zip(known, now, was, strict=True) if at != old]
    others = int(((was >= 0) & (now != was)).sum())
    return msgspec.structs.replace(
        told, placements=tuple(moved), placements_changed=others / max(1, int((was >= 0).sum()))
    )


class Seen:
    """The people and placements of some decisions. Who sends no id is somebody else each time."""

    def __init__(self, records: Iterable[Record]) -> None:
        self.asked: dict[str, int] = {}
        self._profiles: dict[bytes, Hashes] = {}
        self._nobodys: list[Hashes] = []
        self._words: dict[str, dict[int, int]] = {}
        self._audience: dict[str, dict[int, int]] = {}
        self._former: dict[bytes, bytes] = {}
        for record in records:
            self._see(record)

    def _see(self, record: Record) -> None:
        person, place = record.request.person, record.request.surroundings
        profile: Hashes = ()
        if person is not None:
            profile = hashes_of(person.interests, person.segments)
            if person.key is None:
                self._nobodys.append(profile)
            else:
                self._profiles[person.key] = profile
                if person.former_key is not None:
                    self._former[person.former_key] = person.key
        words = [hash_of("category", code) for code in place.site_category[:MAX_LIT_VALUES]]
        words += [
            hash_of(field, told) for field, told in (("device", place.device), ("os", place.os)) if told
        ]
        for placed in record.choice.placed:
            if placed.code == "unknown_placement":
                continue
            name = placed.placement_id
            self.asked[name] = self.asked.get(name, 0) + 1
            for counts, told_words in ((self._words, words), (self._audience, profile)):
                of = counts.setdefault(name, {})
                for word in told_words:
                    of[word] = of.get(word, 0) + 1

    def keys(self) -> list[bytes]:
        """List the keys of those whose words are known."""
        return sorted(key for key, words in self._profiles.items() if words)

    def profile(self, key: bytes) -> Hashes:
        """Tell somebody's words."""
        return self._profiles[key]

    def profiles(self) -> list[Hashes]:
        """List everybody's words; somebody with two keys is there once."""
        apart = [words for key, words in self._profiles.items() if key not in self._former]
        return [words for words in apart + self._nobodys if words]

    def of_placements(self, names: list[str], catalogue: dict[str, tuple[str, ...]]) -> F64:
        """Describe placements by what the catalogue says, on what pages they stand, and who comes there."""
        told = [tuple(hash_of("place", word) for word in catalogue.get(name, ())) for name in names]
        parts = [project_plain(told)]
        parts += [
            unit(np.array([_summed(counts.get(name, {})) for name in names]))
            for counts in (self._words, self._audience)
        ]
        return unit(np.sum(parts, axis=0))


def _summed(counts: dict[int, int]) -> F64:
    if not counts:
        return np.zeros(DIMENSIONS)
    one_by_one = project_plain([(word,) for word in counts])
    return np.asarray(np.array(list(counts.values()), dtype=np.float64) @ one_by_one)


def _centroids(packed: bytes) -> F64:
    return np.frombuffer(packed, dtype="<f4").astype(np.float64).reshape(-1, DIMENSIONS)
