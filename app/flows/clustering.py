"""From time to time, clusters of alike people and placements are fitted anew to who asked lately.

A worker fits; what it finds enters the fold by a line, so that every node and every trace has the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import msgspec
import structlog

from app.domain.catalogue import Placement
from app.domain.lines import Clustered
from app.flows.grouping import Clustering, run_grouping
from app.flows.lookalikes import liken
from app.flows.node import Node
from app.flows.reporting import in_worker
from app.rules.projection_plain import PROJECTION

LOG = structlog.get_logger()
FIRST_S = 30.0  # a node that has no clusters yet looks this often whether it can have some


async def cluster(node: Node) -> Clustered | None:
    """Fit the clusters anew; in force when it returns. None where nothing changed.

    Cost    a second or two of a worker. Errors  Busy when no worker is left, or the journal is full.
    """
    settings, clusters = node.settings, node.state.clusters
    if not settings.clusters:
        return await _without_clusters(node)
    await asyncio.to_thread(node.decisions.flush)
    asked = Clustering(
        at_ms=node.now_ms(),
        centroids=clusters.packed(), count=settings.clusters, placement_count=settings.placement_clusters,
        most_changed=settings.clusters_most_changed, least_people=settings.k_anonymity,
        placements={each.id: tuple(_words_of(each)) for each in _placements(node)},
        placement_clusters=dict(clusters.placements), seed=node.state.position,
    )  # fmt: skip
    packed = msgspec.msgpack.encode(asked)
    found = await in_worker(node, run_grouping, settings.data, packed)
    line = msgspec.structs.replace(msgspec.msgpack.decode(found, type=Clustered), at_ms=node.now_ms())
    if not line.placements and line.centroids == asked.centroids and line.people == clusters.people:
        return None
    await node.submit(line)
    return line


async def _without_clusters(node: Node) -> Clustered | None:
    """Let go of the clusters that an earlier setting made."""
    clusters = node.state.clusters
    if not clusters.people and not clusters.placements:
        return None
    gone = tuple((placement_id, -1) for placement_id in sorted(clusters.placements))
    line = Clustered(at_ms=node.now_ms(), placements=gone, projection=PROJECTION)
    await node.submit(line)
    return line


async def cluster_forever(node: Node) -> None:
    """Do so every so often; what fails now may not the next time."""
    while True:
        try:
            line = await cluster(node)
            await liken(node)
            if line is not None:
                told: dict[str, Any] = {
                    "clusters": node.state.clusters.lit,
                    "changed": round(line.changed, 4),
                }
                LOG.info("clustered", sampled=line.sampled, placements=len(line.placements), **told)
        except Exception as error:
            LOG.error("clustering_failed", error=str(error))  # noqa: TRY400
        every_s = float(node.settings.clusters_every_s)
        await asyncio.sleep(every_s if node.state.clusters.people else min(FIRST_S, every_s))


def _placements(node: Node) -> Iterator[Placement]:
    for thing in node.state.catalogue.things["placement"].values():
        if isinstance(thing, Placement) and thing.status != "archived":
            yield thing


def _words_of(placement: Placement) -> Iterator[str]:
    """Say in words what kind of place it is; whose it is has a row of its own."""
    yield from (f"category:{code}" for code in placement.categories)
    yield from (f"size:{width}x{height}" for width, height in placement.sizes)
    yield from (f"format:{name}" for name in placement.formats)
