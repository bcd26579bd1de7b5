"""`adjudge fit`: the product's FTRL kernel over libsvm-style lines, one pass in file order.

For holding our kernel against other learners: weights start at 0 (p = 0.5), no constant is added, one
rate for all cells. An index of the file is any whole number; it is given a dense cell when first seen.
"""

import gzip
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.domain.refusals import Refused
from app.rules import ftrl
from app.rules.evaluation import total_log_loss
from app.rules.ftrl import Rates

GZIP_MAGIC = b"\x1f\x8b"
LOSS_CHUNK_LINES = 65_536

Progress = Callable[[int], None]  # bytes of the file done since the last call


class Line(NamedTuple):
    """One line of a samples file."""

    impressions: float
    clicks: float
    indexes: list[int]


@dataclass(frozen=True, slots=True)
class FitResult:
    """What one pass learned.

    Shape   indexes ascending; z, n, w (len(indexes),) float64, w the closed form of (z, n) at full precision
            (the matrix of a node keeps it in float32).
    """

    samples: int
    impressions: int
    clicks: int
    log_loss: float | None
    indexes: list[int] = field(repr=False)
    z: NDArray[np.float64] = field(repr=False)
    n: NDArray[np.float64] = field(repr=False)
    w: NDArray[np.float64] = field(repr=False)

    def write(self, out: Path) -> None:
        """A line `index<TAB>z<TAB>n<TAB>w` for every index seen, in digits that read back the same."""
        columns = zip(self.indexes, self.z.tolist(), self.n.tolist(), self.w.tolist(), strict=True)
        try:
            with out.open("w", encoding="utf-8") as file:
                file.writelines(f"{index}\t{z!r}\t{n!r}\t{w!r}\n" for index, z, n, w in columns)
        except OSError as broken:
            raise Refused("not_writable", f"{out}: {broken.strerror}", "out") from broken


def fit_file(samples: Path, rates: Rates, progress: Progress | None = None) -> FitResult:
    """Predict, then learn, every line of a samples file; plain or gzip.

    Units   the log loss is per impression, in nats, of predictions made before learning.
    Errors  Refused: not_found; bad_line (the message and field name the line); bad_setting.
    """
    _check_rates(rates)
    if not samples.is_file():
        raise Refused("not_found", f"no such file: {samples}", "SAMPLES")
    with samples.open("rb") as raw:
        zipped = raw.read(2) == GZIP_MAGIC
        raw.seek(0)
        lines = gzip.GzipFile(fileobj=raw) if zipped else raw
        try:
            return _fit(parse_lines(_watched(lines, raw, progress)), rates)
        except (OSError, EOFError) as broken:
            raise Refused("not_readable", f"{samples}: {broken}", "SAMPLES") from broken


def _check_rates(rates: Rates) -> None:
    if not (rates.alpha_main > 0.0 and np.isfinite(rates.array()).all()):
        raise Refused("bad_setting", "alpha must be above 0", "alpha")
    for name, value in (("beta", rates.beta), ("l1", rates.l1_main), ("l2", rates.l2)):
        if value < 0.0:
            raise Refused("bad_setting", f"{name} must not be negative", name)


def _watched(lines: Iterable[bytes], raw: IO[bytes], progress: Progress | None) -> Iterator[bytes]:
    done = 0
    for number, line in enumerate(lines):
        yield line
        if progress is not None and number % 4096 == 0:
            position = raw.tell()
            progress(position - done)
            done = position


def parse_lines(lines: Iterable[bytes]) -> Iterator[Line]:
    """Read `label index:1 index:1 …`; what follows a # is a comment, empty lines are skipped.

    >>> list(parse_lines([b"1 3:1 7:1", b"-1 3:1", b"1000,15 7:1 # an aggregated sample"]))[2]
    Line(impressions=1000.0, clicks=15.0, indexes=[7])
    """
    for number, line in enumerate(lines, start=1):
        words = line.split(b"#", 1)[0].split()
        if not words:
            continue
        try:
            impressions, clicks = _label(words[0])
            indexes = _indexes(words[1:])
        except ValueError as wrong:
            raise Refused("bad_line", f"line {number}: {wrong}", f"line {number}") from None
        yield Line(impressions, clicks, indexes)


_LABELS = {b"1": 1.0, b"+1": 1.0, b"0": 0.0, b"-1": 0.0}


def _label(word: bytes) -> tuple[float, float]:
    clicked = _LABELS.get(word)
    if clicked is not None:
        return 1.0, clicked
    impressions, comma, clicks = word.partition(b",")
    if comma and impressions.isdigit() and clicks.isdigit() and int(clicks) <= int(impressions):
        return float(int(impressions)), float(int(clicks))
    raise ValueError(f"label {_shown(word)} is not 1, 0, -1 or imps,clicks")


def _indexes(words: list[bytes]) -> list[int]:
    indexes = [_index(word) for word in words]
    if len(set(indexes)) != len(indexes):
        raise ValueError("an index stands there twice")
    return indexes


def _index(word: bytes) -> int:
    index, colon, value = word.partition(b":")
    if not index.isdigit() or not colon:
        raise ValueError(f"{_shown(word)} is not index:1")
    if value != b"1" and not _is_one(value):
        raise ValueError(f"the value of index {int(index)} is {_shown(value)}, and only 1 is taken")
    return int(index)


def _is_one(value: bytes) -> bool:
    try:
        return float(value) == 1.0
    except ValueError:
        return False


def _shown(word: bytes) -> str:
    return repr(word[:40].decode("utf-8", "replace"))


class _Sums:
    """z, n and w of the indexes seen so far, in dense cells; grows by doubling."""

    def __init__(self) -> None:
        self.cell_of: dict[int, int] = {}
        self.z, self.n, self.w = np.zeros(1024), np.zeros(1024), np.zeros(1024, np.float32)
        self._buffer = np.empty(64, np.int64)

    def cells(self, indexes: list[int]) -> NDArray[np.int64]:
        cell_of = self.cell_of
        if len(indexes) > self._buffer.size:
            self._buffer = np.empty(2 * len(indexes), np.int64)
        self._buffer[: len(indexes)] = [cell_of.setdefault(index, len(cell_of)) for index in indexes]
        while len(cell_of) > self.z.size:
            self.z, self.n = (np.concatenate([sums, np.zeros_like(sums)]) for sums in (self.z, self.n))
            self.w = np.concatenate([self.w, np.zeros_like(self.w)])
        return self._buffer


class _Loss:
    """Sums the progressive log loss, a chunk at a time."""

    def __init__(self) -> None:
        self.nats = 0.0
        self._chunk: list[tuple[float, float, float]] = []

    def add(self, p: float, impressions: float, clicks: float) -> None:
        self._chunk.append((p, impressions, clicks))
        if len(self._chunk) >= LOSS_CHUNK_LINES:
            self.flush()

    def flush(self) -> float:
        if self._chunk:
            p, impressions, clicks = np.array(self._chunk).T
            self.nats += total_log_loss(p, impressions, clicks)
            self._chunk.clear()
        return self.nats


def _fit(lines: Iterable[Line], rates: Rates) -> FitResult:
    sums, loss, hyper = _Sums(), _Loss(), rates.array()
    samples, shown, clicked = 0, 0.0, 0.0
    for impressions, clicks, indexes in lines:
        cells, total = sums.cells(indexes), len(indexes)
        kernel = ftrl.learn if impressions <= 1.0 else ftrl.learn_large
        p = kernel(sums.z, sums.n, sums.w, cells, total, total, 0.0, impressions, clicks, hyper)
        loss.add(p, impressions, clicks)
        samples, shown, clicked = samples + 1, shown + impressions, clicked + clicks
    nats = loss.flush()
    indexes = sorted(sums.cell_of)
    seen = np.array([sums.cell_of[index] for index in indexes], np.int64)
    z, n = sums.z[seen], sums.n[seen]
    weights = [
        ftrl.weight_of(one_z, one_n, rates.alpha_main, rates.beta, rates.l1_main, rates.l2)
        for one_z, one_n in zip(z.tolist(), n.tolist(), strict=True)
    ]
    return FitResult(
        samples=samples,
        impressions=int(shown),
        clicks=int(clicked),
        log_loss=nats / shown if shown > 0.0 else None,
        indexes=indexes,
        z=z,
        n=n,
        w=np.array(weights, np.float64),
    )
