"""The ledger: every amount is written twice, as a debit of one account and a credit of another.

What was delivered is credited to its ad group at the full price; against it stands what the campaign owes
(receivable) and what no budget held (unbilled). A refund lowers what is owed, against the group's refunds.
Debits and credits are kept apart and only ever grow; a balance is their difference. Units: micros.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_OF_CAMPAIGNS = ("receivable_debits", "receivable_credits")
_OF_GROUPS = ("delivered_credits", "unbilled_debits", "refund_debits")
_DEBITS = ("receivable_debits", "unbilled_debits", "refund_debits")


class Ledger:
    """Sums of debits and credits; campaigns and ad groups by the index of their budgets' accounts."""

    def __init__(self) -> None:
        for pool in (*_OF_CAMPAIGNS, *_OF_GROUPS):
            setattr(self, pool, np.zeros(64, dtype=np.int64))
        self.campaigns, self.groups = 0, 0  # accounts opened so far
        self._seen: dict[str, NDArray[np.int64]] = {}

    receivable_debits: NDArray[np.int64]
    receivable_credits: NDArray[np.int64]
    delivered_credits: NDArray[np.int64]
    unbilled_debits: NDArray[np.int64]
    refund_debits: NDArray[np.int64]

    def open(self, campaigns: int, groups: int) -> None:
        """Have accounts for so many campaigns and ad groups."""
        self.campaigns, self.groups = campaigns, groups
        for pools, count in ((_OF_CAMPAIGNS, campaigns), (_OF_GROUPS, groups)):
            for pool in pools:
                held = getattr(self, pool)
                if count > held.size:
                    grown = np.zeros(max(count, 2 * held.size), dtype=np.int64)
                    grown[: held.size] = held
                    setattr(self, pool, grown)

    def charge(self, campaign: int, group: int, billed: int, unbilled: int) -> None:
        """Book a delivery: what is owed for it, and what no budget held."""
        assert billed >= 0 and unbilled >= 0, (billed, unbilled)
        self.receivable_debits[campaign] += billed
        self.unbilled_debits[group] += unbilled
        self.delivered_credits[group] += billed + unbilled

    def refund(self, campaign: int, group: int, micros: int) -> None:
        """Book money given back."""
        assert micros >= 0, micros
        self.refund_debits[group] += micros
        self.receivable_credits[campaign] += micros

    def parts(self) -> dict[str, NDArray[Any]]:
        """Copy every pool."""
        return {
            "campaigns": np.stack([getattr(self, pool)[: self.campaigns] for pool in _OF_CAMPAIGNS]),
            "groups": np.stack([getattr(self, pool)[: self.groups] for pool in _OF_GROUPS]),
        }

    def restore(self, parts: dict[str, NDArray[Any]]) -> None:
        """Take back what `parts` copied."""
        self.open(parts["campaigns"].shape[1], parts["groups"].shape[1])
        for pools, name in ((_OF_CAMPAIGNS, "campaigns"), (_OF_GROUPS, "groups")):
            for pool, values in zip(pools, parts[name], strict=True):
                getattr(self, pool)[: values.size] = values

    def check(
        self, spent_by_campaign: NDArray[np.int64], spent_by_group: NDArray[np.int64],
        campaign_of_group: NDArray[np.int32],
    ) -> None:  # fmt: skip
        """Hold the laws of the books, and that budgets count the same spend.

        Shape   spent (campaigns,) and (groups,) as the budgets have it; campaign_of_group (groups,).
        """
        campaigns, groups = spent_by_campaign.size, spent_by_group.size
        assert (self.campaigns, self.groups) == (campaigns, groups), "a budget without books"
        debits = sum(int(getattr(self, pool).sum()) for pool in _DEBITS)
        assert debits == int(self.receivable_credits.sum()) + int(self.delivered_credits.sum())
        owed = (self.receivable_debits - self.receivable_credits)[:campaigns]
        assert np.array_equal(owed, spent_by_campaign), "a campaign's budget counts another spend"
        billed = (self.delivered_credits - self.unbilled_debits - self.refund_debits)[:groups]
        assert np.array_equal(billed, spent_by_group), "an ad group's budget counts another spend"
        by_campaign = np.zeros(campaigns, dtype=np.int64)
        np.add.at(by_campaign, campaign_of_group, billed)
        assert np.array_equal(by_campaign, owed), "a campaign owes something else than its ad groups spent"
        for pool in (*_OF_CAMPAIGNS, *_OF_GROUPS):
            now, before = getattr(self, pool), self._seen.get(pool, np.zeros(0, dtype=np.int64))
            assert (now[: before.size] >= before).all(), f"{pool} shrank"
            self._seen[pool] = now.copy()
