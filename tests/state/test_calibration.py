"""Calibration in the fold: what is counted and taken back, when it begins to act, and how soon it follows."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from app.domain.lines import Clicked, FoldSettings, Shown, Ticked
from app.rules.calibration import NO_CURVE, calibrated
from app.state.calibration import PREDICTED, WHOLE, Calibration
from tests.state.world import WON, World, ask_for, banner, group, one_of_each, placement, served

ON = FoldSettings(calibration_clicks=500)
ROW, OTHER_ROW = 3, 4


def fed(ratio: float, clicks: int = 600, row: int = ROW, p: float = 0.02, memory: int = 500) -> Calibration:
    """A calibration that saw clicks at `ratio` times the rate predicted."""
    calibration = Calibration()
    calibration.memory_clicks = memory
    every = round(1 / (p * ratio))
    for number in range(clicks * every):
        calibration.shown(row, p)
        if number % every == 0:
            calibration.clicked(row, p)
    calibration.tick()
    return calibration


def put_right(calibration: Calibration, row: int, p: float) -> float:
    logit = float(calibrated(np.log(p / (1 - p)), calibration.curve(row)))
    return float(1 / (1 + np.exp(-logit)))


@pytest.mark.parametrize("ratio", [0.5, 2.0])
def test_predictions_come_to_what_was_seen(ratio: float) -> None:
    calibration = fed(ratio)
    assert put_right(calibration, ROW, 0.02) == pytest.approx(0.02 * ratio, rel=0.05)
    assert put_right(calibration, OTHER_ROW, 0.02) == pytest.approx(0.02 * ratio, rel=0.08), "as the whole"


def test_a_placement_of_its_own_kind_is_put_right_by_itself() -> None:
    calibration = fed(1.0)
    for number in range(20_000):
        calibration.shown(OTHER_ROW, 0.02)
        if number % 100 == 0:
            calibration.clicked(OTHER_ROW, 0.02)
    calibration.tick()
    assert put_right(calibration, OTHER_ROW, 0.02) == pytest.approx(0.01, rel=0.15)
    assert put_right(calibration, ROW, 0.02) > 1.4 * put_right(calibration, OTHER_ROW, 0.02)


def test_a_few_clicks_change_nothing_and_off_is_off() -> None:
    assert fed(2.0, clicks=90).curve(ROW) is NO_CURVE
    off = fed(2.0, clicks=600, memory=500)
    off.memory_clicks = 0
    assert off.curve(ROW) is NO_CURVE
    before = off.counts.copy()
    off.shown(ROW, 0.02)
    off.clicked(ROW, 0.02)
    assert (off.counts == before).all()


def test_what_is_taken_back_was_never_counted() -> None:
    calibration = Calibration()
    calibration.memory_clicks = 10**6  # so that nothing fades
    calibration.shown(ROW, 0.02)
    calibration.clicked(ROW, 0.02)
    calibration.taken_back(ROW, 0.02, clicked=True)
    assert calibration.counts.max() == 0.0
    calibration.taken_back(ROW, 0.02, clicked=True)
    calibration.check()


def test_what_is_counted_is_the_raw_prediction_of_the_fold() -> None:
    world = World(ON)
    world.add(*one_of_each())
    ad = world.serve()
    raw = world.p(ad)
    world.show(ad)
    counts = world.state.calibration.counts
    assert counts[WHOLE, PREDICTED].sum() == pytest.approx(raw)
    receipt = world.click(ad)
    assert counts[world.state.row_of("plc-1")].sum() == pytest.approx(1.0 + raw)
    world.refund(receipt)
    assert counts[WHOLE].sum() == pytest.approx(0.0), "the click takes its impression along"


def test_a_restored_calibration_goes_on_alike() -> None:
    one, other = fed(0.5), Calibration()
    one.shown(OTHER_ROW, 0.3)
    other.memory_clicks = one.memory_clicks
    other.restore({name: part.copy() for name, part in one.parts().items()})
    for each in (one, other):
        each.shown(ROW, 0.1)
        each.clicked(ROW, 0.1)
    assert one.tick() == other.tick() != b""
    assert (one.curves == other.curves).all()
    assert (one.counts == other.counts).all()
    one.check()


class Crowd:
    """People who click by a truth of their own: a rate for each ad, a factor for each placement."""

    def __init__(self) -> None:
        self.world = World(ON, recent=1 << 16)
        self.world.add(*one_of_each(), placement("plc-2"))
        for number in range(2, 9):
            self.world.add(group(f"g-{number}", bid=2_000 + number), banner(f"cr-{number}", f"g-{number}"))
        self.random = Random(5)
        self.factor = 1.0

    def floor_price(self) -> int:
        """What the last of all ads pays for a click, by the floor alone."""
        request = ask_for("plc-1", count=8, floor_micros=5_000 * WON)
        return self.world.choose(request).placed[0].wins[-1].price_micros

    def until(self, clicks: int) -> float:
        """Go on until so many clicks came; returns predicted over expected clicks."""
        came, predicted, expected, visits = 0, 0.0, 0.0, 0
        while came < clicks:
            visits += 1
            placement_id = "plc-1" if self.random.random() < 0.7 else "plc-2"
            ad = served(self.world.choose(ask_for(placement_id)).placed[0], self.world.now_ms)
            truth = 0.02 + 0.005 * int(ad.creative_id.removeprefix("cr-"))
            truth *= self.factor * (1.5 if placement_id == "plc-2" else 1.0)
            predicted, expected = predicted + ad.pctr, expected + truth
            self.world.put(Shown(at_ms=self.world.now_ms, ad=ad), check=False)
            if self.random.random() < truth:
                self.world.put(Clicked(at_ms=self.world.now_ms, ad=ad), check=False)
                came += 1
            if visits % 100 == 0:
                self.world.now_ms += 1_000
                self.world.put(Ticked(at_ms=self.world.now_ms), check=False)
        return predicted / expected


@pytest.mark.slow
def test_a_sudden_halving_of_all_rates_is_followed_within_two_thousand_clicks() -> None:
    crowd = Crowd()
    crowd.until(1_500)
    assert crowd.until(500) == pytest.approx(1.0, abs=0.05)
    price = crowd.floor_price()
    crowd.factor = 0.5
    assert crowd.until(100) > 1.3, "it was a surprise"
    crowd.until(1_900)
    assert crowd.until(500) == pytest.approx(1.0, abs=0.05)
    assert crowd.floor_price() == pytest.approx(2 * price, rel=0.15), "and prices follow"
    crowd.world.state.check()
