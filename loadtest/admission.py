"""`python -m loadtest admission`: memory against quality where values are rare, and what a state takes.

Every value of a log has a row of its own once it is admitted; until then it lights none. On planted truth
with words by a power law, and on a real log (Open Bandit) whose people are all their features together.
"""

from __future__ import annotations

import argparse
import gzip
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from app.domain.ids import HOUR_MS
from app.domain.people import Profile
from app.rules.admission import CountingBloom, drawn
from app.rules.evaluation import measure
from app.rules.ftrl_learner import ftrl_learner
from app.rules.learner import Samples, Space, State, fields_of
from app.rules.projection_plain import admission_hash
from app.state.model import Model
from app.state.people import People
from loadtest.machine import SERVER_CORE, facts, on_core, say, target

VOCABULARY, WORDS, ADS, POWER = 100_000, 6, 40, 1.1
INTERCEPT, WORD_SD, AD_SD, CROSS_SD = -3.0, 0.35, 0.3, 0.15
HASHED = 512
CELL_BYTES, MIB = 20, 1 << 20
LOST_AT_MOST = 0.005
I64 = NDArray[np.int64]
Admits = Callable[[int, int], bool]  # a value, and the number of its sighting in the log


def run(argv: Sequence[str]) -> int:
    """Print the report; 0 when every target is met."""
    parser = argparse.ArgumentParser(prog="loadtest admission", description=__doc__)
    parser.add_argument("--samples", type=int, default=150_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data", type=Path, default=None, help="folder of the Open Bandit logs")
    options = parser.parse_args(argv)
    say(facts("admission", argv))
    with on_core(SERVER_CORE):
        _state()  # first, while no memory is freed that it could take
        values, ads, clicks, truth = _planted(options.samples, options.seed)
        say(f"\nplanted truth: {options.samples:,} samples, {int(clicks.sum()):,} clicks, {WORDS} words each "
            f"of {VOCABULARY:,}; all have crosses with {ADS} ads\n")  # fmt: skip
        half = slice(options.samples // 2, None)
        best = measure(truth[half], np.ones(truth[half].size), clicks[half])
        say(f"  the truth itself: NE {best.ne:.4f}, AUC {best.auc:.4f}")
        found = _table(values, ads, ADS, clicks)
        if options.data is not None:
            _open_bandit(options.data)
    everything, (ne, cells) = found["all at sight"], found["Poisson 0.1"]
    say()
    saved = 1.0 - cells / everything[1]
    met = ne <= everything[0] + LOST_AT_MOST and saved >= 0.4
    said = f"Poisson 0.1 saves {saved:.0%} of the cells for {ne - everything[0]:+.4f} NE"
    return 0 if target(f"{said} (at least 40 %, at most +{LOST_AT_MOST})", met) else 1


def _planted(samples: int, seed: int) -> tuple[I64, I64, NDArray[np.float64], NDArray[np.float64]]:
    """Draw words by a power law, and clicks that depend on them."""
    random = np.random.default_rng([seed, 50])
    weights = np.arange(1, VOCABULARY + 1) ** -POWER
    edges = np.cumsum(weights / weights.sum())
    values = np.minimum(np.searchsorted(edges, random.random((samples, WORDS))), VOCABULARY - 1)
    ads = random.integers(0, ADS, samples)
    effects = random.normal(0, WORD_SD, VOCABULARY)
    crosses = random.normal(0, CROSS_SD, (VOCABULARY, ADS))
    of_ads = random.normal(0, AD_SD, ADS)
    logit = INTERCEPT + of_ads[ads] + effects[values].sum(axis=1) + crosses[values, ads[:, None]].sum(axis=1)
    truth = 1.0 / (1.0 + np.exp(-logit))
    return values, ads, (random.random(samples) < truth).astype(np.float64), truth


def _always(_value: int, _number: int) -> bool:
    return True


def _ways() -> dict[str, Callable[[], Admits]]:
    def bloom(least: int) -> Callable[[], Admits]:
        def fresh() -> Admits:
            seen = CountingBloom(1 << 18, least)
            return lambda value, _: seen.see(admission_hash("word", str(value)))

        return fresh

    def poisson(chance: float) -> Callable[[], Admits]:
        return lambda: lambda value, number: drawn(value, number.to_bytes(8, "big"), chance)

    ways: dict[str, Callable[[], Admits]] = {"all at sight": lambda: _always}
    ways |= {f"Bloom, from sighting {least}": bloom(least) for least in (2, 3, 5, 10)}
    ways |= {f"Poisson {chance:g}": poisson(chance) for chance in (0.5, 0.1, 0.03)}
    return ways


def _rows(values: I64, admits: Admits, hashed: int = 0) -> tuple[NDArray[np.int32], int]:
    """Give each admitted value a row, in order; what is strange lights none (-1). Row 0 is everybody's.

    With `hashed`, values share so many rows by their hash, as on a node.
    """
    row_of: dict[int, int] = {}
    lit = np.full((len(values), 1 + values.shape[1]), -1, dtype=np.int32)
    lit[:, 0] = 0
    for number, told in enumerate(values.tolist()):
        at = 1
        for value in dict.fromkeys(told):
            row = row_of.get(value)
            if row is None and admits(value, number):
                row = row_of[value] = 1 + (value * 2_654_435_761 % 2**32 % hashed if hashed else len(row_of))
            if row is not None and row not in lit[number, :at]:
                lit[number, at] = row
                at += 1
    return lit, hashed or len(row_of)


def _table(values: I64, ads: I64, ad_count: int, clicks: NDArray[np.float64]) -> dict[str, tuple[float, int]]:
    ones, half = np.ones(len(clicks)), slice(len(clicks) // 2, None)
    columns = np.stack([np.zeros_like(ads), 1 + ads], axis=1).astype(np.int32)
    say(f"\n  {'':32}{'rows':>9}{'cells':>12}{'MiB':>8}{'saved':>8}{'NE':>9}{'AUC':>9}")
    found: dict[str, tuple[float, int]] = {}

    def judge(name: str, lit: NDArray[np.int32], rows: int) -> None:
        fields = np.minimum(np.arange(1 + rows), 1).astype(np.int32)
        learner = ftrl_learner(Space(fields, fields_of((ad_count,)), max(1e-3, float(clicks.mean()))))
        state = learner.fresh()
        p = learner.learn(state, Samples(lit, columns, ones, clicks))
        one, cells = measure(p[half], ones[half], clicks[half]), _cells(state)
        found[name] = (one.ne or np.inf), cells
        saved = 1.0 - cells / found["all at sight"][1]
        say(f"  {name:32}{rows:>9,}{cells:>12,}{cells * CELL_BYTES / MIB:>8.1f}{saved:>8.0%}"
            f"{one.ne:>9.4f}{one.auc:>9.4f}")  # fmt: skip

    for name, way in _ways().items():
        judge(name, *_rows(values, way()))
    for name, admits in (
        ("all at sight", _always),
        *((name, _ways()[name]()) for name in ("Poisson 0.1", "Poisson 0.03")),
    ):
        judge(f"{HASHED} rows shared, {name}", *_rows(values, admits, HASHED))
    return found


def _cells(state: State) -> int:
    return int(np.count_nonzero(state["n"]))


def _open_bandit(folder: Path) -> None:
    """People by all their features together, against the items that they were shown."""
    for part in ("men", "women"):
        path = folder / f"random_{part}.csv.gz"
        if not path.exists():
            say(f"\n  {path.name} is not there")
            continue
        with gzip.open(path) as file:
            log = pl.read_csv(file.read())
        features = [name for name in log.columns if name.startswith("user_feature")]
        person = log.select(pl.concat_str(features, separator="|").rank("dense")).to_series().to_numpy()
        where = log["position"].to_numpy() + 1_000_000
        values = np.stack([person.astype(np.int64), where.astype(np.int64)], axis=1)
        items = log["item_id"].to_numpy().astype(np.int64)
        clicks = log["click"].to_numpy().astype(np.float64)
        say(f"\nOpen Bandit, random, {part}: {len(log):,} samples, {int(clicks.sum())} clicks, "
            f"{len(np.unique(person)):,} kinds of people")  # fmt: skip
        _table(values, items, int(items.max()) + 1, clicks)


def _state() -> None:
    """Fill a node's matrix and memory of people, and read what the system says it takes."""
    say("  what a node's state takes, resident / in a snapshot")
    random, count = np.random.default_rng(1), 1_000_000
    Model(1_024)  # compiles what it needs, which takes more memory than the cells
    before, model = _resident(), Model(16_384)
    rows, columns = np.arange(1, 101), np.arange(10_000)
    for row in rows:  # a hundred rows wholly in use
        model.n[row, columns] = random.random(columns.size)
        model.z[row, columns] = 1.0
        model.w[row, columns] = 1.0
    model.touched[rows] = True
    resident = _resident() - before
    parts = sum(part.nbytes for part in model.parts(10_000).values())
    say(f"  {f'{count:,} cells of the matrix, side by side':48}{resident / MIB:>8.1f}{parts / MIB:>8.1f} MiB")
    people, some, before = People(), count // 5, _resident()
    for number in range(some):
        words = tuple(f"w{word}" for word in random.integers(0, 1_000, 8).tolist())
        people.tell(
            number.to_bytes(12, "big"), 500_000 * HOUR_MS, Profile(gender="F", age=30, interests=words)
        )
    resident, parts = _resident() - before, len(people.parts()["profiles"])
    say(f"  {f'{count:,} profiles of 8 interests (from {some:,})':48}"
        f"{5 * resident / MIB:>8.1f}{5 * parts / MIB:>8.1f} MiB")  # fmt: skip


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * 4_096
