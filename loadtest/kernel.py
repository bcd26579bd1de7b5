"""`python -m loadtest kernel`: scoring and choosing among 10,000 live ads, all eligible, in one process.

Sixteen random rows of a whole matrix (4,096 rows, none of them in the cache by design) and six columns an ad.
All candidates are measured by turns in one loop, A B C A B C; medians are compared. Targets: the scoring
kernel at most 1.5 x numpy's sum of the same rows, all of `choose` at most 2.5 x and under 0.5 ms; each,
exploring and calibrated, at most twice the greedy one.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from app.domain.decisions import Choice
from app.domain.lines import FoldSettings
from app.rules import exploration, features, ranking
from app.rules.calibration import KNOTS, NO_CURVE, curve_of
from app.state.calibration import WHOLE
from app.state.choose import Chooser
from app.state.state import State
from loadtest.client import percentile, quiet_collector
from loadtest.machine import SERVER_CORE, facts, on_core, say, target
from loadtest.scorers import river_scores, vowpal_wabbit_scores
from loadtest.states import key_of, live_state, request_of

ROWS = 16
KERNEL_LIMIT, CHOOSE_LIMIT, CHOOSE_US, EXPLORING_LIMIT = 1.5, 2.5, 500.0, 2.0
FEW = 3  # repetitions of what takes a second

GREEDY, EXPLORING = FoldSettings(), FoldSettings(exploration="thompson")

Timed = Callable[[int], object]


def run(argv: Sequence[str]) -> int:
    """Print the report; 0 when every target is met."""
    options = _options(argv)
    say(facts("kernel", argv))
    with on_core(SERVER_CORE) as core:
        state = live_state(options.ads)
        width = state.catalogue.width
        size = f"{state.model.w.shape[0]:,} x {state.model.w.shape[1]:,}"
        say(f"{options.ads:,} live ads, all eligible, {ROWS} random rows x {ranking.COLUMNS_PER_AD} columns")
        say(f"{core}; matrix {size} float32, {width:,} columns in use\n")
        bench = Bench(state)
        bench.check()
        fast = by_turns(bench.candidates(), options.repetitions)
        slow = by_turns(bench.slow_candidates(), FEW)
    base = percentile(fast[FULL_SUM], 0.5)
    say(f"  {'us':44}{'median':>12}{'p90':>12}{'x numpy':>10}")
    for name, times in (fast | slow).items():
        middle, high = percentile(times, 0.5), percentile(times, 0.9)
        say(f"  {name:44}{middle:>12,.1f}{high:>12,.1f}{middle / base:>10,.2f}")
    say()
    return _judged(fast)


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="loadtest kernel", description=__doc__)
    parser.add_argument("--ads", type=int, default=10_000)
    parser.add_argument("--repetitions", type=int, default=2_000)
    return parser.parse_args(argv)


FULL_SUM = "numpy w[rows].sum(0)"
USED_SUM = "numpy w[rows, :used].sum(0)"
ROW_SUM = "compiled row sum (sum_rows)"
KERNEL = "scoring kernel: rows, bounds, best and rival"
CHOOSE = "choose: rows, eligibility, reasons, price"
EXPLORING_KERNEL = "the same kernel, exploring and calibrated"
EXPLORING_CHOOSE = "choose, exploring and calibrated"
TWIN = "plain twin of the kernel (Python)"
RIVER, RABBIT = "River, 10,000 predictions", "Vowpal Wabbit, 10,000 text examples"


class Bench:
    """What is measured, each as a function of the turn's number; all read the same matrix."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.chooser = Chooser(state)
        self.ads = state.catalogue.ads
        self.index = np.sort(np.array(list(self.ads.places.by_key.values()), dtype=np.int32))
        self.n = self.index.size  # every ad is still in
        self.width = state.catalogue.width
        random = np.random.default_rng(2)
        self.drawn = random.integers(1, features.MAIN_ONLY_FROM, (4_099, ROWS), dtype=np.int32)
        self.drawn[:, 0] = 0
        self.sums = np.zeros(state.model.stride, np.float32)
        self.none = ranking.no_conversions(self.ads.view().places)
        self.bound = np.zeros(self.n, np.float32)
        self.shifted = np.zeros_like(self.sums)
        self.curve = curve_of(np.linspace(0.8, 1.2, KNOTS), np.ones(KNOTS))
        state.calibration.curves[WHOLE], state.calibration.fitted[WHOLE] = self.curve, True

    def rows(self, turn: int) -> NDArray[np.int32]:
        """Take the rows of a turn, row 0 among them."""
        drawn: NDArray[np.int32] = self.drawn[turn % len(self.drawn)]
        return drawn

    def candidates(self) -> dict[str, Timed]:
        """Name what takes microseconds. Each draws its own rows, so that none warms the next one's."""
        w = self.state.model.w
        return {
            FULL_SUM: lambda turn: w[self.rows(5 * turn)].sum(0),
            USED_SUM: lambda turn: w[self.rows(5 * turn + 1), : self.width].sum(0),
            ROW_SUM: lambda turn: self.row_sum(5 * turn + 2),
            KERNEL: lambda turn: self.kernel(5 * turn + 3),
            EXPLORING_KERNEL: lambda turn: self.exploring_kernel(7 * turn + 4),
            EXPLORING_CHOOSE: self.exploring_choose,
            CHOOSE: lambda turn: self.chooser.choose(request_of(turn), key_of(turn), 1),
        }

    def slow_candidates(self) -> dict[str, Timed]:
        """Name what takes longer: the twin, and other learners with the same 96 cells an ad."""
        columns = self.ads.columns[:, self.index].astype(np.int32)
        return {
            TWIN: self.twin,
            RIVER: river_scores(self.rows(0), columns),
            RABBIT: vowpal_wabbit_scores(self.rows(0), columns),
        }

    def row_sum(self, turn: int) -> None:
        model, catalogue = self.state.model, self.state.catalogue
        ranking.sum_rows(
            model.w, model.touched, self.rows(turn), catalogue.columns.used, catalogue.first_ad_column,
            self.ads.view().alive, self.sums,
        )  # fmt: skip

    def kernel(self, turn: int) -> ranking.Pick:
        """Score every ad and find the exact best and its rival, as `choose` does."""
        self.row_sum(turn)
        return self._pick(turn, self.sums, NO_CURVE)

    def exploring_kernel(self, turn: int) -> ranking.Pick:
        """The same by drawn sums and through a curve."""
        model, catalogue = self.state.model, self.state.catalogue
        self.row_sum(turn)
        exploration.perturb(
            self.sums, model.doubts, 1.0, turn, catalogue.columns.used, catalogue.first_ad_column,
            self.ads.view().alive, self.shifted,
        )  # fmt: skip
        return self._pick(turn, self.shifted, self.curve)

    def exploring_choose(self, turn: int) -> Choice:
        """Choose as a node does whose settings explore and calibrate."""
        self.state.settings, self.state.calibration.memory_clicks = EXPLORING, 500
        choice = self.chooser.choose(request_of(turn), key_of(turn), 1)
        self.state.settings, self.state.calibration.memory_clicks = GREEDY, 0
        return choice

    def _pick(self, turn: int, sums: NDArray[np.float32], curve: NDArray[np.float64]) -> ranking.Pick:
        view, n = self.ads.view(), self.n
        prior = self.state.prior_of("plc-0")
        ranking.bound_all(
            sums, view.columns, prior, curve, view.log_score, view.per_click, self.index, n,
            self.bound,
        )  # fmt: skip
        return ranking.Pick(
            *ranking.pick_best(
                sums, view.columns, prior, curve, view.bid, view.per_click, self.none, view.quality,
                view.group, self.index, n, self.bound, turn % n,
            )
        )  # fmt: skip

    def twin(self, turn: int) -> ranking.Pick:
        """Do the same in plain Python."""
        view = self.ads.view()
        sums = self.state.model.w[self.rows(turn)].sum(0)
        live = np.zeros(view.places, np.bool_)
        live[self.index] = True
        return ranking.pick_best_plain(
            sums, view.columns, self.state.prior_of("plc-0"), NO_CURVE, view.bid, view.per_click, self.none,
            view.quality, view.group, live, turn % self.n,
        )  # fmt: skip

    def check(self) -> None:
        """Make sure that what is measured is what is meant: same best as the twin, all ads eligible."""
        fast, plain = self.kernel(0), self.twin(0)
        assert fast.best == plain.best and fast.rival == plain.rival
        placed = self.chooser.choose(request_of(0), key_of(0), 1).placed[0]
        assert placed.candidates == self.n and len(placed.rows) == ROWS and placed.wins


def by_turns(candidates: dict[str, Timed], repetitions: int) -> dict[str, list[float]]:
    """Time all candidates, one after the other in each turn. Units: microseconds."""
    times: dict[str, list[float]] = {name: [] for name in candidates}
    warm = min(50, repetitions // 3)
    with quiet_collector():
        for turn in range(-warm, repetitions):
            for name, one in candidates.items():
                started = perf_counter()
                one(turn + warm)
                took = (perf_counter() - started) * 1e6
                if turn >= 0:
                    times[name].append(took)
    return times


def _judged(times: dict[str, list[float]]) -> int:
    middle = {name: percentile(values, 0.5) for name, values in times.items()}
    base = middle[FULL_SUM]
    kernel, choose = middle[KERNEL] / base, middle[CHOOSE] / base
    exploring = (
        middle[EXPLORING_KERNEL] / middle[KERNEL], middle[EXPLORING_CHOOSE] / middle[CHOOSE]
    )  # fmt: skip
    met = [
        target(f"kernel at most {KERNEL_LIMIT} x numpy's row sum: {kernel:.2f} x", kernel <= KERNEL_LIMIT),
        target(f"choose at most {CHOOSE_LIMIT} x numpy's row sum: {choose:.2f} x", choose <= CHOOSE_LIMIT),
        target(
            f"exploring, at most {EXPLORING_LIMIT:.0f} x the greedy kernel: {exploring[0]:.2f} x, choose: "
            f"{exploring[1]:.2f} x",
            max(exploring) <= EXPLORING_LIMIT,
        ),
        target(f"choose under {CHOOSE_US:.0f} us: {middle[CHOOSE]:.0f} us", middle[CHOOSE] < CHOOSE_US),
    ]
    used = middle[USED_SUM]
    kernel, choose = middle[KERNEL] / used, middle[CHOOSE] / used
    say(f"          against the columns in use alone: kernel {kernel:.2f} x, choose {choose:.2f} x\n")
    return 0 if all(met) else 1
