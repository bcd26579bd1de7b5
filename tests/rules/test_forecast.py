"""The forecast: uniform before data, then what was seen; a level that follows, an interval that covers."""

from __future__ import annotations

import numpy as np
import pytest

from app.rules import forecast
from app.rules.forecast import HOURS, count_interval, next_error, next_level, profile, relative_error

TRUTH = 1.0 + 0.5 * np.sin(2 * np.pi * np.arange(HOURS) / 24) + 0.3 * (np.arange(HOURS) // 24 >= 5)


def seen(hours: range, weeks: int = 1) -> tuple[np.ndarray, np.ndarray]:
    seconds = np.zeros(HOURS)
    seconds[list(hours)] = 3_600.0 * weeks
    return TRUTH * seconds, seconds


def test_one_hour_stands_for_all() -> None:
    assert profile(*seen(range(1))) == pytest.approx(np.full(HOURS, TRUTH[0]))


def test_after_a_day_every_day_has_its_hours() -> None:
    """Each hour of the day is most of the way to what was seen, on the other days as well."""
    found = profile(*seen(range(24)))
    off = np.abs(found[24:48] / TRUTH[:24] - 1)
    assert off.max() < 0.35
    assert np.abs(TRUTH[:24].mean() / TRUTH[:24] - 1).max() > 0.9
    assert found[24:48] == pytest.approx(found[48:72])


def test_after_weeks_every_hour_of_the_week_is_its_own() -> None:
    assert np.abs(profile(*seen(range(HOURS), weeks=3)) / TRUTH - 1).max() < 0.1


def test_the_level_follows_growth_and_no_single_hour() -> None:
    level, *sums = next_level(300.0, 100.0, (0.0, 0.0))
    assert level < 1.6
    for _ in range(72):
        level, *sums = next_level(150.0, 100.0, (sums[0], sums[1]))
    assert level == pytest.approx(1.5, abs=0.07)


def test_poisson_noise_is_no_forecast_error() -> None:
    chance = np.random.default_rng(1)
    checked = (0.0, 0.0)
    for count in chance.poisson(100.0, 500):
        checked = next_error(float(count), 100.0, checked)
    assert relative_error(checked) < 0.1
    for count in chance.poisson(100.0, 500) * 1.5:
        checked = next_error(float(count), 100.0, checked)
    assert relative_error(checked) > 0.4


@pytest.mark.parametrize("expected", [3.0, 500.0, 1e6])
def test_the_interval_covers_what_comes(expected: float) -> None:
    """Counts drawn about a forecast that is 10 % off as often as said: 95 % lie inside, give or take."""
    chance = np.random.default_rng(2)
    low, high = count_interval(expected, 0.1)
    counts = chance.poisson(np.maximum(0.0, expected * (1 + 0.1 * chance.standard_normal(20_000))))
    assert 0.93 < ((counts >= low) & (counts <= high)).mean() < 0.99


def test_a_share_of_nothing_is_unknown() -> None:
    assert forecast.share_interval(0, 0) == (0.0, 0.0, 1.0)
