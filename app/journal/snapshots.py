"""Snapshots as bytes: a directory of raw arrays and a manifest that tells what they should be.

A snapshot is there whole or not at all (temporary name, every file synced, rename, directory synced), and
one that is not what its manifest says is refused, whatever happened to it: each part has a sha256 in the
manifest, and the manifest ends with one of itself. What the parts mean, the state knows.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.journal.folders import sole_writer, sync_folder

SCHEMA = 1
MANIFEST = "manifest.json"
_GONE = ".gone-"
HOUR_MS = 3_600_000
Part = NDArray[Any] | bytes

_NAME = re.compile(r"snapshot-(\d{16})")
_PART_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SEAL = b"\nsha256 "  # the manifest's last line: of all bytes before it
_READ_BYTES = 1 << 20
PIECE = 1 << 20


class Damaged(Exception):
    """A snapshot that cannot be relied on."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _PartFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a part should be; no dtype for plain bytes."""

    name: str
    dtype: str | None
    shape: tuple[int, ...]
    size: int
    sha256: str


class _Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    schema: int
    position: int
    facts: dict[str, Any]
    parts: tuple[_PartFacts, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A sound snapshot as it was written. Arrays are this process's own and may be written to."""

    position: int
    facts: dict[str, Any]
    parts: dict[str, Part]


@dataclass(frozen=True, slots=True)
class Listed:
    """One snapshot of a folder, by its manifest alone; `reason` says why it is damaged, if it is."""

    path: Path
    position: int
    size: int
    facts: dict[str, Any]
    reason: str | None = None


def write(folder: Path, position: int, parts: Mapping[str, Part], facts: dict[str, Any]) -> Path:
    """Write a snapshot durably; one of that position that is already there is replaced.

    Shape   arrays of any shape, C order on disk. `facts` is what JSON can carry; `at_ms` in it is the
            snapshot's time, by which `prune` keeps one an hour.
    Errors  ValueError on a part that is not of plain numbers. OSError when the disk refuses; then nothing
            but a temporary directory is left, which the next write removes.
    Cost    it waits while another process writes into the same folder.
    """
    with sole_writer(folder):
        for leftover in (*folder.glob("making-*"), *folder.glob("replaced-*")):
            shutil.rmtree(leftover)
        return _write(folder, position, parts, facts)


def _write(folder: Path, position: int, parts: Mapping[str, Part], facts: dict[str, Any]) -> Path:
    final = folder / f"snapshot-{position:016d}"
    making = folder / f"making-{position:016d}"
    making.mkdir()
    described = tuple(_write_part(making, name, part) for name, part in parts.items())
    content = msgspec.json.encode(_Manifest(SCHEMA, position, facts, described))
    _write_file(making / MANIFEST, content + _SEAL + sha256(content).hexdigest().encode())
    sync_folder(making)
    replaced = folder / f"replaced-{position:016d}"
    if final.exists():
        final.rename(replaced)
    making.rename(final)
    sync_folder(folder)
    shutil.rmtree(replaced, ignore_errors=True)
    return final


def read(path: Path) -> Snapshot:
    """Read a snapshot and check every byte of it.

    Cost    reading and hashing: about half a second for 150 MB.
    Errors  Damaged, on anything unsound.
    """
    manifest = _read_manifest(path)
    return Snapshot(
        manifest.position, manifest.facts, {each.name: _read_part(path, each) for each in manifest.parts}
    )


def latest(folder: Path) -> tuple[Snapshot | None, list[str]]:
    """Read the newest sound snapshot; name the damaged ones met on the way, which are kept.

    Cost    that of `read`, once for each damaged one and once more.
    """
    damaged: list[str] = []
    for path in _newest_first(folder):
        try:
            return read(path), damaged
        except Damaged as failure:
            damaged.append(f"{path.name}: {failure.reason}")
    return None, damaged


def listing(folder: Path) -> list[Listed]:
    """List the snapshots of a folder, newest first, without reading their parts."""
    found = []
    for path in _newest_first(folder):
        position = _position_of(path)
        try:
            manifest = _read_manifest(path)
        except Damaged as failure:
            found.append(Listed(path, position, 0, {}, failure.reason))
        else:
            size = sum(part.size for part in manifest.parts)
            found.append(Listed(path, position, size, manifest.facts))
    return found


def prune(folder: Path, keep: int, hourly_for_hours: int, now_ms: int) -> list[Path]:
    """Delete what need not be kept: beside the newest `keep`, the oldest of each hour stays for some hours.

    Snapshots damaged in their manifest are neither counted nor deleted. Tells what was deleted.
    """
    sound = [each for each in listing(folder) if each.reason is None]
    kept = {each.path for each in sound[: max(keep, 1)]}
    by_hour: dict[int, Path] = {}
    for each in sound:  # newest first: the oldest of an hour is the last to be written here
        at_ms = int(each.facts.get("at_ms", 0))
        if at_ms > now_ms - hourly_for_hours * HOUR_MS:
            by_hour[at_ms // HOUR_MS] = each.path
    kept.update(by_hour.values())
    doomed = [each.path for each in sound if each.path not in kept]
    for path in doomed:
        # Out of the list at once: a kill in the middle leaves none damaged, and the next call ends it.
        shutil.rmtree(folder / f"{_GONE}{path.name}", ignore_errors=True)
        path.rename(folder / f"{_GONE}{path.name}")
    for path in folder.glob(f"{_GONE}*"):
        shutil.rmtree(path, ignore_errors=True)
    return doomed


def _newest_first(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if _NAME.fullmatch(path.name)]
    return sorted(found, key=_position_of, reverse=True)


def _position_of(path: Path) -> int:
    match = _NAME.fullmatch(path.name)
    return int(match[1]) if match is not None else -1


def _write_part(folder: Path, name: str, part: Part) -> _PartFacts:
    if _PART_NAME.fullmatch(name) is None:
        raise ValueError(f"not a name for a part: {name!r}")
    if isinstance(part, bytes):
        data, dtype, shape = memoryview(part), None, (len(part),)
    else:
        if part.dtype.kind not in "biufc":
            raise ValueError(f"part {name} is not of plain numbers: {part.dtype}")
        flat = np.ascontiguousarray(part)
        data, dtype, shape = flat.reshape(-1).view(np.uint8).data, flat.dtype.str, part.shape
    _write_file(folder / name, data)
    return _PartFacts(name, dtype, tuple(shape), len(data), sha256(data).hexdigest())


def _write_file(path: Path, data: bytes | memoryview) -> None:
    with path.open("wb", buffering=0) as file:
        for start in range(0, len(data), PIECE):
            file.write(data[start : start + PIECE])
            os.fdatasync(file.fileno())  # little by little: the journal's own syncs wait behind a large one
        os.fsync(file.fileno())


def _read_manifest(path: Path) -> _Manifest:
    if not path.is_dir():
        raise Damaged("not a directory")
    try:
        raw = (path / MANIFEST).read_bytes()
    except OSError as failure:
        raise Damaged(f"manifest: {failure.strerror}") from failure
    content, seal, digest = raw.rpartition(_SEAL)
    if not seal or digest != sha256(content).hexdigest().encode():
        raise Damaged("manifest: checksum")
    try:
        manifest = msgspec.json.decode(content, type=_Manifest)
    except msgspec.MsgspecError as failure:  # whole, but not written by this build or an earlier one
        raise Damaged(f"manifest: {failure}") from failure
    if manifest.schema > SCHEMA:
        raise Damaged(f"manifest: schema {manifest.schema}, this build reads {SCHEMA}")
    if manifest.position != _position_of(path):
        raise Damaged("manifest: of another position")
    return manifest


def _read_part(folder: Path, expected: _PartFacts) -> Part:
    data = bytearray(expected.size)
    try:
        with (folder / expected.name).open("rb") as file:
            size = file.readinto(data)
            if size != expected.size or file.read(1):
                raise Damaged(f"{expected.name}: size")
    except OSError as failure:
        raise Damaged(f"{expected.name}: {failure.strerror}") from failure
    if sha256(data).hexdigest() != expected.sha256:
        raise Damaged(f"{expected.name}: checksum")
    if expected.dtype is None:
        return bytes(data)
    return np.frombuffer(data, np.dtype(expected.dtype)).reshape(expected.shape)
