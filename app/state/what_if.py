"""Would this ad have won, at another bid? One placement's auction held again, on the state of its decision.

What stood above it stays as it was: earlier placements keep the ads that they got. The bid belongs to the ad
group, so all its creatives bid it. Works on a state of its own, which is of no other use afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec
from msgspec import Struct

from app.domain.catalogue import AdGroup, Creative
from app.domain.decisions import REASON_CODES, Choice, Placed, Record, Win
from app.domain.money import MAX_MICROS
from app.domain.refusals import Refused
from app.state.choose import Chooser
from app.state.settling import settle
from app.state.state import State

# Reasons that a higher bid may overcome: another ad took the place, or the floor was not reached.
OF_PRICE = frozenset(
    {"below_floor", "below_deal_floor", "outbid", "same_advertiser", "same_category", "frequency"}
)
_STEP = 8  # how much more is tried at a time, until a bid wins


class WhatIf(Struct, frozen=True, kw_only=True, tag="what_if"):
    """What would have been.

    Units   micros of the pricing kind's unit. `own_bid_micros` is what the ad group bid then; `win` the ad's
            at the bid asked about, None with a `reason`; `least_bid_micros` the least that wins a place, one
            micro less does not; None where no bid would: then `sibling_id` may name the creative of its own
            group that takes the place at any bid. `won` says whether it did win then.
    """

    ad_group_id: str
    advertiser_id: str
    kind: str
    own_bid_micros: int
    bid_micros: int
    won: bool
    win: Win | None
    reason: str | None
    least_bid_micros: int | None
    sibling_id: str | None


class Again(Chooser):
    """Holds the auction of one placement of a recorded decision again; those before it stay as they were."""

    looks_on = False

    def __init__(self, state: State, record: Record, ordinal: int) -> None:
        super().__init__(state)
        self.record = record
        self.ordinal = ordinal

    def hold(self) -> Placed:
        """Hold the auction on the state as it is now."""
        now: Choice = self.choose(self.record.request, self.record.request_key, self.record.choice.clock_ms)
        return now.placed[self.ordinal]

    def reason_of(self, place: int) -> str:
        """Name why an ad lost the first auction that was held, "" where it did not."""
        aside = int(self.state.catalogue.ads.reason[place])
        if aside:
            return REASON_CODES[aside]
        word, bit = place // 64, place % 64
        once: list[int] = self.counting.planes[:, 0, word].tolist()
        lost = next((code for code, plane in enumerate(once) if plane >> bit & 1), 0)
        return REASON_CODES[lost]

    def _place(self, *asked: object) -> Placed:
        decision_id, taken = asked[2], asked[-1]
        assert isinstance(decision_id, bytes)
        assert isinstance(taken, list)
        then = self.record.choice.placed[decision_id[-1]]
        if decision_id[-1] == self.ordinal:
            return super()._place(*asked)  # type: ignore[arg-type] # passed on as they came
        taken += dict.fromkeys(win.creative_index for win in then.wins)
        return then


def what_if(
    state: State, record: Record, ordinal: int, creative_id: str, bid_micros: int | None = None
) -> WhatIf:
    """Tell whether a creative would have won in a decision, on the state at its position, which is spoilt.

    Cost    one auction, and some 60 more to find the least bid.
    Errors  Refused("unknown_creative") when there was no such creative at that position.
    """
    catalogue = state.catalogue
    creative = catalogue.get("creative", creative_id)
    if not isinstance(creative, Creative):
        raise Refused("unknown_creative", "there was no such creative at that position", "creative_id")
    group, campaign = catalogue.payers(creative_id)
    place = catalogue.ads.places.by_key.get(creative_id)
    # As the auction took it: an oCPM bid is its target times a multiplier.
    own = group.pricing.bid_micros if place is None else int(catalogue.ads.bid[place])
    bid = own if bid_micros is None else bid_micros
    trial = Trial(None, "archived", None)
    if place is not None:
        trial = _try(state, record, ordinal, group, bid, place)
    least = sibling = None
    if place is not None and (trial.win is not None or trial.reason in OF_PRICE):
        least = least_winning(
            lambda micros: _try(state, record, ordinal, group, micros, place).win is not None, bid
        )
        if least is None:
            sibling = _try(state, record, ordinal, group, MAX_MICROS, place).sibling_id
    return WhatIf(
        ad_group_id=group.id, advertiser_id=campaign.advertiser_id, kind=group.pricing.kind,
        own_bid_micros=own, bid_micros=bid,
        won=any(each.creative_id == creative_id for each in record.choice.placed[ordinal].wins),
        win=trial.win, reason=trial.reason or None, least_bid_micros=least, sibling_id=sibling,
    )  # fmt: skip


class Trial(NamedTuple):
    """An auction held at a bid: an ad's win, or why it lost and which other creative of its group won."""

    win: Win | None
    reason: str
    sibling_id: str | None


def _try(state: State, record: Record, ordinal: int, group: AdGroup, bid_micros: int, place: int) -> Trial:
    """Hold the auction with the group at a bid, and see what becomes of one of its ads."""
    pricing = msgspec.structs.replace(group.pricing, bid_micros=bid_micros)
    _set(state, msgspec.structs.replace(group, pricing=pricing))
    again = Again(state, record, ordinal)
    placed = again.hold()
    win = next((each for each in placed.wins if each.creative_index == place), None)
    if win is not None:
        return Trial(win, "", None)
    sibling = next((each.creative_id for each in placed.wins if each.ad_group_id == group.id), None)
    return Trial(None, again.reason_of(place) or placed.code, sibling)


def _set(state: State, group: AdGroup) -> None:
    catalogue = state.catalogue
    before = catalogue.things["ad_group"][group.id]
    if before != group:
        catalogue.things["ad_group"][group.id] = group
        settle(catalogue, group, state.clock_ms, before)
        catalogue.ads.stand(state.group_standing)


def least_winning(wins: Callable[[int], bool], start: int) -> int | None:
    """Find a bid that wins where one micro less does not, beginning at a bid; None where none wins.

    It is the least of all wherever more never wins less, which holds but for an ad whose own group's other
    creatives push it off the page.

    >>> least_winning(lambda bid: bid >= 1_234, 10), least_winning(lambda bid: bid >= 1_234, 10**9)
    (1234, 1234)
    >>> least_winning(lambda bid: False, 10) is None
    True
    """
    losing, winning = 0, start
    while not wins(winning):
        if winning >= MAX_MICROS:
            return None
        losing, winning = winning, min(winning * _STEP, MAX_MICROS)
    while winning - losing > 1:
        middle = (losing + winning) // 2
        losing, winning = (losing, middle) if wins(middle) else (middle, winning)
    return winning
