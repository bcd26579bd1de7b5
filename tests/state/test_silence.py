"""A silent click stream. Goal: it teaches nobody that nobody clicks, however it ends, and others learn on.

Method: a world of two publishers; lines as a node writes them; the model's weights before and after.
"""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from app.domain.catalogue import Placement, Publisher
from app.domain.decisions import ServedAd
from app.domain.lines import FoldSettings
from app.state.silence import STREAMS, WHOLE, Silence
from tests.state.world import World, one_of_each

LIMIT = 6


def two_publishers() -> World:
    world = World(FoldSettings(silence_clicks=LIMIT))
    world.add(*one_of_each(), Publisher(id="pub-2"))
    for place, publisher in ((1, 1), (2, 1), (3, 2)):
        world.add(Placement(id=f"plc-{place}", publisher_id=f"pub-{publisher}", formats=("banner",)))
    return world


def at(world: World, place: int, pctr: float = 1.0) -> ServedAd:
    publisher = f"pub-{2 if place == 3 else 1}"
    ad = world.ad(pctr=pctr)
    return msgspec.structs.replace(ad, placement_id=f"plc-{place}", publisher_id=publisher)


def fall_silent(world: World, *places: int) -> None:
    """Show without a click until these places have had enough, others clicking beside them."""
    for _ in range(LIMIT):
        for place in places:
            world.show(at(world, place))
            if len(places) < 3:  # somebody else is alive
                other = next(each for each in (1, 2, 3) if each not in places)
                alive = at(world, other)
                world.show(alive)
                world.click(alive)


#   silent places  learned at plc-1, plc-2, plc-3    why
TABLE = [
    ((1,),         (False, True, True),              "one place's tracker is broken"),
    ((1, 2),       (False, False, True),             "a publisher's reports do not arrive"),
    ((3,),         (True, True, False),              "the other publisher's"),
    ((1, 2, 3),    (False, False, False),            "nobody's do"),
]  # fmt: skip


def test_the_limit_is_that_of_the_settings() -> None:
    assert two_publishers().state.silence.limit == LIMIT


@pytest.mark.parametrize(("silent", "learned", "why"), TABLE)
def test_who_is_silent_is_held_and_others_learn_on(
    silent: tuple[int, ...], learned: tuple[bool, ...], why: str
) -> None:
    world = two_publishers()
    fall_silent(world, *silent)
    assert tuple(world.show(at(world, place, 0.0)).learned for place in (1, 2, 3)) == learned, why
    assert (WHOLE in world.state.silence.silent()) is (len(silent) == 3)


def test_a_held_impression_and_its_click_change_no_weight_and_are_billed() -> None:
    world = two_publishers()
    fall_silent(world, 1, 2, 3)
    before, counts = world.state.model.w.copy(), world.state.calibration.counts.copy()
    held = at(world, 1)
    assert not world.show(held).learned
    receipt = world.click(held)
    assert (receipt.learned, receipt.billed_micros > 0) == (False, True)
    assert np.array_equal(before, world.state.model.w)
    assert np.array_equal(counts, world.state.calibration.counts)


def test_the_click_of_what_was_learned_before_the_silence_is_learned_when_it_comes() -> None:
    world = two_publishers()
    early = at(world, 1)
    world.show(early)
    fall_silent(world, 1, 2, 3)
    assert world.click(early).learned


def test_one_click_that_lost_its_way_buys_a_third_of_a_run_and_three_a_whole_one() -> None:
    world = two_publishers()
    early = [at(world, 1) for _ in range(4)]
    for ad in early:
        world.show(ad)
    fall_silent(world, 1, 2, 3)
    for clicks, lessons in ((1, LIMIT // 3), (3, LIMIT)):
        for _ in range(clicks):
            world.click(early.pop())
        assert [world.show(at(world, 1)).learned for _ in range(lessons + 1)] == [True] * lessons + [False]


def test_a_dead_stream_teaches_no_more_than_its_limit_however_long_it_lasts() -> None:
    world = two_publishers()
    learned = sum(world.show(at(world, 1, 0.5)).learned for _ in range(40 * LIMIT))
    assert learned == 2 * LIMIT


def test_a_snapshot_keeps_it_and_an_earlier_one_kept_the_whole() -> None:
    world = two_publishers()
    fall_silent(world, 1)
    again = Silence()
    again.limit = LIMIT
    again.restore(world.state.silence.unanswered, 0.0)
    assert again.silent() == world.state.silence.silent() != []
    former = Silence()
    former.limit = LIMIT
    former.restore(None, float(LIMIT))
    assert former.silent() == [WHOLE]


def test_a_row_that_goes_to_another_placement_takes_no_silence_along() -> None:
    silence = Silence()
    silence.limit = 1.0
    silence.shown((WHOLE, STREAMS - 1, 5), 2.0)
    silence.clear(5)
    assert silence.silent() == [WHOLE, STREAMS - 1]
