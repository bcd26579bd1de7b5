"""Deviates drawn by hash: the kernel against its twin, normal, and nothing to do with one another."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rules import exploration
from app.rules.exploration import NORMAL, deviate, next_factor, perturb, perturb_plain

WIDTH = 300


def drawn(seeds: int, columns: int) -> np.ndarray:
    return np.array([[deviate(seed, column) for column in range(columns)] for seed in range(seeds)])


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.1, 1.0, 3.0]), st.integers(0, 70))
def test_the_kernel_agrees_with_its_twin_where_an_ad_may_look(seed: int, scale: float, shared: int) -> None:
    means = np.linspace(-3, 3, WIDTH).astype(np.float32)
    doubts = np.linspace(0, 0.3, WIDTH).astype(np.float32)
    alive = np.array([0, 5, 0], dtype=np.uint64)
    sums = np.full(WIDTH, 7.0, dtype=np.float32)
    perturb(means, doubts, scale, seed, shared, 70, alive, sums)
    plain = perturb_plain(means, doubts, scale, seed)
    looked_at = [*range(1, shared), *range(70 + 64, 70 + 128)]
    assert sums[looked_at] == pytest.approx(plain[looked_at], abs=1e-6)
    assert sums[0] == means[0]
    rest = sorted({*range(1, WIDTH)} - {*looked_at})
    assert (sums[rest] == 7.0).all()


def test_deviates_are_normal_and_independent() -> None:
    table = drawn(400, 200)
    assert abs(table.mean()) < 0.02
    assert table.std() == pytest.approx(1.0, abs=0.02)
    for quantile, value in ((0.05, -1.645), (0.5, 0.0), (0.95, 1.645)):
        assert np.quantile(table, quantile) == pytest.approx(value, abs=0.03)
    for axis in (table, table.T):
        correlation = np.corrcoef(axis[:60])
        off_diagonal = correlation[~np.eye(60, dtype=bool)]
        assert abs(off_diagonal.mean()) < 0.01
        assert off_diagonal.std() == pytest.approx(axis.shape[1] ** -0.5, rel=0.15)


def test_the_table_is_a_standard_normal() -> None:
    assert NORMAL.mean() == pytest.approx(0.0, abs=1e-6)
    assert NORMAL.std() == pytest.approx(1.0, abs=0.005)


def test_doubt_shrinks_as_is_learned() -> None:
    doubts = np.zeros(4, dtype=np.float32)
    columns = np.arange(3, dtype=np.uint16)
    exploration.doubt(np.array([0.0, 5.0, 89.0, 1.0]), columns, 11.0, np.ones(4), doubts)
    assert doubts.tolist() == pytest.approx([11**-0.5, 0.25, 0.1, 0.0])


def test_the_factor_follows_its_ceiling_in_about_a_minute() -> None:
    factor = 1.0
    for _ in range(60):
        factor = next_factor(factor, 0.2, 0.05)
    assert factor < 0.06
    for _ in range(75):
        factor = next_factor(factor, 0.0, 0.05)
    assert factor == 1.0
