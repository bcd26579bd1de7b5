"""`adjudge replay`: progressive validation of a click log, each row predicted, then learned, in order."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.domain.refusals import Refused
from app.offline.encode import encode
from app.offline.logs import Log, read_log
from app.offline.schema import Schema, read_schema
from app.rules import ftrl
from app.rules.evaluation import Metrics, measure
from app.rules.ftrl import Rates

MODELS = ("ftrl", "main")  # main: main cells alone, whatever the schema says
PRIOR_ROWS = 1_000
CHUNK_ROWS = 50_000
MOST_CELLS = 1 << 28  # 20 bytes each, where touched

Progress = Callable[[int, int], None]  # rows done, rows in all


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """The figures of a replay; seconds are from opening the file to the last row learned."""

    model: str
    samples: int
    clicks: int
    seconds: float
    samples_per_s: float
    all: Metrics
    second_half: Metrics
    p: NDArray[np.float64] = field(repr=False)

    def as_json(self) -> dict[str, Any]:
        """The shape that `replay --json` prints."""
        return {
            "model": self.model,
            "samples": self.samples,
            "clicks": self.clicks,
            "seconds": self.seconds,
            "samples_per_s": self.samples_per_s,
            "all": asdict(self.all),
            "second_half": asdict(self.second_half),
        }


def replay_file(
    log: Path, schema: Path, model: str = "ftrl", rates: Rates | None = None, progress: Progress | None = None
) -> ReplayResult:
    """Predict, then learn, each row of a log.

    The second half is the later half of the rows. Kernels are compiled before the clock starts.
    Errors  Refused, by the order of checks: unknown_model, the schema's, the log's, too_large.
    """
    if model not in MODELS:
        raise Refused("unknown_model", f"no model {model!r}; known: {', '.join(MODELS)}", "model")
    read = read_schema(schema)
    ftrl.warm()
    started = perf_counter()
    rows = read_log(log, read, schema.parent)
    p = replay_log(rows, read, crosses=read.crosses and model != "main", rates=rates, progress=progress)
    seconds = perf_counter() - started
    half = p.size // 2
    return ReplayResult(
        model=model,
        samples=p.size,
        clicks=int(rows.clicks.sum()),
        seconds=seconds,
        samples_per_s=p.size / seconds,
        all=measure(p, rows.impressions, rows.clicks),
        second_half=measure(p[half:], rows.impressions[half:], rows.clicks[half:]),
        p=p,
    )


def prior_of(schema: Schema, impressions: NDArray[np.float64], clicks: NDArray[np.float64]) -> float:
    """The CTR a fresh model starts at: the schema's, else that of the first 1,000 rows, drawn to 1 %.

    >>> no_prior = Schema(label="click", rows=(), columns=())
    >>> prior_of(no_prior, np.ones(2_000), np.zeros(2_000)) == 1 / 1_100
    True
    """
    if schema.prior is not None:
        return schema.prior
    shown, clicked = impressions[:PRIOR_ROWS].sum(), clicks[:PRIOR_ROWS].sum()
    return min(float((clicked + 1.0) / (shown + 100.0)), 1.0 - 1e-6)  # a log of clicks alone exceeds 1


def replay_log(
    log: Log, schema: Schema, *, crosses: bool, rates: Rates | None = None, progress: Progress | None = None
) -> NDArray[np.float64]:
    """The predictions, each made before its row was learned. Shape (k,)."""
    rows, row_count = encode(schema.rows, log.fields, "rows")
    columns, stride = encode(schema.columns, log.fields, "columns")
    if not crosses:  # the same main cells side by side, instead of a matrix with nothing inside
        rows = np.concatenate([rows, columns[:, 1:] + (row_count - 1)], axis=1, dtype=np.int32)
        row_count, stride, columns = row_count + stride - 1, 1, np.zeros((rows.shape[0], 1), np.int32)
    cell_count = row_count * stride
    if cell_count > MOST_CELLS:
        message = (
            f"{row_count} rows x {stride} columns are too many: hash the largest fields into fewer places"
        )
        raise Refused("too_large", message, "schema")
    sums = np.zeros(cell_count), np.zeros(cell_count), np.zeros(cell_count, np.float32)
    prior = prior_of(schema, log.impressions, log.clicks)
    logit = float(np.log(prior / (1.0 - prior)))
    hyper, p = (rates or Rates()).array(), np.empty(rows.shape[0])
    for first in range(0, p.size, CHUNK_ROWS):
        part = slice(first, first + CHUNK_ROWS)
        shown, clicked = log.impressions[part], log.clicks[part]
        ftrl.learn_log(
            *sums, rows[part], columns[part], stride, ftrl.NO_MAIN_ONLY, shown, clicked, logit, hyper, p[part]
        )
        if progress is not None:
            progress(min(first + CHUNK_ROWS, p.size), p.size)
    return p
