"""Where ad groups stand: wall clocks over zones and DST, hours that wrap, and the order of reasons."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.decisions import REASON_NUMBER
from app.rules import standing
from app.rules.standing import Moment, hour_bits, moment_at

ZONES = ("Asia/Seoul", "UTC", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Apia")


def at(text: str) -> int:
    """Turn an instant (ISO, with offset) into ms."""
    return int(datetime.fromisoformat(text).timestamp() * 1000)


#   zone                 instant                      hour  weekday  why
TABLE = [
    ("Asia/Seoul",       "2027-01-15T08:00:00+00:00",  17,   4, "nine hours ahead, no DST"),
    ("Asia/Seoul",       "2027-01-17T15:00:00+00:00",   0,   0, "Monday begins at 15:00 UTC on Sunday"),
    ("Asia/Seoul",       "2027-01-17T14:59:59+00:00",  23,   6, "the last second of Sunday"),
    ("America/New_York", "2027-03-14T06:59:00+00:00",   1,   6, "before the spring change"),
    ("America/New_York", "2027-03-14T07:00:00+00:00",   3,   6, "there is no two o'clock that day"),
    ("America/New_York", "2026-11-01T05:30:00+00:00",   1,   6, "the first half past one"),
    ("America/New_York", "2026-11-01T06:30:00+00:00",   1,   6, "and the second"),
    ("Asia/Kathmandu",   "2027-01-14T18:15:00+00:00",   0,   4, "a zone of 5:45"),
    ("Asia/Kathmandu",   "2027-01-14T18:14:00+00:00",  23,   3, "a minute before midnight there"),
    ("UTC",              "1970-01-01T00:00:00+00:00",   0,   3, "the beginning was a Thursday"),
]  # fmt: skip


@pytest.mark.parametrize(("zone", "instant", "hour", "weekday", "why"), TABLE, ids=[r[4] for r in TABLE])
def test_the_clock_on_the_wall(zone: str, instant: str, hour: int, weekday: int, why: str) -> None:
    moment = moment_at(zone, at(instant))
    assert (moment.hour, moment.weekday) == (hour, weekday), why


@given(st.sampled_from(ZONES), st.integers(at("2020-01-01T00:00:00Z"), at("2035-01-01T00:00:00Z")))
def test_a_moment_is_what_the_calendar_says(zone: str, at_ms: int) -> None:
    local = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at_ms)).astimezone(ZoneInfo(zone))
    days = (local.date() - datetime(1970, 1, 1, tzinfo=UTC).date()).days
    assert moment_at(zone, at_ms) == Moment(local.hour, local.weekday(), days)


@given(st.sampled_from(ZONES), st.integers(at("2026-01-01T00:00:00Z"), at("2028-01-01T00:00:00Z")))
def test_days_only_go_forward(zone: str, at_ms: int) -> None:
    assert 0 <= moment_at(zone, at_ms + 3_600_000).day - moment_at(zone, at_ms).day <= 1


hours = st.integers(0, 23)


@given(st.lists(hours | st.tuples(hours, hours), max_size=4), hours)
def test_hours_are_inclusive_and_wrap_over_midnight(terms: list[int | tuple[int, int]], hour: int) -> None:
    def holds(term: int | tuple[int, int]) -> bool:
        low, high = term if isinstance(term, tuple) else (term, term)
        return low <= hour <= high if low <= high else hour >= low or hour <= high

    assert bool(hour_bits(tuple(terms)) >> hour & 1) == any(map(holds, terms))
    assert 0 <= hour_bits(tuple(terms)) <= standing.ALL_HOURS


def test_hours_read_back_from_json_are_floats_and_mean_the_same() -> None:
    assert hour_bits(((9.0, 18.0), 22.0)) == hour_bits(((9, 18), 22))


groups_of = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 0, 1, 2]),  # status
        st.integers(0, 20), st.integers(0, 20),  # flight
        st.booleans(),  # a budget is reached
        st.integers(0, standing.ALL_HOURS), st.integers(0, standing.ALL_WEEKDAYS),
        st.integers(0, 1),  # zone
    ),
    max_size=8,
)  # fmt: skip
Row = tuple[int, int, int, bool, int, int, int]


@given(groups_of, st.integers(0, 20), st.integers(0, 23), st.integers(0, 23), st.integers(0, 6))
def test_the_first_reason_in_order_is_given(
    rows: list[Row], now: int, hour: int, other_hour: int, weekday: int
) -> None:
    moments = [Moment(hour, weekday, 0), Moment(other_hour, (weekday + 1) % 7, 0)]
    columns = list(zip(*rows, strict=True)) if rows else [()] * 7
    groups = standing.Groups(
        given=np.array(columns[0], dtype=np.uint8),
        starts_at_ms=np.array(columns[1], dtype=np.int64),
        ends_at_ms=np.array(columns[2], dtype=np.int64),
        hours=np.array(columns[4], dtype=np.uint32),
        weekdays=np.array(columns[5], dtype=np.uint8),
        zone=np.array(columns[6], dtype=np.int32),
    )
    stopped = np.array(columns[3], dtype=np.bool_)

    def plain(row: Row) -> int:
        given_code, starts, ends, reached, hour_set, weekday_set, zone = row
        reasons = [
            ("not_started", now < starts),
            ("ended", now >= ends),
            ("budget", reached),
            ("hour", not hour_set >> moments[zone].hour & 1),
            ("weekday", not weekday_set >> moments[zone].weekday & 1),
        ]
        return given_code or next((REASON_NUMBER[name] for name, applies in reasons if applies), 0)

    assert standing.stand(groups, stopped, now, moments).tolist() == [plain(row) for row in rows]
