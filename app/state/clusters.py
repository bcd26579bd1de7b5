"""Clusters of alike people and of alike placements, each of which is a row of the model.

A person's cluster is worked out for each request, from the words that the request (with the stored profile)
tells; nobody's cluster is kept. A placement's is looked up. Both change by lines alone (`Clustered`). The
centroids of another projection say nothing of anybody: people have no cluster then until they are told anew.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.domain.lines import Clustered
from app.domain.requests import Person
from app.rules.features import BLOCKS
from app.rules.projection import nearest, project
from app.rules.projection_plain import DIMENSIONS, PROJECTION, hashed

MEMORY = 65_536  # profiles whose cluster is remembered; the same visitors come again
_NO_VECTOR: NDArray[np.float64] = np.zeros(DIMENSIONS)


class Clusters:
    """Centroids of people, and the cluster of each placement that has one.

    Shape   centroids (k, DIMENSIONS) float64; people (k,) how many of the last sample each stands for, 0
            where they were too few to be told: such a cluster lights no row.
    """

    def __init__(self) -> None:
        self.centroids: NDArray[np.float64] = np.zeros((0, DIMENSIONS))
        self.people: tuple[int, ...] = ()
        self.placements: dict[str, int] = {}
        self.at_ms = 0
        self.sampled = 0
        self.changed = 0.0  # share of the sample's people whose cluster became another one, at the last line
        self.placements_changed = 0.0
        self._half_squares: NDArray[np.float64] = np.zeros(0)
        self._known: dict[tuple[tuple[str, ...], tuple[str, ...]], int] = {}
        self._scratch = np.zeros(DIMENSIONS)

    @property
    def lit(self) -> int:
        """How many clusters of people light a row."""
        return sum(1 for count in self.people if count)

    def row_of_person(self, person: Person) -> int:
        """Find the row of a person's cluster; 0 for none.

        Cost    a fraction of a microsecond for a profile met lately, else some 10 us.
        """
        if not self.people or not (person.interests or person.segments):
            return 0
        told = person.interests, person.segments
        row = self._known.get(told)
        if row is None:
            if len(self._known) >= MEMORY:
                self._known.clear()
            row = self._known[told] = self._find(*told)
        return row

    def row_of_placement(self, placement_id: str) -> int:
        """Find the row of a placement's cluster; 0 for none."""
        at = self.placements.get(placement_id)
        return 0 if at is None else BLOCKS["placement_cluster"].start + at

    def vector(self, interests: tuple[str, ...], segments: tuple[str, ...]) -> NDArray[np.float64]:
        """Project a profile; good until the next call."""
        project(hashed(interests, segments), self._scratch)
        return self._scratch

    def _find(self, interests: tuple[str, ...], segments: tuple[str, ...]) -> int:
        at = nearest(self.vector(interests, segments), self.centroids, self._half_squares)
        return BLOCKS["cluster"].start + at if at >= 0 and self.people[at] else 0

    def take(self, line: Clustered) -> None:
        """Take new clusters: all centroids of people, and those placements whose cluster is another one."""
        ours = line.projection == PROJECTION
        self._take_people(line.centroids if ours else b"", line.people if ours else ())
        for placement_id, at in line.placements:
            if at < 0:
                self.placements.pop(placement_id, None)
            else:
                self.placements[placement_id] = at
        self.at_ms, self.sampled = line.at_ms, line.sampled
        self.changed, self.placements_changed = line.changed, line.placements_changed

    def _take_people(self, centroids: bytes, people: tuple[int, ...]) -> None:
        flat = np.frombuffer(centroids, dtype="<f4").astype(np.float64)
        self.centroids = flat.reshape(-1, DIMENSIONS)
        self.people = tuple(people)
        self._half_squares = 0.5 * (self.centroids**2).sum(axis=1)
        self._known.clear()

    def effect(self) -> bytes:
        """Tell what there is, for the running hash."""
        return struct.pack("<qdd", self.sampled, float(self._half_squares.sum()), self.changed)

    def parts(self) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Copy everything: the centroids, and the rest in plain values."""
        return self.centroids.astype(np.float32), {
            "people": self.people, "placements": sorted(self.placements.items()), "at_ms": self.at_ms,
            "sampled": self.sampled, "changed": self.changed, "placements_changed": self.placements_changed,
            "projection": PROJECTION,
        }  # fmt: skip

    def packed(self) -> bytes:
        """Write the centroids as a line has them."""
        return self.centroids.astype("<f4").tobytes()

    def restore(self, centroids: NDArray[np.float32], rest: dict[str, Any]) -> None:
        """Take back what `parts` copied."""
        if rest.get("projection", 1) == PROJECTION:
            self._take_people(np.ascontiguousarray(centroids, dtype="<f4").tobytes(), tuple(rest["people"]))
        self.placements = dict(rest["placements"])
        for name in ("at_ms", "sampled", "changed", "placements_changed"):
            setattr(self, name, rest[name])

    def check(self) -> None:
        """Every cluster has a row, and every centroid a count."""
        assert len(self.people) == len(self.centroids) <= BLOCKS["cluster"].size
        assert all(0 <= at < BLOCKS["placement_cluster"].size for at in self.placements.values())
