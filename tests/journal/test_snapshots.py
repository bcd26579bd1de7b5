"""Snapshots' bytes: read back as written; refused when a single bit is not; the one before is used."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app.journal import snapshots
from app.journal.snapshots import HOUR_MS, Damaged, Part

FACTS: dict[str, Any] = {"at_ms": 1_728_000_000_000, "hash": "abc", "settings": {"alpha": 0.1}}


def parts() -> dict[str, Part]:
    return {
        "z": np.arange(12.0).reshape(3, 4),
        "w": np.arange(6, dtype=np.float32)[::2],
        "counts": np.array([[1, -2], [3, 4]], dtype=np.int64).T,
        "flags": np.array([True, False]),
        "none": np.empty((0, 7), dtype=np.uint16),
        "one": np.array(5, dtype=np.int8),
        "catalogue": b"\x00raw bytes\xff",
        "nothing": b"",
    }


def same(got: Part, want: Part) -> bool:
    if isinstance(want, bytes) or isinstance(got, bytes):
        return isinstance(got, bytes) and got == want
    return got.dtype == want.dtype and got.shape == want.shape and np.array_equal(got, want)


def flip(path: Path, position: int, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1 << bit
    path.write_bytes(data)


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = snapshots.write(tmp_path / "new", 812, parts(), FACTS)
    assert path.name == "snapshot-0000000000000812"
    assert [each.name for each in path.parent.iterdir()] == [path.name], "nothing temporary is left"
    read = snapshots.read(path)
    assert (read.position, read.facts, list(read.parts)) == (812, FACTS, list(parts()))
    assert all(same(read.parts[name], part) for name, part in parts().items())
    changed = read.parts["z"]
    assert not isinstance(changed, bytes)
    changed += 1.0  # the reader's own


@pytest.mark.parametrize("bad", [np.array([object()]), np.array(["a"]), np.zeros(2, dtype="i4,f8")])
def test_only_plain_numbers_are_written(tmp_path: Path, bad: NDArray[Any]) -> None:
    with pytest.raises(ValueError, match="plain numbers"):
        snapshots.write(tmp_path, 1, {"bad": bad}, {})
    with pytest.raises(ValueError, match="not a name"):
        snapshots.write(tmp_path, 1, {"../bad": b""}, {})
    assert snapshots.latest(tmp_path) == (None, [])


def test_one_flipped_bit_anywhere_in_the_manifest_is_found(tmp_path: Path) -> None:
    path = snapshots.write(tmp_path, 1, {"z": np.zeros(3), "b": b"raw"}, FACTS)
    manifest = path / snapshots.MANIFEST
    whole = manifest.read_bytes()
    for position in range(len(whole)):
        for bit in range(8):
            flip(manifest, position, bit)
            with pytest.raises(Damaged):
                snapshots.read(path)
            manifest.write_bytes(whole)
    assert snapshots.read(path).position == 1


def test_one_flipped_bit_anywhere_in_a_part_is_found(tmp_path: Path) -> None:
    big: dict[str, Part] = {"z": np.random.default_rng(1).random((64, 300)), "catalogue": b"line\n" * 999}
    path, chance = snapshots.write(tmp_path, 1, big, FACTS), random.Random(1)
    for name in big:
        size = (path / name).stat().st_size
        for position in [0, size - 1, *(chance.randrange(size) for _ in range(60))]:
            bit = chance.randrange(8)
            flip(path / name, position, bit)
            with pytest.raises(Damaged) as caught:
                snapshots.read(path)
            assert caught.value.reason == f"{name}: checksum"
            flip(path / name, position, bit)
    assert snapshots.read(path).position == 1


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


@pytest.mark.parametrize("name", [snapshots.MANIFEST, "z", "nothing"])
@pytest.mark.parametrize("damage", [shorten, lengthen, Path.unlink])
def test_files_cut_grown_or_missing_are_found(tmp_path: Path, name: str, damage: Any) -> None:
    path = snapshots.write(tmp_path, 1, parts(), FACTS)
    if (path / name).stat().st_size == 0 and damage is shorten:
        return  # nothing to cut
    damage(path / name)
    with pytest.raises(Damaged):
        snapshots.read(path)


def test_a_snapshot_under_another_ones_name_is_refused(tmp_path: Path) -> None:
    path = snapshots.write(tmp_path, 1, parts(), FACTS)
    moved = path.rename(tmp_path / "snapshot-0000000000000002")
    with pytest.raises(Damaged, match="another position"):
        snapshots.read(moved)
    with pytest.raises(Damaged):
        snapshots.read(tmp_path / "snapshot-0000000000000009")


def test_the_latest_sound_one_is_used_and_the_damaged_are_named_and_kept(tmp_path: Path) -> None:
    assert snapshots.latest(tmp_path / "nowhere") == (None, [])
    paths = [snapshots.write(tmp_path, position, parts(), FACTS) for position in (900, 1_000, 20)]
    (tmp_path / "making-0000000000005000").mkdir()
    flip(paths[1] / "z", 3, 3)
    found, damaged = snapshots.latest(tmp_path)
    assert found is not None
    assert (found.position, damaged) == (900, ["snapshot-0000000000001000: z: checksum"])
    flip(paths[0] / snapshots.MANIFEST, 3, 3)
    flip(paths[2] / "catalogue", 0, 0)
    assert snapshots.latest(tmp_path) == (
        None,
        [
            "snapshot-0000000000001000: z: checksum",
            "snapshot-0000000000000900: manifest: checksum",
            "snapshot-0000000000000020: catalogue: checksum",
        ],
    )
    assert all(path.is_dir() for path in paths)


def test_one_of_the_same_position_is_replaced_and_leftovers_go(tmp_path: Path) -> None:
    path = snapshots.write(tmp_path, 5, parts(), FACTS)
    flip(path / "z", 0, 0)
    leftover = tmp_path / "making-0000000000000004"
    leftover.mkdir()
    (leftover / "z").write_bytes(b"half")
    assert snapshots.write(tmp_path, 5, {"b": b"new"}, {}) == path
    assert snapshots.read(path).parts == {"b": b"new"}
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("failing", range(1, 12))
def test_a_disk_that_fails_on_the_way_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    """Eight parts, the manifest and two directories are synced; each sync fails once."""
    snapshots.write(tmp_path, 1, {"b": b"before"}, {})
    calls, real = 0, os.fsync

    def fsync(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == failing:
            raise OSError(28, "no room")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="no room"):
        snapshots.write(tmp_path, 2, parts(), {})
    found, damaged = snapshots.latest(tmp_path)
    assert found is not None
    # The last sync is of the rename: by then the new one is whole, though it may not outlive the power.
    assert (found.position, damaged) == (1 if failing < 11 else 2, [])


def test_the_listing_tells_what_is_there(tmp_path: Path) -> None:
    first = snapshots.write(tmp_path, 5, {"b": b"12345", "w": np.zeros(3, np.float32)}, FACTS)
    second = snapshots.write(tmp_path, 7, {}, {})
    (second / snapshots.MANIFEST).unlink()
    listed = snapshots.listing(tmp_path)
    assert [(each.path, each.position, each.size, each.facts) for each in listed] == [
        (second, 7, 0, {}),
        (first, 5, 17, FACTS),
    ]
    assert [each.reason is None for each in listed] == [False, True]


def test_pruning_keeps_the_newest_and_the_oldest_of_each_hour(tmp_path: Path) -> None:
    now_ms = 1_000 * HOUR_MS + 1_800_000
    #    position: minutes ago      kept with keep=2, 3 hours; why
    ages = {
        80: 1,  # among the newest two
        70: 10,  # among the newest two
        60: 20,  # of this hour, but not its oldest
        50: 29,  # the oldest of this hour
        40: 31,  # of the hour before, but not its oldest
        30: 80,  # the oldest of the hour before
        20: 95,  # the oldest of its hour
        10: 300,  # too old
    }
    for position, minutes in ages.items():
        snapshots.write(tmp_path, position, {}, {"at_ms": now_ms - minutes * 60_000})
    damaged = snapshots.write(tmp_path, 90, {}, {})
    (damaged / snapshots.MANIFEST).write_bytes(b"")
    gone = snapshots.prune(tmp_path, keep=2, hourly_for_hours=3, now_ms=now_ms)
    assert [path.name for path in gone] == [f"snapshot-{position:016d}" for position in (60, 40, 10)]
    assert [each.position for each in snapshots.listing(tmp_path)] == [90, 80, 70, 50, 30, 20]
    assert snapshots.prune(tmp_path, keep=0, hourly_for_hours=0, now_ms=now_ms) != []
    assert [each.position for each in snapshots.listing(tmp_path)] == [90, 80], "one is always kept"
