"""Warming leaves nothing to compile: what a node does later meets kernels of known types only."""

from __future__ import annotations

import subprocess
import sys

import pytest

# In a process of its own: here other tests have compiled whatever they met.
_LIFE = """
import sys
from random import Random
import msgspec
from app.domain.lines import FoldSettings
from app.flows.warming import warm
from tests.state.test_deals import D1, D2, world_of_deals
from tests.state.test_separation import world_apart
from tests.state.test_determinism import STEPS, WATCHED, Life
from tests.state.world import WON, World, ask_for, banner, group, one_of_each

def compiled():
    kernels = {}
    for name, module in list(sys.modules.items()):
        if name.startswith("app."):
            for key, value in vars(module).items():
                if hasattr(value, "nopython_signatures"):
                    kernels[key] = len(value.nopython_signatures)
    return kernels

warm()
before = compiled()
world = world_of_deals()
world.change("placement", "plc-1", floor_micros=4_500 * WON)
world.choose(ask_for("plc-1", deals=(D1, D2), count=2))
world.choose(ask_for("plc-1", "plc-1"))
apart = world_apart("advertiser", "category")
apart.choose(ask_for("plc-1", "plc-1", count=3))
factored = Life(msgspec.structs.replace(WATCHED, learner="ffm", exploration="thompson"))
chance = Random(5)
for _ in range(120):
    factored.do(chance.choice(STEPS), chance.randrange(1_000))
life = Life(msgspec.structs.replace(WATCHED, exploration="thompson", uniform_share=0.1))
chance = Random(4)
for _ in range(250):
    life.do(chance.choice(STEPS), chance.randrange(1_000))
assert life.world.state.calibration.fitted.any()
exploring = World(FoldSettings(exploration="thompson", uniform_share=0.2))
exploring.add(*one_of_each(), group("g-2"), banner("cr-2", "g-2"))
measured = [exploring.choose().placed[0].greedy_ecpm_micros for _ in range(60)]
assert any(measured)
grown = {key for key, count in compiled().items() if count > before.get(key, 0)}
grown -= {"find"}  # which checks call, and no node
assert before["nothing_met"] and before["take_back"]
assert not grown, grown
assert before["narrow"] and before["part_with"] and before["screen"]
"""


@pytest.mark.slow
def test_nothing_is_left_to_compile() -> None:
    done = subprocess.run([sys.executable, "-c", _LIFE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
