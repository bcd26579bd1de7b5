"""What campaigns that pay for conversions have reached: how oCPM groups bid, and which CPA campaigns stop.

Counts come with events; what follows from them is worked out at ticks and when the catalogue changes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.domain.catalogue import AdGroup
from app.rules import goals

# Realised cost is over about so long: a week, since spend and conversions have weekly seasons.
MEMORY_MS = 7 * 86_400_000
_OF_GROUPS = ("spent_micros", "converted", "ripe", "unripe")
_OF_CAMPAIGNS = ("clicks", "clicks_then", "conversions", "tracked")


class Goals:
    """Sums of campaigns and ad groups, by the index of their budgets' accounts.

    Clicks count by how ripe they are (`app.state.ripening`).
    Shape   per campaign, of CPA ads alone: clicks, those when the last conversion came (or the campaign was
            edited), conversions; and of all ads whether any conversion ever came (tracked).
            Per ad group, of oCPM ads alone: spent (micros), conversions and clicks (ripe), all fading, what
            the open clicks lack to be ripe (unripe), and the percent of its target that it bids now.
    """

    def __init__(self) -> None:
        for field in _OF_CAMPAIGNS:
            setattr(self, field, np.zeros(64))
        self.prior_cvr = np.ones(64, dtype=np.float64)
        self.target_micros = np.zeros(64, dtype=np.int64)  # 0: not an oCPM group
        self.paid_per_action = np.zeros(64, dtype=np.bool_)
        self.spent_micros = np.zeros(64, dtype=np.float64)
        self.converted = np.zeros(64, dtype=np.float64)
        self.ripe, self.unripe = np.zeros(64), np.zeros(64)
        self.percent = np.full(64, 100, dtype=np.int64)
        self.campaigns, self.groups = 0, 0

    clicks: NDArray[np.float64]
    clicks_then: NDArray[np.float64]
    conversions: NDArray[np.float64]
    tracked: NDArray[np.float64]

    def open(self, campaigns: int, groups: int) -> None:
        """Have places for so many campaigns and ad groups."""
        self.campaigns, self.groups = campaigns, groups
        of_campaigns = (*_OF_CAMPAIGNS, "prior_cvr")
        of_groups = ("target_micros", "paid_per_action", *_OF_GROUPS, "percent")
        for fields, count in ((of_campaigns, campaigns), (of_groups, groups)):
            for field in fields:
                held = getattr(self, field)
                if count > held.size:
                    grown = np.full(2 * count, {"prior_cvr": 1, "percent": 100}.get(field, 0), held.dtype)
                    grown[: held.size] = held
                    setattr(self, field, grown)

    def set_group(self, at: int, group: AdGroup) -> None:
        """Take over what an ad group pays for; a new target is pursued from now on."""
        pricing = group.pricing
        self.paid_per_action[at] = pricing.kind == "cpa"
        self.target_micros[at] = pricing.bid_micros if pricing.kind == "ocpm" else 0

    def edited(self, campaign: int) -> None:
        """Begin to wait anew: whoever edits a campaign has looked at it."""
        self.clicks_then[campaign] = self.clicks[campaign]

    def clicked(self, campaign: int, by: float) -> None:
        """Count what ripened of a click on a CPA ad (below 0: take it back)."""
        self.clicks[campaign] = max(float(self.clicks_then[campaign]), float(self.clicks[campaign]) + by)

    def waits(self, group: int, clicks: float) -> None:
        """Have clicks on an oCPM group wait to ripen (below 0: wait no longer)."""
        self.unripe[group] = max(0.0, float(self.unripe[group]) + clicks)

    def ripened(self, group: int, by: float, *, waited: bool = True) -> None:
        """Count what ripened of a click on an oCPM group (below 0: take it back)."""
        self.ripe[group] = max(0.0, float(self.ripe[group]) + by)
        if waited:
            self.waits(group, -by)

    def converted_by(self, kind: str, campaign: int, group: int, by: int = 1) -> None:
        """Count a conversion (below 0: take it back)."""
        self.tracked[campaign] = 1
        if kind == "cpa":
            self.conversions[campaign] = max(0.0, float(self.conversions[campaign]) + by)
            if by > 0:
                self.clicks_then[campaign] = self.clicks[campaign]
        elif kind == "ocpm":
            self.converted[group] = max(0.0, float(self.converted[group]) + by)

    def spent_by(self, group: int, micros: int) -> None:
        """Count what an oCPM group was billed (below 0: given back)."""
        self.spent_micros[group] = max(0.0, float(self.spent_micros[group]) + micros)

    def tick(self, elapsed_ms: int, campaign_of_group: NDArray[np.int32]) -> bool:
        """Let the past fade and say anew what oCPM groups bid; returns whether any bids otherwise."""
        n = self.groups
        if not self.target_micros[:n].any():
            return False
        left = math.exp(-elapsed_ms / MEMORY_MS)
        self.spent_micros[:n] *= left
        self.converted[:n] *= left
        self.ripe[:n] *= left
        conversions = self.converted[:n] + self.to_come(campaign_of_group[:n])
        percent = goals.ocpm_percents(self.target_micros[:n], self.spent_micros[:n], conversions)
        moved = not np.array_equal(percent, self.percent[:n])
        self.percent[:n] = percent
        return moved

    def to_come(self, campaign_of_group: NDArray[np.int32]) -> NDArray[np.float64]:
        """Say how many conversions of its open clicks each oCPM group still waits for."""
        n = self.groups
        prior_cvr = self.prior_cvr[campaign_of_group[:n]]
        return goals.conversions_to_come(self.unripe[:n], self.ripe[:n], self.converted[:n], prior_cvr)

    def unconverted(self, campaign_of_group: NDArray[np.int32], limit: int) -> NDArray[np.bool_] | None:
        """Say which CPA groups' campaigns should have had `limit` conversions since their last one.

        None where nobody pays by conversion, or there is no limit (0).
        """
        paid = self.paid_per_action[: self.groups]
        if limit <= 0 or not paid.any():
            return None
        return np.asarray(paid & (self.expected()[campaign_of_group] >= limit))

    def expected_of(self, campaign: int) -> float:
        """Say how many conversions one campaign should have had since its last one."""
        one = slice(campaign, campaign + 1)
        expected = goals.expected_conversions(
            self.clicks[one], self.clicks_then[one], self.conversions[one], self.prior_cvr[one]
        )
        return float(expected[0])

    def expected(self) -> NDArray[np.float64]:
        """Say how many conversions each campaign should have had since its last one."""
        n = self.campaigns
        return goals.expected_conversions(
            self.clicks[:n], self.clicks_then[:n], self.conversions[:n], self.prior_cvr[:n]
        )

    def parts(self) -> dict[str, NDArray[Any]]:
        """Copy everything but what the catalogue says."""
        c, g = self.campaigns, self.groups
        return {
            "campaigns": np.stack([getattr(self, field)[:c] for field in _OF_CAMPAIGNS]),
            "groups": np.stack([getattr(self, field)[:g] for field in _OF_GROUPS]),
            "percent": self.percent[:g].copy(),
        }

    def restore(self, parts: dict[str, NDArray[Any]]) -> None:
        """Take back what `parts` copied, after the same places were opened."""
        c, g = self.campaigns, self.groups
        for field, values in zip(_OF_CAMPAIGNS, parts["campaigns"], strict=True):
            getattr(self, field)[:c] = values
        for field, values in zip(_OF_GROUPS, parts["groups"], strict=False):  # older ones have two
            getattr(self, field)[:g] = values
        self.percent[:g] = parts["percent"]

    def check(self) -> None:
        """Counts are sound, and every multiplier is within its bounds."""
        c, g = self.campaigns, self.groups
        assert (self.clicks[:c] >= self.clicks_then[:c]).all()
        assert (self.conversions[:c] >= 0).all()
        assert all((getattr(self, field)[:g] >= 0).all() for field in _OF_GROUPS)
        assert ((self.percent[:g] >= goals.LEAST_PERCENT) & (self.percent[:g] <= goals.MOST_PERCENT)).all()
