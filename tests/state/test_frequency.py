"""Caps and fatigue from the outside: what a person saw, what it may see, and what a snapshot makes of it.

Goal: a cap is never passed, whatever it stands on and however impressions and time come: every window is
counted anew from a plain memory of all impressions.
"""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.catalogue import Campaign, FrequencyCap
from app.domain.decisions import ServedAd
from app.domain.lines import Erased, FoldSettings, Shown
from app.domain.requests import AdRequest, Ask, Person
from app.rules import features
from app.rules.standing import moment_at
from app.state import saving
from app.state.apply import apply
from app.state.counters import UserCounters
from app.state.explain import Explainer
from app.state.state import State
from tests.state.world import (
    COLUMNS,
    DAY_MS,
    HOUR_MS,
    NOW_MS,
    RECENT,
    World,
    banner,
    contents,
    fold,
    group,
    one_of_each,
    placement,
    served,
)  # fmt: skip

ME, OTHER = b"me".ljust(12, b"."), b"other".ljust(12, b".")
MINUTE_MS = 60_000


def cap(count: int, per: Any) -> FrequencyCap:
    return FrequencyCap(count=count, per=per)


def ask(key: bytes | None = ME, count: int = 1, places: int = 1, **person: Any) -> AdRequest:
    asks = tuple(Ask(name=f"s-{n}", placement_id=f"plc-{n + 1}", count=count) for n in range(places))
    return AdRequest(request_id="r", asks=asks, person=Person(key=key, **person))


def world(**campaign: Any) -> World:
    """Two groups of one campaign; cr-1 and cr-2 in the first, cr-3 (worth less) in the second."""
    made = World()
    made.add(*one_of_each(**campaign), placement("plc-2"), banner("cr-2"))
    made.add(group("g-2", bid=1_000), banner("cr-3", "g-2"))
    return made


def see(made: World, key: bytes = ME, **asked: Any) -> str | None:
    """Ask once; if there is an ad, its impression comes at once."""
    choice = made.choose(ask(key, **asked))
    if not choice.placed[0].wins:
        return None
    made.show(served(choice.placed[0], made.now_ms, user=key))
    return choice.placed[0].wins[0].creative_id


def seen_times(made: World, times: int, key: bytes = ME) -> list[str | None]:
    return [see(made, key) for _ in range(times)]


#   on           caps                               sees, a second between    why
CAPS = [
    ("creative", [cap(1, "day")],                   ["cr-1", "cr-3", "cr-3"], "the next ad is free"),
    ("ad_group", [cap(1, "hour")],                  ["cr-1", "cr-3", "cr-3"], "the other group is free"),
    ("ad_group", [cap(2, "hour"), cap(3, "hour")],  ["cr-1", "cr-1", "cr-3"], "of two the least binds"),
    ("campaign", [cap(2, "lifetime")],              ["cr-1", "cr-1", None],   "all groups share it"),
    ("campaign", [cap(3, "week"), cap(1, "minute")], ["cr-1", None, None],    "several at once"),
    ("campaign", [cap(100, "week")],                ["cr-1", "cr-1", "cr-1"], "far from it"),
]  # fmt: skip
IDS = {"creative": "cr-1", "ad_group": "g-1", "campaign": "c-1"}


@pytest.mark.parametrize(("on", "caps", "sees", "why"), CAPS)
def test_a_cap_binds_what_it_stands_on(on: str, caps: list[FrequencyCap], sees: list[Any], why: str) -> None:
    made = world()
    made.change("creative", "cr-2", status="paused")
    made.change(on, IDS[on], frequency_cap=tuple(caps))
    told = []
    for _ in sees:
        told.append(see(made))
        made.tick(1_000)
    assert told == sees, why
    assert made.winner(ask(OTHER)) == "cr-1", "another person's caps are its own"


@pytest.mark.parametrize(
    ("per", "count", "span_ms", "longer_ms"),
    [
        ("minute", 3, MINUTE_MS, 1), ("minute", 20, MINUTE_MS, 9_000), ("hour", 5, HOUR_MS, 100),
        ("hour", 6, HOUR_MS, HOUR_MS // 7 + 1), ("week", 2, 7 * DAY_MS, 10_000),
    ],
)  # fmt: skip
def test_rolling_windows_open_again(per: str, count: int, span_ms: int, longer_ms: int) -> None:
    made = world()
    made.change("campaign", "c-1", frequency_cap=(cap(count, per),))
    assert None not in seen_times(made, count)
    assert see(made) is None
    made.tick(span_ms)
    assert see(made) is None, "the span's last moment still counts"
    made.tick(longer_ms)
    assert see(made) is not None


def test_a_day_is_the_campaigns() -> None:
    """16:00 in Seoul is 02:00 in New York: their days end at different times."""
    made = world(time_zone="America/New_York", frequency_cap=(cap(1, "day"),))
    assert seen_times(made, 2)[1] is None
    midnight_ms = next(
        at for at in range(NOW_MS, NOW_MS + 2 * DAY_MS, MINUTE_MS)
        if moment_at("America/New_York", at).day > moment_at("America/New_York", NOW_MS).day
    )  # fmt: skip
    made.tick(midnight_ms - 1_000 - made.now_ms)
    assert see(made) is None
    made.tick(1_000)
    assert seen_times(made, 2)[0] is not None
    assert see(made) is None


def test_one_request_does_not_pass_a_cap() -> None:
    made = world(frequency_cap=(cap(3, "day"),))
    made.add(banner("cr-4", "g-2"))
    choice = made.choose(ask(count=2, places=2))
    assert [len(placed.wins) for placed in choice.placed] == [2, 1]
    assert choice.placed[1].reasons == {"same_creative": 2, "frequency": 1}
    group_capped = world()
    group_capped.change("ad_group", "g-1", frequency_cap=(cap(1, "day"),))
    (placed,) = group_capped.choose(ask(count=3)).placed
    assert {win.ad_group_id for win in placed.wins} == {"g-1", "g-2"} and len(placed.wins) == 2
    assert placed.reasons == {"frequency": 1}
    (alone,) = group_capped.choose(AdRequest(request_id="r", asks=ask(count=3).asks)).placed
    assert len(alone.wins) == 3, "nobody has no caps"


def test_what_was_just_served_counts_though_nobody_reported_it() -> None:
    made = world(frequency_cap=(cap(2, "day"),))
    at = made.state.catalogue.ads.places.by_key["cr-1"]

    def winner(*just_served: int) -> str | None:
        wins = made.choose(msgspec.structs.replace(ask(), just_served=just_served)).placed[0].wins
        return wins[0].creative_id if wins else None

    assert winner(at) is not None
    assert winner(at, at) is None
    see(made)
    assert winner() is not None
    assert winner(at) is None, "one seen and one under way"
    assert winner(9_999) is not None, "a place that is not there any more"


def test_without_an_id_caps_are_served_or_withheld() -> None:
    made = world()
    made.change("ad_group", "g-1", frequency_cap=(cap(1, "day"),))
    assert made.winner(ask(None)) in {"cr-1", "cr-2"}
    made.configure(caps_without_id="withhold")
    for request in (ask(None), AdRequest(request_id="r", asks=ask().asks)):
        (placed,) = made.choose(request).placed
        assert [win.creative_id for win in placed.wins] == ["cr-3"]
        assert placed.reasons == {"frequency": 2}
    assert made.winner(ask(ME)) in {"cr-1", "cr-2"}


def test_a_refunded_impression_is_given_back() -> None:
    made = world(frequency_cap=(cap(1, "hour"), cap(1, "day"), cap(1, "lifetime")))
    shown = made.show(served(made.choose(ask()).placed[0], made.now_ms, user=ME))
    assert see(made) is None
    made.refund(shown)
    assert see(made) is not None
    assert see(made) is None


def test_a_person_is_known_under_the_former_key() -> None:
    made = world(frequency_cap=(cap(3, "week"),))
    old, new = b"old".ljust(12), b"new".ljust(12)
    assert None not in seen_times(made, 2, old)
    both = ask(new, former_key=old)
    choice = made.choose(both)
    ad = served(choice.placed[0], made.now_ms, user=new)
    made.show(msgspec.structs.replace(ad, former_user=old))
    assert made.state.user_counters.of((old,))[1] == 0, "moved over at first sight"
    assert not made.choose(both).placed[0].wins
    assert not made.choose(ask(new)).placed[0].wins, "all three are the new key's"
    made.show(served(made.choose(ask(OTHER)).placed[0], made.now_ms, user=old))  # a token of before
    assert not made.choose(both).placed[0].wins


def test_forgetting_erases_everything_counted() -> None:
    made = world(frequency_cap=(cap(1, "lifetime"),))
    see(made)
    see(made, OTHER)
    made.put(Erased(at_ms=made.now_ms, users=(ME,)))
    made.tick()
    made.state.check()
    assert made.state.user_counters.of((ME,))[1] == 0
    assert see(made) is not None
    assert see(made, OTHER) is None


def test_caps_may_change_while_they_count() -> None:
    """A larger cap is kept otherwise; what was counted before counts on."""
    made = world(frequency_cap=(cap(5, "hour"),))
    assert None not in seen_times(made, 5)
    assert see(made) is None
    made.change("campaign", "c-1", frequency_cap=(cap(8, "hour"),))
    assert [told is None for told in seen_times(made, 4)] == [False, False, False, True]
    made.change("campaign", "c-1", frequency_cap=())
    assert see(made) is not None


def test_an_ad_seen_before_lights_its_own_row() -> None:
    """By the number of views: 1, 2, 3, 4-5, 6-9, 10 and more."""
    made = world()
    start = features.BLOCKS["views"].start
    rows = []
    for _ in range(12):
        rows.append({win.creative_id: win.own_row for win in made.choose(ask(count=3)).placed[0].wins})
        made.show(msgspec.structs.replace(made.ad("cr-1"), user=ME))
    assert made.state.user_counters.total == 1
    lit = [row["cr-1"] and row["cr-1"] - start + 1 for row in rows]
    assert lit == [0, 1, 2, 3, 4, 4, 5, 5, 5, 5, 6, 6]
    assert {row[other] for row in rows for other in ("cr-2", "cr-3")} == {0}
    assert made.choose(ask(OTHER, count=3)).placed[0].wins[0].own_row == 0


def test_the_row_is_learned_with_the_impression() -> None:
    made = world()
    see(made)
    row = features.BLOCKS["views"].start
    assert not made.state.model.touched[row]
    (placed,) = made.choose(ask()).placed
    made.show(served(placed, made.now_ms, user=ME))
    if placed.wins[0].own_row:
        assert made.state.model.touched[row]
    see(made)
    see(made)
    assert made.state.model.touched[row], "of two creatives one was seen twice by now"


def test_fatigue_moves_the_seen_ad_and_is_exact() -> None:
    made = world()
    cells = np.random.default_rng(1)
    for _ in range(40):  # teach the views rows something, by other people
        row = features.BLOCKS["views"].start + int(cells.integers(0, 6))
        ad = made.ad(str(cells.choice(["cr-1", "cr-2", "cr-3"])), rows=[0, made.state.row_of("plc-1"), row])
        made.show(ad)
        if cells.random() < 0.5:
            made.click(ad)
    for key, times in ((ME, 3), (OTHER, 1)):
        for _ in range(times):
            see(made, key)
    for key in (ME, OTHER):
        (placed,) = made.choose(ask(key, count=3)).placed
        for win in placed.wins:
            lit = [*placed.rows, *([win.own_row] if win.own_row else [])]
            weights = made.state.model.w[np.ix_(lit, win.columns)].astype(np.float64)
            logit = made.state.prior_of("plc-1") + weights.sum()
            assert win.pctr == pytest.approx(1 / (1 + np.exp(-logit)), rel=1e-5)
    made.configure(fatigue="off")
    assert {win.own_row for win in made.choose(ask(count=3)).placed[0].wins} == {0}


def test_explain_names_the_views() -> None:
    made = world()
    see(made)
    seen = made.entries[-1].line.ad.creative_id  # type: ignore[union-attr]
    choice, (explained,) = Explainer(made.state).explain(ask(), made.key(), made.now_ms)
    by_id = {candidate.creative_id: candidate for candidate in explained.best}
    assert any(cell.row == "views:1" for cell in by_id[seen].main)
    assert not any(cell.row == "views:1" for key, one in by_id.items() if key != seen for cell in one.main)
    assert choice.placed[0].wins


PEOPLE = [bytes([65 + n]) * 12 for n in range(4)]


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32), months=st.booleans())
def test_caps_are_never_passed_and_snapshots_go_on_alike(seed: int, months: bool) -> None:
    """Many people and caps, random time; every impression kept beside, and every window counted anew."""
    chance = Random(seed)
    made = World()
    made.add(*one_of_each(), placement("plc-2"), banner("cr-2"), group("g-2"), banner("cr-3", "g-2"))
    made.add(Campaign(id="c-2", advertiser_id="adv-1", time_zone="America/New_York"))
    made.add(group("g-3", "c-2"), banner("cr-4", "g-3"))
    limits: dict[tuple[str, str], list[FrequencyCap]] = {}
    for kind, name in (("creative", "cr-1"), ("ad_group", "g-1"), ("campaign", "c-1"), ("campaign", "c-2")):
        pers = chance.sample(["minute", "hour", "day", "week", "lifetime"], 2)
        limits[kind, name] = [cap(chance.choice([1, 2, 5, 6, 7]), per) for per in pers]
        made.change(kind, name, frequency_cap=tuple(limits[kind, name]))
    shown: list[tuple[bytes, int, set[tuple[str, str]]]] = []
    gaps = (1, 500, 20_000, 600_000, 5_000_000) + ((40_000_000, 200_000_000) if months else ())
    for step in range(80):
        made.tick(chance.choice(gaps))
        key = chance.choice(PEOPLE)
        for placed in made.choose(
            ask(key, count=chance.choice([1, 1, 2]), places=chance.choice([1, 2]))
        ).placed:
            for win in placed.wins:
                ad = served(placed, made.now_ms, win.ad_index, user=key)
                made.put(_shown(made, ad), check=step % 10 == 0)
                things = {("creative", win.creative_id), ("ad_group", win.ad_group_id)}
                shown.append((key, made.now_ms, things | {("campaign", win.campaign_id)}))
        _hold(limits, shown, made.now_ms, key)
    assert shown
    made.change("campaign", "c-1", frequency_cap=(cap(40, "hour"), cap(300, "week")))
    made.change("creative", "cr-1", status="archived")
    for key in PEOPLE:
        see(made, key)
        made.refund(made.show(msgspec.structs.replace(made.ad("cr-1"), user=key)))
    made.put(Erased(at_ms=made.now_ms, users=(PEOPLE[0],)))
    made.tick()
    assert contents(made.copy().state) == contents(made.state)
    cut = chance.randrange(1, len(made.entries))
    before, restored = fold(made.entries[:cut], bytes_too=True), State(COLUMNS, RECENT)
    saving.restore(restored, before.position, saving.parts(before))
    for entry in made.entries[cut:]:
        apply(restored, entry)
    assert restored.hash == made.state.hash
    assert contents(restored) == contents(made.state)
    again = fold(made.entries, bytes_too=True)
    assert again.hash == made.state.hash
    assert contents(again) == contents(made.state)


def _shown(made: World, ad: ServedAd) -> Shown:
    return Shown(at_ms=made.now_ms, ad=ad)


def _hold(
    limits: dict[tuple[str, str], list[FrequencyCap]], shown: list[Any], now_ms: int, key: bytes
) -> None:
    spans = {"minute": MINUTE_MS, "hour": HOUR_MS, "week": 7 * DAY_MS, "lifetime": 25 * DAY_MS}
    for thing, caps in limits.items():
        zone = "America/New_York" if thing[1] == "c-2" else "Asia/Seoul"
        mine = [at_ms for who, at_ms, things in shown if who == key and thing in things]
        for one in caps:
            if one.per == "day":
                today = moment_at(zone, now_ms).day
                count = sum(moment_at(zone, at_ms).day == today for at_ms in mine)
            else:
                count = sum(now_ms - at_ms < spans[one.per] for at_ms in mine)
            assert count <= one.count, (thing, one, count)


def test_nothing_is_left_after_the_retention() -> None:
    made = World(FoldSettings(retention_days=2))
    made.add(
        *one_of_each(frequency_cap=(cap(9, "lifetime"), cap(9, "week"), cap(300, "hour"), cap(2, "day")))
    )
    for key in PEOPLE:
        see(made, key)
    assert made.state.user_counters.total == 5 * len(PEOPLE)
    made.tick(2 * DAY_MS)  # also what a week's cap would still count
    for _ in range(260):
        made.tick(1_000)
    assert made.state.user_counters.total == 0
    assert made.state.user_counters.size_bytes == 0


def test_a_full_table_gives_up_views_first_and_says_what_is_lost() -> None:
    counters = UserCounters(limit=1_024, kept_hours=720)  # 64 counters a table
    view, life = np.array([0], dtype=np.int64), np.array([1 << 26], dtype=np.int64)
    people = [n.to_bytes(12, "little") for n in range(60_000)]
    for key in people:
        counters.count(key, view, NOW_MS, 0)
    counters.check()
    assert counters.total <= 64 * 1_024
    for key in people:
        counters.count(key, life, NOW_MS, 0)
    counters.check()
    kept = sum(counters.of((key,))[1] for key in people)
    assert counters.total == kept <= 64 * 1_024
    for key in people:
        counters.count(key, np.array([2 << 26], dtype=np.int64), NOW_MS, NOW_MS // DAY_MS)
    assert counters.lost > 0
    counters.check()
