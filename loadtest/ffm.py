"""`python -m loadtest ffm`: field-aware factorization machines beside the matrix alone.

What scoring 10,000 live ads takes with vectors (at most four times the matrix's), and what they bring:
over simulated markets whose low-rank crosses are as strong as the market's, twice and three times that, over
planted truth, and over the Open Bandit logs where they are.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.domain.decisions import Choice
from app.offline import rivals
from app.offline.compare import TRUTH, Comparison, Entry, compare_file, compared, model_of, table
from app.offline.logs import read_log
from app.offline.replay import MODELS as LEARNERS
from app.offline.replay import encoded
from app.offline.schema import read_schema
from app.offline.simulate import simulate_file
from app.offline.world.log import LogPlan
from app.offline.world.planted import plant
from app.rules import features, ffm, ranking
from app.rules.calibration import NO_CURVE
from app.rules.evaluation import measure
from app.rules.ffm import Factors
from app.rules.ftrl import UNLEARN_HORIZON_EVENTS, Rates
from app.rules.learner import F64, Learner, Samples
from app.state import factors
from app.state.columns import OWN_COLUMN_FIELD
from app.state.factors import NO_FACTORS, ROW_FIELDS
from app.state.state import State
from loadtest.client import percentile
from loadtest.compare import PROJECT, SCHEMAS
from loadtest.kernel import Bench, Timed, by_turns
from loadtest.machine import SERVER_CORE, facts, on_core, target
from loadtest.states import key_of, live_state, request_of

MODELS = ("ftrl", "main", "ffm", "ffm8")
STRENGTHS = (1.0, 2.0, 3.0)
LEAST_GAIN = {2.0: 0.005, 3.0: 0.02}  # NE, at that strength
MOST_LOSS = 0.001  # NE, where there is next to nothing to find
MOST_TIMES = 4.0  # the matrix's own kernel
LINEAR, CHOOSE, LEARN = "kernel", "choose", "learning one sample of 16 rows x 6 columns"


def run(argv: Sequence[str]) -> int:
    """Print the report; 0 when every target is met."""
    options = _options(argv)
    print(facts("ffm", argv))
    models = (*MODELS, "trees") if rivals.installed("lightgbm") else MODELS
    if "trees" not in models:
        print("trees (boosted trees + linear): left out, LightGBM is not installed\n")
    met = [_kernel(options)]
    met += [_markets(strength, models, options) for strength in STRENGTHS]
    _planted(options.samples, options.seeds)
    met.append(_taken_back(options.samples))
    _open_bandit(options.data)
    return 0 if all(met) else 1


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="loadtest ffm", description=__doc__)
    parser.add_argument("--samples", type=int, default=300_000, help="samples of each simulated log")
    parser.add_argument("--seeds", type=int, default=3, help="how many logs of each sort")
    parser.add_argument("--ads", type=int, default=10_000, help="live ads that are scored")
    parser.add_argument("--repetitions", type=int, default=2_000, help="turns of each kernel")
    parser.add_argument("--data", type=Path, default=PROJECT.parent / "shared" / "data", help="real logs")
    return parser.parse_args(argv)


# ------------------------------------------------------------------------------------ speed
class FactoredBench(Bench):
    """The kernel's bench with vectors of every ad and row, and requests that light a row of every field."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        random = np.random.default_rng(3)
        blocks = [features.BLOCKS[names[0]] for names in ROW_FIELDS]
        lit = [random.integers(block.start, block.end, len(self.drawn)) for block in blocks]
        interests = features.BLOCKS["interest"]
        lit.append(random.integers(interests.start, interests.end, len(self.drawn)))
        self.drawn = np.stack([np.zeros(len(self.drawn)), *lit], axis=1).astype(np.int32)
        self.vectors = {size: self._drawn_vectors(random, size) for size in (4, 8)}
        self.rates = factors.rates_of(0.1)

    def _drawn_vectors(self, random: np.random.Generator, size: int) -> Factors:
        fields = self.state.catalogue.column_fields
        one = ffm.fresh(factors.row_fields(), fields, len(ROW_FIELDS), OWN_COLUMN_FIELD, size)
        for vectors in (one.row_vectors, one.column_vectors):
            vectors[:] = random.normal(0.0, 0.1, vectors.shape)
        one.column_vectors[:, :, 0] = 0.0
        return one

    def factored(self, turn: int, size: int) -> ranking.Pick:
        """Score every ad with vectors, and find the exact best and its rival."""
        catalogue = self.state.catalogue
        self.row_sum(turn)
        ffm.add_factors(
            self.vectors[size], self.rows(turn), catalogue.columns.used, catalogue.first_ad_column,
            self.ads.view().alive, self.sums,
        )  # fmt: skip
        return self._pick(turn, self.sums, NO_CURVE)

    def choice(self, turn: int, vectors: Factors) -> Choice:
        """Choose as a node does, with these vectors or none."""
        self.state.model.factors = vectors
        choice = self.chooser.choose(request_of(turn), key_of(turn), 1)
        self.state.model.factors = NO_FACTORS
        return choice

    def learned(self, turn: int, vectors: Factors) -> float:
        """Learn one impression of forty, so that no time is spent on memory touched for the first time."""
        model, turn = self.state.model, turn % 40
        columns = self.ads.columns[:, self.index[turn]].astype("<u2").tobytes()
        model.factors = vectors
        p = model.learn(self.rows(turn).astype("<u2").tobytes(), columns, -4.0, 1.0, 0.0)
        model.factors = NO_FACTORS
        return p

    def check(self) -> None:
        """One scan gives every ad what its own columns give."""
        super().check()
        for size in self.vectors:
            self.row_sum(0)
            before = self.sums.astype(np.float64)
            self.factored(0, size)
            for ad in self.index[:: self.n // 50].tolist():
                columns: NDArray[np.int32] = self.ads.columns[:, ad].astype(np.int32)
                added = (self.sums[columns] - before[columns]).sum()
                one = self.vectors[size]
                assert abs(added - ffm.meet(one, self.rows(0), columns, ffm.nothing_met(one))) < 1e-3

    def candidates(self) -> dict[str, Timed]:
        """What is timed by turns, the matrix alone first of each sort."""
        four = self.vectors[4]
        return {
            LINEAR: lambda turn: self.kernel(3 * turn),
            f"{LINEAR}, k = 4": lambda turn: self.factored(3 * turn + 1, 4),
            f"{LINEAR}, k = 8": lambda turn: self.factored(3 * turn + 2, 8),
            CHOOSE: lambda turn: self.choice(2 * turn, NO_FACTORS),
            f"{CHOOSE}, k = 4": lambda turn: self.choice(2 * turn + 1, four),
            LEARN: lambda turn: self.learned(turn, NO_FACTORS),
            f"{LEARN}, k = 4": lambda turn: self.learned(turn, four),
        }


def _kernel(options: argparse.Namespace) -> bool:
    """Time scoring, choosing and learning with and without vectors."""
    with on_core(SERVER_CORE) as core:
        bench = FactoredBench(live_state(options.ads))
        print(f"{options.ads:,} live ads, all eligible, 16 rows of {len(ROW_FIELDS)} fields; {core}\n")
        bench.check()
        times = by_turns(bench.candidates(), options.repetitions)
    middle = {name: percentile(taken, 0.5) for name, taken in times.items()}
    print(f"  {'us':52}{'median':>10}{'p90':>10}{'x without':>11}")
    for name, taken in times.items():
        alone = middle[name.split(", k")[0]]
        print(f"  {name:52}{middle[name]:>10.1f}{percentile(taken, 0.9):>10.1f}{middle[name] / alone:>11.2f}")
    print()
    worst = middle[f"{LINEAR}, k = 4"] / middle[LINEAR]
    return target(
        f"scoring with vectors at most {MOST_TIMES:.0f} x without: {worst:.2f} x", worst <= MOST_TIMES
    )


# ------------------------------------------------------------------------------------ worth
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


def _taken_back(samples: int) -> bool:
    """False clicks among the samples, as many as true ones, taken back at once, at the horizon, or never."""
    with tempfile.TemporaryDirectory() as folder:
        made = simulate_file(Path(folder) / "market.parquet", LogPlan(samples // 2, low_rank=STRENGTHS[-1]))
        schema = read_schema(made.schema)
        space, log = encoded(read_log(made.log, schema, Path(folder)), schema)
    print(
        f"\nfalse clicks, as many as true ones, {len(log):,} samples of the strongest market: NE, second half"
    )
    print(f"  {'':8}{'never seen':>12}{'back at once':>14}{UNLEARN_HORIZON_EVENTS:>8,} later{'left in':>10}")
    left = 1.0
    for name in ("ftrl", "ffm"):
        clean, at_once, later, never = (
            _with_false_clicks(LEARNERS[name](space, Rates()), log, lag)
            for lag in (None, 1, UNLEARN_HORIZON_EVENTS, len(log))
        )
        print(f"  {name:8}{clean:>12.4f}{at_once:>14.4f}{later:>14.4f}{never:>10.4f}")
        left = (later - clean) / (never - clean)
    return target(f"at the horizon at most a tenth of their harm stays in ffm ({left:.1%})", left <= 0.1)


def _with_false_clicks(learner: Learner, log: Samples, lag: int | None) -> float:
    """NE with a false click at each so many samples, taken back `lag` samples later; without any for None."""
    assert learner.unlearn is not None
    step, half = len(log) // int(log.clicks.sum()), len(log) // 2
    false = {at: at * 7_919 % len(log) for at in range(0, len(log) if lag else 0, step)}
    due = {at + (lag or 0): at for at in false}
    state, p, done = learner.fresh(), np.empty(len(log)), 0
    learned: dict[int, tuple[Samples, F64]] = {}
    for at in sorted({*false, *(one for one in due if one < len(log)), len(log)}):
        p[done:at] = learner.learn(state, log.part(done, at))
        done = at
        if at in due and at < len(log):
            learner.unlearn(state, *learned.pop(due[at]))
        if at in false:
            one = replace(log.part(false[at], false[at] + 1), clicks=np.ones(1))
            learned[at] = one, learner.learn(state, one)
    return measure(p[half:], log.impressions[half:], log.clicks[half:]).ne or 1.0


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
