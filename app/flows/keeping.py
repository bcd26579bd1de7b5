"""What is kept only so long: once a minute, whatever belongs to a person and is too old is taken away.

The fold forgets by itself, at ticks. Here go the lines' user keys, old decisions, lists and secrets.
"""

from __future__ import annotations

import asyncio

import structlog

from app.domain.ids import DAY_MS
from app.flows.audiences import refresh
from app.flows.node import Node
from app.flows.paths import forget_touches
from app.journal import snapshots

LOG = structlog.get_logger()
KEEP_S = 60.0


async def keep(node: Node) -> None:
    """Take away what is older than the retention. The journal and the decisions do it on their own threads.

    Lines are wiped up to the oldest snapshot alone: those behind it may be folded again, and must read alike.
    """
    now_ms = node.now_ms()
    before_ms = now_ms - node.settings.retention_days * DAY_MS
    if node.user_keys.due(now_ms):
        await asyncio.to_thread(node.user_keys.renew, now_ms)
    await refresh(node)
    node.decisions.forget(before_ms)
    window_ms = node.settings.attribution_days * DAY_MS if node.settings.archive else 0
    await asyncio.to_thread(forget_touches, node.settings.data, now_ms - window_ms)
    upto = await asyncio.to_thread(_wipeable, node, before_ms)
    node.journal.wipe(upto)


def _wipeable(node: Node, before_ms: int) -> int:
    listed = snapshots.listing(node.settings.data / "snapshots")
    oldest = min((each.position for each in listed if each.reason is None), default=0)
    return min(oldest, node.journal.position_at(before_ms))


async def keep_forever(node: Node) -> None:
    """Do so every minute."""
    while True:
        try:
            await keep(node)
        except Exception as error:  # what fails now (a disk, most likely) may not in a minute
            LOG.error("keeping_failed", error=str(error))  # noqa: TRY400
        await asyncio.sleep(KEEP_S)
