"""Which ad groups stand in the auction now, by status, flight, budgets and hours; a reason code for the rest.

Numbers are the places of `app.domain.decisions.REASONS`. Local time is the campaign's: a table with one
line per time zone says its hour, weekday and day number at the moment asked about.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from app.domain.decisions import REASON_NUMBER

PAUSED, ENDED = REASON_NUMBER["paused"], REASON_NUMBER["ended"]
NOT_STARTED, BUDGET = REASON_NUMBER["not_started"], REASON_NUMBER["budget"]
NO_CONVERSIONS = REASON_NUMBER["no_conversions"]
HOUR, WEEKDAY = REASON_NUMBER["hour"], REASON_NUMBER["weekday"]
ALL_HOURS = (1 << 24) - 1
ALL_WEEKDAYS = (1 << 7) - 1
FOREVER = np.iinfo(np.int64).max
EPOCH_ORDINAL = datetime(1970, 1, 1, tzinfo=UTC).toordinal()


@dataclass(frozen=True, slots=True)
class Moment:
    """An instant as a clock on a wall: hour 0-23, weekday (0 is Monday), days since 1970."""

    hour: int
    weekday: int
    day: int


@lru_cache(maxsize=4096)
def moment_in(zone: str, minute: int) -> Moment:
    """Read the wall clock of a zone at a minute since 1970.

    >>> moment_in("Asia/Seoul", 15 * 60)
    Moment(hour=0, weekday=4, day=1)
    """
    local = datetime.fromtimestamp(minute * 60, ZoneInfo(zone))
    return Moment(local.hour, local.weekday(), local.toordinal() - EPOCH_ORDINAL)


def moment_at(zone: str, at_ms: int) -> Moment:
    """Read the wall clock of a zone at a time in ms. Zones are whole minutes off since long."""
    return moment_in(zone, at_ms // 60_000)


def hour_bits(terms: tuple[Any, ...]) -> int:
    """Turn hours and inclusive hour pairs into 24 bits; a pair may wrap over midnight.

    >>> bin(hour_bits(((22, 1),)))
    '0b110000000000000000000011'
    """
    bits = 0
    for term in terms:
        low, high = term if isinstance(term, tuple) else (term, term)
        low, high = int(low), int(high)
        hours = range(low, high + 1) if low <= high else (*range(low, 24), *range(high + 1))
        for hour in hours:
            bits |= 1 << hour
    return bits


@dataclass(slots=True)
class Groups:
    """What decides where each ad group stands, an array each, one place per group.

    `given` is the code that status alone gives (0, archived or paused); zone an index into the moments.
    """

    given: NDArray[np.uint8]
    starts_at_ms: NDArray[np.int64]
    ends_at_ms: NDArray[np.int64]
    hours: NDArray[np.uint32]
    weekdays: NDArray[np.uint8]
    zone: NDArray[np.int32]


def stand(
    groups: Groups, stopped: NDArray[np.bool_], at_ms: int, moments: list[Moment],
    unconverted: NDArray[np.bool_] | None = None,
) -> NDArray[np.uint8]:  # fmt: skip
    """Give each group its reason for standing aside at `at_ms`, or 0.

    Shape   stopped (g,): a budget of the group or its campaign is reached; unconverted (g,): it pays for
            conversions and should have had some. Checked in the order of REASONS: status, not started,
            ended, budget, no conversions, hour, weekday. A flight ends at its end, exclusive.
    """
    hour = np.array([moment.hour for moment in moments], dtype=np.uint32)[groups.zone]
    weekday = np.array([moment.weekday for moment in moments], dtype=np.uint8)[groups.zone]
    answer = np.zeros(len(groups.given), dtype=np.uint8)
    answer[(groups.weekdays >> weekday) & 1 == 0] = WEEKDAY  # last checked first: an earlier one overwrites
    answer[(groups.hours >> hour) & 1 == 0] = HOUR
    if unconverted is not None:
        answer[unconverted] = NO_CONVERSIONS
    answer[stopped] = BUDGET
    answer[groups.ends_at_ms <= at_ms] = ENDED
    answer[groups.starts_at_ms > at_ms] = NOT_STARTED
    return np.where(groups.given != 0, groups.given, answer)
