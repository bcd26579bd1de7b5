"""How a node itself is: journal, disk, snapshots and memory, for whoever runs it. Nothing here decides."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from app.flows.node import Node
from app.journal.snapshots import listing
from app.state.calibration import WHOLE

LATE_SNAPSHOT = 3  # times its interval: so old, something keeps snapshots from being made


class Kept(Struct, frozen=True):
    """A snapshot on the disk; `damage` says why it is refused, if it is. Units: ms, bytes."""

    position: int
    made_at_ms: int
    size: int
    damage: str | None = None


class Health(Struct, frozen=True):
    """What stands now. Units: bytes, seconds, ms. `wrong` says in words what needs a person."""

    position: int
    waiting_lines: int
    journal_bytes: int
    disk_free: int
    disk_size: int
    resident_bytes: int
    trimmed_through: int
    records_lost: int
    wrong: tuple[str, ...]


def health_of(node: Node) -> Health:
    """Look at the node. Cost: a handful of system calls, 50 us; the disk is not read."""
    data = node.settings.data
    disk = os.statvfs(data)
    free, size = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
    return Health(
        position=node.state.position, waiting_lines=node.journal.waiting,
        journal_bytes=sum(_size(data / name) for name in ("journal.db", "journal.db-wal")),
        disk_free=free, disk_size=size, resident_bytes=_resident(),
        trimmed_through=node.journal.trimmed_through, records_lost=node.decisions.lost,
        wrong=tuple(_wrong(node, free / size if size else 1.0)),
    )  # fmt: skip


def _wrong(node: Node, free: float) -> list[str]:
    told = []
    if node.missing:
        told.append(f"Not ready: it waits for {', '.join(sorted(node.missing))}.")
    if node.stopping:
        told.append("Stopping: load balancers send it nobody any more.")
    if free < 0.1:
        told.append(f"The disk has {100 * free:.1f} % free; when it is full, events are refused.")
    if WHOLE in node.state.silence.silent():
        told.append("No clicks come any more: impressions are held from learning until one does.")
    if node.decisions.lost:
        told.append(f"{node.decisions.lost:,} decision records were lost: their traces cannot be told.")
    return told


async def snapshots_of(node: Node) -> list[Kept]:
    """List the snapshots, newest first. The disk is read on another thread."""
    found = await asyncio.to_thread(listing, node.settings.data / "snapshots")
    return [Kept(one.position, int(one.facts.get("at_ms", 0)), one.size, one.reason) for one in found]


def is_late(node: Node, kept: list[Kept]) -> bool:
    """Say whether the newest sound snapshot is too old for what was written since, by a node that runs."""
    sound = [one for one in kept if one.damage is None]
    if not sound:
        return False  # a node that began just now, and one without lines, need none
    age_s = (node.now_ms() - max(sound[0].made_at_ms, node.telemetry.since_ms or 0)) / 1000
    behind = node.state.position - sound[0].position
    return behind > 0 and age_s > LATE_SNAPSHOT * node.settings.snapshot_every_s


def _size(path: Path) -> int:
    with suppress(FileNotFoundError):
        return path.stat().st_size
    return 0


def _resident() -> int:
    """Tell the memory that this process holds; 0 where the system does not say."""
    with suppress(OSError, ValueError, IndexError):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    return 0
