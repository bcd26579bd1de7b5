"""Look-alike audiences: those like the people of a list, found in a worker and told to the fold by a line."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import msgspec
import numpy as np
import structlog

from app.domain.catalogue import Audience
from app.domain.lines import Likened
from app.domain.requests import USER_KEY_BYTES, Person
from app.flows.audiences import FOLDER, is_targetable
from app.flows.likening import Likening, Seed, Words, run_likening
from app.flows.node import Node
from app.flows.reporting import in_worker
from app.journal.lists import read_list

LOG = structlog.get_logger()
MOST_PROFILES = 2_000  # of a list's people, stored ones: spread evenly over it
SLICE = 500


def lookalikes_of(node: Node, person: Person) -> tuple[str, ...]:
    """Name the look-alike audiences in use that a person, completed by their profile, belongs to."""
    alike = node.state.likenesses.of(person)
    return tuple(name for name in alike if in_use(node, name)) if alike else ()


def in_use(node: Node, audience_id: str) -> bool:
    """Say whether a look-alike audience may be targeted: found, active, and so is the list it is like."""
    audience = node.state.catalogue.get("audience", audience_id)
    if not isinstance(audience, Audience) or audience.lookalike is None or audience.status != "active":
        return False
    return audience_id in node.state.likenesses.lines and is_targetable(node, audience.lookalike.of)


async def liken(node: Node) -> list[Likened]:
    """Find anew who is like whom; in force when it returns.

    Cost    a second or two of a worker. Errors  Busy when no worker is left, or the journal is full.
    """
    seeds = [await _seed(node, audience) for audience in _wanted(node)]
    named = {seed.audience_id for seed in seeds}
    gone = [key for key in sorted(node.state.likenesses.lines) if key not in named]
    lines = [Likened(at_ms=node.now_ms(), audience_id=key) for key in gone]
    if seeds:
        await asyncio.to_thread(node.decisions.flush)
        state, data = node.state, node.settings.data
        asked = Likening(
            at_ms=node.now_ms(), seeds=seeds, centroids=state.clusters.packed(),
            least_people=node.settings.k_anonymity, seed=state.position,
        )  # fmt: skip
        packed = await in_worker(node, run_likening, data, data / FOLDER, msgspec.msgpack.encode(asked))
        found = msgspec.msgpack.decode(packed, type=list[Likened])
        told = [each for each in found if each.by or each.audience_id in state.likenesses.lines]
        lines += [msgspec.structs.replace(each, at_ms=node.now_ms()) for each in told]
    await node.submit_many(lines)
    return lines


def _wanted(node: Node) -> Iterator[Audience]:
    for _, audience in sorted(node.state.catalogue.things["audience"].items()):
        assert isinstance(audience, Audience)
        usable = audience.lookalike is not None and is_targetable(node, audience.lookalike.of)
        if usable and audience.status == "active":
            yield audience


async def _seed(node: Node, audience: Audience) -> Seed:
    """Look up the stored profiles of a list's people, in slices of a millisecond."""
    assert audience.lookalike is not None
    listed = node.state.audiences.lists[audience.lookalike.of]
    try:
        content = await asyncio.to_thread(read_list, node.settings.data / FOLDER, listed.name)
    except (OSError, ValueError) as error:
        LOG.error("list_refused", audience=audience.lookalike.of, reason=str(error))  # noqa: TRY400
        content = b""
    count = len(content) // USER_KEY_BYTES
    profiles: list[tuple[bytes, Words]] = []
    for number, at in enumerate(np.unique(np.linspace(0, count - 1, min(count, MOST_PROFILES), dtype=int))):
        key = content[at * USER_KEY_BYTES : (at + 1) * USER_KEY_BYTES]
        profile = node.state.people.profile(key)
        if profile is not None and (profile.interests or profile.segments):
            profiles.append((key, (profile.interests, profile.segments)))
        if number % SLICE == SLICE - 1:
            await asyncio.sleep(0)
    return Seed(
        audience_id=audience.id, lookalike=audience.lookalike, list_name=listed.name, profiles=profiles
    )
