"""Progressive evaluation: every impression judged by its token's pCTR, once its click window has closed."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.lines import FoldSettings
from tests.state.world import World, one_of_each

WINDOW_MS = 600_000


def fresh(settings: FoldSettings | None = None) -> World:
    world = World(settings)
    world.add(*one_of_each())
    return world


def loss_of(p: float, clicked: bool) -> float:
    return -math.log(p if clicked else 1 - p)


def test_predicted_clicks_and_clicks_count_at_once_and_loss_only_when_the_window_closed() -> None:
    world = fresh()
    ads = [world.ad(pctr=p) for p in (0.1, 0.2, 0.4)]
    for ad in ads:
        world.show(ad)
    world.click(ads[1])
    progress = world.state.progress
    assert (progress.impressions, progress.clicks) == (3, 1)
    assert progress.predicted_clicks == pytest.approx(0.7)
    world.tick(WINDOW_MS - 1)
    assert progress.closed == 0
    assert math.isnan(progress.log_loss())
    world.tick(1)
    assert progress.closed == 3
    plain = [loss_of(0.1, False), loss_of(0.2, True), loss_of(0.4, False)]
    assert progress.log_loss() == pytest.approx(sum(plain) / 3)


def test_the_window_is_a_setting() -> None:
    world = fresh(FoldSettings(click_window_s=5))
    world.show(world.ad())
    world.tick(5_000)
    assert world.state.progress.closed == 1


def test_a_click_after_its_window_counts_and_no_longer_changes_the_label() -> None:
    world = fresh()
    ad = world.ad(pctr=0.1)
    world.show(ad)
    world.tick(WINDOW_MS)
    assert world.click(ad).learned
    assert world.state.progress.clicks == 1
    assert world.state.progress.log_loss() == pytest.approx(loss_of(0.1, False))


def test_what_was_refunded_is_not_judged() -> None:
    world = fresh()
    good, bad = world.ad(pctr=0.1), world.ad(pctr=0.9)
    world.show(good)
    world.refund(world.show(bad))
    world.tick(WINDOW_MS)
    assert world.state.progress.closed == 1
    assert world.state.progress.log_loss() == pytest.approx(loss_of(0.1, False))


def test_a_certain_prediction_that_fails_costs_much_and_not_infinity() -> None:
    world = fresh()
    world.show(world.ad(pctr=1.0))
    world.tick(WINDOW_MS)
    assert 30 < world.state.progress.log_loss() < 40


@settings(max_examples=50)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("show"), st.floats(0.001, 0.999)),
            st.tuples(st.just("click"), st.floats(0, 0.999)),
            st.tuples(st.just("late"), st.floats(0.001, 0.999)),
            st.tuples(st.just("tick"), st.floats(1, 400_000)),
        ),
        min_size=5,
        max_size=40,
    )
)
def test_the_loss_is_that_of_a_plain_computation(todo: list[tuple[str, float]]) -> None:
    world = fresh()
    shown: list[tuple[int, float, list[bool]]] = []  # when, p, clicked in its window
    open_ads = []
    clicks = 0
    for what, number in todo:
        match what:
            case "show" | "late":
                ad = world.ad(pctr=number)
                label = [False]
                if what == "late":
                    world.click(ad)
                    clicks += 1
                    label[0] = True
                world.show(ad)
                shown.append((world.now_ms, number, label))
                if what == "show":
                    open_ads.append((ad, world.now_ms, label))
            case "click" if open_ads:
                ad, at_ms, label = open_ads.pop(int(number * len(open_ads)))
                world.click(ad)
                clicks += 1
                # The window closes with a tick, so a click before that still counts.
                label[0] = world.state.clock_ms < at_ms + WINDOW_MS
            case _:
                world.tick(int(number))
    progress = world.state.progress
    closed = [(p, label[0]) for at_ms, p, label in shown if at_ms + WINDOW_MS <= world.state.clock_ms]
    assert (progress.impressions, progress.clicks) == (len(shown), clicks)
    assert (progress.closed, progress.closed_clicks) == (len(closed), sum(y for _, y in closed))
    assert progress.closed_predicted == pytest.approx(sum(p for p, _ in closed))
    assert progress.log_loss_sum == pytest.approx(sum(loss_of(p, y) for p, y in closed), abs=1e-9)
