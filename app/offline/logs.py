"""Click logs as tables: CSV, TSV, Parquet or JSON lines, plain or gzip, with other files joined in.

Every field but the counts and the time is read as text, so that a value is the same value (and hashes to
the same place) whatever format it came in.
"""

import gzip
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from app.domain.refusals import Refused
from app.offline.schema import Join, Schema

_FORMATS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
_ROW = "\x00row"  # no field of a log is called so

_TIME_FORMATS = ("%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M%#z")
_LOCAL_TIME_FORMATS = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d")


@dataclass(frozen=True, slots=True)
class Log:
    """A log in the order in which it is to be learned.

    Shape   fields has a text column for each field of the schema; impressions, clicks and truth are (k,), and
            so are, of a log whose labels come late, at_s (seconds since its first row), late_s (nan where
            there is no label) and late_by (numbers from 0).
    """

    fields: pl.DataFrame
    impressions: NDArray[np.float64]
    clicks: NDArray[np.float64]
    truth: NDArray[np.float64] | None = None
    at_s: NDArray[np.float64] | None = None
    late_s: NDArray[np.float64] | None = None
    late_by: NDArray[np.int64] | None = None


def read_log(path: Path, schema: Schema, schema_folder: Path) -> Log:
    """Read what the schema names, join, sort by time (equal times keep the file's order).

    A joined file is looked for beside the schema file, then beside the log.
    Errors  Refused: not_found; unknown_format; not_readable; unknown_field; empty_log; bad_label; bad_time;
            join_not_unique;
            bad_delay.
    """
    header = _names(path)
    joins = [_find_join(join, k, schema_folder, path.parent) for k, join in enumerate(schema.join)]
    wanted = _sources(schema, header, joins)
    frame = _read(path, wanted.of_log)
    if frame.height == 0:
        raise Refused("empty_log", f"{path} has no rows", "LOG")
    if schema.where is not None:
        frame = frame.filter(_number(frame[schema.where].fill_null("0"), "where") != 0.0)
        if frame.height == 0:
            raise Refused("empty_log", f"{path} has no rows where {schema.where} is", "LOG")
    frame = _counts(frame, schema)
    for k, (join, file) in enumerate(zip(schema.join, joins, strict=True)):
        frame = _joined(frame, join, k, file, wanted.of_join[k])
    if schema.time is not None:
        frame = _sorted(frame, schema.time)
    return Log(
        fields=frame,
        impressions=frame[_ROW + "impressions"].to_numpy(),
        clicks=frame[_ROW + "clicks"].to_numpy(),
        truth=None if schema.truth is None else numbers_of(frame[schema.truth], "truth"),
        **_lateness(frame, schema),
    )


def _lateness(frame: pl.DataFrame, schema: Schema) -> dict[str, NDArray[Any]]:
    """Read how late the labels came. Times that are numbers are seconds or, from 10^11 on, milliseconds."""
    if schema.delay is None or schema.time is None:
        return {}
    moments = _moments(frame[schema.time])
    at_s = moments.dt.epoch("us") / 1e6 if moments.dtype.is_temporal() else moments.cast(pl.Float64)
    if not moments.dtype.is_temporal() and float(at_s[0]) > 1e11:
        at_s = at_s / 1000.0
    late_s = numbers_of(frame[schema.delay], "delay")
    wrong = np.flatnonzero((frame[_ROW + "clicks"].to_numpy() > 0) & ~(late_s >= 0.0))
    if wrong.size:
        raise Refused("bad_delay", f"row {wrong[0] + 1}: a label, and no delay of 0 or more", "delay")
    by = frame[schema.delay_by] if schema.delay_by is not None else pl.repeat("", frame.height, eager=True)
    return {
        "at_s": (at_s - at_s[0]).to_numpy(), "late_s": late_s,
        "late_by": by.fill_null("").rank("dense").to_numpy().astype(np.int64) - 1,
    }  # fmt: skip


# ------------------------------------------------------------------------------------ files
def _format(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    name = _FORMATS.get(suffixes[-1]) if suffixes else None
    if name is None:
        raise Refused("unknown_format", f"{path.name} is none of {', '.join(_FORMATS)} (with or without .gz)")
    return name


def _read(path: Path, columns: list[str] | None, *, rows: int | None = None) -> pl.DataFrame:
    """The named columns as text (all of them for None), at most so many rows."""
    if not path.is_file():
        raise Refused("not_found", f"no such file: {path}", str(path.name))
    try:
        frame = _read_format(path, columns, rows)
    except (pl.exceptions.PolarsError, OSError, EOFError) as broken:
        raise Refused("not_readable", f"{path}: {broken}", str(path.name)) from broken
    return frame.select(_as_text(frame[name]) for name in frame.columns)


def _read_format(path: Path, columns: list[str] | None, rows: int | None) -> pl.DataFrame:
    kind = _format(path)
    if kind == "parquet":
        return pl.read_parquet(path, columns=columns, n_rows=rows)
    if kind == "jsonl":
        frame = pl.read_ndjson(_unzipped(path), n_rows=rows, infer_schema_length=None)
        return frame if columns is None else frame.select(columns)
    return pl.read_csv(
        path,
        columns=columns,
        n_rows=rows,
        separator="\t" if kind == "tsv" else ",",
        infer_schema=False,
    )


def _unzipped(path: Path) -> io.BytesIO | Path:
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    return io.BytesIO(gzip.decompress(path.read_bytes())) if zipped else path


def _as_text(column: pl.Series) -> pl.Series:
    """Text, with a whole float written as the int it is (joins and JSON make floats of ints)."""
    if column.dtype == pl.String:
        return column
    if column.dtype.is_float():
        whole = column.is_null() | (column.is_finite() & (column == column.floor()) & (column.abs() < 2**53))
        if whole.all():
            column = column.cast(pl.Int64)
    if column.dtype.is_nested():
        raise Refused("not_readable", f"field {column.name} is not a plain value", column.name)
    return column.cast(pl.String)


def _names(path: Path) -> list[str]:
    if path.is_file() and _format(path) == "parquet":
        try:
            return list(pl.read_parquet_schema(path))
        except (pl.exceptions.PolarsError, OSError) as broken:
            raise Refused("not_readable", f"{path}: {broken}", str(path.name)) from broken
    return _read(path, None, rows=None if _format(path) == "jsonl" else 1).columns


def _find_join(join: Join, k: int, *folders: Path) -> Path:
    for folder in folders:
        if (folder / join.file).is_file():
            return folder / join.file
    raise Refused("not_found", f"join[{k}].file: no such file: {join.file}", f"join[{k}].file")


# ------------------------------------------------------------------------------------ fields
@dataclass(frozen=True, slots=True)
class _Sources:
    of_log: list[str]
    of_join: list[list[str]]


def _sources(schema: Schema, header: list[str], joins: list[Path]) -> _Sources:
    """Say which file each field comes from: the log first, then the joined files in order."""
    joined_names = [_names(file) for file in joins]
    of_log: dict[str, None] = {}
    of_join: list[list[str]] = [[] for _ in joins]
    for name, place in _places(schema):
        if name in header:
            of_log[name] = None
            continue
        holder = next((k for k, names in enumerate(joined_names) if name in names), None)
        if holder is None or place in _SINGLE or place.startswith("join"):
            raise Refused("unknown_field", f"{place}: the log has no field {name!r}", place)
        if name not in of_join[holder]:
            of_join[holder].append(name)
    for k, join in enumerate(schema.join):
        if join.on not in joined_names[k]:
            raise Refused(
                "unknown_field", f"join[{k}].on: {join.file} has no field {join.on!r}", f"join[{k}].on"
            )
    return _Sources(list(of_log), of_join)


_SINGLE = ("label", "imps", "time", "truth", "action", "propensity", "where", "delay", "delay_by")


def _places(schema: Schema) -> list[tuple[str, str]]:
    """Every field that the schema names, with the place it is named at."""
    single = [(getattr(schema, place), place) for place in _SINGLE]
    places = [(name, place) for name, place in single if name is not None]
    places += [(join.on, f"join[{k}].on") for k, join in enumerate(schema.join)]
    for part, fields in (("rows", schema.rows), ("columns", schema.columns)):
        places += [(one.field, f"{part}[{k}].field") for k, one in enumerate(fields)]
    return places


def _counts(frame: pl.DataFrame, schema: Schema) -> pl.DataFrame:
    """Add impressions and clicks as numbers."""
    clicks = _number(frame[schema.label], "label")
    shown = pl.Series(np.ones(frame.height)) if schema.imps is None else _number(frame[schema.imps], "imps")
    wrong = (
        (clicks < 0.0) | (clicks > shown) | (shown != shown.floor()) | (clicks != clicks.floor())
    ).arg_true()
    if wrong.len():
        row = int(wrong[0])
        message = f"row {row + 1}: {clicks[row]:g} clicks of {shown[row]:g} impressions"
        raise Refused("bad_label", message, "label")
    return frame.with_columns(shown.alias(_ROW + "impressions"), clicks.alias(_ROW + "clicks"))


_TRUTHS = {"true": "1", "True": "1", "TRUE": "1", "false": "0", "False": "0", "FALSE": "0"}


def _number(column: pl.Series, place: str) -> pl.Series:
    numbers = column.replace(_TRUTHS).cast(pl.Float64, strict=False).fill_nan(None)
    wrong = numbers.is_null().arg_true()
    if wrong.len():
        row = int(wrong[0])
        raise Refused("bad_label", f"row {row + 1}: {place} is {column[row]!r}, not a number", place)
    return numbers


def _joined(frame: pl.DataFrame, join: Join, k: int, file: Path, names: list[str]) -> pl.DataFrame:
    """Look the fields up; a row without a partner gets nulls."""
    other = _read(file, [join.on, *names])
    if other[join.on].is_duplicated().any():
        message = f"join[{k}]: {join.file} has a value of {join.on} twice"
        raise Refused("join_not_unique", message, f"join[{k}].on")
    return frame.join(other, on=join.on, how="left", maintain_order="left")


def _sorted(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    moments = _moments(frame[name])
    wrong = moments.is_null().arg_true()
    if wrong.len():
        row = int(wrong[0])
        raise Refused("bad_time", f"row {row + 1}: {name} is {frame[name][row]!r}, not a time", "time")
    return frame[moments.arg_sort(descending=False)] if not moments.is_sorted() else frame


def _moments(column: pl.Series) -> pl.Series:
    """Numbers as they are; else dates and times, UTC where they carry no offset."""
    for whole in (pl.Int64, pl.Float64):
        numbers = column.cast(whole, strict=False)
        if not numbers.is_null().any():
            return numbers
    text = column.str.strip_chars().str.replace(" ", "T", literal=True).str.replace("Z$", "+00:00")
    attempts = [
        text.str.to_datetime(one, strict=False, time_unit="us", time_zone="UTC") for one in _TIME_FORMATS
    ]
    attempts += [
        text.str.to_datetime(one, strict=False, time_unit="us").dt.replace_time_zone("UTC")
        for one in _LOCAL_TIME_FORMATS
    ]
    moments = attempts[0]
    for attempt in attempts[1:]:
        moments = moments.fill_null(attempt)
    return moments


def numbers_of(column: pl.Series, place: str) -> NDArray[np.float64]:
    """A text column as numbers, missing as NaN.

    Errors  Refused bad_value where a text is not a number.
    """
    numbers = column.cast(pl.Float64, strict=False)
    wrong = (numbers.is_null() & column.is_not_null() & (column != "")).arg_true()
    if wrong.len():
        message = f"{place}: {column[int(wrong[0])]!r} is not a number, and one is needed"
        raise Refused("bad_value", message, place)
    return numbers.fill_null(float("nan")).to_numpy()
