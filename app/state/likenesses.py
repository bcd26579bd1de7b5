"""What makes a person like the people of an audience: a line's weights of a profile's vector, or clusters.

Who is alike is worked out when somebody asks for ads, and written into that request: it is kept of nobody.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.domain.ids import HOUR_MS
from app.domain.lines import Likened
from app.domain.requests import Person
from app.rules.features import BLOCKS
from app.rules.projection_plain import PROJECTION
from app.state.clusters import MEMORY, Clusters

Told = tuple[tuple[str, ...], tuple[str, ...]]


class Likenesses:
    """The last likeness of each look-alike audience."""

    def __init__(self, clusters: Clusters) -> None:
        self.lines: dict[str, Likened] = {}
        self._clusters = clusters
        self._known: dict[Told, tuple[str, ...]] = {}
        self._known_ms = -1  # of which clusters

    def take(self, line: Likened) -> None:
        """Take a likeness in place of the one before: none without a way (`by`), or of another projection."""
        if line.by and line.projection == PROJECTION:
            self.lines[line.audience_id] = line
        else:
            self.lines.pop(line.audience_id, None)
        self._known.clear()

    def expire(self, before_hour: int) -> None:
        """Let go of what was found before an hour (since 1970)."""
        for audience_id in [key for key, each in self.lines.items() if each.at_ms // HOUR_MS < before_hour]:
            del self.lines[audience_id]
            self._known.clear()

    def of(self, person: Person) -> tuple[str, ...]:
        """Name the look-alike audiences that a person belongs to, by the words told of them.

        Cost    under a microsecond for a profile met lately, else some 10 us and 1 us for each audience.
        """
        if not self.lines or not (person.interests or person.segments):
            return ()
        if self._known_ms != self._clusters.at_ms or len(self._known) >= MEMORY:
            self._known.clear()
            self._known_ms = self._clusters.at_ms
        told = person.interests, person.segments
        found = self._known.get(told)
        if found is None:
            vector, row = self._clusters.vector(*told), self._clusters.row_of_person(person)
            cluster = row - BLOCKS["cluster"].start
            found = self._known[told] = tuple(
                key for key, line in sorted(self.lines.items()) if _is_alike(line, vector, cluster)
            )
        return found

    def parts(self) -> list[Likened]:
        """Copy everything."""
        return [line for _, line in sorted(self.lines.items())]

    def restore(self, parts: Any) -> None:
        """Take back what `parts` copied."""
        self.lines.clear()
        for line in msgspec.convert(parts, list[Likened]):
            self.take(line)


def _is_alike(line: Likened, vector: NDArray[np.float64], cluster: int) -> bool:
    if line.by == "cluster":
        return cluster in line.clusters
    weights = np.frombuffer(line.weights, dtype="<f4").astype(np.float64)
    return bool(vector.any()) and float(vector @ weights) >= line.threshold
