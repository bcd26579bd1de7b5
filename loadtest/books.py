"""A plain second pair of books: what every event must cost, worked out from the lines alone.

Knows the rules of money and nothing of the product's state: dictionaries, one entry an event, slow and
plainly right. Charges at the promised action, on the day of its line in the zone of the campaign, cut to the
budgets.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from zoneinfo import ZoneInfo

from app.domain import ids
from app.domain.catalogue import AdGroup, Campaign, Creative
from app.domain.decisions import ServedAd
from app.domain.lines import Catalogued, Clicked, Converted, Line, Refunded, Shown, Ticked, key_of

HELD_MS = 600_000
Account = Campaign | AdGroup


@dataclass
class Charge:
    """What an event cost whom, on which of their days. Units: micros."""

    payers: tuple[Account, Account]
    day: int
    billed: int = 0
    unbilled: int = 0


@dataclass
class Books:
    """Every charge by event id; `spent` by account id and day (None: ever)."""

    charges: dict[bytes, Charge] = field(default_factory=dict)
    spent: defaultdict[tuple[str, int | None], int] = field(default_factory=lambda: defaultdict(int))
    carry: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    things: dict[str, Campaign | AdGroup | Creative] = field(default_factory=dict)
    shown: set[bytes] = field(default_factory=set)
    held: dict[bytes, Clicked] = field(default_factory=dict)
    refunded: set[bytes] = field(default_factory=set)
    clicked: set[bytes] = field(default_factory=set)  # clicks that counted
    clock_ms: int = 0

    def take(self, line: Line) -> None:
        """Book one line. Repeats never come here: the journal has them once."""
        match line:
            case Catalogued(thing=Campaign() | AdGroup() | Creative() as thing):
                self.things[thing.id] = thing
            case Ticked():
                self.clock_ms = max(self.clock_ms, line.at_ms)
                for impression, click in list(self.held.items()):
                    if click.at_ms + HELD_MS <= self.clock_ms:
                        del self.held[impression]
            case Shown():
                self._show(line)
            case Clicked():
                self._click(line)
            case Converted():
                if line.refers_to in self.clicked and line.refers_to not in self.refunded:
                    self._charge(line.event_id, line.ad, line.at_ms, line.ad.price_kind == "cpa")
            case Refunded():
                self._refund(line)
            case _:
                pass

    def _show(self, line: Shown) -> None:
        self.shown.add(line.event_id)
        self._charge(line.event_id, line.ad, line.at_ms, line.ad.price_kind in ("cpm", "ocpm"), shown=True)
        waiting = self.held.pop(line.event_id, None)
        if waiting is not None:
            self.clicked.add(waiting.event_id)
            self._charge(waiting.event_id, waiting.ad, waiting.at_ms, waiting.ad.price_kind == "cpc")

    def _click(self, line: Clicked) -> None:
        impression = line.refers_to
        assert impression is not None
        if impression not in self.shown:
            self.held[impression] = line
        elif impression not in self.refunded:
            self.clicked.add(line.event_id)
            self._charge(line.event_id, line.ad, line.at_ms, line.ad.price_kind == "cpc")

    def _refund(self, line: Refunded) -> None:
        self.refunded.add(line.target_id)
        if isinstance(line.target, Shown | Clicked):
            # A click that waits is dropped; and what was learned of a click goes with its impression.
            self.held.pop(ids.event_id(key_of(line.target.ad), "impression"), None)
        charge = self.charges.get(line.target_id)
        if charge is not None:
            for payer in charge.payers:
                self.spent[payer.id, charge.day] -= charge.billed
                self.spent[payer.id, None] -= charge.billed
            charge.billed = charge.unbilled = 0

    def _charge(self, event: bytes, ad: ServedAd, at_ms: int, due: bool, *, shown: bool = False) -> None:
        creative = self.things[ad.creative_id]
        assert isinstance(creative, Creative)
        group = self.things[creative.ad_group_id]
        assert isinstance(group, AdGroup)
        campaign = self.things[group.campaign_id]
        assert isinstance(campaign, Campaign)
        local = datetime.fromtimestamp(at_ms / 1000, ZoneInfo(campaign.time_zone))
        charge = self.charges[event] = Charge((campaign, group), local.toordinal())
        if not due:
            return
        amount = ad.price_micros
        if shown:
            thousandths = amount
            if ad.price_kind == "ocpm":
                thousandths = math.ceil(amount * (1000.0 * ad.pctr * ad.pcvr))
            amount, self.carry[group.id] = divmod(thousandths + self.carry[group.id], 1000)
        charge.billed = min([amount, *(self._left(payer.id, charge.day) for payer in charge.payers)])
        charge.unbilled = amount - charge.billed
        for payer in charge.payers:
            self.spent[payer.id, charge.day] += charge.billed
            self.spent[payer.id, None] += charge.billed

    def _left(self, account: str, day: int) -> int:
        payer = self.things[account]
        assert isinstance(payer, Campaign | AdGroup)
        limits = ((payer.budget_daily_micros, day), (payer.budget_total_micros, None))
        left = [limit - self.spent[account, when] for limit, when in limits if limit is not None]
        return max(0, min(left, default=10**18))
