"""`python -m loadtest controls`: what each delivery control costs a decision over 10,000 live ads.

Each step adds one control to those before it, to every ad: targeting (four dimensions), a cap on creative, ad
group and campaign for someone who saw twenty of the ads, a paced budget (half of the campaigns' sets rest), a
quality index, and last exploring and calibration. All steps read the same matrix and are measured by turns.
Targets: those of `choose` in `python -m loadtest kernel`; exploring and calibrated, at most twice that.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from time import perf_counter

import msgspec
import numpy as np

from app.domain.lines import FoldSettings
from app.domain.requests import AdRequest
from app.rules.calibration import KNOTS, curve_of
from app.rules.pacing import SETS
from app.state.calibration import WHOLE
from app.state.choose import Chooser
from app.state.state import State
from loadtest.client import percentile, quiet_collector
from loadtest.kernel import CHOOSE_LIMIT, CHOOSE_US, EXPLORING_LIMIT, ROWS
from loadtest.machine import SERVER_CORE, facts, on_core, say, target
from loadtest.states import NOW_MS, key_of, live_state, request_of

SEEN, WARM = 20, 50
USER = b"somebody-012"
PLAIN, TARGETED, CAPPED, PACED, WEIGHED = "nothing", "targeting", "caps", "a paced budget", "a quality index"
EXPLORED = "exploring, calibrated"
STEPS = (PLAIN, TARGETED, CAPPED, PACED, WEIGHED, EXPLORED)


def run(argv: Sequence[str]) -> int:
    """Print the report; 0 when every target is met."""
    options = _options(argv)
    say(facts("controls", argv))
    with on_core(SERVER_CORE) as core:
        say(f"{options.ads:,} live ads, {core}\n")
        plain = live_state(options.ads)
        states = {PLAIN: plain}
        for count in range(2, len(STEPS) + 1):
            states[STEPS[count - 1]] = _with(STEPS[1:count], plain, options.ads)
        times = _by_turns(states, options.repetitions)
    base = percentile(times[""], 0.5)
    say(f"  {'us a choose':28}{'median':>10}{'p90':>10}{'x numpy':>10}{'more':>10}{'candidates':>12}")
    before = percentile(times[PLAIN], 0.5)
    for name in STEPS:
        middle, high = percentile(times[name], 0.5), percentile(times[name], 0.9)
        left = np.mean([_choose(states[name], turn) for turn in range(50)])
        say(f"  {'with ' + name:28}{middle:>10,.1f}{high:>10,.1f}{middle / base:>10,.2f}"
            f"{middle - before:>+10,.1f}{left:>12,.0f}")  # fmt: skip
        before = middle
    greedy, last = percentile(times[WEIGHED], 0.5), percentile(times[EXPLORED], 0.5)
    say()
    met = [
        target(f"with all controls at most {CHOOSE_LIMIT} x numpy's row sum: {greedy / base:.2f} x",
               greedy / base <= CHOOSE_LIMIT),
        target(f"under {CHOOSE_US:.0f} us: {greedy:.0f} us", greedy < CHOOSE_US),
        target(f"exploring and calibrated at most {EXPLORING_LIMIT:.0f} x that: {last / greedy:.2f} x",
               last / greedy <= EXPLORING_LIMIT),
    ]  # fmt: skip
    return 0 if all(met) else 1


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="loadtest controls", description=__doc__)
    parser.add_argument("--ads", type=int, default=10_000)
    parser.add_argument("--repetitions", type=int, default=1_000)
    return parser.parse_args(argv)


def _with(steps: Sequence[str], plain: State, ads: int) -> State:
    """Make a state with some controls, on the matrix of the plain one."""
    state = live_state(ads, targeted=TARGETED in steps, capped=CAPPED in steps, weights=plain.model.w)
    random, places = np.random.default_rng(5), state.catalogue.ads
    if CAPPED in steps:
        day = int(state.days[0])
        for number in range(SEEN):
            whats = state.catalogue.counted_under(f"crt-{number * 97 % ads}")
            state.user_counters.count(USER, whats, NOW_MS, day)
    if PACED in steps:
        count = state.catalogue.campaign_accounts.count
        share = random.integers(SETS // 4, SETS - SETS // 4, count, dtype=np.uint8)
        turn = random.integers(0, SETS, count, dtype=np.uint8)
        places.participation.deal(places.campaign[: places.count], share, turn)
    if WEIGHED in steps:
        places.take_quality(random.uniform(0.5, 2.0, places.count))
    if EXPLORED in steps:
        state.settings, state.calibration.memory_clicks = FoldSettings(exploration="thompson"), 500
        state.calibration.curves[WHOLE] = curve_of(np.linspace(0.8, 1.2, KNOTS), np.ones(KNOTS))
        state.calibration.fitted[WHOLE] = True
    return state


def _asked(turn: int) -> AdRequest:
    request = request_of(turn)
    assert request.person is not None
    return msgspec.structs.replace(request, person=msgspec.structs.replace(request.person, key=USER))


def _choose(state: State, turn: int) -> int:
    return Chooser(state).choose(_asked(turn), key_of(turn), NOW_MS).placed[0].candidates


def _by_turns(states: dict[str, State], repetitions: int) -> dict[str, list[float]]:
    """Time all steps one after the other in each turn, numpy's row sum first (""). Units: microseconds."""
    w = states[PLAIN].model.w
    rows = np.random.default_rng(2).integers(1, len(w), (repetitions + WARM, ROWS))
    requests = [_asked(turn) for turn in range(1_000)]

    def chosen(chooser: Chooser, at: int) -> Callable[[int], object]:
        return lambda turn: chooser.choose(requests[(turn * 7 + at) % 1_000], key_of(turn), NOW_MS)

    tasks: dict[str, Callable[[int], object]] = {"": lambda turn: w[rows[turn]].sum(0)}
    tasks |= {name: chosen(Chooser(state), at) for at, (name, state) in enumerate(states.items())}
    times: dict[str, list[float]] = {name: [] for name in tasks}
    with quiet_collector():
        for turn in range(repetitions + WARM):
            for name, task in tasks.items():
                started = perf_counter()
                task(turn)
                took = (perf_counter() - started) * 1e6
                if turn >= WARM:
                    times[name].append(took)
    return times
