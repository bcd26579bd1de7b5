"""Calibration curves: the kernel against its twin, always rising, and nearest to what was seen."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.rules import calibration
from app.rules.calibration import KNOTS, LEAST_SLOPE, LOWEST, NO_CURVE, STEP, curve_of, pooled, ratio_of

KNOT_LOGITS = LOWEST + STEP * np.arange(KNOTS)
counts = st.lists(st.floats(0.0, 1e4), min_size=KNOTS, max_size=KNOTS).map(np.array)
ratios = st.lists(st.floats(1e-3, 1e3), min_size=KNOTS, max_size=KNOTS).map(np.array)


@given(ratios, counts, st.floats(-60.0, 60.0))
def test_the_kernel_agrees_with_its_twin(
    ratio: NDArray[np.float64], weight: NDArray[np.float64], logit: float
) -> None:
    curve = curve_of(ratio, weight + 1.0)
    plain = calibration.calibrated_plain(logit, curve)
    assert calibration.calibrated(logit, curve) == pytest.approx(plain, rel=1e-9, abs=1e-9)
    assert calibration.calibrated(logit, NO_CURVE) == logit == calibration.calibrated_plain(logit, NO_CURVE)


@given(ratios, counts, st.floats(-20.0, 10.0), st.floats(1e-3, 5.0))
def test_a_higher_logit_stays_higher(
    ratio: NDArray[np.float64], weight: NDArray[np.float64], logit: float, more: float
) -> None:
    curve = curve_of(ratio, weight + 1.0)
    rise = calibration.calibrated(logit + more, curve) - calibration.calibrated(logit, curve)
    assert rise >= LEAST_SLOPE * more - 1e-9


def test_ratios_that_rise_are_met_at_every_knot() -> None:
    ratio = np.linspace(0.5, 2.0, KNOTS)
    curve = curve_of(ratio, np.ones(KNOTS))
    for logit, wanted in zip(KNOT_LOGITS[:24], ratio, strict=False):
        p = 1.0 / (1.0 + math.exp(-logit))
        found = 1.0 / (1.0 + math.exp(-calibration.calibrated(float(logit), curve)))
        assert found == pytest.approx(wanted * p, rel=1e-9)


@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(1, 9)), min_size=1, max_size=8))
def test_pooling_finds_the_nearest_rising_sequence(pairs: list[tuple[int, int]]) -> None:
    values, weight = (np.array(part, dtype=float) for part in zip(*pairs, strict=True))
    found = pooled(values, weight)
    n = len(values)
    # The max-min formula (Robertson, Wright and Dykstra 1988): slow, and the same.
    plain = [
        max(
            min(np.average(values[a : b + 1], weights=weight[a : b + 1]) for b in range(i, n))
            for a in range(i + 1)
        )
        for i in range(n)
    ]
    assert found == pytest.approx(plain)


@given(counts, counts)
def test_ratios_are_positive_and_a_slice_without_data_is_its_parent(
    clicks: NDArray[np.float64], predicted: NDArray[np.float64]
) -> None:
    parent = np.linspace(0.5, 2.0, KNOTS)
    assert (ratio_of(clicks, predicted, parent, 30.0) > 0).all()
    nothing = np.zeros(KNOTS)
    assert ratio_of(nothing, nothing, parent, 30.0) == pytest.approx(parent)


@given(st.floats(1e-12, 1 - 1e-12))
def test_a_prediction_falls_into_the_bucket_of_the_nearest_knot(p: float) -> None:
    logit = math.log(p / (1.0 - p))
    nearest = int(np.abs(KNOT_LOGITS - logit).argmin())
    assert abs(abs(KNOT_LOGITS[calibration.bucket_of(p)] - logit) - abs(KNOT_LOGITS[nearest] - logit)) < 1e-6
