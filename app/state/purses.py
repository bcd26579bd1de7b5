"""An isolated arm's part of every budget: its share of what is left by those outside the experiment.

An arm whose part is used up leaves the auctions of its own users, at the next tick. What was answered before
is billed all the same, out of the whole budget, which nothing ever exceeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.state.accounts import Accounts
from app.state.ads import Ads
from app.state.view import View


class Purse:
    """What an arm was billed, by ad group and campaign, and where the ad groups stand for it.

    Shape   standing (groups,) uint8, worked out whenever the default's is.
    """

    def __init__(self) -> None:
        self.groups, self.campaigns = Accounts(), Accounts()
        self.standing: NDArray[np.uint8] = np.zeros(0, dtype=np.uint8)
        self._view: View | None = None
        self._seen: View | None = None

    def make_room(self, groups: int, campaigns: int) -> None:
        """Have accounts for so many."""
        for accounts, count in ((self.groups, groups), (self.campaigns, campaigns)):
            while accounts.count < count:
                accounts.open()

    def bill(self, group: int, campaign: int, day: int, micros: int) -> None:
        """Book a charge."""
        self.make_room(group + 1, campaign + 1)
        self.groups.bill(group, day, micros)
        self.campaigns.bill(campaign, day, micros)

    def refund(self, group: int, campaign: int, day: int, micros: int) -> None:
        """Give a charge of this arm back."""
        self.make_room(group + 1, campaign + 1)
        self.groups.refund(group, day, micros)
        self.campaigns.refund(campaign, day, micros)

    def stand(self, standing: NDArray[np.uint8]) -> None:
        """Take over where the ad groups stand."""
        self.standing, self._view = standing, None

    def view(self, ads: Ads, view: View) -> View:
        """Give the ads as the arm's auctions read them; `view` is the default's at present."""
        if self._view is None or self._seen is not view:
            if self.standing.size <= int(view.group.max(initial=0)):  # an ad group that came since: not yet
                return view
            self._view, self._seen = ads.view_at(self.standing), view
        return self._view

    def parts(self) -> dict[str, NDArray[Any]]:
        """Copy both accounts, and where the ad groups stand."""
        return {
            "groups": self.groups.parts(), "campaigns": self.campaigns.parts(),
            "standing": self.standing.copy(),
        }  # fmt: skip

    def restore(self, parts: dict[str, NDArray[Any]]) -> None:
        """Take back what `parts` copied."""
        self.make_room(parts["groups"].shape[1], parts["campaigns"].shape[1])
        self.groups.restore(parts["groups"])
        self.campaigns.restore(parts["campaigns"])
        self.stand(np.array(parts["standing"], dtype=np.uint8))


def used_up(
    whole: Accounts, parts: Sequence[Accounts], shares: Sequence[float], today: NDArray[np.int64]
) -> list[NDArray[np.bool_]]:
    """Say of each part which accounts have used up their share of the whole's budgets.

    What others spent of the whole is taken off first; what is in flight counts by the share.
    Shape   today (count,): each account's present day; a mask (count,) for each part.
    """
    n = whole.count
    spent_today = [part.spent_each(today) for part in parts]
    spent = [part.spent[:n] for part in parts]
    others_today = whole.spent_each(today) - np.sum(spent_today, axis=0)
    others = whole.spent[:n] - np.sum(spent, axis=0)
    held = whole.in_flight[:n]
    answers = []
    for share, its_today, its in zip(shares, spent_today, spent, strict=True):
        daily = its_today + share * (held + whole.awaited_today()) >= share * (whole.daily[:n] - others_today)
        total = its + share * (held + whole.awaited[:n]) >= share * (whole.total[:n] - others)
        answers.append(daily | total)
    return answers
