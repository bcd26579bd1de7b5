"""The window kernel against its plain twin, and what happens where memory is short."""

from __future__ import annotations

from collections import deque

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.rules.windows import AGAIN, MOST, Table, count, count_plainly, drop, table

RULES = [(0, 10_000, AGAIN), (0, 60_000, 3), (1, 60_000, 5), (1, 3_600_000, 9), (2, 1_000, 2)]


def arrays() -> tuple[NDArray[np.int64], ...]:
    return tuple(np.array([rule[at] for rule in RULES], dtype=np.int64) for at in range(3))


def counted(counters: Table, whose: list[int], at_ms: int, first: int = 0) -> tuple[int, int]:
    rules, windows_ms, limits = arrays()
    return count(
        *counters, np.array(whose, dtype=np.uint64), rules, windows_ms, limits, first, at_ms
    )  # fmt: skip


events = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 2), st.integers(0, 2), st.integers(0, 40_000)), max_size=80
)


@given(events)
def test_the_kernel_does_what_its_plain_twin_does(todo: list[tuple[int, int, int, int]]) -> None:
    """With room for all; keys of 0 are nobody's."""
    counters, plain = table(1 << 12), {}  # type: ignore[var-annotated]
    at_ms = 1_800_000_000_000
    rules, windows_ms, limits = (list(map(int, one)) for one in arrays())
    for user, source, place, elapsed_ms in todo:
        at_ms += elapsed_ms
        whose = [user * 977, source, place]
        assert counted(counters, whose, at_ms) == count_plainly(
            plain, whose, rules, windows_ms, limits, at_ms
        )


@given(st.lists(st.integers(0, 30_000), max_size=60), st.integers(1, 12))
def test_a_sliding_window_is_near_the_exact_count(gaps_ms: list[int], limit: int) -> None:
    """Between what lies wholly in the window and what lies in two windows on its grid."""
    counters, at_ms, window_ms = table(64), 1_800_000_000_000, 60_000
    times: deque[int] = deque()
    one = np.zeros(1, dtype=np.int64)
    for gap_ms in gaps_ms:
        at_ms += gap_ms
        times.append(at_ms)
        over, _ = count(
            *counters, np.array([7], dtype=np.uint64), one, one + window_ms, one + limit, 0, at_ms
        )  # fmt: skip
        fresh = sum(time >= at_ms // window_ms * window_ms for time in times)
        either = sum(time >= (at_ms // window_ms - 1) * window_ms for time in times)
        assert fresh <= limit or over, "what the present window holds is always counted"
        assert either > limit or not over, "nobody is accused of more than two windows hold"


def test_rules_of_other_events_count_apart() -> None:
    counters = table(1 << 10)
    for _ in range(3):
        assert counted(counters, [9, 0, 0], 5_000_000, first=32)[0] & 0b10 == 0
    assert counted(counters, [9, 0, 0], 5_000_000)[0] == 0


def test_where_memory_is_short_counts_come_out_too_low_never_too_high() -> None:
    chance = np.random.default_rng(1)
    short, at_ms, exact = table(64), 1_800_000_000_000, {}  # type: ignore[var-annotated]
    rules, windows_ms, limits = (list(map(int, one)) for one in arrays())
    accused = missed = 0
    for _ in range(4_000):
        at_ms += int(chance.integers(0, 50))
        whose = [int(chance.zipf(1.3)), 0, 0]
        over, _ = counted(short, whose, at_ms)
        truth, _ = count_plainly(exact, whose, rules, windows_ms, limits, at_ms)
        assert over & ~truth == 0, "nobody pays for another"
        accused, missed = accused + (over != 0), missed + (truth != over)
    assert accused > missed > 0, "the busy are found all the same"


def test_a_count_stops_at_its_most() -> None:
    counters, one = table(8), np.zeros(1, dtype=np.int64)
    for _ in range(MOST + 10):
        count(*counters, np.array([3], dtype=np.uint64), one, one + 60_000, one + 60_000, 0, 0)
    assert int(counters[2].max()) == MOST


def test_a_counter_that_is_dropped_begins_anew() -> None:
    counters = table(1 << 10)
    for _ in range(5):
        over, _ = counted(counters, [9, 4, 0], 5_000_000)
    assert over & 0b10
    drop(counters, 9, 1)
    over, _ = counted(counters, [9, 4, 0], 5_000_000)
    assert not over & 0b10 and over & 0b100, "that one alone"
