"""Credits: a truth table of what people argue about, their sums, and the chain held to a plain removal."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rules.attribution import MARKOV, NAMES, WHOLE, Path, credits_of, removal_effects, shared_out

# rule, touches, ages, credits in millionths, why
TABLE = [
    ("last", "aab", (9, 5, 0), {"a": 0, "b": 1_000_000}, "who came last"),
    ("first", "aab", (9, 5, 0), {"a": 1_000_000, "b": 0}, "who came first"),
    ("linear", "aab", (9, 5, 0), {"a": 666_667, "b": 333_333}, "two of three; the odd one to the first"),
    ("time_decay", "ab", (168, 0), {"a": 333_333, "b": 666_667}, "half as much a half-life earlier"),
    ("time_decay", "ab", (9_999_168, 9_999_000), {"a": 333_333, "b": 666_667}, "both long ago: the same"),
    ("position", "abcd", (3, 2, 1, 0), {"a": 400_000, "b": 100_000, "c": 100_000, "d": 400_000}, "40-20-40"),
    ("position", "ab", (1, 0), {"a": 500_000, "b": 500_000}, "nothing between"),
    ("position", "a", (0,), {"a": 1_000_000}, "alone"),
    ("markov", "a", (0,), {"a": 1_000_000}, "alone"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "labels", "ages", "expected", "why"), TABLE)
def test_the_table(rule: str, labels: str, ages: tuple[int, ...], expected: dict[str, int], why: str) -> None:
    assert credits_of(rule, [Path(tuple(labels), ages)]) == expected, why


@st.composite
def any_paths(draw: st.DrawFn) -> list[Path]:
    paths = []
    for _ in range(draw(st.integers(1, 8))):
        labels = tuple(draw(st.lists(st.sampled_from("abcde"), min_size=1, max_size=7)))
        ages = tuple(sorted((draw(st.integers(0, 2_000)) for _ in labels), reverse=True))
        paths.append(Path(labels, ages, draw(st.booleans()), draw(st.integers(1, 1_000_000))))
    return paths


@given(any_paths(), st.sampled_from(NAMES), st.floats(0.1, 10_000))
def test_credits_are_never_negative_and_sum_to_the_conversions(
    paths: list[Path], rule: str, half_life_h: float
) -> None:
    earned = credits_of(rule, paths, half_life_h)
    assert sum(earned.values()) == WHOLE * sum(path.times for path in paths if path.converted)
    assert all(part >= 0 for part in earned.values())
    if rule != MARKOV:  # there, what led to touches that led to conversions earns, too
        assert set(earned) <= {label for path in paths if path.converted for label in path.labels}


@given(st.integers(0, 10**13), st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=20))
def test_a_whole_is_shared_out_to_the_last_unit(whole: int, weights: list[float]) -> None:
    parts = shared_out(whole, weights)
    assert sum(parts) == whole
    exact = [whole * weight / sum(weights) for weight in weights]
    assert parts == pytest.approx(exact, abs=2, rel=1e-9)


@given(any_paths().filter(lambda paths: any(path.converted for path in paths)))
def test_a_removal_is_what_walking_the_chain_without_it_says(paths: list[Path]) -> None:
    """The twin takes each label out, one after the other, and iterates the chain."""
    labels, effects = removal_effects(paths)
    steps: dict[tuple[str, str], float] = {}
    for path in paths:
        walk = ["(start)", *path.labels, "(conversion)" if path.converted else "(nothing)"]
        for here, there in pairwise(walk):
            steps[here, there] = steps.get((here, there), 0.0) + path.times
    left = {here: sum(n for (a, _), n in steps.items() if a == here) for here, _ in steps}

    def converting(without: str | None) -> float:
        index = {name: at for at, name in enumerate(["(start)", *labels])}
        chain, out = np.zeros((len(index), len(index))), np.zeros(len(index))
        for (here, there), n in steps.items():
            if there == without:
                continue
            if there == "(conversion)":
                out[index[here]] += n / left[here]
            elif there in index:
                chain[index[here], index[there]] += n / left[here]
        return float(np.linalg.solve(np.eye(len(index)) - chain, out)[0])

    whole = converting(None)
    assert effects.tolist() == pytest.approx([1.0 - converting(label) / whole for label in labels], abs=1e-6)


def test_without_conversions_nobody_earns() -> None:
    assert credits_of(MARKOV, [Path(("a",), converted=False)]) == {}
    assert credits_of("last", [Path(("a",), converted=False)]) == {}
    with pytest.raises(ValueError, match="no weight"):
        shared_out(5, [])
