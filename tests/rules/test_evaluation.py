"""The metrics against slower, plainly right versions, and where they have no meaning."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.rules import evaluation

SAMPLES = st.lists(
    st.tuples(st.sampled_from([0.01, 0.2, 0.5, 0.7, 0.99]), st.integers(1, 4), st.integers(0, 4)).map(
        lambda sample: (sample[0], float(max(sample[1], sample[2])), float(sample[2]))
    ),
    min_size=1,
    max_size=12,
)


def labels(samples: list[tuple[float, float, float]]) -> list[tuple[float, int]]:
    """Every impression by itself: (p, clicked)."""
    return [
        (p, int(i < clicks)) for p, impressions, clicks in samples for i in range(int(impressions))
    ]  # fmt: skip


def close(one: float | None, other: float | None) -> bool:
    return one is other is None or one == pytest.approx(other, rel=1e-9)


@settings(deadline=None)
@given(SAMPLES)
def test_aggregated_metrics_are_those_of_the_single_impressions(
    samples: list[tuple[float, float, float]],
) -> None:
    singles = labels(samples)
    loss = sum(-math.log(p if y else 1.0 - p) for p, y in singles) / len(singles)
    rate = sum(y for _, y in singles) / len(singles)
    entropy = -sum(x * math.log(x) for x in (rate, 1.0 - rate) if x > 0.0)
    pairs = [(a, b) for (a, y), (b, x) in product(singles, singles) if y > x]
    wins = sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs)
    measured = evaluation.measure(*(np.array(part) for part in zip(*samples, strict=True)))
    assert close(measured.log_loss, loss)
    assert close(measured.ne, loss / entropy if entropy else None)
    assert close(measured.auc, wins / len(pairs) if pairs else None)
    assert close(
        measured.calibration, sum(p for p, _ in singles) / sum(y for _, y in singles) if rate else None
    )


def test_nothing_measured_is_none_and_not_nan() -> None:
    none = np.zeros(0)
    assert evaluation.measure(none, none, none) == evaluation.Metrics(None, None, None, None)


def test_a_certain_miss_costs_much_but_not_infinity() -> None:
    one = np.ones(1)
    assert evaluation.log_loss(np.zeros(1), one, one) == pytest.approx(-math.log(1e-15))
    assert evaluation.log_loss(one, one, np.zeros(1)) == pytest.approx(-math.log(1e-15), rel=1e-2)
