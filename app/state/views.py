"""Whoever saw an ad is told once more, or once less, for its frequency caps. `apply` decides when."""

from __future__ import annotations

from app.domain.decisions import ServedAd
from app.rules.standing import moment_at
from app.state.state import State


def count_view(state: State, ad: ServedAd, at_ms: int) -> bytes:
    """Count an impression to the person who saw it; returns what to mix into the hash."""
    return _count(state, ad, at_ms, back=False)


def uncount_view(state: State, ad: ServedAd, at_ms: int) -> bytes:
    """Give an impression back to the person's caps; returns what to mix into the hash."""
    return _count(state, ad, at_ms, back=True)


def _count(state: State, ad: ServedAd, at_ms: int, *, back: bool) -> bytes:
    user = state.user_of(ad)
    if not user:
        return b""
    _, campaign = state.catalogue.payers(ad.creative_id)
    whats, day = state.catalogue.counted_under(ad.creative_id), moment_at(campaign.time_zone, at_ms).day
    counters = state.user_counters
    count = counters.uncount if back else counters.count
    return count(user, whats, at_ms, day).to_bytes(8, "little", signed=True)
