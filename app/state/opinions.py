"""What an audience's events say about an ad: steps of quality, and of what stays away from a user."""

from __future__ import annotations

from app.domain.dismissals import DISMISSALS, reason_of
from app.domain.lines import ACCIDENTAL, Clicked, Dismissed, Refunded, Shown
from app.state.dismissals import ADVERTISER, CREATIVE
from app.state.state import State


def take_dismissal(state: State, line: Dismissed, *, complains: bool) -> None:
    """Keep the ad away from who dismissed it; `complains` says whether it speaks against the ad, too."""
    ad, reason = line.ad, reason_of(line.reason)
    if complains:
        state.quality.dismissed(ad.creative_id, reason)
    user = state.user_of(ad)
    if not user:
        return
    catalogue = state.catalogue
    if DISMISSALS[reason].keeps_away == "advertiser":
        advertiser = catalogue.payers(ad.creative_id)[1].advertiser_id
        index = catalogue.advertiser_index[advertiser]
        state.dismissals.add(user, ADVERTISER, index, 0, line.at_ms)
        return
    place = catalogue.ads.places.by_key.get(ad.creative_id)
    if place is not None:
        generation = catalogue.ads.places.generation.get(place, 0)
        state.dismissals.add(user, CREATIVE, place, generation, line.at_ms)


def slips(state: State, line: Clicked, impression_position: int) -> bool:
    """Count a valid click; say whether it came too soon after its impression to have been meant.

    Only where the person's own device called: a server's reports come in batches, their times say nothing.
    """
    state.quality.clicked(line.ad.creative_id)
    if line.sender is None or not line.sender.direct or not state.settings.accidental_click_ms:
        return False
    record = state.recent.find(impression_position)
    if record is None or not 0 <= line.at_ms - record["at_ms"] < state.settings.accidental_click_ms:
        return False
    state.quality.slipped(line.ad.creative_id)
    return True


def take_back(state: State, line: Refunded) -> None:
    """Take an event that had counted out of its ad's quality; an accidental click speaks against the ad."""
    creative = line.target.ad.creative_id
    match line.target:
        case Shown():
            state.quality.shown(creative, -1)
        case Clicked() if line.reason == ACCIDENTAL:
            state.quality.slipped(creative)
        case Clicked():
            state.quality.clicked(creative, -1)
        case _:
            pass
