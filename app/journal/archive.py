"""The archive on disk: closed hours as Parquet files, for reports and whoever learns offline.

    archive/date=2026-01-31/hour=09/kind=clicks/part-0000.parquet      (days and hours of UTC)
    archive/date=2026-01-31/hour=09/hour.json                          (what it holds)

An hour is there whole or not at all: it is made under another name, every file synced, and renamed. It is
never changed afterwards. Hours follow each other without a gap. What the columns mean, the flow knows.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from os import fsync
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from app.domain.ids import HOUR_MS
from app.journal.folders import sync_folder

SCHEMA = 1
FACTS = "hour.json"
_PATH = re.compile(r"date=(\d{4}-\d{2}-\d{2})/hour=(\d{2})")
Columns = Mapping[str, list[Any]]
Types = Mapping[str, Any]


class HourFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What an archived hour holds: the journal's lines in (after_position, through_position], by kind."""

    schema: int
    hour: int
    after_position: int
    through_position: int
    rows: dict[str, int]


class HourWriter:
    """Writes one hour, a part at a time, within `sole_writer` of the folder.

    Errors  OSError when the disk refuses; then a folder is left behind that the next writer removes.
    """

    def __init__(self, folder: Path, hour: int) -> None:
        self.hour = hour
        self.rows: dict[str, int] = {}
        self._folder = folder
        for leftover in folder.glob("making-*"):
            shutil.rmtree(leftover)
        self._making = folder / f"making-{hour}"
        self._making.mkdir()
        self._parts: dict[str, int] = {}

    def add(self, kind: str, columns: Columns, types: Types) -> None:
        """Write a part of a kind, durably. Nothing is written where there are no rows."""
        frame = pl.DataFrame(columns, schema=types)
        if frame.height == 0:
            return
        number = self._parts.get(kind, 0)
        place = self._making / f"kind={kind}"
        place.mkdir(exist_ok=True)
        with (place / f"part-{number:04d}.parquet").open("wb") as file:
            frame.write_parquet(file, compression="zstd")
            file.flush()
            fsync(file.fileno())
        self._parts[kind] = number + 1
        self.rows[kind] = self.rows.get(kind, 0) + frame.height

    def finish(self, after_position: int, through_position: int) -> HourFacts:
        """Bring the hour into the archive; one that is there already stays as it is."""
        facts = HourFacts(
            schema=SCHEMA,
            hour=self.hour,
            after_position=after_position,
            through_position=through_position,
            rows=self.rows,
        )
        with (self._making / FACTS).open("wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(facts)) + b"\n")
            file.flush()
            fsync(file.fileno())
        for place in (*self._making.iterdir(), self._making):
            if place.is_dir():
                sync_folder(place)
        final = path_of(self._folder, self.hour)
        final.parent.mkdir(exist_ok=True)
        sync_folder(self._folder)
        if final.exists():
            shutil.rmtree(self._making)
        else:
            self._making.rename(final)
            sync_folder(final.parent)
        return facts


def path_of(folder: Path, hour: int) -> Path:
    """Say where an hour (hours since 1970) lies.

    >>> str(path_of(Path("archive"), 490_905))
    'archive/date=2026-01-01/hour=09'
    """
    at = datetime.fromtimestamp(hour * HOUR_MS / 1000, UTC)
    return folder / f"date={at:%Y-%m-%d}" / f"hour={at:%H}"


def hours(folder: Path, whole_from: int = 0) -> list[int]:
    """List the archived hours (hours since 1970) in order, up to the first gap that can be filled.

    `whole_from` is the hour from which on the journal still has every line: what is missing before it was
    taken away, and does not come back.
    Cost    a directory listing for each day.
    """
    found = set()
    for path in folder.glob("date=*/hour=*"):
        if named := _PATH.fullmatch(f"{path.parent.name}/{path.name}"):
            day = datetime.fromisoformat(named[1]).replace(tzinfo=UTC)
            found.add(int(day.timestamp()) // 3600 + int(named[2]))
    following: list[int] = []
    for hour in sorted(found):
        if following and hour != following[-1] + 1 and hour > whole_from:
            break
        following.append(hour)
    return following


def facts_of(folder: Path, hour: int) -> HourFacts:
    """Read what an archived hour holds.

    Errors  OSError or msgspec.DecodeError when it is not there or damaged.
    """
    return msgspec.json.decode((path_of(folder, hour) / FACTS).read_bytes(), type=HourFacts)


def rows_of(folder: Path, hour: int) -> dict[str, int]:
    """Count an hour's rows by kind, by what its files say at their ends.

    Cost    a look at each file's footer.
    Errors  OSError or ValueError when one is damaged.
    """
    rows: dict[str, int] = {}
    for path in path_of(folder, hour).glob("kind=*/part-*.parquet"):
        kind = path.parent.name.removeprefix("kind=")
        try:
            count = pl.scan_parquet(path).select(pl.len()).collect().item()
        except pl.exceptions.PolarsError as error:
            raise ValueError(f"{path.name} of {kind}: {error}") from error
        rows[kind] = rows.get(kind, 0) + int(count)
    return rows


def files(folder: Path, some: range | list[int], kind: str) -> list[str]:
    """List the files of a kind in some hours, in the journal's order."""
    return [
        str(path)
        for hour in some
        for path in sorted((path_of(folder, hour) / f"kind={kind}").glob("part-*.parquet"))
    ]
