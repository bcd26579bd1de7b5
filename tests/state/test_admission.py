"""Words admitted in the fold, and rows let go of. Goal: the strange light nothing, and the unused go."""

from __future__ import annotations

import numpy as np

from app.domain.lines import FoldSettings, Ticked
from app.domain.requests import AdRequest, Ask, Person
from app.rules.features import hashed_row
from app.rules.projection_plain import admission_hash
from app.state.admission import BITS
from tests.state.world import DAY_MS, HOUR_MS, World, ask_for, contents, fold, one_of_each

ASK = (Ask(name="a", placement_id="plc-1"),)
BOAT, GOLF = hashed_row("interest", "boat"), hashed_row("segment", "golf")


def world_of(**settings: float) -> World:
    world = World(FoldSettings(**settings))  # type: ignore[arg-type]
    world.add(*one_of_each())
    return world


def rows_of(world: World, **told: tuple[str, ...]) -> set[int]:
    request = AdRequest(request_id="r", asks=ASK, person=Person(**told))  # type: ignore[arg-type]
    return set(world.choose(request).placed[0].rows)


def admit(world: World, field: str, *words: str) -> None:
    hashes = b"".join(admission_hash(field, word).to_bytes(8, "little") for word in words)
    world.put(Ticked(at_ms=world.now_ms, admitted=hashes))


def test_by_default_every_word_lights_its_row_at_sight() -> None:
    assert rows_of(world_of(), interests=("boat",), segments=("golf",)) >= {BOAT, GOLF}


def test_a_strange_word_lights_nothing_until_it_is_admitted() -> None:
    world = world_of(admission=0.1)
    assert not rows_of(world, interests=("boat",), segments=("golf",)) & {BOAT, GOLF}
    admit(world, "interest", "boat", "golf")
    assert rows_of(world, interests=("boat",), segments=("golf",)) & {BOAT, GOLF} == {BOAT}, "by its field"
    admit(world, "segment", "golf")
    assert rows_of(world, interests=("boat",), segments=("golf",)) >= {BOAT, GOLF}


def test_strange_words_take_no_place_among_the_lit() -> None:
    world = world_of(admission=0.1)
    strange = tuple(f"strange-{number}" for number in range(40))
    assert BOAT not in rows_of(world_of(), interests=(*strange, "boat"))
    admit(world, "interest", "boat")
    assert BOAT in rows_of(world, interests=(*strange, "boat"))


def test_words_are_drawn_by_their_chance_and_the_occasion() -> None:
    world = world_of(admission=0.2)
    person = Person(
        interests=tuple(f"i-{n}" for n in range(500)), segments=tuple(f"s-{n}" for n in range(500))
    )
    once = world.state.admission.drawn(person, b"one")
    assert 150 < len(once) < 250 and once == world.state.admission.drawn(person, b"one")
    assert once != world.state.admission.drawn(person, b"other")
    world.put(Ticked(at_ms=world.now_ms, admitted=b"".join(each.to_bytes(8, "little") for each in once)))
    again = world.state.admission.drawn(person, b"one")
    assert again == [], "what is admitted is not drawn again"
    assert world_of().state.admission.drawn(person, b"one") == [], "nor anything where all are"


def test_a_word_unused_for_long_is_strange_again() -> None:
    world = world_of(admission=0.5, unused_days=10)
    world.tick()
    admit(world, "interest", "boat")
    world.tick(5 * DAY_MS)
    assert BOAT in rows_of(world, interests=("boat",)), "in the older filter now"
    admit(world, "interest", "boat", "golf")
    world.tick(5 * DAY_MS)
    assert BOAT in rows_of(world, interests=("boat",)), "it was seen meanwhile"
    world.tick(5 * DAY_MS)
    assert BOAT not in rows_of(world, interests=("boat",))
    assert len(world.state.admission.younger) == BITS // 8


def test_a_row_unused_for_long_loses_its_weights() -> None:
    world = world_of(unused_days=3)
    ad = world.ad(rows=(0, BOAT))
    world.show(ad)
    world.click(ad)
    cells = world.state.model.n[BOAT].copy()
    assert cells.any()
    for _ in range(71):
        world.tick(HOUR_MS)
        world.show(world.ad(rows=(0, GOLF)))
    assert world.state.model.n[BOAT].any(), "not three days yet"
    for _ in range(3):
        world.tick(HOUR_MS)
        world.show(world.ad(rows=(0, GOLF)))
    model = world.state.model
    assert not model.touched[BOAT] and not model.n[BOAT].any() and not model.w[BOAT].any()
    assert model.n[GOLF].any() and model.n[0].any(), "what is lit stays, as does what all light"
    assert world.state.usage.pruned == 1
    world.show(world.ad(rows=(0, BOAT)))
    assert model.n[BOAT].any(), "and it may come again"


def test_nothing_goes_where_nothing_is_to() -> None:
    world = world_of()
    world.show(world.ad(rows=(0, BOAT)))
    world.tick(400 * DAY_MS)
    assert world.state.model.touched[BOAT]


def test_a_snapshot_and_a_second_fold_know_the_same() -> None:
    world = world_of(admission=0.5, unused_days=2)
    admit(world, "interest", "boat")
    world.show(world.serve(AdRequest(request_id="r", asks=ASK, person=Person(interests=("boat",)))))
    world.tick(DAY_MS)
    other = world.copy()
    for one in (world, other):
        one.show(one.ad(rows=(0, GOLF)))
        one.tick(3 * DAY_MS)
        one.tick()
    assert contents(other.state) == contents(world.state) and other.state.hash == world.state.hash
    assert other.choose(ask_for("plc-1"), key=bytes(14)) == world.choose(ask_for("plc-1"), key=bytes(14))
    again = fold(world.entries, bytes_too=True)
    assert again.hash == world.state.hash
    assert np.array_equal(again.usage.hours, world.state.usage.hours)
