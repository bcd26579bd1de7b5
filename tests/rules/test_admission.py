"""Admission of rare values. Goal: by chance after so many sightings on average, or by count."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from app.rules.admission import HASHES, CountingBloom, drawn, places_of


def test_a_value_takes_so_many_sightings_on_average() -> None:
    first = []
    for value in range(2_000):
        occasions = (number.to_bytes(4, "big") for number in range(1_000))
        first.append(
            1 + next(at for at, occasion in enumerate(occasions) if drawn(value * 7919, occasion, 0.1))
        )
    assert 9.0 < np.mean(first) < 11.0
    assert abs(np.mean(np.array(first) > 10) - 0.9**10) < 0.05, "and as chance has it, not by count"


@given(st.integers(0, 2**60 - 1), st.integers(1, 2**20))
def test_places_are_in_the_filter(value: int, size: int) -> None:
    places = places_of(value, size)
    assert len(places) == HASHES and all(0 <= place < size for place in places)


@given(st.lists(st.integers(0, 2**60 - 1), max_size=200), st.integers(1, 4), st.sampled_from([7, 64, 4_096]))
def test_a_bloom_filter_admits_early_never_late(values: list[int], least: int, size: int) -> None:
    seen, filtered = Counter[int](), CountingBloom(size, least)
    for value in values:
        seen[value] += 1
        admitted = filtered.see(value)
        if seen[value] >= least:
            assert admitted


def test_in_a_large_filter_hardly_anything_is_early() -> None:
    filtered = CountingBloom(1 << 16, least=2)
    random = np.random.default_rng(1)
    values = np.unique(random.integers(0, 2**60, 5_000)).tolist()
    early = sum(filtered.see(value) for value in values)
    assert early / len(values) < 0.01
