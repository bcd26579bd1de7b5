"""What a worker finds out of who is like the people of a list, from their profiles and a sample of decisions.

A plain function of its arguments and files. Fewer than `least_people` members with a profile, or alike in the
sample, and nothing is found: nobody is like a few people.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from app.domain.catalogue import Lookalike
from app.domain.lines import Likened
from app.domain.requests import USER_KEY_BYTES
from app.flows.grouping import SAMPLE, Seen
from app.journal.decisions import DecisionReader
from app.journal.lists import read_list
from app.rules import likeness
from app.rules.projection_plain import DIMENSIONS, PROJECTION, Hashes, hashes_of, nearest_plain, project_plain

Words = tuple[tuple[str, ...], tuple[str, ...]]


class Seed(Struct, frozen=True, kw_only=True):
    """A look-alike audience, the list that it is to be like, and the stored profiles of some in that list."""

    audience_id: str
    lookalike: Lookalike
    list_name: str
    profiles: list[tuple[bytes, Words]]


class Likening(Struct, frozen=True, kw_only=True):
    """What is to be found. Shape: centroids as in a `Clustered` line."""

    at_ms: int
    seeds: list[Seed]
    centroids: bytes
    least_people: int
    seed: int


def run_likening(data: Path, folder: Path, packed: bytes) -> bytes:
    """Sample the decisions, and find a likeness for each seed."""
    asked = msgspec.msgpack.decode(packed, type=Likening)
    reader = DecisionReader(data / "decisions.db")
    try:
        seen = Seen(reader.sample(SAMPLE, seed=asked.seed))
    finally:
        reader.close()
    everybody = project_plain(seen.profiles())
    everybody = everybody[everybody.any(axis=1)]
    flat = np.frombuffer(asked.centroids, dtype="<f4").astype(np.float64)
    centroids = flat.reshape(-1, DIMENSIONS)
    found = [_found(asked, seed, _members(folder, seed, seen), everybody, centroids) for seed in asked.seeds]
    return msgspec.msgpack.encode(found)


def _members(folder: Path, seed: Seed, seen: Seen) -> NDArray[np.float64]:
    """Project the members: those seen lately as they were then, others as their stored profiles say."""
    members: dict[bytes, Hashes] = {key: hashes_of(*words) for key, words in seed.profiles}
    try:
        listed = np.frombuffer(read_list(folder, seed.list_name), f"S{USER_KEY_BYTES}")
    except (OSError, ValueError):
        listed = np.zeros(0, f"S{USER_KEY_BYTES}")
    keys = seen.keys()
    asking = np.array(keys, dtype=f"S{USER_KEY_BYTES}") if keys else listed[:0]
    among = np.isin(asking, listed)
    members |= {key: seen.profile(key) for key, is_in in zip(keys, among.tolist(), strict=True) if is_in}
    points = project_plain(list(members.values()))
    return points[points.any(axis=1)]


def _found(
    asked: Likening, seed: Seed, members: NDArray[np.float64], everybody: NDArray[np.float64],
    centroids: NDArray[np.float64],
) -> Likened:  # fmt: skip
    nothing = Likened(at_ms=asked.at_ms, audience_id=seed.audience_id, members=0, sampled=len(everybody))
    if min(len(members), len(everybody)) < asked.least_people:
        return nothing
    reach = seed.lookalike.reach
    if seed.lookalike.by == "cluster":
        assigned = nearest_plain(everybody, centroids)
        chosen = likeness.clusters_of(nearest_plain(members, centroids), assigned, len(centroids), reach)
        people = int(np.isin(assigned, chosen).sum())
        found = Likened(
            at_ms=asked.at_ms, audience_id=seed.audience_id, by="cluster", clusters=tuple(chosen.tolist()),
            members=len(members), people=people, sampled=len(everybody), projection=PROJECTION,
        )  # fmt: skip
    else:
        model = likeness.modelled(members, everybody, reach)
        people = int((everybody @ model.weights >= model.threshold).sum())
        found = Likened(
            at_ms=asked.at_ms, audience_id=seed.audience_id, by="model",
            weights=model.weights.astype("<f4").tobytes(), threshold=model.threshold, auc=model.auc,
            members=len(members), people=people, sampled=len(everybody), projection=PROJECTION,
        )  # fmt: skip
    return found if people >= asked.least_people else nothing
