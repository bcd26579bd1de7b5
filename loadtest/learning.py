"""`python -m loadtest learning`: how well and how fast the model learns, as a text report.

Planted truth on several seeds, other learners beside, late and false feedback, the kernel's speed, replay
from files, and the Open Bandit logs where they are. The whole run is kept on one core.
"""

import argparse
import gzip
import os
import platform
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

import numpy as np
import polars as pl
from numpy.typing import NDArray

from app.offline.compare import model_of
from app.offline.replay import replay_file
from app.offline.rivals import Predicted, river_main, vowpal_wabbit_main
from app.offline.world.planted import PRIOR, Planted, plant
from app.rules import ftrl
from app.rules.evaluation import Metrics, log_loss, measure
from app.rules.ftrl import UNLEARN_HORIZON_EVENTS, Rates
from loadtest import schedules

PRIOR_LOGIT = float(np.log(PRIOR / (1.0 - PRIOR)))
PROJECT = Path(__file__).parents[1]
RIVER_SAMPLES = 20_000
MATRIX_ROWS, MATRIX_COLUMNS = 4_096, 16_384
LIT_ROWS, LIT_COLUMNS = 16, 6  # 96 cells a sample


def run(argv: Sequence[str]) -> int:
    """Print the report; 0 when every target is met."""
    options = _options(argv)
    with _one_core() as core:
        ftrl.warm()
        _say(f"learning report: {platform.machine()} {_processor()}, one core ({core}), {platform.system()}")
        versions = f"python {platform.python_version()}, numpy {np.__version__}"
        _say(f"{versions}, {options.samples:,} samples a seed\n")
        met = [_truth(options.samples, seed) for seed in options.seeds]
        log = plant(options.samples, options.seeds[0])
        met += [_rivals(log), _late(log)]
        _horizon(log)
        met += [_kernel_speed(), _file_speed(options.samples)]
        _open_bandit(options.data)
    _say("all targets met" if all(met) else "A TARGET WAS MISSED")
    return 0 if all(met) else 1


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="loadtest learning", description=__doc__)
    parser.add_argument("--samples", type=int, default=300_000, help="planted samples of a seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--data", type=Path, default=PROJECT.parent / "shared" / "data", help="real logs")
    return parser.parse_args(argv)


@contextmanager
def _one_core() -> Iterator[str]:
    """Keep this process on one core where the system can."""
    if not hasattr(os, "sched_setaffinity"):
        yield "not pinned"
        return
    before = os.sched_getaffinity(0)
    core = max(before)
    os.sched_setaffinity(0, {core})
    try:
        yield f"pinned to {core} of {os.cpu_count()}"
    finally:
        os.sched_setaffinity(0, before)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _target(text: str, met: bool) -> bool:
    _say(f"  target: {text}: {'met' if met else 'MISSED'}\n")
    return met


# ------------------------------------------------------------------------------------ planted truth
def _truth(samples: int, seed: int) -> bool:
    """Main cells, all cells, and the truth, on the second half."""
    log = plant(samples, seed)
    half, ones = samples // 2, np.ones(samples)
    _say(f"planted truth, seed {seed}, CTR {log.clicks.mean():.2%}, second half")
    _say(f"  {'':28}{'log loss':>10}{'NE':>9}{'AUC':>9}{'calibration':>13}{'samples/s':>12}")
    rows: list[tuple[str, NDArray[np.float64], float | None]] = [("the truth", log.truth, None)]
    for name, main_only_from, rates in (
        ("main cells alone", 1, Rates()),
        ("all cells at 0.1", ftrl.NO_MAIN_ONLY, Rates(0.1, 0.1)),
        ("main 0.1, crosses 0.02", ftrl.NO_MAIN_ONLY, Rates(0.1, 0.02)),
        ("the same with L1 1", ftrl.NO_MAIN_ONLY, Rates(0.1, 0.02, l1_main=1.0, l1_cross=1.0)),
    ):
        p, seconds = _learned(log, main_only_from, rates)
        rows.append((name, p, samples / seconds))
    measured = [measure(p[half:], ones[half:], log.clicks[half:]) for _, p, _ in rows]
    for (name, _, speed), metrics in zip(rows, measured, strict=True):
        _say(f"  {name:28}{_figures(metrics)}{'' if speed is None else f'{speed:>12,.0f}'}")
    truth, main, crosses = (metrics.ne or 0.0 for metrics in (measured[0], measured[1], measured[3]))
    closed = (main - crosses) / (main - truth)
    return _target(f"crosses close a fifth of the gap to the truth ({closed:.0%})", closed >= 0.2)


def _learned(log: Planted, main_only_from: int, rates: Rates) -> tuple[NDArray[np.float64], float]:
    cell_count, samples = log.row_count * log.stride, log.clicks.size
    sums = np.zeros(cell_count), np.zeros(cell_count), np.zeros(cell_count, np.float32)
    p, ones = np.empty(samples), np.ones(samples)
    started = perf_counter()
    ftrl.learn_log(
        *sums, log.rows, log.columns, log.stride, main_only_from, ones, log.clicks, PRIOR_LOGIT,
        rates.array(), p,
    )  # fmt: skip
    return p, perf_counter() - started


def _figures(one: Metrics) -> str:
    return f"{one.log_loss:>10.5f}{one.ne:>9.4f}{one.auc:>9.4f}{one.calibration:>13.4f}"


# ------------------------------------------------------------------------------------ others beside
def _rivals(log: Planted) -> bool:
    """The same samples, features (main cells), prior, alpha, beta, l1 and l2."""
    samples, rates = log.clicks.size, Rates()
    few = min(RIVER_SAMPLES, samples)
    ours = _ours_main(log)
    theirs = vowpal_wabbit_main(log.space, log.samples, rates)
    river = river_main(log.space, log.samples.part(0, few), rates)
    _say("main cells alone beside others, progressive log loss of the whole run")
    losses = [_loss(one.p, log) for one in (ours, theirs)]
    _say(f"  {'ours':28}{losses[0]:>10.6f}{samples / ours.seconds:>12,.0f} samples/s")
    _say(f"  {'Vowpal Wabbit --ftrl':28}{losses[1]:>10.6f}{samples / theirs.seconds:>12,.0f} samples/s, text")
    _say(f"  {f'River, first {few:,}':28}{_loss(river.p, log):>10.6f}{few / river.seconds:>12,.0f} samples/s")
    _say(f"  {f'ours, first {few:,}':28}{_loss(ours.p[:few], log):>10.6f}")
    apart = abs(losses[0] - losses[1])
    return _target(f"within 0.001 of Vowpal Wabbit ({apart:.1e})", apart <= 0.001)


def _ours_main(log: Planted) -> Predicted:
    run, rates = model_of("main")
    return run(log.space, log.samples, rates)


def _loss(p: NDArray[np.float64], log: Planted) -> float:
    loss = log_loss(p, np.ones(p.size), log.clicks[: p.size])
    assert loss is not None
    return loss


# ------------------------------------------------------------------------------------ late and false
def _late(log: Planted) -> bool:
    _say("feedback apart and late, NE of the second half")
    joined = schedules.ne_of(log, schedules.joined(log))
    _say(f"  {'joined samples':46}{joined:.5f}")
    met = True
    for name, schedule, cost in (
        ("impression, then click", schedules.apart(log), 0.001),
        ("clicks 2,000 impressions late", schedules.apart(log, clicks_late=2_000), 0.001),
        ("clicks 20,000 impressions late", schedules.apart(log, clicks_late=20_000), None),
        ("everything 5,000 decisions late", schedules.all_late(log, 5_000), 0.01),
        ("the same, 5,000 at once", schedules.in_bursts(log, 5_000), 0.01),
    ):
        ne = schedules.ne_of(log, schedule)
        met &= cost is None or abs(ne - joined) <= cost
        _say(f"  {name:46}{ne:.5f}{ne - joined:>+10.5f}{'' if cost is None else f'   at most {cost}'}")
    return _target("each within its cost", met)


def _horizon(log: Planted) -> None:
    """How late an event may be taken back: the number in app/rules/ftrl.py comes from here."""
    _say(
        f"false clicks taken back so many events later (horizon {UNLEARN_HORIZON_EVENTS:,}), NE, second half"
    )
    never = schedules.ne_of(log, schedules.apart(log))
    _say(f"  never seen {never:.5f}")
    _say(f"  {'events later':16}{'5 % anywhere':>16}{'a burst on one creative':>26}")
    anywhere, burst = schedules.false_anywhere(log), schedules.false_burst(log)
    for events in (0, 100, 500, 1_000, 2_000, 5_000, 20_000, 60_000, None):
        costs = [schedules.ne_with_false_clicks(log, one, events) - never for one in (anywhere, burst)]
        name = "left in" if events is None else f"{events:,}"
        _say(f"  {name:16}{costs[0]:>+16.5f}{costs[1]:>+26.5f}")
    _say("")


# ------------------------------------------------------------------------------------ speed
def _kernel_speed(samples: int = 100_000) -> bool:
    """Predict and learn 96 cells a sample, rows and columns drawn evenly: the least kind to the cache."""
    random = np.random.default_rng(1)
    rows = random.integers(1, MATRIX_ROWS, (samples, LIT_ROWS), dtype=np.int32)
    columns = random.integers(1, MATRIX_COLUMNS, (samples, LIT_COLUMNS), dtype=np.int32)
    rows[:, 0] = columns[:, 0] = 0
    clicks, ones, p = (random.random(samples) < 0.04).astype(np.float64), np.ones(samples), np.empty(samples)
    cell_count = MATRIX_ROWS * MATRIX_COLUMNS
    sums = np.zeros(cell_count), np.zeros(cell_count), np.zeros(cell_count, np.float32)
    speeds = []
    for _ in range(4):  # the first run touches the pages
        started = perf_counter()
        ftrl.learn_log(
            *sums, rows, columns, MATRIX_COLUMNS, ftrl.NO_MAIN_ONLY, ones, clicks, -3.0, Rates().array(), p
        )
        speeds.append(samples / (perf_counter() - started))
    best, worst = max(speeds[1:]), min(speeds[1:])
    matrix = f"{MATRIX_ROWS:,} x {MATRIX_COLUMNS:,}"
    _say(f"kernel, {LIT_ROWS} rows x {LIT_COLUMNS} columns of {matrix}, evenly drawn")
    _say(f"  {worst:,.0f} to {best:,.0f} samples/s; {speeds[0]:,.0f} while the memory is touched first")
    return _target("100,000 samples/s", best >= 100_000)


def _file_speed(samples: int) -> bool:
    """Replay from files, 96 cells a sample: the planted log with three more context fields."""
    log = plant(samples, 1)
    extra = np.random.default_rng(2).integers(0, 30, (samples, LIT_ROWS - log.rows.shape[1]), dtype=np.int32)
    lit = np.concatenate([log.rows[:, 1:], extra], axis=1)
    fields = {f"context_{k}": lit[:, k] for k in range(lit.shape[1])}
    fields |= {f"ad_{k}": log.columns[:, k] for k in range(1, LIT_COLUMNS)}
    frame = pl.DataFrame(fields | {"click": log.clicks.astype(np.int8)})
    _say(f"replay from a file, {samples:,} samples, 96 cells, fields hashed")
    speeds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "schema.toml").write_text(_hashed_schema(list(fields)), encoding="utf-8")
        for file in _written(frame, folder):
            result = replay_file(file, folder / "schema.toml")
            speeds[file.name] = result.samples_per_s
            _say(f"  {file.name:14}{result.samples_per_s:>12,.0f} samples/s{result.seconds:>8.2f} s")
    return _target("50,000 samples/s from every format", min(speeds.values()) >= 50_000)


def _hashed_schema(fields: list[str]) -> str:
    parts = {"rows": "context", "columns": "ad"}
    lines = ['label = "click"', f"prior = {PRIOR}"]
    for part, prefix in parts.items():
        size = 200 if part == "rows" else 2_000
        one = [
            f'{{field = "{field}", kind = "hash", size = {size}}}'
            for field in fields
            if field.startswith(prefix)
        ]
        lines.append(f"{part} = [{', '.join(one)}]")
    return "\n".join(lines)


def _written(frame: pl.DataFrame, folder: Path) -> Iterator[Path]:
    frame.write_csv(folder / "log.csv")
    (folder / "log.csv.gz").write_bytes(gzip.compress((folder / "log.csv").read_bytes(), compresslevel=3))
    frame.write_ndjson(folder / "log.jsonl")
    frame.write_parquet(folder / "log.parquet")
    yield from (folder / f"log.{kind}" for kind in ("csv", "csv.gz", "jsonl", "parquet"))


# ------------------------------------------------------------------------------------ real logs
def _open_bandit(data: Path) -> None:
    folder = data / "open_bandit"
    if not folder.is_dir():
        _say("Open Bandit logs: not here, skipped\n")
        return
    _say("Open Bandit logs (10,000 rows each, some 50 clicks: sound rather than telling), whole run")
    _say(f"  {'':28}{'log loss':>10}{'NE':>9}{'AUC':>9}{'calibration':>13}{'samples/s':>12}")
    for name in ("random_men", "random_women", "bts_men", "bts_women"):
        schema = PROJECT / "tests" / "offline" / "schemas" / f"open_bandit_{name}.toml"
        for model in ("main", "ftrl"):
            result = replay_file(folder / f"{name}.csv.gz", schema, model)
            _say(f"  {f'{name}, {model}':28}{_figures(result.all)}{result.samples_per_s:>12,.0f}")
    _say("")
