"""What kept a campaign's ads from winning in a stretch of time: its `Lost` lines, added up.

The journal's lines are read in a worker process; what was counted since the last line is added on the loop.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from app.domain.decisions import REASON_CODES
from app.domain.lines import Lost, decode
from app.flows.reporting import in_worker
from app.journal.reader import SqliteReader

if TYPE_CHECKING:  # the workers need the words of this file, not a node's kernels
    from app.flows.node import Node


async def funnel(node: Node, campaign_id: str, from_ms: int, to_ms: int) -> dict[str, int]:
    """Count, by reason, the ads of a campaign that lost an auction in [from_ms, to_ms).

    A minute's losses are those of the line that ends it; the present minute's are told where `to_ms` lies
    ahead.

    Errors  Busy when no worker is left.
    """
    now: dict[str, int] = {}
    if from_ms <= node.now_ms() < to_ms:
        at = node.state.catalogue.campaign_index[campaign_id]
        counts = node.chooser.losers.drain()
        losses = counts[:, at].tolist() if at < counts.shape[1] else []
        now = {code: count for code, count in zip(REASON_CODES, losses, strict=False) if count}
    upto = node.state.position
    told = await in_worker(node, run_funnel, node.settings.data, campaign_id, from_ms, to_ms, upto)
    return dict(Counter(told) + Counter(now))


def run_funnel(data: Path, campaign_id: str, from_ms: int, to_ms: int, upto: int) -> dict[str, int]:
    """Add up a campaign's losses of the lines of [from_ms, to_ms) at or before a position.

    Cost    a line a minute for each 400 campaigns.
    """
    reader = SqliteReader(data / "journal.db")
    losses: Counter[str] = Counter()
    try:
        after, last = reader.position_at(from_ms - 1), min(upto, reader.position_at(to_ms - 1))
        for rows in reader.scan(after, last, ("lost",)):
            for _, _, body in rows:
                line = decode(body)
                assert isinstance(line, Lost)
                losses.update(line.of(campaign_id))
    finally:
        reader.close()
    return dict(losses)
