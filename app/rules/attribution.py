"""Which touches earned a conversion: rules that share each one out, exactly.

A path is what one person saw and clicked of one advertiser, oldest first, up to a conversion. Credits are
millionths of a conversion, as integers: what is shared out of a conversion is the whole of it, by every rule.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

WHOLE = 1_000_000
HALF_LIFE_H = 168.0
ENDS = 0.4  # of the first and of the last touch, by position


class Path(NamedTuple):
    """So many times, these touches (of a label each), and ages in hours at the conversion; or none came."""

    labels: tuple[str, ...]
    ages_h: tuple[int, ...] = ()
    converted: bool = True
    times: int = 1


Weigh = Callable[[Path, float], Sequence[float]]


def _last(path: Path, _half_life_h: float) -> Sequence[float]:
    return [0.0] * (len(path.labels) - 1) + [1.0]


def _first(path: Path, _half_life_h: float) -> Sequence[float]:
    return [1.0] + [0.0] * (len(path.labels) - 1)


def _linear(path: Path, _half_life_h: float) -> Sequence[float]:
    return [1.0] * len(path.labels)


def _time_decay(path: Path, half_life_h: float) -> Sequence[float]:
    youngest = min(path.ages_h)  # but for a factor, which would only make them all too small to tell
    return [0.5 ** min((age - youngest) / half_life_h, 1_000.0) for age in path.ages_h]


def _position(path: Path, _half_life_h: float) -> Sequence[float]:
    between = len(path.labels) - 2
    if between < 1:
        return [1.0] * len(path.labels)
    return [ENDS, *[(1.0 - 2.0 * ENDS) / between] * between, ENDS]


RULES: dict[str, Weigh] = {
    "last": _last, "first": _first, "linear": _linear, "time_decay": _time_decay, "position": _position,
}  # fmt: skip
MARKOV = "markov"
NAMES = (*RULES, MARKOV)


def shared_out(whole: int, weights: Sequence[float]) -> list[int]:
    """Share a whole number out by weights, to the last unit: the largest remainders get what is left over.

    Ties    to the first.
    Errors  ValueError where there is nothing to share it out by.

    >>> shared_out(1_000_000, [1.0, 1.0, 1.0])
    [333334, 333333, 333333]
    """
    total = float(sum(weights))
    if not weights or not total > 0.0:
        raise ValueError("no weight")
    exact = [whole * (weight / total) for weight in weights]
    parts = [int(each) for each in exact]
    order = sorted(range(len(parts)), key=lambda at: (parts[at] - exact[at], at))
    missing = whole - sum(parts)
    for k in range(missing):
        parts[order[k % len(order)]] += 1
    parts[parts.index(max(parts))] += min(missing, 0)  # a rounding error of a great whole
    return parts


def credits_of(rule: str, paths: Iterable[Path], half_life_h: float = HALF_LIFE_H) -> dict[str, int]:
    """Add up what each label earned. Units: millionths of a conversion; they sum to the conversions.

    >>> credits_of("position", [Path(("a", "b", "b", "c"), (30, 20, 10, 0))])
    {'a': 400000, 'b': 200000, 'c': 400000}
    """
    listed = list(paths)
    if rule == MARKOV:
        return _by_removal(listed)
    earned: Counter[str] = Counter()
    for path in listed:
        if path.converted:
            for label, part in zip(
                path.labels, shared_out(WHOLE, RULES[rule](path, half_life_h)), strict=True
            ):
                earned[label] += part * path.times
    return {label: earned[label] for label in sorted(earned)}


def _by_removal(paths: Sequence[Path]) -> dict[str, int]:
    converted = sum(path.times for path in paths if path.converted)
    if not converted:
        return {}
    labels, effects = removal_effects(paths)
    parts = shared_out(converted * WHOLE, effects.tolist())
    return {label: part for label, part in zip(labels, parts, strict=True) if part}


def removal_effects(paths: Sequence[Path]) -> tuple[list[str], NDArray[np.float64]]:
    """Tell, of each label, which share of the conversions would not come if whoever reached it were lost.

    By a Markov chain of first order over all paths, those without a conversion too. Of a chain that ends, the
    share that never passes i is P(conversion) - P(i is reached) x P(conversion from i).
    Source  Anderl, Becker, von Wangenheim & Schumann 2016; Kemeny & Snell 1960, 3.5 (the chances).
    Cost    one inversion of a matrix of labels x labels.

    >>> paths = [Path(("a", "b")), Path(("a",), converted=False), Path(("b",), converted=False)]
    >>> removal_effects(paths)[1].round(3).tolist()
    [0.5, 1.0]
    """
    labels = sorted({label for path in paths for label in path.labels})
    number = {label: at for at, label in enumerate(labels, start=1)}
    steps, ended = np.zeros((len(labels) + 1, len(labels) + 1)), np.zeros((len(labels) + 1, 2))
    for path in paths:
        places = [0, *(number[label] for label in path.labels)]
        for here, there in pairwise(places):
            steps[here, there] += path.times
        ended[places[-1], int(path.converted)] += path.times
    left = np.maximum(steps.sum(axis=1) + ended.sum(axis=1), 1.0)
    visits = np.linalg.inv(np.eye(len(labels) + 1) - steps / left[:, None])
    converting = visits @ (ended[:, 1] / left)
    reached = visits[0, 1:] / np.diagonal(visits)[1:]
    return labels, np.maximum(reached * converting[1:] / max(converting[0], 1e-300), 0.0)
