"""What lines tell of people: profiles, erasures, lists, and who has acted. `apply` decides when."""

from __future__ import annotations

import struct
from typing import assert_never

from app.domain.decisions import ServedAd
from app.domain.lines import Clustered, Erased, Likened, Listed, Profiled
from app.state.ads import act_label
from app.state.state import State


def tell_of_people(state: State, line: Profiled | Erased | Listed | Clustered | Likened) -> None:
    """Take what a line says of people."""
    match line:
        case Profiled() if not line.user:
            state.mix(struct.pack("<q", state.position))  # wiped since: it told of somebody long ago
        case Profiled():
            if line.former_user:
                state.rekey_user(line.former_user, line.user)
            state.people.tell(line.user, line.at_ms, line.profile)
            state.mix(struct.pack("<q", state.position), line.user)
        case Erased():
            for user in line.users:
                state.forget_user(user, line.at_ms)
            state.mix(struct.pack("<q", state.position), *line.users)
        case Listed():
            state.audiences.take(line)
            state.mix(struct.pack("<qq", state.position, line.count), line.name.encode())
        case Clustered():
            state.clusters.take(line)
            state.mix(struct.pack("<q", state.position), state.clusters.effect())
        case Likened():
            state.likenesses.take(line)
            state.mix(struct.pack("<qd", state.position, line.threshold), line.audience_id.encode())
        case _:
            assert_never(line)


def note_act(state: State, kind: str, ad: ServedAd, at_ms: int) -> None:
    """Note that a person clicked or converted, where an ad group of the campaign leaves such people out.

    Cost    a look at the campaign's ad groups: clicks and conversions are rare.
    """
    user = state.user_of(ad)
    if user:
        _, campaign = state.catalogue.payers(ad.creative_id)
        if state.catalogue.wants_act(kind, campaign.id):
            label = act_label(kind, campaign.id)
            state.people.act(user, at_ms, label)
            state.mix(user, label.encode())
