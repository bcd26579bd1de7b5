"""`python -m loadtest delays`: what is learned of conversions that come late, against the truth.

Ten days of clicks on the simulated market, conversions as late as their campaign's are (exponential, 6 hours
in the median campaign, two days in the slowest). Every way of learning predicts each click at its moment.
Bias is predicted over true conversions; NE the expected log loss under the truth over that of its mean rate.
The delayed-feedback model is fitted at each midnight; to wait is for the week that conversions are given, or
for the first day of it. Targets: the node's way is nearer to the truth than waiting for the week, than
counting unconverted clicks as negative and than the plain correction (paired over the seeds, at two standard
errors), from the second day on within 6 % of no bias, and close to an oracle's NE.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from time import perf_counter

import numpy as np

from app.offline.late import DAY_S, HOUR_S, WAYS, Late, Learnt, Ways
from app.offline.sample import sample_catalogue
from app.offline.world.delays import draw_late, entropy
from app.offline.world.log import LogPlan
from app.offline.world.market import Market
from app.rules.learner import F64
from loadtest.machine import facts, say, target

PERIODS = {"day 1": (0, 1), "days 2-3": (1, 3), "days 4-6": (3, 6), "days 7-10": (6, 10)}
OURS, ORACLE, TOLD = WAYS["ripening"], WAYS["oracle"], "ripening, told of 6 hours"
RIVALS = (WAYS["corrected"], WAYS["negative"], WAYS["wait-week"])
TOLD_S = 6 * HOUR_S  # about the market's median campaign: what an operator who knows it would set
MOST_BIAS, MOST_OVER_ORACLE = 0.06, 0.01


def run(argv: Sequence[str]) -> int:
    """Print the table; 0 when every target is met."""
    options = _options(argv)
    say(facts("delays", argv))
    started, drawn = perf_counter(), []
    for seed in range(1, options.seeds + 1):
        market = Market(seed, sample_catalogue(seed, options.creatives))
        plan = LogPlan(samples=options.samples, days=10, ctr=0.1, cvr=options.cvr, seed=seed)
        late = draw_late(market, plan)
        drawn.append((late, all_ways(late)))
    clicks, converted = (sum(counts) for counts in zip(*map(_counts, drawn), strict=True))
    say(f"{options.seeds} seeds, {clicks:,} clicks, {converted:,} conversions, {options.creatives} ads, "
        f"{perf_counter() - started:.0f} s\n")  # fmt: skip
    say(f"  {'':29}" + "".join(f"{period:^18}" for period in PERIODS))
    say(f"  {'':29}" + f"{'bias':>9}{'NE':>9}" * len(PERIODS))
    for name in drawn[0][1]:
        say(f"  {name:29}{_figures(drawn, name)}")
    return _judged(drawn)


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="loadtest delays", description=__doc__)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument(
        "--samples", type=int, default=300_000, help="impressions, a tenth of which is clicked"
    )
    parser.add_argument("--creatives", type=int, default=300)
    parser.add_argument("--cvr", type=float, default=0.1)
    return parser.parse_args(argv)


def all_ways(late: Late) -> Ways:
    """What each way predicts, and the node's where it expects delays as they are in this market."""
    learnt = Learnt(late)
    told = {TOLD: Learnt(late, TOLD_S).predict("ripening")}
    return {"the truth": late.truth, **{name: learnt.predict(way) for way, name in WAYS.items()}, **told}


Drawn = Sequence[tuple[Late, Ways]]


def _counts(one: tuple[Late, Ways]) -> tuple[int, int]:
    return one[0].at_s.size, int(one[0].converts.sum())


def _within(late: Late, period: str) -> F64:
    first, last = PERIODS[period]
    return np.asarray((late.at_s >= first * DAY_S) & (late.at_s < last * DAY_S))


def _bias(drawn: Drawn, name: str, period: str) -> float:
    """Predicted over true, of all seeds together."""
    sums = np.zeros(2)
    for late, ways in drawn:
        within = _within(late, period)
        sums += ways[name][within].sum(), late.truth[within].sum()
    return float(sums[0] / sums[1])


def _entropies(drawn: Drawn, name: str, period: str) -> F64:
    """NE of each seed."""
    found = []
    for late, ways in drawn:
        within = _within(late, period)
        found.append(entropy(ways[name][within], late.truth[within]))
    return np.array(found)


def _figures(drawn: Drawn, name: str) -> str:
    cells = []
    for period in PERIODS:
        bias, ne = _bias(drawn, name, period), float(_entropies(drawn, name, period).mean())
        cells.append(f"{bias:>9.3f}{ne:>9.4f}")
    return "".join(cells)


def _judged(drawn: Drawn) -> int:
    say()
    met = []
    ours = np.mean([_entropies(drawn, OURS, period) for period in PERIODS], axis=0)
    for rival in RIVALS:
        theirs = np.mean([_entropies(drawn, rival, period) for period in PERIODS], axis=0)
        gap = ours - theirs
        error = 2.0 * float(gap.std(ddof=1)) / np.sqrt(gap.size) if gap.size > 1 else 0.0
        text = f"NE against {rival}: {gap.mean():+.4f} +- {error:.4f}"
        met.append(target(text, gap.mean() + error < 0.0))
    later = list(PERIODS)[1:]
    worst = max((abs(_bias(drawn, OURS, period) - 1.0) for period in later), default=0.0)
    met.append(target(f"bias from the second day on: {worst:.1%} at most", worst <= MOST_BIAS))
    over = float(np.mean([_entropies(drawn, OURS, one) - _entropies(drawn, ORACLE, one) for one in later]))
    met.append(target(f"NE over the oracle's from the second day on: {over:+.4f}", over <= MOST_OVER_ORACLE))
    return 0 if all(met) else 1
