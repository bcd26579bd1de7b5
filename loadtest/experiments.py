"""`python -m loadtest experiments`: what an experiment costs a decision over 10,000 live ads.

Each line is a node of its own with one kind of variant, which decides; all but the last two read the same
matrix. The measure is the ratio to a node where nothing runs, taken by turns in one run.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from time import perf_counter

from app.domain.catalogue import Experiment, Learning, Variant
from app.domain.lines import Catalogued, Entry, FoldSettings, Ticked
from app.state.apply import apply
from app.state.choose import Chooser
from app.state.state import State
from loadtest.client import percentile, quiet_collector
from loadtest.machine import SERVER_CORE, facts, on_core, say
from loadtest.states import NOW_MS, key_of, live_state, request_of

WARM = 50
NOBODY = "no experiment"
KINDS: dict[str, Variant] = {
    "the control's users": Variant(name="b", share=0.0, floor_factor=1.1),
    "a reserve": Variant(name="b", share=1.0, floor_factor=1.1),
    "quality by another power": Variant(name="b", share=1.0, quality_strength=0.2),
    "another scale of exploring": Variant(name="b", share=1.0, exploration_scale=0.7),
    "a matrix of its own": Variant(name="b", share=1.0, learner=Learning(alpha=0.2)),
    "a shadow at every decision": Variant(name="s", share=1.0, shadow=True, learner=Learning(alpha=0.2)),
}


def run(argv: Sequence[str]) -> int:
    """Print the report."""
    parser = argparse.ArgumentParser(prog="loadtest experiments", description=__doc__)
    parser.add_argument("--ads", type=int, default=10_000)
    parser.add_argument("--repetitions", type=int, default=1_000)
    options = parser.parse_args(argv)
    say(facts("experiments", argv))
    with on_core(SERVER_CORE) as core:
        say(f"{options.ads:,} live ads, {core}\n")
        plain = _exploring(live_state(options.ads))
        states = {NOBODY: plain}
        for name, variant in KINDS.items():
            states[name] = _with(variant, _exploring(live_state(options.ads, weights=plain.model.w)))
        times = _by_turns(states, options.repetitions)
    base = percentile(times[NOBODY], 0.5)
    say(f"  {'us a choose':30}{'median':>10}{'p90':>10}{'x':>10}")
    for name, took in times.items():
        middle = percentile(took, 0.5)
        say(f"  {name:30}{middle:>10,.1f}{percentile(took, 0.9):>10,.1f}{middle / base:>10,.2f}")
    return 0


def _exploring(state: State) -> State:
    state.settings = FoldSettings(exploration="thompson")
    return state


def _with(variant: Variant, state: State) -> State:
    """Have an experiment run whose variant decides for all."""
    experiment = Experiment(id="e-1", variants=(variant,), without_id="split")
    apply(state, Entry(state.position + 1, Catalogued(at_ms=NOW_MS, thing=experiment)))
    for own in state.experiments.own_models():
        own.model.w, own.model.touched[:] = state.model.w.copy(), state.model.touched
        own.forming = False  # its sums are of no interest here
        own.model.doubt_all()
    apply(state, Entry(state.position + 1, Ticked(at_ms=NOW_MS)))
    assert state.experiments.stage is not None
    return state


def _by_turns(states: dict[str, State], repetitions: int) -> dict[str, list[float]]:
    """Time all one after the other in each turn. Units: microseconds."""
    people = [request_of(turn) for turn in range(1_000)]

    def chosen(chooser: Chooser, at: int) -> Callable[[int], object]:
        return lambda turn: chooser.choose(people[(turn * 7 + at) % 1_000], key_of(turn), NOW_MS)

    tasks = {name: chosen(Chooser(state), at) for at, (name, state) in enumerate(states.items())}
    times: dict[str, list[float]] = {name: [] for name in tasks}
    with quiet_collector():
        for turn in range(repetitions + WARM):
            for name, task in tasks.items():
                started = perf_counter()
                task(turn)
                if turn >= WARM:
                    times[name].append((perf_counter() - started) * 1e6)
    return times
