"""Every kernel compiled (or loaded) before the node is ready: a first compile on the loop stalls it."""

from __future__ import annotations

import numpy as np
from msgspec.structs import replace

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
from app.domain.decisions import ServedAd
from app.domain.ids import DAY_MS
from app.domain.lines import (
    Catalogued,
    Clicked,
    Clustered,
    Configured,
    Converted,
    Entry,
    FoldSettings,
    Line,
    Referred,
    Refunded,
    Shown,
    Ticked,
)
from app.domain.requests import AdRequest, Ask, Deal, Person
from app.flows.agents import agent_of
from app.journal.models import decode_model, encode_model
from app.rules import ftrl
from app.rules.projection_plain import DIMENSIONS, PROJECTION
from app.rules.trained import Trained
from app.state.apply import apply
from app.state.choose import Chooser
from app.state.counters import SEGMENTS, SWEPT_A_TICK
from app.state.loading import terms_of
from app.state.prepared import prepare
from app.state.state import State

_THINGS: tuple[Thing, ...] = (
    Publisher(id="p"),
    Placement(
        id="p", publisher_id="p", floor_micros=1, prior_ctr=0.02, separation=("advertiser", "category")
    ),
    Advertiser(id="a"),
    Campaign(id="c", advertiser_id="a", frequency_cap=(FrequencyCap(count=9, per="day"),)),
    AdGroup(id="g", campaign_id="c", pricing=Pricing(kind="cpc", bid_micros=1_000_000)),
    AdGroup(id="h", campaign_id="c", pricing=Pricing(kind="cpm", bid_micros=1_000_000)),
    AdGroup(id="i", campaign_id="c", pricing=Pricing(kind="cpa", bid_micros=1_000_000)),
    Creative(id="z", ad_group_id="i", format="banner", landing_url="https://a.example"),
    AdGroup(
        id="j",
        campaign_id="c",
        pricing=Pricing(kind="cpm", bid_micros=1_000_000),
        targeting=Targeting(deal=Rule(include=("d",))),
    ),
    Creative(id="x", ad_group_id="g", format="banner", landing_url="https://a.example"),
    Creative(id="y", ad_group_id="h", format="banner", landing_url="https://a.example"),
    Creative(id="w", ad_group_id="j", format="banner", landing_url="https://a.example"),
)


def warm() -> None:
    """Live a tiny life on a state of its own: every line kind, every kernel, every type they meet."""
    ftrl.warm()
    agent_of("Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 Chrome/131.0 Mobile Safari/537.36")
    state = State(columns=1_024, recent=16)
    watching = FoldSettings(
        invalid_traffic="on", traffic_counters=64, traffic_limits="user_clicks=9/9,user_impressions=9/9",
        calibration_clicks=1, exploration="thompson", uniform_share=0.5,
    )  # fmt: skip
    lines: list[Line] = [Configured(at_ms=0, settings=watching), Ticked(at_ms=1)]
    lines += [Catalogued(at_ms=1, thing=thing) for thing in _THINGS]
    lines.append(Clustered(at_ms=1, centroids=bytes(4 * DIMENSIONS), people=(1,), projection=PROJECTION))
    for line in lines:
        apply(state, Entry(state.position + 1, line))
    ask = Ask(name="p", placement_id="p", count=2)
    dealt = Ask(name="q", placement_id="p", deals=(Deal(id="d", floor_micros=1, advertisers=("a",)),))
    person = Person(key=b"someone", former_key=b"before", gender="F", age=30, interests=("i",))
    request = AdRequest(request_id="", asks=(ask, dealt), person=person, just_served=(0,))
    choice = Chooser(state).choose(request, ids.request_key(0, bytes(10)), 1)
    ad = ServedAd(
        decision_id=choice.placed[0].decision_id, ad_index=0, creative_id="z", creative_index=0,
        generation=0, placement_id="p", publisher_id="p", rows=bytes(2), columns=bytes(2),
        schema_version=1, price_micros=1, price_kind="cpa", pctr=0.01, variant=0, issued_at_ms=1, pcvr=0.1,
        user=b"someone",
    )  # fmt: skip
    shown = Shown(at_ms=2, ad=ad)
    position = state.position + 1
    apply(state, Entry(position, shown))
    apply(state, Entry(position + 1, Clicked(at_ms=2, ad=ad), Referred(position)))
    apply(state, Entry(position + 2, Converted(at_ms=2, ad=ad), Referred(position + 1)))
    refunded = Refunded(at_ms=3, target_id=shown.event_id, target_position=position, target=shown)
    apply(state, Entry(position + 3, refunded))
    _take_model(state)
    _be_seen_again(state, ad, request)
    _factor(state, ad, request)
    _explore(state, ad, request)


def _take_model(state: State) -> None:
    """Take over a trained model of one cell, from a file's bytes as they are read."""
    ends = np.zeros(1, np.int32)
    cell = np.zeros(1, "<u2"), np.zeros(1, "<u4"), np.zeros(1), np.ones(1)
    model = Trained(0.0, ftrl.Rates(), ends, {}, (("any", ""),), *cell)
    taken = decode_model(encode_model(model, {}))[1]
    prepare("", taken, terms_of(state, taken), columns=64)


def _be_seen_again(state: State, ad: ServedAd, request: AdRequest) -> None:
    """See an ad again, under another key, choose for someone who saw it, and let time sweep all that out."""
    again = replace(ad, decision_id=bytes(15), user=b"later", former_user=b"someone")
    more = replace(again, decision_id=bytes(14) + b"1")
    for line in (Shown(at_ms=4, ad=again), Shown(at_ms=5, ad=more), Ticked(at_ms=6)):
        apply(state, Entry(state.position + 1, line))
    person = Person(key=b"later")
    Chooser(state).choose(replace(request, person=person), ids.request_key(0, bytes(10)), 6)
    for _ in range(SEGMENTS // SWEPT_A_TICK):
        state.user_counters.sweep(100 * DAY_MS)


def _factor(state: State, ad: ServedAd, request: AdRequest) -> None:
    """Learn, take back and choose with field-aware vectors, and drop them again."""
    before = state.settings
    apply(state, Entry(state.position + 1, Configured(at_ms=6, settings=replace(before, learner="ffm"))))
    once = replace(ad, decision_id=bytes(14) + b"2", user=b"")
    shown = Shown(at_ms=6, ad=once)
    position = state.position + 1
    apply(state, Entry(position, shown))
    Chooser(state).choose(request, ids.request_key(0, bytes(10)), 6)
    refunded = Refunded(at_ms=6, target_id=shown.event_id, target_position=position, target=shown)
    apply(state, Entry(position + 1, refunded))
    apply(state, Entry(position + 2, Configured(at_ms=6, settings=before)))


def _explore(state: State, ad: ServedAd, request: AdRequest) -> None:
    """Fit a curve, draw lots and measure what exploring costs: that takes a few decisions."""
    liked = replace(ad, decision_id=bytes(13) + b"12", user=b"")
    apply(state, Entry(state.position + 1, Shown(at_ms=7, ad=liked)))
    apply(state, Entry(state.position + 1, Clicked(at_ms=5_000, ad=liked), Referred(state.position)))
    apply(state, Entry(state.position + 1, Ticked(at_ms=6_000, explored=(2, 1))))
    chooser = Chooser(state)
    for number in range(40):
        chooser.choose(request, ids.request_key(0, number.to_bytes(10, "big")), 6_000)
