"""`adjudge simulate`: a click log of the simulated market as a file; beside it its schemas, of clicks and of
conversions."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from app.domain.refusals import Refused
from app.offline.sample import sample_catalogue
from app.offline.world.log import CONVERSIONS_SCHEMA, SCHEMA, LogPlan, draw_log
from app.offline.world.market import Market
from app.rules.evaluation import Metrics, measure

FORMATS = (".parquet", ".csv", ".jsonl")


@dataclass(frozen=True, slots=True)
class Simulated:
    """What was written where, and how good predictions could be at best."""

    log: Path
    schema: Path
    conversions_schema: Path
    samples: int
    clicks: int
    conversions: int
    bots: int
    truth: Metrics

    def as_json(self) -> dict[str, Any]:
        """The shape that `simulate --json` prints."""
        paths = {name: str(getattr(self, name)) for name in ("log", "schema", "conversions_schema")}
        return asdict(self) | paths


def simulate_file(out: Path, plan: LogPlan, creatives: int = 2_000) -> Simulated:
    """Draw a log of a sample catalogue's market; the same plan gives the same log.

    Errors  Refused: unknown_format, not_writable.
    """
    if out.suffix not in FORMATS:
        raise Refused("unknown_format", f"{out.name} is none of {', '.join(FORMATS)}", "OUT")
    market = Market(plan.seed, sample_catalogue(plan.seed, creatives), plan.low_rank)
    log = draw_log(market, plan)
    schema, conversions = out.with_suffix(".toml"), out.with_suffix(".conversions.toml")
    try:
        _write(log, out)
        schema.write_text(SCHEMA, encoding="utf-8")
        conversions.write_text(CONVERSIONS_SCHEMA, encoding="utf-8")
    except OSError as broken:
        raise Refused("not_writable", f"{out}: {broken.strerror}", "OUT") from broken
    clicks = log["click"].to_numpy().astype(np.float64)
    return Simulated(
        log=out,
        schema=schema,
        conversions_schema=conversions,
        samples=log.height,
        clicks=int(clicks.sum()),
        conversions=int(log["conversion"].sum()),
        bots=int(log["bot"].sum()),
        truth=measure(log["truth_ctr"].to_numpy(), np.ones(clicks.size), clicks),
    )


def _write(log: pl.DataFrame, out: Path) -> None:
    match out.suffix:
        case ".parquet":
            log.write_parquet(out)
        case ".csv":
            log.write_csv(out)
        case _:
            log.write_ndjson(out)
