"""How much room and rest the journal has: looked at now and then, for `/metrics`."""

from __future__ import annotations

import os
from contextlib import suppress

from app.flows.node import Node


def look_at_room(node: Node) -> None:
    """Measure the journal's file, what waits for it, and the disk's room. Cost: three system calls, 10 us."""
    counters, data = node.counters, node.settings.data
    counters.journal_waiting.set(node.journal.waiting)
    size = 0
    for name in ("journal.db", "journal.db-wal"):
        with suppress(FileNotFoundError):
            size += (data / name).stat().st_size
    counters.journal_bytes.set(size)
    disk = os.statvfs(data)
    counters.disk_free.set(disk.f_bavail * disk.f_frsize)
    counters.disk_size.set(disk.f_blocks * disk.f_frsize)
