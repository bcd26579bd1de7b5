"""A campaign's day as a line over time: what its plan wants spent by when, and where the day is heading.

Both follow the traffic that is still to come, as the plan itself does (`app.state.pacing`): a point of either
line at the present is the number that delivery tells.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from msgspec import Struct

from app.rules import pacing
from app.state.pacing import Plan

if TYPE_CHECKING:
    from app.state.state import State

Line = list[tuple[int, int]]


class Course(Struct, frozen=True, kw_only=True):
    """One campaign's day [from_ms, to_ms) on its own calendar. Units: points are (ms, micros).

    `planned` begins where the plan was last laid; empty where nothing is paced. `ahead` leads from what is
    spent to the end of the day; empty where nothing limits the day, or nothing was learned yet.
    """

    from_ms: int
    to_ms: int
    planned: Line
    ahead: Line


def course_of(state: State, at: int, plan: Plan, at_ms: int) -> Course:
    """Draw a campaign's day at a time, hour by hour; `plan` is its plan of that time.

    Cost    some 0.1 ms for each hour.
    """
    own = state.pacing
    terms, zones = own.terms(), state.catalogue.zones
    day = int(own.of("day")[at])
    segments = pacing.day_segments(zones[terms.zone[at]], zones[0], day)
    from_ms, to_ms = int(segments.start_ms[0]), int(segments.end_ms[-1])
    edges = [*map(int, segments.start_ms), to_ms]
    shape, one = own.shapes(state.supply)[terms.shape[at : at + 1]], slice(at, at + 1)

    def left(time_ms: int) -> float:
        hours, weekdays = terms.hours[one], terms.weekdays[one]
        flight = terms.starts_ms[one], terms.ends_ms[one]
        return float(pacing.weights(segments, shape, time_ms, hours, weekdays, *flight)[0][0])

    planned: Line = []
    whole = float(own.of("plan_weight")[at])
    if plan.planned is not None and whole > 0:
        laid_ms = max(from_ms, int(own.of("plan_from_ms")[at]))
        spent, rest = float(own.of("plan_spent")[at]), float(own.of("plan_rest")[at])
        for time_ms in _between(laid_ms, edges, at_ms):
            planned.append((time_ms, round(spent + rest * (1.0 - min(1.0, left(time_ms) / whole)))))
    ahead: Line = []
    now_left = left(at_ms)
    if plan.day_end is not None and from_ms <= at_ms < to_ms:
        to_come = max(0.0, plan.day_end - plan.spent_today)
        for time_ms in (at_ms, *(edge for edge in edges if edge > at_ms)):
            gone = 1.0 - left(time_ms) / now_left if now_left > 0 else 1.0
            ahead.append((time_ms, round(plan.spent_today + to_come * gone)))
    return Course(from_ms=from_ms, to_ms=to_ms, planned=planned, ahead=ahead)


def _between(laid_ms: int, edges: Iterable[int], at_ms: int) -> list[int]:
    """Name the times to draw: where the line begins, the hours behind that, and the present.

    >>> _between(5, [0, 10, 20], 12)
    [5, 10, 12, 20]
    """
    return sorted({laid_ms, *(edge for edge in edges if edge > laid_ms), max(laid_ms, at_ms)})
