"""A state of live ads that every request finds eligible, on a matrix with trained-like weights."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from app.domain import ids
from app.domain.catalogue import (
    AdGroup,
    Advertiser,
    Campaign,
    Creative,
    FrequencyCap,
    Placement,
    Pricing,
    Publisher,
    Rule,
    Targeting,
    Thing,
)
from app.domain.lines import Catalogued, Configured, Entry, FoldSettings, Line, Ticked
from app.domain.requests import AdRequest, Ask, Person, Surroundings
from app.state.apply import apply
from app.state.state import State

NOW_MS = 1_800_000_000_000
SIZE = (320, 50)
PLACEMENTS = 60
# Per creative, as in the sample catalogue.
ADVERTISERS_SHARE, CAMPAIGNS_SHARE, AD_GROUPS_SHARE = 0.075, 0.15, 0.35
# Standard deviations of the weights: an ad's own effect, a request's, and their crosses.
AD_SPREAD, REQUEST_SPREAD, CROSS_SPREAD = 0.5, 0.25, 0.05


def live_state(
    ads: int, columns: int = 16_384, seed: int = 1, *, targeted: bool = False, capped: bool = False,
    weights: NDArray[np.float32] | None = None,
) -> State:  # fmt: skip
    """Make a state of `ads` banners of one size, bids log-normal, every weight drawn, or those of another.

    Cost    a few seconds for 10,000 ads: every row of the matrix is written.
    """
    random = np.random.default_rng(seed)
    state = State(columns=columns)
    lines: list[Line] = [Configured(at_ms=NOW_MS, settings=FoldSettings()), Ticked(at_ms=NOW_MS)]
    lines += [Catalogued(at_ms=NOW_MS, thing=thing) for thing in _things(ads, random, targeted, capped)]
    for line in lines:
        apply(state, Entry(state.position + 1, line))
    state.model.touched[:] = True  # the weights are written, not learned
    if weights is not None:
        state.model.w = weights
        return state
    w, width = state.model.w, state.catalogue.width
    for row in range(len(w)):
        w[row, :width] = random.normal(0.0, CROSS_SPREAD, width)
    w[0, :width] = random.normal(0.0, AD_SPREAD, width)
    w[:, 0] = random.normal(0.0, REQUEST_SPREAD, len(w))
    return state


def _things(ads: int, random: np.random.Generator, targeted: bool, capped: bool) -> Iterator[Thing]:
    caps = (FrequencyCap(count=3, per="day"),) if capped else ()
    advertisers, campaigns, groups = (
        max(2, round(ads * share)) for share in (ADVERTISERS_SHARE, CAMPAIGNS_SHARE, AD_GROUPS_SHARE)
    )
    yield Publisher(id="pub")
    for number in range(PLACEMENTS):
        yield Placement(id=f"plc-{number}", publisher_id="pub", sizes=(SIZE,), formats=("banner",))
    for number in range(advertisers):
        category = f"IAB{number % 20 + 1}"
        yield Advertiser(id=f"adv-{number}", category=category, domain=f"adv-{number}.example")
    for number in range(campaigns):
        yield Campaign(id=f"cmp-{number}", advertiser_id=f"adv-{number % advertisers}", frequency_cap=caps)
    for number in range(groups):
        per_view = number % 4 == 0
        bid_micros = int((6_000 if per_view else 1_000) * random.lognormal(0.0, 0.25)) * 1_000_000
        pricing = Pricing(kind="cpm" if per_view else "cpc", bid_micros=bid_micros)
        yield AdGroup(
            id=f"grp-{number}", campaign_id=f"cmp-{number % campaigns}", pricing=pricing, frequency_cap=caps,
            targeting=_targeting(number) if targeted else Targeting(),
        )  # fmt: skip
    for number in range(ads):
        yield Creative(
            id=f"crt-{number}", ad_group_id=f"grp-{number % groups}", format="banner", width=SIZE[0],
            height=SIZE[1], landing_url="https://shop.example/", categories=(f"IAB{number % 20 + 1}",),
            frequency_cap=caps,
        )  # fmt: skip


def _targeting(number: int) -> Targeting:
    """Four dimensions, wide enough that about half of the ads stay in."""
    return Targeting(
        gender=Rule(include=("F", "M") if number % 3 else ("FM"[number % 2],)),
        age=Rule(include=((14 + number % 20, 60 + number % 20),)),
        region=Rule(exclude=(f"KR-{number % 97}", f"KR-{number * 7 % 97}")),
        device=Rule(include=("mobile", "tablet") if number % 5 else ("desktop",)),
    )


def request_of(number: int) -> AdRequest:
    """Write a request that lights 16 rows; what is hashed differs from request to request."""
    return AdRequest(
        request_id=f"r-{number}",
        asks=(Ask(name="top", placement_id=f"plc-{number % PLACEMENTS}"),),
        person=Person(
            gender="FM"[number % 2], age=14 + number % 60, region=f"KR-{number % 97}",
            interests=tuple(f"interest-{number * 4 + at}" for at in range(4)),
        ),
        surroundings=Surroundings(
            device="mobile", os=("ios", "android")[number % 2], site_category=(f"IAB{number % 20 + 1}",)
        ),
    )  # fmt: skip


def key_of(number: int) -> bytes:
    """Write the key of a request's decisions."""
    return ids.request_key(NOW_MS, number.to_bytes(ids.RANDOM_BYTES, "big"))
