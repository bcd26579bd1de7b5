"""Uploaded lists as files, each named by the sha256 of its content: written whole, checked when read."""

from __future__ import annotations

import os
from collections.abc import Collection
from hashlib import sha256
from pathlib import Path

from app.journal.folders import sync_folder


def write_list(folder: Path, name: str, content: bytes | bytearray) -> None:
    """Write a list durably, readable by its owner alone; one that is there already stays as it is."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    if path.exists():
        return
    making = folder / f"making-{name}"
    handle = os.open(making, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    making.replace(path)
    sync_folder(folder)


def read_list(folder: Path, name: str) -> bytes:
    """Read a list.

    Errors  OSError when it is not there; ValueError when it is not what its name says.
    """
    content = (folder / name).read_bytes()
    if sha256(content).hexdigest() != name:
        raise ValueError(f"{name} is damaged")
    return content


def remove_lists(folder: Path, kept: Collection[str]) -> None:
    """Remove every list but those to be kept."""
    if folder.is_dir():
        for path in folder.iterdir():
            if path.name not in kept:
                path.unlink()
