"""Pacing's promises, in small: a day and a half of a few campaigns, with an edit, an outage and a pause.

`python -m loadtest week` plays the whole week; the same code judges both.
"""

from __future__ import annotations

from datetime import date

import pytest

from loadtest.players import PLAYERS
from loadtest.week import END_OF_DAY, Told, Week

NAMES = ("cpm-large", "cpm-small", "cpm-launch", "cpc-large", "cpc-hours", "cpm-asap")
START = date(2026, 3, 7)  # the day after it has 23 hours


@pytest.fixture(scope="module")
def told() -> Told:
    players = [each for each in PLAYERS if each.name in NAMES]
    week = Week(
        days=1.2, rate=0.5, seed=3, start=START, tick_ms=5_000, players=players,
        changes=[(8.2, "launch", "cpm-launch"), (11.0, "down", ""), (12.0, "up", ""), (16.5, "back", "")],
    )  # fmt: skip
    return week.play()


@pytest.mark.slow
def test_nothing_is_billed_beyond_a_budget_and_little_shown_for_nothing(told: Told) -> None:
    assert told.overspent == 0
    assert sum(told.unbilled.values()) <= 0.01 * sum(told.billed.values())


@pytest.mark.slow
def test_a_day_ends_on_its_budget(told: Told) -> None:
    """Charges are few in this small world: lumps of a few in a hundred are allowed for."""
    whole = [row for row in told.days if row[1] == START.isoformat() and row[0] != "cpm-asap"]
    assert len(whole) == 5
    for name, _, budget, spent, charges, _ in whole:
        assert abs(spent / budget - 1) <= END_OF_DAY + 2 / charges, name


@pytest.mark.slow
def test_hours_follow_their_plan(told: Told) -> None:
    assert told.hours_within() >= 0.85
