"""The same lines give the same state; a snapshot goes on as if nothing had been; choosing changes nothing."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from random import Random
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain import ids
from app.domain.catalogue import Advertiser, Blocked, Campaign, Rule, Targeting
from app.domain.decisions import Choice
from app.domain.lines import (
    Clicked,
    Dismissed,
    FoldSettings,
    Noticed,
    Refunded,
    Returned,
    Sender,
    Shown,
    key_of,
)  # fmt: skip
from app.domain.refusals import Refused
from app.domain.requests import AdRequest, Ask, Person, Surroundings
from app.rules.invalid_traffic import REASONS
from app.state import saving
from app.state.apply import apply
from app.state.choose import Chooser
from app.state.state import State
from tests.state.world import (
    DAY_MS,
    HOUR_MS,
    WON,
    World,
    banner,
    contents,
    fold,
    group,
    one_of_each,
    placement,
    served,
)  # fmt: skip

RECENT = 8
USERS = (b"anna-key-012", b"bora-key-012", b"", b"", b"carl-key-012")
WATCHED = FoldSettings(
    column_rest_s=600, silence_clicks=2, click_window_s=60, in_flight_s=20, invalid_traffic="on",
    traffic_limits="user_clicks=1/60,ip_clicks=9/3600,user_impressions=4/60,placement_clicks=20/60",
    traffic_counters=64, publisher_ctr_clicks=3, publisher_ctr_factor=1.01, calibration_clicks=4,
)  # fmt: skip
SMALL_REST = FoldSettings(column_rest_s=600, silence_clicks=2, click_window_s=60, in_flight_s=20)


def start(settings: FoldSettings = SMALL_REST) -> World:
    """A small catalogue with a little of everything; indexes come free after ten minutes."""
    world = World(settings, recent=RECENT)
    world.add(*one_of_each(), placement("plc-2", prior_ctr=0.05, floor_micros=5 * WON))
    world.add(
        Advertiser(id="adv-2", domain="b.example", category="IAB3", seat="s2"),
        Campaign(id="c-2", advertiser_id="adv-2", time_zone="America/New_York", budget_daily_micros=40 * WON),
        group("g-2", "c-2", bid=15_000, kind="cpm", targeting=Targeting(age=Rule(include=((20, 29),)))),
        group("g-3", "c-2", bid=1_900, budget_total_micros=5_000 * WON),
    )
    world.add(banner("cr-2", "g-2", categories=("IAB1-2",)), banner("cr-3", "g-3"), banner("cr-4", "g-3"))
    return world


def request(number: int) -> AdRequest:
    person = Person(
        key=USERS[number % 3] or None,
        gender="FM"[number % 2],
        age=18 + number % 15,
        interests=("a", "b")[: number % 3],
    )
    asks = (
        Ask(name="a", placement_id="plc-1", count=1 + number % 3),
        Ask(name="b", placement_id="plc-2" if number % 4 else "x", unregistered=number % 4 == 0),
    )
    return AdRequest(
        request_id=f"r-{number}", asks=asks, person=person if number % 5 else None,
        surroundings=Surroundings(device="mobile", keys={"team": ("red",)}),
        blocked=Blocked(advertisers=("b.example",)) if number % 7 == 0 else Blocked(),
    )  # fmt: skip


class Life:
    """Does numbered things to a world: serve, report, refund, edit, tick."""

    def __init__(self, settings: FoldSettings = SMALL_REST) -> None:
        self.world = start(settings)
        self.served: list[Any] = []
        self.events: list[Any] = []

    def do(self, what: str, number: int) -> None:
        world = self.world
        match what:
            case "serve":
                for placed in world.choose(request(number)).placed:
                    for k in range(len(placed.wins)):
                        ad = served(placed, world.now_ms, k)
                        keys = {
                            "user": USERS[number % 3],
                            "former_user": USERS[number % 3] and USERS[number % 5],
                        }
                        self.served.append(msgspec.structs.replace(ad, **keys))
            case "show" | "click" | "note" if self.served:
                self._report(what, self.served[-1 - number % min(12, len(self.served))], number)
            case "refund" if self.events:
                self.events.remove(receipt := self.events[number % len(self.events)])
                world.refund(receipt)
            case "tick":
                at = ("g-1", "g-2", "g-3")[number % 3]
                elapsed_ms = (1_000, 1_000, 61_000, HOUR_MS, DAY_MS)[number % 5]
                world.tick(elapsed_ms, in_flight=((at, number * WON),))
            case "edit":
                with suppress(Refused):  # a child of what is archived
                    self._edit(number)
            case _:
                pass

    def _report(self, what: str, ad: Any, number: int) -> None:
        world = self.world
        if world.state.traffic.watches:
            self._report_watched(what, ad, number)
            return
        if what == "note":
            for line in (
                Dismissed(at_ms=world.now_ms, ad=ad, reason=(None, "offensive")[ad.ad_index % 2]),
                Returned(at_ms=world.now_ms, ad=ad, dwell_ms=300),
                Noticed(at_ms=world.now_ms, ad=ad, kind="win"),
            ):
                if line.event_id not in world.known:
                    world.put(line)
            return
        if ids.event_id(key_of(ad), "impression" if what == "show" else "click") not in world.known:
            self.events.append(world.show(ad) if what == "show" else world.click(ad))

    def _report_watched(self, what: str, ad: Any, number: int) -> None:
        """Report with a sender; now and then what was found late is taken back, as the node would."""
        world = self.world
        user = bytes([number % 4]) * 12 if number % 4 else b""
        ad = msgspec.structs.replace(ad, user=user, publisher_id=f"pub-{number % 3}")
        flaw = "bot" if number % 11 == 0 else ""
        sender = Sender(flaw, bytes([1 + number % 2]) * 8 if number % 5 else b"", number % 2 == 0)
        line = (Shown if what == "show" else Clicked)(at_ms=world.now_ms, ad=ad, sender=sender)
        if what == "note" and world.state.traffic.pending:
            position, pending = next(iter(world.state.traffic.pending.items()))
            target = world.entries[position - 1].line
            assert isinstance(target, Clicked)
            line_back = Refunded(
                at_ms=world.now_ms, target_id=target.event_id, target_position=position, target=target,
                impression_position=pending.impression_position, code=pending.code,
            )  # fmt: skip
            if line_back.event_id not in world.known:
                world.put(line_back)
        elif what != "note" and line.event_id not in world.known:
            world.put(line)

    def _edit(self, number: int) -> None:
        world = self.world
        creatives = world.state.catalogue.ids("creative")
        status = ("active", "archived", "active", "paused")[number // 6 % 4]
        match number % 6:
            case 0 | 1:
                world.change("creative", creatives[number % len(creatives)], status=status)
            case 2:
                world.change("campaign", "c-2", budget_daily_micros=number * 10 * WON, status=status)
            case 3:
                world.change("placement", "plc-2", prior_ctr=(0.02, None, 0.5)[number % 3], status=status)
            case 4:
                world.configure(prior_ctr=0.01 + number % 40 / 1000, alpha=0.1 + number % 40 / 100)
            case _:
                target = Targeting(gender=Rule(include=("F",)), keys={"team": Rule(exclude=("red", 3))})
                changed = target if number % 2 else Targeting()
                world.change("ad_group", "g-1", targeting=changed)
                world.add(banner(f"new-{number % 9}", "g-1", categories=(f"IAB{number % 20}",)))


STEPS = ("serve", "serve", "serve", "show", "show", "click", "click", "note", "refund", "tick", "edit")
lives = st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 1_000)), min_size=15, max_size=80)


def live(todo: list[tuple[str, int]], settings: FoldSettings = SMALL_REST) -> World:
    life = Life(settings)
    for what, number in todo:
        life.do(what, number)
    return life.world


def equal(one: State, other: State) -> None:
    assert one.position == other.position
    assert one.hash == other.hash
    ours, theirs = contents(one), contents(other)
    assert ours.keys() == theirs.keys()
    for name, part in ours.items():
        assert part == theirs[name], name


def choices(state: State, world: World, keys: list[bytes]) -> list[Choice]:
    chooser = Chooser(state)
    return [chooser.choose(request(n), key, world.now_ms) for n, key in enumerate(keys)]


@settings(max_examples=25)
@given(lives)
def test_the_same_lines_give_the_same_state_read_from_bytes_or_not(todo: list[tuple[str, int]]) -> None:
    world = live(todo)
    keys = [world.key() for _ in range(6)]
    for bytes_too in (False, True):
        again = fold(world.entries, recent=RECENT, bytes_too=bytes_too)
        equal(world.state, again)
        assert choices(again, world, keys) == choices(world.state, world, keys)


@settings(max_examples=35)
@given(lives, st.data())
def test_a_snapshot_at_any_line_goes_on_as_if_nothing_had_been(
    todo: list[tuple[str, int]], data: st.DataObject
) -> None:
    world = live(todo)
    restart_at(data.draw(st.integers(1, len(world.entries))), world)


def test_a_long_life_restarts_anywhere() -> None:
    """Some hundred lines: the ring wraps, indexes come free and are given again, budgets run out."""
    seen: Counter[str] = Counter()
    for seed in range(5):
        chance = Random(seed)
        world = live([(chance.choice(STEPS), chance.randrange(1_000)) for _ in range(350)])
        catalogue = world.state.catalogue
        seen["forgotten"] += world.state.recent.first
        seen["columns"] += sum(catalogue.columns.generation.values())
        seen["ads"] += sum(catalogue.ads.places.generation.values())
        seen["rows"] += sum(catalogue.rows.generation.values())
        seen["billed"] += world.spent("c-1") + world.spent("c-2")
        seen["out of budget"] += world.spent("c-2") >= 40 * WON
        seen.update(known.verdict.fate for known in world.known.values() if known.verdict)
        for _ in range(2):
            restart_at(chance.randrange(1, len(world.entries)), world)
    lived = {"forgotten", "columns", "ads", "rows", "billed", "out of budget"}
    lived |= {"learned", "skipped", "held", "invalid", "refunded"}
    assert {what for what, count in seen.items() if count} >= lived, "a life without these proves little"


def test_judging_traffic_is_part_of_the_fold() -> None:
    """Counters wrap and come free, bursts and publishers are found late: all of it is the same anywhere."""
    seen: Counter[str | None] = Counter()
    steps = (*STEPS, "serve", "show", "click", "click", "show")
    for seed in range(4):
        chance = Random(seed)
        world = live([(chance.choice(steps), chance.randrange(1_000)) for _ in range(500)], WATCHED)
        seen.update(known.verdict.code for known in world.known.values() if known.verdict)
        for _ in range(2):
            restart_at(chance.randrange(1, len(world.entries)), world)
    found = {"bot", "user_clicks", "user_impressions", "too_soon", "double_click", "invalid_impression"}
    assert seen.keys() >= found, "a life without these proves little"
    assert seen.keys() - {None} <= REASONS.keys(), "every code is explained"


def restart_at(cut: int, world: World) -> None:
    """Fold up to a line, restore a copy, and go on with both: they and the world stay equal."""
    before = fold(world.entries[:cut], recent=RECENT, bytes_too=True)
    restored = State(columns=world.columns, recent=RECENT)
    saving.restore(restored, before.position, saving.parts(before))
    equal(before, restored)
    keys = [world.key() for _ in range(6)]
    assert choices(restored, world, keys) == choices(before, world, keys)
    for entry in world.entries[cut:]:
        one, other = apply(before, entry), apply(restored, entry)
        assert one == other
        assert before.hash == restored.hash
    equal(before, restored)
    equal(world.state, restored)
    restored.check()
    assert choices(restored, world, keys) == choices(world.state, world, keys)


@settings(max_examples=20)
@given(lives)
def test_choosing_changes_nothing_and_remembers_nothing(todo: list[tuple[str, int]]) -> None:
    world = live(todo)
    before, digest = contents(world.state), world.state.hash
    keys = [world.key() for _ in range(8)]
    first = choices(world.state, world, keys)
    fresh = [Chooser(world.state).choose(request(n), key, world.now_ms) for n, key in enumerate(keys)]
    backwards = [world.chooser.choose(request(n), keys[n], world.now_ms) for n in reversed(range(8))]
    assert first == fresh == backwards[::-1]
    assert contents(world.state) == before
    assert world.state.hash == digest


@settings(max_examples=10)
@given(lives)
def test_a_decision_survives_being_written_down(todo: list[tuple[str, int]]) -> None:
    """A record keeps the request; read back from bytes, it is decided the same."""
    world = live(todo)
    for number in range(6):
        key = world.key()
        asked = request(number)
        read = msgspec.msgpack.decode(msgspec.msgpack.encode(asked), type=AdRequest)
        choice = world.choose(asked, key)
        assert world.choose(read, key) == choice
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(choice), type=Choice) == choice


def test_which_ad_an_event_was_of_is_part_of_the_hash() -> None:
    one, other = start(), start()
    assert one.state.hash == other.state.hash
    one.show(one.ad("cr-1"))
    other.show(other.ad("cr-3"))
    assert one.state.hash != other.state.hash
