"""Throttles as numbers: what is aimed at, how it is dealt to sets, and days that are not 24 hours long.

The kernel that deals ads to sets is held to its plain twin.
"""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rules import pacing
from app.rules.pacing import RANK, SETS, day_segments, deal, off_plan, shares, takes_part, throttles, turns

NAN = math.nan
ZONES = ("Asia/Seoul", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "UTC", "America/Havana")

#   aim   full  first  throttle  why
TABLE = [
    (1.0, 4.0,  0.0,   0.25,     "a quarter of the traffic brings what is aimed at"),
    (4.0, 4.0,  0.0,   1.0,      "all of it"),
    (9.0, 4.0,  0.0,   1.0,      "more than there is"),
    (0.0, 4.0,  0.0,   0.0,      "nothing left to spend"),
    (1.0, 0.0,  0.0,   1.0,      "wins that cost nothing need no throttle"),
    (0.0, 0.0,  0.0,   1.0,      "nor where nothing is left: the budget itself stops it"),
    (1.0, NAN,  NAN,   1.0,      "nothing learned, no traffic seen: full participation"),
    (1.0, NAN,  300.0, 1.0,      "a launch: five minutes of plan within a second"),
    (1.0, NAN,  3e5,   0.001,    "a launch into heavy traffic starts carefully"),
]  # fmt: skip


@pytest.mark.parametrize(("aim", "full", "first", "throttle", "why"), TABLE)
def test_throttle(aim: float, full: float, first: float, throttle: float, why: str) -> None:
    found = throttles(np.array([aim]), np.array([full]), np.array([first]))
    assert found[0] == pytest.approx(throttle), why


@given(st.floats(0, 1), st.integers(0, 200), st.integers(0, 10**9))
def test_over_time_a_share_is_the_throttle(throttle: float, campaign: int, start: int) -> None:
    campaigns = np.full(campaign + 1, throttle)
    dealt = [int(shares(campaigns, tick)[campaign]) for tick in range(start, start + 400)]
    assert abs(sum(dealt) / SETS / 400 - throttle) < 0.2 / SETS
    assert set(dealt) <= {math.floor(throttle * SETS), math.floor(throttle * SETS) + 1}


@given(
    st.lists(st.tuples(st.integers(0, 64), st.integers(0, 63)), min_size=3, max_size=3),
    st.lists(st.tuples(st.integers(0, 64), st.integers(0, 63)), min_size=3, max_size=3),
    st.lists(st.integers(0, 2), min_size=1, max_size=150),
)
def test_dealing_by_steps_is_as_the_twin_says(
    before: list[tuple[int, int]], after: list[tuple[int, int]], campaign_of_ads: list[int]
) -> None:
    campaign = np.array(campaign_of_ads, dtype=np.int32)
    rows = np.zeros((SETS, -(-len(campaign) // 64)), dtype=np.uint64)
    nothing = np.zeros(3, dtype=np.uint8)
    share, turn = (np.array(column, dtype=np.uint8) for column in zip(*before, strict=True))
    deal(rows, campaign, RANK, nothing, nothing, share, turn)
    later_share, later_turn = (np.array(column, dtype=np.uint8) for column in zip(*after, strict=True))
    deal(rows, campaign, RANK, share, turn, later_share, later_turn)
    for k in range(SETS):
        for ad, c in enumerate(campaign_of_ads):
            inside = bool(rows[k, ad // 64] >> np.uint64(ad % 64) & np.uint64(1))
            assert inside == takes_part(k, *after[c]), (k, ad)


def test_any_two_campaigns_meet_as_often_as_chance_has_it() -> None:
    """A tenth of the sets each: together in a hundredth of all decisions, seen over an hour."""
    meets = 0
    for tick in range(3_600):
        share, turn = shares(np.full(8, 0.1), tick), turns(8, tick)
        both = [takes_part(k, share[2], turn[2]) and takes_part(k, share[5], turn[5]) for k in range(SETS)]
        meets += sum(both)
    assert meets / SETS / 3_600 == pytest.approx(0.01, rel=0.5)


@given(st.sampled_from(ZONES), st.sampled_from(ZONES), st.integers(20_000, 21_500))
def test_a_day_is_cut_without_gaps_where_its_hours_begin(zone: str, node_zone: str, day: int) -> None:
    segments = day_segments(zone, node_zone, day)
    first = date(1970, 1, 1) + timedelta(days=day)
    local = [datetime.fromtimestamp(ms / 1000, UTC).astimezone(ZoneInfo(zone)) for ms in segments.start_ms]
    assert (segments.start_ms[1:] == segments.end_ms[:-1]).all()
    assert {moment.date() for moment in local} == {first}
    assert [moment.weekday() * 24 + moment.hour for moment in local] == segments.own_hour.tolist()
    ends = datetime.fromtimestamp(segments.end_ms[-1] / 1000, UTC).astimezone(ZoneInfo(zone))
    assert ends.date() == first + timedelta(days=1)
    assert (segments.end_ms - segments.start_ms <= 3_600_000).all()


@given(st.floats(0, 60))
def test_the_weekdays_to_come_are_as_many_as_the_days(days: float) -> None:
    each = pacing.weekdays_to_come(np.array([days]))[0]
    assert each.sum() == pytest.approx(days)
    assert (np.diff(each) <= 1e-9).all()


#   off             spent          throttle    share  why
OFF_PLAN = [
    ([],             [],            [],         0.0,  "nobody has a plan"),
    ([900.0],        [100.0],       [1.0],      0.0,  "takes part in all: short of traffic alone"),
    ([50.0],         [50.0],        [0.5],      0.5,  "held back, and short"),
    ([-50.0],        [150.0],       [1.0],      0.5,  "spent too much, whatever its throttle"),
    ([900.0, 50.0],  [100.0, 50.0], [1.0, 0.5], 0.25, "what lacks traffic is due as far as it spent"),
]  # fmt: skip


@pytest.mark.parametrize(("off", "spent", "throttle", "share", "why"), OFF_PLAN)
def test_a_campaign_is_off_plan_by_what_pacing_could_have_done(
    off: list[float], spent: list[float], throttle: list[float], share: float, why: str
) -> None:
    assert off_plan(np.array(off), np.array(spent), np.array(throttle)) == share, why
