"""What kept a campaign's ads from winning in a stretch of time: its `Lost` lines, added up.

The journal's lines are read in a worker process; what was counted since the last line is added on the loop.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from app.domain.decisions import REASON_CODES
from app.domain.lines import Lost, decode
from app.flows.archived import archived_between, archived_losses
from app.flows.reporting import FROM_JOURNAL_MS, in_worker
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
    upto, archived_ms = node.state.position, node.now_ms() - FROM_JOURNAL_MS
    asked = campaign_id, from_ms, to_ms, upto, archived_ms
    told = await in_worker(node, run_funnel, node.settings.data, *asked)
    return dict(Counter(told) + Counter(now))


def run_funnel(
    data: Path, campaign_id: str, from_ms: int, to_ms: int, upto: int, archived_ms: int = 0
) -> dict[str, int]:
    """Add up a campaign's losses of the lines of [from_ms, to_ms) at or before a position.

    Whole hours before `archived_ms` are read from the archive, as far as it goes.
    Cost    a line a minute for each 400 campaigns; of the archive, a row for each campaign and reason.
    """
    reader = SqliteReader(data / "journal.db")
    try:
        first_ms, last_ms = archived_between(data, reader, from_ms, to_ms, archived_ms)
        losses = Counter(archived_losses(data, reader, campaign_id, first_ms, last_ms))
        for start_ms, end_ms in ((from_ms, first_ms), (last_ms, to_ms)):
            after, last = reader.position_at(start_ms - 1), min(upto, reader.position_at(end_ms - 1))
            for rows in reader.scan(after, last, ("lost",)):
                for _, _, body in rows:
                    line = decode(body)
                    assert isinstance(line, Lost)
                    losses.update(line.of(campaign_id))
    finally:
        reader.close()
    return dict(losses)
