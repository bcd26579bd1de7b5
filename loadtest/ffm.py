"""`python -m loadtest ffm`: field-aware factorization machines beside the matrix alone.

Over simulated markets whose low-rank crosses are as strong as the market's, twice and three times that, over
planted truth, and over the Open Bandit logs where they are.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from app.offline import rivals
from app.offline.compare import TRUTH, Comparison, Entry, compare_file, compared, model_of, table
from app.offline.simulate import simulate_file
from app.offline.world.log import LogPlan
from app.offline.world.planted import plant
from loadtest.compare import PROJECT, SCHEMAS
from loadtest.machine import facts, target

MODELS = ("ftrl", "main", "ffm", "ffm8")
STRENGTHS = (1.0, 2.0, 3.0)
LEAST_GAIN = {2.0: 0.005, 3.0: 0.02}  # NE, at that strength
MOST_LOSS = 0.001  # NE, where there is next to nothing to find


def run(argv: Sequence[str]) -> int:
    """Print the report; 0 when every target is met."""
    options = _options(argv)
    print(facts("ffm", argv))
    models = (*MODELS, "trees") if rivals.installed("lightgbm") else MODELS
    if "trees" not in models:
        print("trees (boosted trees + linear): left out, LightGBM is not installed\n")
    met = [_markets(strength, models, options) for strength in STRENGTHS]
    _planted(options.samples, options.seeds)
    _open_bandit(options.data)
    return 0 if all(met) else 1


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="loadtest ffm", description=__doc__)
    parser.add_argument("--samples", type=int, default=300_000, help="samples of each simulated log")
    parser.add_argument("--seeds", type=int, default=3, help="how many logs of each sort")
    parser.add_argument("--data", type=Path, default=PROJECT.parent / "shared" / "data", help="real logs")
    return parser.parse_args(argv)


def _markets(strength: float, models: Sequence[str], options: argparse.Namespace) -> bool:
    """Compare the models over some markets of one strength."""
    found, clicks = [], 0
    for seed in range(1, options.seeds + 1):
        with tempfile.TemporaryDirectory() as folder:
            plan = LogPlan(options.samples, seed=seed, low_rank=strength)
            made = simulate_file(Path(folder) / "market.parquet", plan)
            found.append(compare_file(made.log, made.schema, models))
            clicks += made.clicks
    print(
        f"simulated markets, low-rank crosses {strength:g} x as strong: {options.seeds} seeds of "
        f"{options.samples:,} samples, {clicks:,} clicks in all; second halves"
    )
    _summary(found)
    gain = -float(np.mean([_gap(one, "ffm") for one in found]))
    worst = max(_gap(one, "ffm") for one in found)
    if strength in LEAST_GAIN:
        least = LEAST_GAIN[strength]
        text = f"ffm gains at least {least} NE over ftrl ({gain:.4f}), and in every seed"
        return target(text, gain >= least and worst < 0.0)
    return target(f"ffm costs at most {MOST_LOSS} NE in any seed ({worst:+.4f})", worst <= MOST_LOSS)


def _planted(samples: int, seeds: int) -> None:
    """Sparse crosses of no rank: nothing that vectors were made for."""
    found = []
    for seed in range(1, seeds + 1):
        log = plant(samples, seed)
        runs = []
        for name in MODELS:
            model, rates = model_of(name)
            runs.append((name, model(log.space, log.samples, rates)))
        found.append(compared("planted truth", log.samples, runs, log.truth))
    print(f"\nplanted truth (sparse crosses of all fields), {seeds} seeds of {samples:,} samples")
    _summary(found)


def _gap(one: Comparison, model: str) -> float:
    """A model's NE less that of the first."""
    gap = next(entry.gap for entry in one.entries if entry.model == model)
    assert gap is not None
    return gap.mean


def _summary(found: Sequence[Comparison]) -> None:
    """The mean figures of each model over logs, and its NE less the first model's on each of them."""
    print(
        f"{'':12}{'NE':>9}{'AUC':>9}{'calibration':>13}{'samples/s':>12}{'memory':>11}   to the first, each"
    )
    for at, first in enumerate(found[0].entries):
        entries = [one.entries[at] for one in found]
        halves = [entry.second_half for entry in entries]
        ne, auc, calibration = (
            float(np.mean([getattr(half, name) for half in halves])) for name in ("ne", "auc", "calibration")
        )
        print(
            f"{first.model:12}{ne:>9.4f}{auc:>9.4f}{calibration:>13.3f}{_costs(entries)}   {_gaps(entries)}"
        )


def _costs(entries: Sequence[Entry]) -> str:
    if entries[0].model == TRUTH:
        return f"{'':23}"
    speed = np.median([entry.samples_per_s or 0.0 for entry in entries])
    memory = np.mean([entry.bytes or 0 for entry in entries])
    return f"{speed:>12,.0f}{memory / 1e6:>8.1f} MB"


def _gaps(entries: Sequence[Entry]) -> str:
    told = [entry.gap for entry in entries if entry.gap is not None]
    return ", ".join(f"{gap.mean:+.4f} +- {gap.half_width:.4f}" for gap in told)


def _open_bandit(data: Path) -> None:
    folder = data / "open_bandit"
    if not folder.is_dir():
        print("\nOpen Bandit logs: not here, skipped")
        return
    print(
        "\nOpen Bandit logs (10,000 rows and some 50 clicks each: too few for vectors to learn), second half"
    )
    for name in ("random_men", "random_women", "bts_men", "bts_women"):
        file, schema = folder / f"{name}.csv.gz", SCHEMAS / f"open_bandit_{name}.toml"
        print(f" {name}\n{table(compare_file(file, schema, MODELS))}")
