"""What overtook what it follows, and waits for it: clicks for their impression, conversions for their click,
and what dismissals say against an ad.

Reports overtake each other on their way. What waits longer than `held_s` is let go: a click is invalid then,
a conversion stays one of somebody who only saw the ad, a complaint of nobody who saw it counts for nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.domain.dismissals import reason_of
from app.domain.lines import Converted, Dismissed, Verdict
from app.state.early import Complaint, Early

if TYPE_CHECKING:  # a state holds what waits
    from app.state.state import State

COUNTED = frozenset({"learned", "skipped"})


def hold_conversion(state: State, position: int, line: Converted, code: str | None) -> None:
    """Have a conversion wait for its click."""
    assert line.refers_to is not None
    until_ms = max(line.at_ms, state.clock_ms) + state.settings.held_s * 1000
    state.early.setdefault(line.refers_to, []).append(Early(position, line, until_ms, code))


def drop_conversion(state: State, line: Converted, position: int) -> None:
    """Have a conversion wait no longer: it is refunded."""
    click = line.refers_to or b""
    waiting = [early for early in state.early.pop(click, []) if early.position != position]
    if waiting:
        state.early[click] = waiting


def hold_complaint(state: State, line: Dismissed) -> None:
    """Have a dismissal's complaint wait for its impression."""
    assert line.refers_to is not None
    until_ms = line.at_ms + state.settings.held_s * 1000
    state.complaints[line.refers_to] = Complaint(line.ad.creative_id, reason_of(line.reason), until_ms)


def settle_complaint(state: State, impression: bytes, fate: str) -> None:
    """Count the complaint that came before an impression (an event id), if that counted."""
    waiting = state.complaints.pop(impression, None)
    if waiting is not None and fate in COUNTED:
        state.quality.dismissed(waiting.creative_id, waiting.reason)
        state.mix(impression, waiting.reason.encode())


def expire_waiting(state: State) -> list[tuple[bytes, Verdict]]:
    """Let go of what has waited too long; returns the verdicts on the clicks among it."""
    now_ms = state.clock_ms
    for key in [key for key, complaint in state.complaints.items() if complaint.until_ms <= now_ms]:
        del state.complaints[key]
    expired = [(key, held) for key, held in state.held.items() if held.until_ms <= now_ms]
    for key, _ in expired:
        del state.held[key]
    for waiting in list(state.early.values()):
        for early in [early for early in waiting if early.until_ms <= now_ms]:
            drop_conversion(state, early.line, early.position)
    return [(held.line.event_id, Verdict("invalid", code="no_impression")) for _, held in expired]
