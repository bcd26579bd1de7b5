"""One counter against every impression kept: exact where it says so, and never less than was shown.

Method: impressions at random times; at random moments the compiled counter and the plain twin are asked the
same. A rolling window may hold what is up to a unit (small caps) or a bucket (larger) older than its span.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rules import caps
from app.rules.caps_plain import SPANS_MS, PlainCaps

START_MS = 1_800_000_000_000
DAY_MS = 86_400_000
ROLLING = [(per, count) for per in SPANS_MS for count in (caps.RING_COUNT, 255, 1_000)]
# Gaps of all sizes: within one window of a minute, an hour, a week, and over them.
GAPS = st.one_of(st.integers(0, 40_000), st.integers(0, 2_000_000), st.integers(0, 300_000_000))


def unit(code: int, at_ms: int) -> int:
    return at_ms // DAY_MS if code == caps.DAY else at_ms // caps.UNIT_MS[code]


class Counter:
    """One counter under the kernels, as a table would hold it."""

    def __init__(self, code: int) -> None:
        self.code = code
        self.held: tuple[int, int] | None = None

    def count(self, at_ms: int) -> None:
        now = unit(self.code, at_ms)
        if self.held is None:
            self.held = (now & caps.STAMP_MASK, caps.first(self.code))
        else:
            self.held = caps.add(self.code, *self.held, now, 1)

    def take_back(self, at_ms: int) -> None:
        assert self.held is not None
        self.held = caps.take_back(self.code, *self.held, unit(self.code, at_ms) & caps.STAMP_MASK)

    def inside(self, now_ms: int) -> int:
        return caps.inside(self.code, *self.held, unit(self.code, now_ms)) if self.held is not None else 0


def hold(counter: Counter, plain: PlainCaps, per: str, now_ms: int) -> None:
    """The counter says what was shown: all of the span, nothing older than its span and a step."""
    step_ms = caps.UNIT_MS[counter.code] + 8  # widths of buckets are rounded up
    most = caps.RING_COUNT if caps.LANES[counter.code] == 0 else 10**9
    least = min(plain.held("p", "t", per, now_ms, 0), most)
    at_most = min(plain.held("p", "t", per, now_ms, 0, longer_ms=step_ms), most)
    assert least <= counter.inside(now_ms) <= at_most


@pytest.mark.parametrize(("per", "count"), ROLLING)
@given(gaps=st.lists(GAPS, max_size=30), later=GAPS)
def test_rolling_windows(per: str, count: int, gaps: list[int], later: int) -> None:
    counter, plain = Counter(caps.code_for(per, count)), PlainCaps()
    now_ms = START_MS
    for gap in gaps:
        now_ms += gap
        hold(counter, plain, per, now_ms)
        counter.count(now_ms)
        plain.count("p", "t", now_ms, 0)
    for after in (0, later, SPANS_MS[per] - 1, SPANS_MS[per], SPANS_MS[per] + caps.UNIT_MS[counter.code] + 8):
        hold(counter, plain, per, now_ms + after)


@given(gaps=st.lists(st.integers(0, 2 * DAY_MS), max_size=20))
def test_days_and_lifetimes(gaps: list[int]) -> None:
    day, life, plain = Counter(caps.DAY), Counter(caps.LIFETIME), PlainCaps()
    now_ms = START_MS
    for gap in gaps:
        now_ms += gap
        for counter in (day, life):
            counter.count(now_ms)
        plain.count("p", "t", now_ms, now_ms // DAY_MS)
        assert day.inside(now_ms) == plain.held("p", "t", "day", now_ms, now_ms // DAY_MS)
        assert life.inside(now_ms) == plain.held("p", "t", "lifetime", now_ms, 0)
    assert day.inside(now_ms + DAY_MS) == 0


@pytest.mark.parametrize("code", range(caps.CODES))
@given(gaps=st.lists(GAPS, min_size=1, max_size=caps.RING_COUNT), data=st.data())
def test_taking_back_is_as_if_it_had_not_been(code: int, gaps: list[int], data: st.DataObject) -> None:
    times = [START_MS + sum(gaps[: n + 1]) for n in range(len(gaps))]
    gone = data.draw(st.integers(0, len(times) - 1))
    with_it, without = Counter(code), Counter(code)
    for at_ms in times:
        with_it.count(at_ms)
    for at_ms in times[:gone] + times[gone + 1 :]:
        without.count(at_ms)
    with_it.take_back(times[gone])
    assert with_it.inside(times[-1]) == without.inside(times[-1])


@pytest.mark.parametrize("code", range(caps.CODES))
@given(
    shown=st.lists(st.tuples(st.booleans(), GAPS), min_size=1, max_size=20), later=st.integers(0, 4_000_000)
)
def test_two_counters_merge_into_one(code: int, shown: list[tuple[bool, int]], later: int) -> None:
    """What a person's former and present name counted is what one name would have counted."""
    one, former, present = Counter(code), Counter(code), Counter(code)
    now_ms = START_MS
    for under_former, gap in shown:
        now_ms += gap
        one.count(now_ms)
        (former if under_former else present).count(now_ms)
    if former.held is None or present.held is None:
        return
    both = Counter(code)
    for first, second in ((former.held, present.held), (present.held, former.held)):
        both.held = caps.merge(code, *first, *second)
        for after in (0, later):
            assert both.inside(now_ms + after) == one.inside(now_ms + after)


#   code           shown at, ms     asked at   inside  why
TABLE = [
    (caps.MINUTE,   [0, 10],          60_000,  2, "a minute later both still count"),
    (caps.MINUTE,   [0, 10],          60_001,  1, "the first is over a millisecond after its minute"),
    (caps.HOUR,     [0],           3_600_099,  1, "hours count in tenths of a second"),
    (caps.HOUR,     [0],           3_600_100,  0, ""),
    (caps.HOUR + 1, [0],           4_114_000,  1, "in buckets: up to a seventh longer"),
    (caps.HOUR + 1, [0],           4_115_000,  0, ""),
    (caps.WEEK,     [0] * 9,               0,  5, "a ring holds what its cap needs, and no more"),
    (caps.WEEK + 1, [0] * 300,             0, 255, "a bucket is full before it would begin anew"),
]  # fmt: skip


@pytest.mark.parametrize(("code", "shown", "asked", "inside", "why"), TABLE)
def test_table(code: int, shown: list[int], asked: int, inside: int, why: str) -> None:
    start = 7 * DAY_MS * 3_000  # where all units begin anew, but the buckets' of an hour
    start -= start % caps.UNIT_MS[code]
    counter = Counter(code)
    for at_ms in shown:
        counter.count(start + at_ms)
    assert counter.inside(start + asked) == inside, why


def test_a_stamp_slightly_ahead_still_counts() -> None:
    """Clocks of lines may step back by what lies between two ticks."""
    for code in range(caps.CODES):
        counter = Counter(code)
        counter.count(START_MS)
        assert counter.inside(START_MS - 900) == 1
        counter.count(START_MS - 900)
        assert counter.inside(START_MS) == 2
