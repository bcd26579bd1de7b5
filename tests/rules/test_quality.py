"""The quality index: 1 without data, monotone in complaints, bounded, and equal to its plain twin."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rules.quality import HIGHEST, LOWEST, Counts, quality_of, quality_plain

ad = st.tuples(st.integers(0, 5_000), st.integers(0, 60), st.integers(0, 500), st.integers(0, 60))
ads = st.lists(ad, min_size=1, max_size=12)
priors = st.floats(0.5, 50.0)


def counts_of(rows: list[tuple[int, int, int, int]]) -> Counts:
    return Counts(*np.array(rows, dtype=np.int64).T)


@given(ads, priors, st.floats(0, 1))
def test_the_kernel_agrees_with_its_plain_twin(
    rows: list[tuple[int, int, int, int]], prior: float, strength: float
) -> None:
    counts = counts_of(rows)
    assert quality_of(counts, prior, strength) == pytest.approx(quality_plain(counts, prior, strength))


@given(ads, priors)
def test_no_complaint_anywhere_is_exactly_one(rows: list[tuple[int, int, int, int]], prior: float) -> None:
    quiet = counts_of([(shown, 0, clicks, 0) for shown, _, clicks, _ in rows])
    assert (quality_of(quiet, prior, 0.5) == 1.0).all()


@given(ads, priors)
def test_an_ad_without_data_is_exactly_one(rows: list[tuple[int, int, int, int]], prior: float) -> None:
    assert quality_of(counts_of([(0, 0, 0, 0), *rows]), prior, 0.5)[0] == 1.0


@given(ads, priors, st.integers(1, 50), st.sampled_from([1, 3]))
def test_one_more_complaint_or_accident_never_helps(
    rows: list[tuple[int, int, int, int]], prior: float, more: int, which: int
) -> None:
    """Of what was shown or clicked at least as often as it was complained about, as by plain complaints."""
    rows = [(max(a, b), b, max(c, d), d) for a, b, c, d in rows]
    worse = [list(row) for row in rows]
    worse[0][which] += more
    before, after = (quality_of(counts_of(each), prior, 0.5) for each in (rows, worse))  # type: ignore[arg-type]
    assert after[0] <= before[0] * (1 + 1e-12)
    assert (after[1:] >= before[1:] * (1 - 1e-12)).all(), "the others are better by comparison"


@given(ads, priors)
def test_it_stays_within_its_bounds(rows: list[tuple[int, int, int, int]], prior: float) -> None:
    index = quality_of(counts_of(rows), prior, 1.0)
    assert ((index >= LOWEST) & (index <= HIGHEST)).all()


#   shown   complaints  quality   why
SHRINKAGE = [
    (0,      0,         1.0,      "nothing known"),
    (10,     0,         1.0,      "ten impressions without a complaint say next to nothing"),
    (10,     1,         0.92,     "nor does one complaint say much"),
    (10_000, 10,        1.0,      "as many as the mean"),
    (10_000, 40,        0.58,     "four times the mean: near half, as the square root would have it"),
    (10_000, 400,       0.5,      "never below half"),
    (10_000, 0,         1.73,     "a long record without any"),
]  # fmt: skip


@pytest.mark.parametrize(("shown", "complaints", "quality", "why"), SHRINKAGE)
def test_shrinkage(shown: int, complaints: int, quality: float, why: str) -> None:
    crowd = (10_000_000, 10_000, 0, 0)  # a mean of one in a thousand, whatever this ad does
    index = quality_of(counts_of([(shown, complaints, 0, 0), crowd]), 5.0, 0.5)
    assert index[0] == pytest.approx(quality, abs=0.01), why
