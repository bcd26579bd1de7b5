"""Folders: their entries made durable, and written by one process at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Make what was created and renamed in a folder durable.

    Errors  OSError when the disk refuses.
    """
    with _opened(folder) as descriptor:
        os.fsync(descriptor)


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Wait until no other process writes in a folder, which is made where it is missing, and keep it so.

    A worker outlives its killed node by a moment, and the next node's worker may be there by then. The
    system lets go of the folder with its process, however that ends. It holds against a second opening in
    the same process too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _opened(folder) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
