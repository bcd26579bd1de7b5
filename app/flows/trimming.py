"""Trimming: lines that nobody can need any more leave the journal, once it is proven that nobody does.

Who may still need an old line, and until when:
  reports and funnels      two days, then the archive tells what it told (`reporting.FROM_JOURNAL_MS`)
  the archive              until its hour stands there, whole
  a start, a snapshot      as long as any snapshot that is kept lies before it: the newest may be damaged
  traces and what-ifs      the same: one snapshot an hour is kept for `ADJUDGE_TRACE_HOURS`
  refunds                  two days, then the archive gives the event back (`past`)
  clicks that wait         until their hour is archived: that waits for them
Verdicts and ids are no lines; they stay as long as a token lives. What is left open is bounded by days
(`ADJUDGE_JOURNAL_DAYS`), and before a line goes, the files that stand for it are read.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from app.domain.ids import DAY_MS, HOUR_MS
from app.flows.archived import archived_hours
from app.flows.reporting import in_worker
from app.journal import archive, snapshots
from app.journal.reader import SqliteReader

if TYPE_CHECKING:  # the worker needs a node's kernels only to look at snapshots
    from app.flows.node import Node

LOG = structlog.get_logger()
TRIM_S = 60.0
SLACK_MS = HOUR_MS  # a report that began with an older line may still be under way
READS = 8  # of snapshots, some of which may be replaced meanwhile
LEAST_SNAPSHOTS = 2  # one alone would be all that is left of what is trimmed


async def trim_forever(node: Node) -> None:
    """Trim what may go every minute, however far the archive is behind."""
    while True:
        try:
            await trim(node)
        except Exception as error:  # what fails now (a disk, most likely) may not in a minute
            LOG.error("trimming_failed", error=str(error))  # noqa: TRY400
        await asyncio.sleep(TRIM_S)


async def trim(node: Node) -> int:
    """Have the journal drop what nobody needs any more; tells the position up to which it is going.

    Where what is to stand for it is damaged nothing goes, and the log says why.
    Errors  Busy when no worker is left.
    """
    settings, journal = node.settings, node.journal
    node.counters.trimmed.set(journal.trimmed_through)
    if not (settings.archive and settings.journal_days):
        return journal.trim_upto
    before_ms = node.now_ms() - settings.journal_days * DAY_MS - SLACK_MS
    upto = await asyncio.to_thread(droppable, settings.data, before_ms)
    if upto > journal.trim_upto:
        flaw = await in_worker(node, prove, settings.data, settings.columns, upto, pool=node.archivers)
        if flaw:
            LOG.error("not_trimmed", upto=upto, reason=flaw)
            return journal.trim_upto
        journal.trim(upto)
        LOG.info("trimming", upto=upto)
    return journal.trim_upto


def droppable(data: Path, before_ms: int) -> int:
    """Tell the last position that is archived, from before a time, and behind every snapshot; by their names.

    0 where fewer than two snapshots are kept.
    """
    listed = [each.position for each in snapshots.listing(data / "snapshots") if each.reason is None]
    reader = SqliteReader(data / "journal.db")
    try:
        hours = [each for each in archived_hours(data, reader) if (each + 1) * HOUR_MS <= before_ms]
    finally:
        reader.close()
    if len(listed) < LEAST_SNAPSHOTS or not hours:
        return 0
    return min(*listed, archive.facts_of(data / "archive", hours[-1]).through_position)


# In the worker.


def prove(data: Path, columns: int, upto: int) -> str:
    """Read what is to stand for the lines up to a position: the archive's hours, two snapshots.

    Returns what is wrong with it; nothing, where all is well.
    Cost    reading two snapshots, with a state to take each; a footer for each part of an hour.
    """
    reader = SqliteReader(data / "journal.db")
    try:
        trimmed, hours = reader.trimmed_through, archived_hours(data, reader)
    finally:
        reader.close()
    return _flaw_of_archive(data / "archive", hours, trimmed, upto) or _flaw_of_snapshots(
        data / "snapshots", columns, upto
    )


def _flaw_of_archive(folder: Path, hours: list[int], trimmed: int, upto: int) -> str:
    """Hold each hour of lines that are to go against what it says it holds; together they leave none out."""
    reached = trimmed
    for hour in hours:
        try:
            facts = archive.facts_of(folder, hour)
            if facts.through_position <= trimmed:
                continue
            sound = facts.after_position <= reached and archive.rows_of(folder, hour) == facts.rows
        except (OSError, ValueError) as error:
            return f"{archive.path_of(folder, hour)}: {error}"
        if not sound:
            return f"{archive.path_of(folder, hour)} does not hold what it says"
        reached = facts.through_position
        if reached >= upto:
            return ""
    return f"the archive reaches to {reached}, not to {upto}"


def _flaw_of_snapshots(folder: Path, columns: int, upto: int) -> str:
    """Come up from the oldest and from the newest snapshot, as a node would.

    One that is gone by the time it is read was replaced by a later one, and another is looked at.
    """
    from app.flows.snapshotting import restored

    proven: set[Path] = set()
    for _ in range(READS):
        listed = [each for each in snapshots.listing(folder) if each.reason is None]
        if len(listed) < LEAST_SNAPSHOTS or listed[-1].position < upto:
            return f"fewer than {LEAST_SNAPSHOTS} snapshots are kept, or none reaches back to {upto}"
        unread = [each.path for each in (listed[-1], listed[0]) if each.path not in proven]
        if not unread:
            return ""
        try:
            restored(unread[0], columns)
        except snapshots.Damaged as error:
            if (unread[0] / snapshots.MANIFEST).exists():
                return f"{unread[0].name}: {error.reason}"
        else:
            proven.add(unread[0])
    return "snapshots are replaced faster than they are read"
