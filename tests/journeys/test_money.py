"""Reports add up to the journal to the micro: a simulated fortnight held against plain books.

`python -m loadtest money` does the same with a million events.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtest.money import Simulation, check


def add_up(folder: Path, events: int, seed: int) -> None:
    simulation = Simulation(folder, seed, events)
    simulation.play()
    told = check(folder, simulation)
    simulation.journal.close()
    assert told["counted"] > events // 2
    assert min(told["spend_micros"], told["unbilled_micros"], told["refunds_micros"]) > 0


def test_the_money_of_a_fortnight_adds_up_to_the_micro(tmp_path: Path) -> None:
    add_up(tmp_path, 20_000, seed=1)


@pytest.mark.slow
def test_more_money_adds_up_to_the_micro(tmp_path: Path) -> None:
    add_up(tmp_path, 100_000, seed=2)
