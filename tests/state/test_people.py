"""What is known of people: told, moved to a new key, erased, faded. Each by lines, as a node writes them."""

from __future__ import annotations

import msgspec

from app.domain.lines import Erased, Profiled
from app.domain.people import Profile
from tests.state.world import DAY_MS, World, contents, one_of_each

FORMER, USER, OTHER = b"f" * 12, b"u" * 12, b"o" * 12
WOMAN = Profile(gender="F", age=30, interests=("travel",))
MAN = Profile(gender="M")


def world() -> World:
    world = World()
    world.add(*one_of_each())
    return world


def tell(world: World, user: bytes, profile: Profile, former: bytes = b"") -> None:
    world.put(Profiled(at_ms=world.now_ms, user=user, profile=profile, former_user=former))


def test_a_profile_is_what_was_told_last() -> None:
    here = world()
    tell(here, USER, WOMAN)
    assert here.state.people.profile(USER) == WOMAN
    tell(here, USER, MAN)
    assert here.state.people.profile(USER) == MAN
    assert here.state.people.profile(OTHER) is None and here.state.people.profile(None) is None


def test_a_profile_fades_with_the_retention_and_not_before() -> None:
    here = world()
    tell(here, USER, WOMAN)
    here.tick(29 * DAY_MS)
    tell(here, OTHER, MAN)
    assert here.state.people.profile(USER) == WOMAN
    here.tick(DAY_MS)
    assert here.state.people.profile(USER) is None and here.state.people.profile(OTHER) == MAN
    here.tick(30 * DAY_MS)
    assert len(here.state.people.profiles) == 0


def test_a_shorter_retention_takes_effect_at_the_next_tick() -> None:
    here = world()
    tell(here, USER, WOMAN)
    here.tick(3 * DAY_MS)
    here.configure(retention_days=2)
    here.tick()
    assert here.state.people.profile(USER) is None


def test_what_is_known_moves_over_at_the_first_event_with_both_keys() -> None:
    here = world()
    tell(here, FORMER, WOMAN)
    told_ms = here.now_ms
    here.tick(10 * DAY_MS)
    here.show(msgspec.structs.replace(here.serve(), user=USER, former_user=FORMER))
    assert here.state.people.profile(USER) == WOMAN and here.state.people.profile(FORMER) is None
    here.tick(told_ms + 30 * DAY_MS - here.now_ms)
    assert here.state.people.profile(USER) is None, "the move makes nothing live longer"


def test_a_profile_told_under_the_new_key_wins_over_the_former_one() -> None:
    here = world()
    tell(here, FORMER, WOMAN)
    tell(here, USER, MAN, former=FORMER)
    assert here.state.people.profile(USER) == MAN and here.state.people.profile(FORMER) is None


def test_an_erased_person_is_nobody_to_ads_served_before() -> None:
    here = world()
    tell(here, USER, WOMAN)
    before = msgspec.structs.replace(here.serve(), user=USER)
    assert here.state.user_of(before) == USER
    here.put(Erased(at_ms=here.now_ms, users=(USER, FORMER)))
    assert here.state.people.profile(USER) is None
    assert here.state.user_of(before) == b""
    here.tick()
    after = msgspec.structs.replace(here.serve(), user=USER)
    assert here.state.user_of(after) == USER, "who comes back is served anew"
    here.tick(31 * DAY_MS)
    assert len(here.state.people.erased) == 0


def test_people_are_part_of_snapshots() -> None:
    here = world()
    tell(here, USER, WOMAN)
    here.put(Erased(at_ms=here.now_ms, users=(OTHER,)))
    here.state.people.act(USER, here.now_ms, "click@c-1")
    there = here.copy()
    assert contents(there.state) == contents(here.state)
    for each in (here, there):
        each.tick(31 * DAY_MS)
    assert contents(there.state) == contents(here.state)
    assert there.state.people.acted(USER) == ()
