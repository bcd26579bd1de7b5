"""Names of places that nobody registered: told apart up to a number, in ticks and so in reports."""

from __future__ import annotations

from app.domain.ids import DAY_MS
from app.flows.place_names import MOST_NAMES, OTHERS, PlaceNames


def test_the_first_of_a_day_are_told_apart() -> None:
    names = PlaceNames(most=2)
    told = [names.told(name, DAY_MS + at) for at, name in enumerate(("a", "b", "c", "a", "d", "b"))]
    assert told == ["a", "b", OTHERS, "a", OTHERS, "b"]
    assert names.told("c", 2 * DAY_MS) == "c", "a new day"
    assert names.told("a", 3 * DAY_MS - 1) == "a"
    assert names.told("b", 3 * DAY_MS - 1) == OTHERS


def test_made_up_names_are_bounded() -> None:
    names = PlaceNames()
    assert len({names.told(f"x{number}", 0) for number in range(10_000)}) == MOST_NAMES + 1
