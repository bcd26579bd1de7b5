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
from app.rules.evaluation import Metrics, measure
from app.rules.ffm_learner import ffm_learner
from app.rules.ftrl import Rates
from app.rules.ftrl_learner import ftrl_learner, main_learner
from app.rules.hctr import hctr_learner
from app.rules.learner import Learner, Samples, Space, State, fields_of, single
from app.rules.sampling import down_sampled

Make = Callable[[Space, Rates], Learner]
MODELS: dict[str, Make] = {
    "ftrl": ftrl_learner,
    "main": main_learner,  # main cells alone, whatever the schema says
    "hctr": lambda space, rates: hctr_learner(space),
    "ffm": ffm_learner,  # all cells, and field-aware vectors of 4 factors
    "ffm8": lambda space, rates: ffm_learner(space, rates, factors=8),
}
WITH_CELLS = ("ftrl", "ffm", "ffm8")  # those that need crosses, and a cell for each
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
    log: Path, schema: Path, model: str = "ftrl", rates: Rates | None = None,
    progress: Progress | None = None, keep: float = 1.0,
) -> ReplayResult:  # fmt: skip
    """Predict, then learn, each row of a log; with `keep`, of the non-clicks only this share is learned.

    The second half is the later half of the rows. Kernels are compiled before the clock starts.
    Errors  Refused, by the order of checks: unknown_model, the schema's, the log's, too_large.
    """
    if model not in MODELS:
        raise Refused("unknown_model", f"no model {model!r}; known: {', '.join(MODELS)}", "model")
    read = read_schema(schema)
    make = MODELS[model if read.crosses or model not in WITH_CELLS else "main"]
    make = keeping(make, keep)
    warm(make)
    started = perf_counter()
    rows = read_log(log, read, schema.parent)
    space, samples = encoded(rows, read)
    check_size(space, model)
    p = progressive(make(space, rates or Rates()), samples, progress)
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


def keeping(make: Make, keep: float) -> Make:
    """Have a learner learn a share of the non-clicks, its predictions set right; with 1 all of them."""
    if keep >= 1.0:
        return make
    return lambda space, rates: down_sampled(lambda thinned: make(thinned, rates), space, keep)


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


def encoded(log: Log, schema: Schema) -> tuple[Space, Samples]:
    """What each row of a log lights, and the space that it is of."""
    rows, row_fields = encode(schema.rows, log.fields, "rows")
    columns, column_fields = encode(schema.columns, log.fields, "columns")
    space = Space(row_fields, column_fields, prior_of(schema, log.impressions, log.clicks))
    return space, Samples(rows, columns, log.impressions, log.clicks)


def check_size(space: Space, model: str) -> None:
    """Refuse a matrix that memory would not hold.

    Errors  Refused too_large.
    """
    if model in WITH_CELLS and space.row_count * space.column_count > MOST_CELLS:
        message = f"{space.row_count} rows x {space.column_count} columns are too many: hash the largest"
        raise Refused("too_large", f"{message} fields into fewer places", "schema")


def warm(make: Make) -> None:
    """Compile a learner's kernels, or load them, before a clock runs."""
    learner = make(Space(fields_of((1,)), fields_of((1,))), Rates())
    learner.learn(learner.fresh(), single([0, 1], [0, 1], 2.0, 1.0))


def progressive(
    learner: Learner, samples: Samples, progress: Progress | None = None, state: State | None = None
) -> NDArray[np.float64]:
    """The predictions of a learner (a fresh one without a state), each made before its sample was learned."""
    state, p = learner.fresh() if state is None else state, np.empty(len(samples))
    for first in range(0, p.size, CHUNK_ROWS):
        last = min(first + CHUNK_ROWS, p.size)
        p[first:last] = learner.learn(state, samples.part(first, last))
        if progress is not None:
            progress(last, p.size)
    return p
