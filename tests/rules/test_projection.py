"""Profiles as short vectors. Goal: alike profiles lie near each other; the kernels say what the twins say."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from app.rules.projection import nearest, project
from app.rules.projection_plain import (
    DIMENSIONS,
    PER_WORD,
    admission_hash,
    hash_of,
    hashes_of,
    nearest_plain,
    places_of,
    project_plain,
    unit,
)

words = st.lists(st.text(max_size=12), max_size=40)


def test_a_words_places_never_change() -> None:
    """They are what centroids in a journal mean: another one is another PROJECTION."""
    assert hash_of("interest", "travel") == 927_302_517_869_331_709
    assert admission_hash("interest", "travel") == 56_214_521_408_327_803
    assert len(places_of(hash_of("interest", "travel"))) == PER_WORD


@given(words, words)
def test_the_kernel_projects_as_the_twin_does(interests: list[str], segments: list[str]) -> None:
    hashes = hashes_of(interests, segments)
    vector = np.ones(DIMENSIONS)
    project(np.array(hashes, dtype=np.int64), vector)
    assert np.array_equal(vector, project_plain([hashes])[0])
    length = float(np.sqrt((vector**2).sum()))
    assert abs(length - 1.0) < 1e-12 or length == 0.0


@given(st.integers(0, 5), st.integers(0, 2**32 - 1))
def test_the_kernel_finds_the_nearest_as_the_twin_does(count: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    centroids, vector = random.normal(size=(count, DIMENSIONS)), random.normal(size=DIMENSIONS)
    half_squares = 0.5 * (centroids**2).sum(axis=1)
    assert nearest(vector, centroids, half_squares) == nearest_plain(vector[None], centroids)[0]
    assert nearest(np.zeros(DIMENSIONS), centroids, half_squares) == -1


def test_profiles_that_share_words_are_near_and_others_far() -> None:
    """20 words out of 200,000; half of them shared is a cosine of about a half, none about 0."""
    random = np.random.default_rng(3)
    drawn = [tuple(f"w-{n}" for n in random.integers(0, 200_000, 20)) for _ in range(200)]
    pairs = [(one, one[:10] + other[10:]) for one, other in zip(drawn[::2], drawn[1::2], strict=True)]
    likeness = [
        float(np.prod(project_plain([hashes_of(x, ()) for x in pair]), axis=0).sum()) for pair in pairs
    ]
    assert 0.4 < np.mean(likeness) < 0.6
    strangers = unit(project_plain([hashes_of(one, ()) for one in drawn]))
    apart = (strangers @ strangers.T)[np.triu_indices(200, 1)]
    assert abs(float(apart.mean())) < 0.02 and float(apart.std()) < 1.2 / np.sqrt(DIMENSIONS)
