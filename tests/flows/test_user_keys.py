"""Keys that stand for people. Goal: one key per person and period, two in the overlap, none for ever.

Method: a played clock; the secrets that would be written to disk are caught.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from app.domain.ids import DAY_MS
from app.domain.requests import USER_KEY_BYTES
from app.flows.user_keys import Period, UserKeys, read_periods, write_periods

START_MS = 20_000 * DAY_MS


class Played:
    """Keys with periods of 30 days, former keys given out and kept for `keep_days`."""

    def __init__(self, keep_days: int = 30) -> None:
        self.saved: list[Sequence[Period]] = []
        first = [Period(START_MS, b"s" * 32)]
        self.keys = UserKeys(first, period_days=30, keep_days=keep_days, save=self.saved.append)

    def on_day(self, day: float) -> tuple[bytes | None, bytes | None]:
        now_ms = START_MS + round(day * DAY_MS)
        if self.keys.due(now_ms):
            self.keys.renew(now_ms)
        return self.keys.of("u-1", now_ms)


def test_a_key_is_short_and_tells_people_apart() -> None:
    keys = UserKeys.fresh()
    key, former = keys.of("u-1", START_MS)
    assert key is not None and len(key) == USER_KEY_BYTES and former is None
    assert keys.of("u-1", START_MS) == (key, None)
    assert keys.of("u-2", START_MS)[0] != key
    assert UserKeys.fresh().of("u-1", START_MS)[0] != key, "another secret"


@pytest.mark.parametrize("nobody", [None, ""])
def test_nobody_has_no_key(nobody: str | None) -> None:
    assert UserKeys.fresh().of(nobody, START_MS) == (None, None)


def test_in_a_new_period_a_person_has_a_new_key_and_for_a_while_the_old_one_too() -> None:
    played = Played(keep_days=7)
    first, none = played.on_day(29.9)
    assert none is None and played.saved == []
    second, former = played.on_day(30)
    assert former == first and second != first
    assert played.on_day(36.9) == (second, first)
    assert played.on_day(37) == (second, None)


def test_a_secret_is_saved_before_it_is_used_and_deleted_when_its_time_is_over() -> None:
    played = Played(keep_days=7)
    played.on_day(30)
    (told,) = played.saved
    assert list(told) == played.keys.periods and len(told) == 2
    played.on_day(37)
    assert [period.from_ms for period in played.saved[-1]] == [START_MS + 30 * DAY_MS]
    assert b"s" * 32 not in [period.secret for period in played.keys.periods]


def test_every_key_that_something_may_be_known_under() -> None:
    played = Played(keep_days=60)
    keys = [played.on_day(day)[0] for day in (0, 30, 60)]
    assert list(played.keys.all_of("u-1")) == keys[::-1]


def test_a_clock_that_steps_back_finds_the_key_of_its_time() -> None:
    played = Played()
    first, _ = played.on_day(0)
    second, _ = played.on_day(31)
    assert played.on_day(29) == (first, None)
    assert played.on_day(-5) == (first, None), "before any period: the oldest"
    assert played.on_day(31) == (second, first)


def test_after_a_long_rest_one_new_period_begins() -> None:
    played = Played(keep_days=30)
    played.on_day(400)
    assert [period.from_ms for period in played.keys.periods] == [START_MS, START_MS + 400 * DAY_MS]


def test_periods_are_written_and_read() -> None:
    periods = [Period(5, b"a" * 32), Period(9, b"b" * 32)]
    assert read_periods(write_periods(periods)) == periods
