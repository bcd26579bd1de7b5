"""The strongest cells of a matrix, found a row at a time, against sorting all of it."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from app.rules.strongest import Strongest

FEW = st.sampled_from([0.0, 0.0, 0.5, -0.5, 1.0, -2.0, 3.25])


@given(
    rows=st.lists(st.lists(FEW, min_size=5, max_size=5), max_size=12), count=st.integers(1, 9),
    some=st.lists(st.integers(0, 4), unique=True),
)  # fmt: skip
def test_it_finds_what_sorting_everything_finds(rows: list[list[float]], count: int, some: list[int]) -> None:
    columns = np.array(sorted(some), dtype=np.int64)
    for wanted in (None, columns):
        strongest = Strongest(count)
        every = []
        for row, values in enumerate(rows):
            weights = np.array(values, np.float32)
            strongest.take(row, weights if wanted is None else weights[wanted], wanted)
            inside = range(5) if wanted is None else wanted.tolist()
            every += [(-abs(values[column]), row, column) for column in inside if values[column]]
        assert strongest.found() == [(row, column) for _, row, column in sorted(every)[:count]]
