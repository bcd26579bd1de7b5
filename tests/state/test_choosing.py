"""The auction on a state: slots, placements, parties, floors, and changes live at the next request."""

from __future__ import annotations

from collections import Counter
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.catalogue import Advertiser, Campaign, Publisher
from app.domain.decisions import REASON_CODES
from app.domain.lines import FoldSettings
from app.domain.money import to_decimal
from app.domain.requests import AdRequest, Ask
from app.rules.evaluation import logit
from app.rules.standing import moment_at
from app.state.choose import Preview
from tests.state.world import (
    DAY_MS,
    HOUR_MS,
    NOW_MS,
    WON,
    World,
    ask_for,
    banner,
    group,
    one_of_each,
    placement,
    served,
)  # fmt: skip


def world_of(*bids: int, kind: str = "cpc", **campaign: Any) -> World:
    """A world of an ad group with one banner for each bid: g-1 and cr-1, g-2 and cr-2, ..."""
    world = World()
    world.add(*one_of_each(**campaign)[:-2])
    for number, bid in enumerate(bids, 1):
        world.add(group(f"g-{number}", bid=bid, kind=kind), banner(f"cr-{number}", f"g-{number}"))
    return world


# One slot.


def test_the_highest_bid_wins_and_pays_the_next() -> None:
    world = world_of(1_000, 3_000, 2_000)
    (placed,) = world.choose().placed
    (win,) = placed.wins
    assert (win.creative_id, win.ad_group_id, win.bid_micros) == ("cr-2", "g-2", 3_000 * WON)
    assert win.price_micros == 2_000 * WON
    assert win.pctr == pytest.approx(0.01, rel=1e-6), "without data every pCTR is the prior"
    assert win.ecpm_micros == pytest.approx(30_000 * WON, rel=1e-6)
    assert win.cleared_ecpm_micros == pytest.approx(20_000 * WON, rel=1e-6)
    assert world.state.catalogue.ads.creatives[win.rival_index] is world.state.catalogue.get(
        "creative", "cr-3"
    )
    assert (placed.code, placed.reasons, placed.candidates) == ("", {"outbid": 2}, 3)
    assert placed.publisher_id == "pub-1"


def test_the_worked_example_on_a_state_that_learned_it() -> None:
    """CTRs of 1.5 % and 1.7 % stand as priors of nothing but the creatives' own cells."""
    world = world_of(2_000, 2_000)
    model, ads = world.state.model, world.state.catalogue.ads
    for creative, ctr in (("cr-1", 0.015), ("cr-2", 0.017)):
        column = int(ads.columns[-1, ads.places.by_key[creative]])
        model.w[0, column] = logit(ctr) - logit(0.01)
    model.touched[0] = True
    model.touched[0] = True  # as learning would
    (win,) = world.choose().placed[0].wins
    assert win.creative_id == "cr-2"
    assert round(win.ecpm_micros / WON) == 34_000
    assert round(win.cleared_ecpm_micros / WON) == 30_000
    assert to_decimal(win.price_micros).quantize(Decimal(1), ROUND_HALF_UP) == 1_765


def test_a_second_equal_creative_of_the_winner_s_group_leaves_the_price_unchanged() -> None:
    world = world_of(3_000, 2_000)
    before = world.choose().placed[0].wins[0]
    world.add(banner("cr-9", "g-1"))
    after = world.choose().placed[0].wins[0]
    assert (after.ad_group_id, after.price_micros) == (before.ad_group_id, before.price_micros)


@pytest.mark.parametrize(("setting", "price"), [("ad_group", 2_900), ("advertiser", 1_000)])
def test_whose_rival_sets_the_price_is_a_setting(setting: str, price: int) -> None:
    world = world_of(3_000, 2_900)
    world.add(Advertiser(id="adv-2"), Campaign(id="c-2", advertiser_id="adv-2"))
    world.add(group("g-9", "c-2", bid=1_000), banner("cr-9", "g-9"))
    world.configure(self_competition=setting)
    assert world.choose().placed[0].wins[0].price_micros == price * WON


def test_floors_bind_by_the_higher_of_placement_and_request() -> None:
    world = world_of(1_000, 500)  # eCPMs of 10,000 and 5,000
    world.change("placement", "plc-1", floor_micros=6_000 * WON)
    (placed,) = world.choose().placed
    assert placed.reasons == {"below_floor": 1}
    assert placed.wins[0].price_micros == pytest.approx(600 * WON, rel=1e-6)
    (placed,) = world.choose(ask_for("plc-1", floor_micros=1 * WON)).placed
    assert placed.reasons == {"below_floor": 1}, "a request only raises the floor"
    (placed,) = world.choose(ask_for("plc-1", floor_micros=10_001 * WON)).placed
    assert (placed.wins, placed.code, placed.reasons) == ((), "below_floor", {"below_floor": 2})


def test_a_cpm_bid_stands_beside_clicks_by_its_worth() -> None:
    world = world_of(1_000)
    world.add(group("g-2", bid=10_001, kind="cpm"), banner("cr-2", "g-2"))
    (win,) = world.choose().placed[0].wins
    assert (win.creative_id, win.kind, win.ecpm_micros) == ("cr-2", "cpm", 10_001 * WON)
    assert win.price_micros == pytest.approx(10_000 * WON, rel=1e-6)
    assert win.cleared_ecpm_micros == win.price_micros


def test_equal_ads_share_and_the_same_decision_is_always_the_same() -> None:
    world = world_of(*[1_000] * 5)
    keys = [world.key() for _ in range(1_000)]
    winners = [world.winner(key=key) for key in keys]
    assert winners == [world.winner(key=key) for key in keys]
    counts = Counter(winners)
    assert len(counts) == 5
    assert all(abs(count - 200) < 6 * 12.7 for count in counts.values()), "six standard deviations"
    assert world.choose(key=keys[0]).placed[0].wins[0].price_micros == 1_000 * WON


# Where there is nothing.


def test_what_is_no_placement_says_so() -> None:
    world = world_of(1_000)
    request = AdRequest(request_id="r", asks=(Ask(name="a", placement_id="nowhere"), *ask_for("plc-1").asks))
    nowhere, somewhere = world.choose(request).placed
    assert (nowhere.code, nowhere.wins, nowhere.reasons) == ("unknown_placement", (), {})
    assert somewhere.wins
    world.change("placement", "plc-1", status="archived")
    assert world.choose().placed[0].code == "unknown_placement"
    world.change("placement", "plc-1", status="active")
    assert world.winner() == "cr-1"


def test_an_unregistered_placement_is_served_by_what_the_request_says() -> None:
    world = world_of(1_000)
    asked = ask_for("new", unregistered=True, publisher_id="pub-1", sizes=((320, 50),), formats=("banner",))
    assert world.winner(asked) == "cr-1"
    other = ask_for("new", unregistered=True, publisher_id="pub-1", sizes=((300, 250),))
    assert world.reasons(other) == {"size": 1}


def test_an_empty_catalogue_answers() -> None:
    world = World()
    world.add(Publisher(id="pub-1"), placement("plc-1"))
    (placed,) = world.choose().placed
    assert (placed.wins, placed.reasons, placed.candidates) == ((), {}, 0)
    assert placed.code, "there is always a reason"


def test_every_placement_has_its_own_decision_id_and_keeps_the_order_asked() -> None:
    world = world_of(1_000)
    world.add(placement("plc-2"))
    choice = world.choose(ask_for("plc-2", "plc-1", "plc-2"))
    assert [placed.placement_id for placed in choice.placed] == ["plc-2", "plc-1", "plc-2"]
    assert len({placed.decision_id for placed in choice.placed}) == 3
    assert (choice.position, choice.clock_ms) == (len(world.entries), world.now_ms)


# Several slots and placements.


def test_slots_are_filled_from_the_top_and_each_price_keeps_its_slot() -> None:
    """The rival is the best of another group that is left, even one that the winner keeps off the page."""
    world = world_of(5_000, 4_000, 3_000, 2_000)
    (placed,) = world.choose(ask_for("plc-1", count=3)).placed
    assert [(w.ad_index, w.creative_id, w.price_micros // WON) for w in placed.wins] == [
        (0, "cr-1", 4_000), (1, "cr-2", 3_000), (2, "cr-3", 2_000),
    ]  # fmt: skip
    assert placed.reasons == {"outbid": 1}


def test_two_creatives_of_one_group_may_stand_below_each_other_and_never_price_each_other() -> None:
    world = world_of(5_000, 1_000)
    world.add(banner("cr-9", "g-1"))
    (placed,) = world.choose(ask_for("plc-1", count=3)).placed
    assert [w.ad_group_id for w in placed.wins] == ["g-1", "g-1", "g-2"]
    assert [w.price_micros // WON for w in placed.wins] == [1_000, 1_000, 0]


def test_a_creative_stands_once_in_a_request_whatever_the_placement() -> None:
    world = world_of(3_000, 2_000)
    world.add(placement("plc-2"))
    first, second, third = world.choose(ask_for("plc-1", "plc-2", "plc-2")).placed
    assert [placed.wins[0].creative_id for placed in (first, second)] == ["cr-1", "cr-2"]
    assert second.reasons == {"same_creative": 1}
    assert (third.wins, third.code, third.reasons) == ((), "same_creative", {"same_creative": 2})


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(1, 4), st.integers(1, 5)), min_size=1, max_size=8),
    st.lists(st.integers(1, 4), min_size=1, max_size=3),
    st.integers(0, 30),
)
def test_every_slot_holds_the_best_left_at_the_least_that_keeps_it(
    ads: list[tuple[int, int]], counts: list[int], floor: int
) -> None:
    """A plain auction over (group, bid) with one prior for all: worth is bid, so prices can be said."""
    bids = dict(ads)
    world = world_of(*(100 * bids.get(number, 0) or 1 for number in range(1, 5)), kind="cpm")
    world.add(*(banner(f"x-{k}", f"g-{number}") for k, (number, _) in enumerate(ads)))
    world.change("placement", "plc-1", floor_micros=floor * 20 * WON)
    request = AdRequest(
        request_id="r",
        asks=tuple(Ask(name=f"s{n}", placement_id="plc-1", count=c) for n, c in enumerate(counts)),
    )
    left = {f"cr-{n}": n for n in range(1, 5)} | {f"x-{k}": number for k, (number, _) in enumerate(ads)}
    worth = {number: 100 * bids.get(number, 0) or 1 for number in range(1, 5)}
    total = len(left)
    for placed, count in zip(world.choose(request).placed, counts, strict=True):
        for win in placed.wins:
            able = {c: g for c, g in left.items() if worth[g] >= floor * 20}
            party = able[win.creative_id]
            assert worth[party] == max(worth[g] for g in able.values())
            rivals = [worth[g] for g in able.values() if g != party]
            assert win.price_micros == max([floor * 20, *rivals]) * WON
            del left[win.creative_id]
        assert len(placed.wins) == count or not any(worth[g] >= floor * 20 for g in left.values())
        assert sum(placed.reasons.values()) + len(placed.wins) == total
        assert set(placed.reasons) <= set(REASON_CODES[2:])


def test_an_ad_below_the_top_is_scored_as_if_on_top() -> None:
    world = world_of(2_000, 1_000)
    (placed,) = world.choose(ask_for("plc-1", count=2)).placed
    below = served(placed, NOW_MS, 1)
    for _ in range(50):
        world.show(world.ad("cr-2", rows=tuple(_rows(below.rows)), pctr=0.01))
    again = world.choose(ask_for("plc-1", count=2)).placed[0]
    seen = world.p(below)
    assert again.wins[1].pctr > seen, "the slot's own cell took its part of the blame, and is not scored"


def _rows(packed: bytes) -> list[int]:
    return [int.from_bytes(packed[k : k + 2], "little") for k in range(0, len(packed), 2)]


# Changes are live at the next request.


def test_status_at_every_level_is_live() -> None:
    world = world_of(1_000)
    levels = (("creative", "cr-1"), ("ad_group", "g-1"), ("campaign", "c-1"), ("advertiser", "adv-1"))
    for kind, identity in levels:
        world.change(kind, identity, status="paused")
        assert world.reasons() == {"paused": 1}, kind
        world.change(kind, identity, status="archived")
        assert world.reasons() == {}, f"an archived {kind} is nobody's loss"
        assert world.winner() is None
        world.change(kind, identity, status="active")
        assert world.winner() == "cr-1", kind


def test_a_bid_is_live() -> None:
    world = world_of(1_000, 2_000)
    assert world.winner() == "cr-2"
    world.add(group("g-1", bid=3_000))
    (win,) = world.choose().placed[0].wins
    assert (win.creative_id, win.bid_micros, win.price_micros) == ("cr-1", 3_000 * WON, 2_000 * WON)
    world.add(group("g-1", bid=15_000, kind="cpm"))
    assert world.winner() == "cr-2", "15 a thousand is less than 20"


def test_a_changed_creative_is_live() -> None:
    world = world_of(1_000)
    world.change("creative", "cr-1", width=300, height=250)
    assert world.reasons() == {"size": 1}
    world.change("placement", "plc-1", sizes=((300, 250),))
    assert world.winner() == "cr-1"


def test_a_flight_begins_at_its_start_and_is_over_at_its_end() -> None:
    world = world_of(1_000, starts_at_ms=NOW_MS + HOUR_MS, ends_at_ms=NOW_MS + 2 * HOUR_MS)
    assert world.reasons() == {"not_started": 1}
    world.tick(HOUR_MS - 1)
    assert world.reasons() == {"not_started": 1}
    world.tick(1)
    assert world.winner() == "cr-1"
    world.tick(HOUR_MS - 1)
    assert world.winner() == "cr-1"
    world.tick(1)
    assert world.reasons() == {"ended": 1}
    world.change("campaign", "c-1", ends_at_ms=None)
    assert world.winner() == "cr-1"


def test_the_clock_never_goes_back() -> None:
    world = world_of(1_000, ends_at_ms=NOW_MS + HOUR_MS)
    world.tick(HOUR_MS)
    world.tick(-HOUR_MS)
    assert world.state.clock_ms == NOW_MS + HOUR_MS
    assert world.reasons() == {"ended": 1}


def test_a_preview_decides_for_another_time_and_changes_nothing() -> None:
    world = world_of(1_000, starts_at_ms=NOW_MS + DAY_MS)
    at_ms = NOW_MS + DAY_MS
    moments = [moment_at(zone, at_ms) for zone in world.state.catalogue.zones]
    preview = Preview(moments, world.state.standing_at(at_ms, moments))
    choice = world.chooser.choose(ask_for("plc-1"), world.key(), at_ms, preview)
    assert choice.placed[0].wins[0].creative_id == "cr-1"
    assert world.reasons() == {"not_started": 1}


def test_losers_are_counted_per_campaign_too() -> None:
    world = world_of(3_000, 2_000)
    world.add(Campaign(id="c-2", advertiser_id="adv-1"), group("g-9", "c-2", bid=1), banner("cr-9", "g-9"))
    world.change("ad_group", "g-2", status="paused")
    for _ in range(3):
        world.choose()
    drained = world.chooser.losers.drain()
    funnel = {
        campaign: {REASON_CODES[code]: int(n) for code, n in enumerate(drained[:, at]) if n}
        for campaign, at in world.state.catalogue.campaign_index.items()
    }
    assert funnel == {"c-1": {"paused": 3}, "c-2": {"outbid": 3}}


def test_more_auctions_than_a_counter_holds_are_all_counted() -> None:
    world = world_of(3_000, 2_000)
    choices = [world.choose() for _ in range(600)]
    outbid = world.chooser.losers.drain()[REASON_CODES.index("outbid")].sum()
    assert outbid == sum(choice.placed[0].reasons["outbid"] for choice in choices) == 600


def test_settings_of_a_node_reach_the_prior() -> None:
    world = World(FoldSettings(prior_ctr=0.2))
    world.add(*one_of_each())
    assert world.choose().placed[0].wins[0].pctr == pytest.approx(0.2, rel=1e-6)
