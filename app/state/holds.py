"""What ad groups and campaigns have in flight: money that may yet be charged counts against budgets.

Two pools, alike: answers whose charge may yet come, and clicks on CPA ads that may yet convert. Ticks bring
what was answered and let it fade; a charge lets go of what its own answer still holds, and tells how late
charges come (`app.rules.holding`). Budgets read the sums in the accounts' `in_flight` and `awaited`.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from app.rules import holding
from app.state.accounts import ALL_TODAY
from app.state.catalogue import Catalogue

# By ad group. aged: micros x s of what is held; come, late: micros that came and micros x s that they were
# late; held, came: how many; early: micros whose charge came before the tick that tells of their answer.
_FIELDS = ("aged", "come", "late", "held", "came", "early", "mean_s", "time_constant_s")
_FADING = ("come", "late", "held", "came")
TICKS_REMEMBERED = 64


class Hold:
    """One pool, `name` of the accounts. Lateness is learned by ad group, or by campaign."""

    def __init__(self, catalogue: Catalogue, name: Literal["in_flight", "awaited"]) -> None:
        self.catalogue, self.name = catalogue, name
        self._table = np.zeros((len(_FIELDS), 64))
        self.prior_s = 60.0  # the setting's, once configured
        self.ticks_ms: list[int] = []  # when the last ticks were, newest last
        self._count = 0

    def of(self, field: str) -> NDArray[np.float64]:
        """Give a field of all ad groups, (count,), to read or write."""
        return self._table[_FIELDS.index(field), : self._count]

    def hold(self, group: int, micros: int, count: int = 1, early_micros: float = 0.0) -> None:
        """Hold what so many answers (or clicks) are expected to bring, but for what has come already."""
        self._make_room()
        self.of("held")[group] += count
        self._add(group, max(0, micros - int(early_micros)))

    def came(self, group: int, held_micros: float, micros: int, age_s: float, late_s: float) -> None:
        """Take note of a charge: what it brought, and how late; its own part is held no longer."""
        self.let_go(group, held_micros, age_s)
        self.of("come")[group] += micros
        self.of("came")[group] += 1.0
        self.of("late")[group] += micros * min(max(0.0, late_s), holding.MOST_OF_PRIOR * self.prior_s)

    def let_go(self, group: int, held_micros: float, age_s: float) -> None:
        """Hold what an answer still does no longer; `age_s` is below 0 where its tick is yet to come."""
        self._make_room()
        if age_s < 0:
            self.of("early")[group] += held_micros
            return
        accounts = self.catalogue.group_accounts
        left = holding.still_held_micros(held_micros, age_s, float(self.of("time_constant_s")[group]))
        left = min(left, int(getattr(accounts, self.name)[group]))
        aged = self.of("aged")
        aged[group] = max(0.0, float(aged[group]) - left * age_s)
        self._add(group, -left)

    def age_s(self, issued_at_ms: int) -> float:
        """Say how long an answer is held: since the tick that told of it, below 0 where that is yet to come.

        Cost    some 200 ns. Of the last minute; what is older may be told to be somewhat older yet.
        """
        ticks = self.ticks_ms
        at = bisect_left(ticks, issued_at_ms)
        if at == len(ticks):
            return -1.0
        return (ticks[-1] - (ticks[at] if at else issued_at_ms)) / 1000

    def tick(self, at_ms: int, elapsed_s: float) -> NDArray[np.float64]:
        """Let time pass: what is held fades, and so does what is known of lateness, slowly.

        Returns what was let go too early of the answers that this tick tells of, (ad groups,).
        Cost    10,000 ad groups: ~0.15 ms; ~10 us where nothing was ever held.
        """
        self._make_room()
        self.ticks_ms = [*self.ticks_ms[1 - TICKS_REMEMBERED :], at_ms]
        early = self.of("early").copy()
        held = getattr(self.catalogue.group_accounts, self.name)[: self._count]
        if not (self.of("held").any() or held.any() or early.any()):
            return early
        self.of("early")[:] = 0.0
        keep = np.exp(-elapsed_s / self.of("time_constant_s"))
        self.of("aged")[:] = (self.of("aged") + held * elapsed_s) * keep
        held[:] = (held * keep).astype(np.int64)  # rounded down, so that it ends at nothing
        fading = math.exp(-elapsed_s / (holding.MEMORY_OF_PRIOR * self.prior_s))
        for field in _FADING:
            self.of(field)[:] *= fading
        self._learn()
        self._add_up()
        return early

    def fall_due(self, seconds_left: Sequence[float]) -> None:
        """Say how much of what is awaited is expected today; by time zone, what is left of the day."""
        catalogue, n = self.catalogue, self._count
        left_s = np.asarray(seconds_left)[catalogue.groups.zone[:n]]
        due = np.rint(ALL_TODAY * -np.expm1(-left_s / self.of("mean_s"))).astype(np.int64)
        catalogue.group_accounts.due_today[:n] = due
        catalogue.campaign_accounts.due_today[catalogue.group_campaign[:n]] = due

    def _learn(self) -> None:
        """Work out anew how late charges are, and so how what is held fades."""
        come, came, late, aged, held = (
            self._pooled(field) for field in ("come", "came", "late", "aged", "held")
        )
        share = holding.share_that_comes(came, held)
        self.of("mean_s")[:] = holding.mean_lateness_s(self.prior_s, come, came, late, aged, share)
        self.of("time_constant_s")[:] = holding.time_constants_s(self.of("mean_s"), share)

    def _pooled(self, field: str) -> NDArray[np.float64]:
        """Tell what teaches each ad group: its own charges, or (conversions are few) all its campaign's."""
        if self.name == "in_flight":
            return self.of(field)
        campaigns = self.catalogue.group_campaign[: self._count]
        return np.asarray(np.bincount(campaigns, weights=self.of(field))[campaigns], dtype=np.float64)

    def _add(self, group: int, micros: int) -> None:
        catalogue = self.catalogue
        getattr(catalogue.group_accounts, self.name)[group] += micros
        campaigns, at = getattr(catalogue.campaign_accounts, self.name), catalogue.group_campaign[group]
        campaigns[at] += micros

    def _add_up(self) -> None:
        """Give campaigns what their ad groups hold."""
        catalogue = self.catalogue
        held = getattr(catalogue.group_accounts, self.name)[: self._count]
        sums = np.zeros(catalogue.campaign_accounts.count, dtype=np.int64)
        np.add.at(sums, catalogue.group_campaign[: self._count], held)
        getattr(catalogue.campaign_accounts, self.name)[: sums.size] = sums

    def _make_room(self) -> None:
        count = self.catalogue.group_accounts.count
        if count == self._count:
            return
        if count > self._table.shape[1]:
            grown = np.zeros((len(_FIELDS), 2 * count))
            grown[:, : self._count] = self._table[:, : self._count]
            self._table = grown
        before, self._count = self._count, count
        for field in ("mean_s", "time_constant_s"):
            self.of(field)[before:] = self.prior_s

    def parts(self) -> NDArray[np.float64]:
        """Copy everything but the accounts' sums."""
        self._make_room()
        return self._table[:, : self._count].copy()

    def restore(self, part: NDArray[Any] | None) -> None:
        """Take back what `parts` copied, after the same accounts; None of a fold that held sums alone."""
        self._make_room()
        if part is None:
            self._add_up()
        else:
            self._table[:, : part.shape[1]] = part

    def check(self) -> None:
        """Hold the invariants: campaigns hold what their ad groups do, and nothing is below 0."""
        self._make_room()
        catalogue = self.catalogue
        groups, campaigns = catalogue.group_accounts, catalogue.campaign_accounts
        total = np.zeros(campaigns.count, dtype=np.int64)
        held = getattr(groups, self.name)[: groups.count]
        np.add.at(total, catalogue.group_campaign[: groups.count], held)
        assert np.array_equal(total, getattr(campaigns, self.name)[: campaigns.count]), self.name
        assert (held >= 0).all()
        assert (self._table[:, : self._count] >= 0).all()
