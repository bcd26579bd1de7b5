"""`python -m loadtest compare`: every figure of the README's "Learning compared", as a text report.

Models over a simulated market and over planted truth, down-sampled negatives, parts learned apart and merged,
off-policy estimates where the truth is known, and the Open Bandit logs where they are.
"""

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from app.offline.compare import compare_file, compared, installed_models, model_of, table
from app.offline.off_policy import greedy, judge, off_policy_file, off_policy_table
from app.offline.partitions import Training, trained
from app.offline.sample import sample_catalogue
from app.offline.simulate import simulate_file
from app.offline.world.bandit import BanditPlan, draw_decisions
from app.offline.world.contest import ContestPlan, contest, epsilon_greedy, uniform
from app.offline.world.log import LogPlan
from app.offline.world.market import Market
from app.offline.world.planted import Planted, plant
from app.offline.world.truth import space_of
from app.rules.evaluation import Metrics, measure
from app.rules.ftrl_learner import ftrl_learner, main_learner
from app.rules.hctr import hctr_learner
from app.rules.learner import F64, Learner, Samples, Space, State
from app.rules.sampling import corrected, thinned_space
from loadtest.machine import facts

PROJECT = Path(__file__).parents[1]
SCHEMAS = PROJECT / "tests" / "offline" / "schemas"
KEEPS = (1.0, 0.3, 0.1, 0.03)
TEST_SHARE = 0.2
LOGS, DECISIONS, ACTIONS = 200, 2_000, 10


def run(argv: Sequence[str]) -> int:
    """Print the report; 0 when every target is met."""
    options = _options(argv)
    print(facts("compare", argv))
    _market(options.samples, options.seed)
    log = plant(options.samples, options.seed)
    _planted(log)
    met = [_down_sampling(log), _partitions(log), _off_policy(options.seed)]
    _contest(options.seed)
    _open_bandit(options.data)
    print("all targets met" if all(met) else "A TARGET WAS MISSED")
    return 0 if all(met) else 1


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="loadtest compare", description=__doc__)
    parser.add_argument("--samples", type=int, default=300_000, help="samples of each simulated log")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data", type=Path, default=PROJECT.parent / "shared" / "data", help="real logs")
    return parser.parse_args(argv)


def _target(text: str, met: bool) -> bool:
    print(f"  target: {text}: {'met' if met else 'MISSED'}\n")
    return met


# ------------------------------------------------------------------------------------ models
def _market(samples: int, seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        made = simulate_file(Path(folder) / "market.parquet", LogPlan(samples, seed=seed))
        result = compare_file(made.log, made.schema, installed_models())
    print(f"simulated market, {samples:,} samples, {made.clicks:,} clicks; second half")
    print(f"{table(result)}\n")


def _planted(log: Planted) -> None:
    runs = []
    for name in ("main", "ftrl", "ftrl:l1=1:cross_l1=1", "ftrl:cross_alpha=0.1", "hctr", "ffm"):
        model, rates = model_of(name)
        runs.append((name, model(log.space, log.samples, rates)))
    result = compared("planted truth", log.samples, runs, log.truth)
    print(f"planted truth (sparse crosses of all fields), {len(log.samples):,} samples; second half")
    print(f"{table(result)}\n")


# ------------------------------------------------------------------------------------ sampling, merging
def _split(log: Planted) -> tuple[Samples, Samples]:
    cut = int(len(log.samples) * (1.0 - TEST_SHARE))
    return log.samples.part(0, cut), log.samples.part(cut, len(log.samples))


def _judged(learner: Learner, state: State, test: Samples, keep: float = 1.0) -> Metrics:
    p: F64 = corrected(learner.predict(state, test), keep)
    return measure(p, test.impressions, test.clicks)


def _down_sampling(log: Planted) -> bool:
    """Train on a share of the non-clicks, predict the last fifth without learning it."""
    train, test = _split(log)
    print(
        f"non-clicks thinned: all cells on {len(train):,} planted samples, judged on the next {len(test):,}"
    )
    print(f"  {'kept':>6}{'learned':>10}{'NE':>9}{'calibration':>13}{'uncorrected':>13}{'log samples/s':>15}")
    found = {}
    for keep in KEEPS:
        inner = ftrl_learner(thinned_space(log.space, keep))
        state, seconds = trained(inner, train, Training(keep=keep))
        learned = int(train.clicks.sum() + keep * (len(train) - train.clicks.sum()))
        found[keep] = one = _judged(inner, state, test, keep)
        raw = _judged(inner, state, test)
        print(
            f"  {keep:>6.0%}{learned:>10,}{one.ne:>9.4f}{one.calibration:>13.3f}{raw.calibration:>13.3f}"
            f"{len(train) / seconds:>15,.0f}"
        )
    cost = (found[0.1].ne or 9.0) / (found[1.0].ne or 1.0) - 1.0
    return _target(f"a tenth of the non-clicks costs at most 3 % NE ({cost:.1%})", cost <= 0.03)


def _partitions(log: Planted) -> bool:
    """The same log in one pass, and learned apart and merged."""
    train, test = _split(log)
    print("parts learned apart and merged, judged on the last fifth without learning it; NE and calibration")
    print(f"  {'rounds x shards':16}{'all cells':>20}{'main cells':>20}{'hCTR':>20}{'longest shards':>18}")
    makers: tuple[Callable[[Space], Learner], ...] = (ftrl_learner, main_learner, hctr_learner)
    found: dict[tuple[int, int], list[Metrics]] = {}
    for rounds, shards in ((1, 1), (24, 2), (24, 8), (6, 8), (1, 8), (1, 24)):
        figures, seconds = [], 0.0
        for make in makers:
            learner = make(log.space)
            state, took = trained(learner, train, Training(rounds=rounds, shards=shards))
            figures.append(_judged(learner, state, test))
            seconds = seconds or took
        found[rounds, shards] = figures
        told = "".join(f"{one.ne or 9.0:>12.4f}{one.calibration or 0.0:>8.3f}" for one in figures)
        print(f"  {f'{rounds} x {shards}':16}{told}{seconds:>16.2f} s")
    one_pass, two, eight = (found[cut][0] for cut in ((1, 1), (24, 2), (24, 8)))
    cost = (two.ne or 9.0) - (one_pass.ne or 0.0)
    exact = max(abs((one[2].ne or 9.0) - (found[1, 1][2].ne or 0.0)) for one in found.values()) < 1e-9
    calibrated = abs((eight.calibration or 9.0) / (one_pass.calibration or 1.0) - 1.0) <= 0.05
    text = f"24 rounds of 2 shards cost at most 0.015 NE ({cost:+.4f}), of 8 stay calibrated"
    return _target(f"{text}; hCTR merges exactly", cost <= 0.015 and calibrated and exact)


# ------------------------------------------------------------------------------------ off-policy, contests
def _off_policy(seed: int) -> bool:
    """How often 95 % intervals hold the truth, and how wide they are."""
    market = Market(seed, sample_catalogue(seed, 200))
    print(f"off-policy estimates of {LOGS} simulated logs, {DECISIONS:,} decisions among {ACTIONS} ads each")
    print(f"  {'policy':10}{'estimate':16}{'intervals that hold the truth':>31}{'mean width':>12}{'bias':>9}")
    least = 1.0
    for policy in ("uniform", "best"):
        held = dict.fromkeys(("IPS", "SNIPS", "doubly robust"), 0)
        width, bias, values = dict.fromkeys(held, 0.0), dict.fromkeys(held, 0.0), 0.0
        for one_seed in range(LOGS):
            decisions, truth = draw_decisions(market, BanditPlan(DECISIONS, ACTIONS, seed=one_seed))
            of_policy = greedy(truth) if policy == "best" else np.full(truth.shape, 1.0 / ACTIONS)
            value = float((of_policy * truth).sum(axis=1).mean())
            one = judge(policy, decisions, of_policy, np.broadcast_to(truth.mean(axis=0), truth.shape))
            values += value
            for name, estimate in zip(held, (one.ips, one.snips, one.doubly_robust), strict=True):
                held[name] += estimate.low <= value <= estimate.high
                width[name] += estimate.high - estimate.low
                bias[name] += estimate.value - value
        for name in held:
            share, mean = held[name] / LOGS, values / LOGS
            off = f"{width[name] / LOGS / mean:>12.0%}{bias[name] / LOGS / mean:>+9.1%}"
            print(f"  {policy:10}{name:16}{share:>31.1%}{off}")
            least = min(least, share)
    return _target(f"at least 91 % of the intervals hold ({least:.1%})", least >= 0.91)


def _contest(seed: int) -> None:
    """Regret of the plainest ways of choosing."""
    market, plan = Market(seed, sample_catalogue(seed)), ContestPlan()
    space = space_of(market.rows, market.columns, plan.ctr)
    print(f"contest: {plan.visits:,} visits, {plan.candidates} ads each, which come and end; clicks lost")
    for policy in (uniform(), epsilon_greedy(ftrl_learner(space), 0.05), epsilon_greedy(ftrl_learner(space))):
        print(f"  {policy.name:22}{contest(market, policy, plan).total_regret:>10,.0f}")
    print()


# ------------------------------------------------------------------------------------ real logs
def _open_bandit(data: Path) -> None:
    folder = data / "open_bandit"
    if not folder.is_dir():
        print("Open Bandit logs: not here, skipped\n")
        return
    print("Open Bandit logs (10,000 rows and some 50 clicks each: sound rather than telling), second half")
    for name in ("random_men", "random_women", "bts_men", "bts_women"):
        file, schema = folder / f"{name}.csv.gz", SCHEMAS / f"open_bandit_{name}.toml"
        print(f" {name}\n{table(compare_file(file, schema, ('main', 'ftrl', 'hctr')))}")
    print("\nwhat choosing evenly earns, by the logs of Thompson sampling and by those of chance")
    for name in ("bts_men", "random_men", "bts_women", "random_women"):
        file, schema = folder / f"{name}.csv.gz", SCHEMAS / f"open_bandit_{name}.toml"
        print(off_policy_table(off_policy_file(file, schema, ["uniform"], 0.0)))
    print()
