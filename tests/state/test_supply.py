"""The traffic counters: what a tick counts and what it does not, and the same again after a snapshot."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from app.rules.forecast import HOURS
from app.rules.standing import moment_at
from app.state.supply import Supply
from tests.state.world import HOUR_MS

ZONE = "Asia/Seoul"
MONDAY_MS = 1_799_593_200_000  # Monday 11 January 2027, 00:00 in Seoul
KNOWN: dict[str, Any] = {"plc-1": None, "plc-2": None}


def live(supply: Supply, from_ms: int, hours: float, asked: tuple[tuple[str, int, int], ...]) -> None:
    """Tick every five seconds."""
    for at_ms in range(from_ms, from_ms + round(hours * HOUR_MS), 5_000):
        supply.take(asked, 5_000, moment_at(ZONE, at_ms), KNOWN)


def close(supply: Supply, at_ms: int) -> None:
    """Begin a new hour."""
    supply.take((), 1_000, moment_at(ZONE, at_ms), KNOWN)


def test_nothing_is_known_before_anything_was_seen() -> None:
    supply = Supply()
    assert not supply.known
    assert supply.rate == 0.0
    assert not supply.rates().any()
    assert not supply.rates("plc-1").any()


def test_the_first_hour_stands_for_all_while_it_runs() -> None:
    supply = Supply()
    live(supply, MONDAY_MS, 0.5, (("plc-1", 10, 4), ("plc-2", 5, 0)))
    assert not supply.known
    assert supply.rates() == pytest.approx(np.full(HOURS, 3.0))
    assert supply.rates("plc-2") == pytest.approx(np.full(HOURS, 1.0))
    assert supply.rate == pytest.approx(3.0)


def test_a_full_hour_is_known_by_placement() -> None:
    supply = Supply()
    live(supply, MONDAY_MS, 1, (("plc-1", 10, 0),))
    live(supply, MONDAY_MS + HOUR_MS, 1, (("plc-1", 20, 0), ("plc-2", 5, 0)))
    close(supply, MONDAY_MS + 2 * HOUR_MS)
    assert supply.known
    assert supply.requests[0, :3].tolist() == [7_200, 18_000, 0]
    assert supply.requests[supply.index["plc-1"], :2].tolist() == [7_200, 14_400]
    night, one, later = supply.rates()[[0, 1, 12]]
    assert night < later < one


def test_strangers_count_for_the_node_alone() -> None:
    supply = Supply()
    live(supply, MONDAY_MS, 1, (("anybody's name", 10, 0), ("plc-1", 5, 0)))
    close(supply, MONDAY_MS + HOUR_MS)
    assert set(supply.index) == {"", "plc-1"}
    assert supply.requests[0, 0] == 3 * 3_600
    assert supply.requests[1, 0] == 3_600


def test_an_outage_is_not_an_hour_without_traffic() -> None:
    """Half an hour was watched; the tick after the gap stands for no time."""
    supply = Supply()
    live(supply, MONDAY_MS, 0.25, (("plc-1", 10, 0),))
    assert supply.take((("plc-1", 3, 0),), HOUR_MS // 2, moment_at(ZONE, MONDAY_MS), KNOWN) == 3
    live(supply, MONDAY_MS + 3 * HOUR_MS // 4, 0.25, (("plc-1", 10, 0),))
    close(supply, MONDAY_MS + HOUR_MS)
    assert supply.seconds[0, 0] == HOUR_MS / 2 / 1_000
    assert supply.rates()[0] == pytest.approx(2.0)


def test_hardly_watched_hours_say_nothing() -> None:
    supply = Supply()
    live(supply, MONDAY_MS, 0.05, (("plc-1", 10, 0),))
    close(supply, MONDAY_MS + HOUR_MS)
    assert not supply.known


def test_the_level_follows_growth() -> None:
    """Every hour of the second week has half as much again: the forecast is on it within a day or two."""
    supply = Supply()
    live(supply, MONDAY_MS, 24 * 7, (("plc-1", 10, 0),))
    live(supply, MONDAY_MS + 7 * 24 * HOUR_MS, 48, (("plc-1", 15, 0),))
    close(supply, MONDAY_MS + 9 * 24 * HOUR_MS)
    assert supply.rates()[24 * 3] == pytest.approx(3.0, rel=0.06)


def test_a_snapshot_goes_on_alike() -> None:
    supply, other = Supply(), Supply()
    asked = tuple((f"plc-{number}", number, 1) for number in range(20))
    known: dict[str, Any] = dict.fromkeys(f"plc-{number}" for number in range(20))
    for hour in range(3):
        for second in range(0, 3_600, 5):
            at_ms = MONDAY_MS + hour * HOUR_MS + second * 1_000
            supply.take(asked, 5_000, moment_at(ZONE, at_ms), known)
    counters, rest = supply.parts()
    other.restore(counters.copy(), rest)
    for each in (supply, other):
        live(each, MONDAY_MS + 3 * HOUR_MS, 2, (("plc-1", 10, 1), ("plc-2", 1, 1)))
        each.check()
    assert supply.parts()[1] == other.parts()[1]
    assert (supply.parts()[0] == other.parts()[0]).all()
