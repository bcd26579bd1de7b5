"""A disk under SQLite that can lose its power, lie about syncing, or fail: an `apsw` VFS for tests.

Reads and writes go to real files, so that SQLite works as ever. Beside them the disk keeps, for each file,
what is surely on the platter (`_File.synced`) and the writes since its last sync. When the power goes, each
of those may be there, be missing, be there in part (some 512-byte sectors), or be overtaken by a later one.
Shared memory (`-shm`) is not on the disk and is lost. Deleting a file takes effect at once.
"""

from __future__ import annotations

import os
import random
from itertools import count
from pathlib import Path

import apsw

SECTOR = 512
_numbers = count()


class _File:
    """What is surely on the platter, and what may be; a change of None is a truncation to its offset."""

    def __init__(self) -> None:
        self.synced: bytes | None = None
        self.changes: list[tuple[int, bytes | None]] = []

    def sync(self) -> None:
        content = bytearray(self.synced or b"")
        for change in self.changes:
            _apply(content, *change)
        self.synced = bytes(content)
        self.changes.clear()

    def after_power_cut(self, chance: random.Random) -> bytes | None:
        if self.synced is None and chance.random() < 0.5:
            return None  # not even its name had reached the directory
        content = bytearray(self.synced or b"")
        kept = [change for change in self.changes if chance.random() < chance.choice((0.1, 0.5, 0.9))]
        if chance.random() < 0.5:
            chance.shuffle(kept)
        for offset, data in kept:
            if data is None or chance.random() < 0.7:
                _apply(content, offset, data)
                continue
            for start in range(0, len(data), SECTOR):
                if chance.random() < 0.5:
                    _apply(content, offset + start, data[start : start + SECTOR])
        return bytes(content)


class Disk(apsw.VFS):
    """A VFS of its own name. After `power_cut_at` operations it is dead; `image` is what it then holds.

    `lies`: a sync says that it is done and does nothing. `failing`: the operations that fail for now, by the
    errors they fail with (`write`, `sync`).
    """

    def __init__(self, seed: int = 0, power_cut_at: int | None = None, lies: bool = False) -> None:
        self.name = f"disk-{os.getpid()}-{next(_numbers)}"
        super().__init__(self.name, "")
        self.failing: dict[str, type[apsw.Error]] = {}
        self.operations = 0
        self.image: dict[str, bytes] | None = None
        self._chance = random.Random(seed)
        self._power_cut_at = power_cut_at
        self._lies = lies
        self._files: dict[str, _File] = {}

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        file = None if path is None else self._files.setdefault(Path(path).name, _File())
        return _OpenFile(self, file, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        self.step("delete")
        super().xDelete(filename, syncdir)
        self._files.pop(Path(filename).name, None)

    def excepthook(self, *_about: object) -> bool:
        """Say nothing of failures that SQLite does not pass on: they are meant."""
        return True

    def step(self, kind: str) -> None:
        """Count an operation that changes the disk; the power may go before it, and it may fail."""
        self.operations += 1
        if self.image is None and self._power_cut_at is not None and self.operations >= self._power_cut_at:
            images = {name: file.after_power_cut(self._chance) for name, file in self._files.items()}
            self.image = {name: content for name, content in images.items() if content is not None}
        if self.image is not None:
            raise apsw.IOError("no power")
        if kind in self.failing:
            raise self.failing[kind]("the disk fails")

    def sync(self, file: _File) -> None:
        if not self._lies:
            file.sync()

    def unsynced(self, name: str) -> int:
        """Count the changes of a file that are not surely on the platter."""
        return len(self._files[name].changes)

    def save_image(self, folder: Path) -> None:
        """Write down what the disk holds after the power cut."""
        assert self.image is not None
        folder.mkdir()
        for name, content in self.image.items():
            (folder / name).write_bytes(content)


class _OpenFile(apsw.VFSFile):
    def __init__(
        self, disk: Disk, file: _File | None, name: str | apsw.URIFilename | None, flags: list[int]
    ) -> None:
        super().__init__("", name, flags)
        self._disk = disk
        self._file = file

    def excepthook(self, *_about: object) -> bool:
        """Say nothing of failures that SQLite does not pass on: they are meant."""
        return True

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        if self._file is not None:
            self._disk.step("write")
            self._file.changes.append((offset, bytes(data)))
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        if self._file is not None:
            self._disk.step("write")
            self._file.changes.append((newsize, None))
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802
        if self._file is not None:
            self._disk.step("sync")
            self._disk.sync(self._file)


def _apply(content: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        del content[offset:]
        return
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data
