"""Caps in plain Python: every impression kept with its time, counted anew at every question.

Slow and plainly right: what tests hold the compiled counters to. Not used by a running node.
"""

from __future__ import annotations

from dataclasses import dataclass, field

SPANS_MS = {"minute": 60_000, "hour": 3_600_000, "week": 7 * 86_400_000}


@dataclass(slots=True)
class PlainCaps:
    """Impressions by (person, thing): their times and the days that the campaign's calendar says.

    >>> plain = PlainCaps()
    >>> plain.count("me", "ad", at_ms=0, day=0)
    >>> plain.held("me", "ad", "minute", 60_000, 0), plain.held("me", "ad", "minute", 60_001, 0)
    (1, 0)
    """

    shown: dict[tuple[str, str], list[tuple[int, int]]] = field(default_factory=dict)

    def count(self, person: str, thing: str, at_ms: int, day: int) -> None:
        """Note an impression."""
        self.shown.setdefault((person, thing), []).append((at_ms, day))

    def held(self, person: str, thing: str, per: str, now_ms: int, day: int, longer_ms: int = 0) -> int:
        """Count what is in a window: rolling ones reach back over their span, and `longer_ms` more."""
        shown = self.shown.get((person, thing), [])
        if per == "lifetime":
            return len(shown)
        if per == "day":
            return sum(its_day == day for _, its_day in shown)
        return sum(now_ms - at_ms <= SPANS_MS[per] + longer_ms for at_ms, _ in shown)
