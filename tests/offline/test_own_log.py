"""The node's own uniform share: estimates hold the truth where it is known; files tell what was decided."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

from app.cli import app as commands
from app.domain.catalogue import Thing
from app.domain.lines import Catalogued, Clicked, FoldSettings, Shown
from app.domain.refusals import Refused
from app.flows.loading import load_model
from app.flows.reporting import verdicts_until
from app.flows.snapshotting import follow_and_save
from app.flows.tracing import retrace_sample
from app.offline.own_log import Drawn, _best, _paid, _scorer, drawn_decisions, judge, own_log
from app.offline.train import TrainPlan, train_archive
from tests.flows.test_reporting import Clock
from tests.node import COLUMNS, FOLD, ask_for, decide, running_node, send, small_catalogue
from tests.offline.archives import archive_past, live
from tests.state.world import World, banner, group, one_of_each, placement, served
from tests.state.world import ask_for as asking

LOTS = FoldSettings(exploration="thompson", uniform_share=1.0, uniform_best=4, in_flight_s=1)


def lived(seed: int, decisions: int = 300) -> tuple[list[Drawn], dict[tuple[str, str], float]]:
    """Drawn decisions on two placements, and the true rates by which their ads were clicked."""
    world, chance = World(LOTS), random.Random(seed)
    things: list[Thing] = [*one_of_each(), placement("plc-2")]
    for number in range(2, 9):
        things += [group(f"g-{number}", bid=1_900 + 30 * number), banner(f"cr-{number}", f"g-{number}")]
    for thing in things:
        world.put(Catalogued(at_ms=world.now_ms, thing=thing), check=False)
    truth = {
        (f"cr-{number}", place): chance.uniform(0.03, 0.4)
        for number in range(1, 9)
        for place in ("plc-1", "plc-2")
    }
    drawn = []
    for _ in range(decisions):
        place = chance.choice(["plc-1", "plc-2"])
        (placed,) = world.choose(asking(place)).placed
        ad = served(placed, world.now_ms)
        clicked = chance.random() < truth[ad.creative_id, place]
        world.put(Shown(at_ms=world.now_ms, ad=ad), check=False)
        if clicked:
            world.put(Clicked(at_ms=world.now_ms, ad=ad), check=False)
        chosen = [lot.creative_id for lot in placed.lots].index(ad.creative_id)
        assert placed.wins[0].propensity == pytest.approx(1 / len(placed.lots))
        drawn.append(Drawn(placed.rows, place, placed.lots, chosen, placed.wins[0].propensity, clicked))
    return drawn, truth


def test_intervals_hold_what_a_policy_would_have_earned() -> None:
    """Twenty nodes: an oracle, its opposite and the node itself. 95 %: at least 16 hold (else 3 in 1,000)."""
    held: dict[tuple[str, str, str], int] = {}
    for seed in range(20):
        drawn, truth = lived(seed)

        def rates(one: Drawn, truth: dict[tuple[str, str], float] = truth) -> list[float]:
            return [truth[lot.creative_id, one.placement_id] for lot in one.lots]

        policies: dict[str, Callable[[Drawn], list[float]]] = {
            "oracle": rates,
            "opposite": lambda one: [1.0 - p for p in rates(one)],
            "node": lambda one: [lot.pctr for lot in one.lots],
        }
        for name, predict in policies.items():
            chosen = [_best(one.lots, predict(one)) for one in drawn]
            worth = judge(name, drawn, chosen)
            clicks = [float(p @ rates(one)) for p, one in zip(chosen, drawn, strict=True)]
            money = [
                float(p @ [_paid(lot, rate) for lot, rate in zip(one.lots, rates(one), strict=True)])
                for p, one in zip(chosen, drawn, strict=True)
            ]
            for what, found, true in (
                ("ctr", worth.ctr, float(np.mean(clicks))), ("ecpm", worth.ecpm, float(np.mean(money)) / 1e6)
            ):  # fmt: skip
                for estimator, one in found.items():
                    key = name, what, estimator
                    held[key] = held.get(key, 0) + (one.low <= true <= one.high)
    assert len(held) == 18
    assert min(held.values()) >= 16, held


def test_a_data_directory_tells_who_was_drawn_among_whom_and_what_came_of_it(tmp_path: Path) -> None:
    model = tmp_path / "model.adjudge"
    data = tmp_path / "node"
    data.mkdir()

    async def work() -> None:
        clock = Clock()
        fold = msgspec.structs.replace(
            FOLD, exploration="thompson", uniform_share=0.5, exploration_ceiling=0.5
        )
        async with running_node(data, clock_ms=clock, fold=fold, things=small_catalogue()) as node:
            decisions = await live(node, clock, hours=2, requests=25)
            unseen = decide(node, ask_for("plc-1"))
            await archive_past(node, clock)
            content = (await asyncio.to_thread(train_archive, data / "archive", TrainPlan())).content
            await asyncio.to_thread(model.write_bytes, content)
            await verdicts_until(node, node.state.position)
            state = node.state
            await asyncio.to_thread(
                follow_and_save, data, COLUMNS, state.position, state.hash.hex(), clock.at_ms
            )
            drawn = await asyncio.to_thread(drawn_decisions, data)
            places = [placed for one in decisions for placed in one.choice.placed if placed.lots]
            assert [one.lots for one in drawn] == [placed.lots for placed in places]
            assert 15 < len(drawn) < len(decisions) * 2
            assert unseen.choice.placed[0].decision_id is not None
            for one, placed in zip(drawn, places, strict=True):
                assert one.lots[one.chosen].creative_id == placed.wins[0].creative_id
            traced = await asyncio.to_thread(retrace_sample, data, COLUMNS, 60)
            assert all(each.agrees for each in traced)
            await load_model(node, content)
            for _ in range(30):
                served_now = decide(node, ask_for("plc-2")).choice.placed[0]
                if served_now.lots:
                    scorer = await asyncio.to_thread(_scorer, data, model)
                    one = Drawn(served_now.rows, "plc-2", served_now.lots, 0, 0.5, clicked=False)
                    expected = [lot.pctr for lot in served_now.lots]
                    assert scorer.predict(one) == pytest.approx(expected, rel=1e-5)
            ad = decide(node, ask_for("plc-1")).ads[0]
            await send(node, "impression", ad)
            await verdicts_until(node, node.state.position)

    asyncio.run(work())
    arguments = ["off-policy", str(data), "--policies", f"uniform,node,{model}"]
    answer = CliRunner().invoke(commands, [*arguments, "--json"])
    assert answer.exit_code == 0, answer.output
    told = json.loads(answer.stdout)
    assert told["logged"]["ctr"]["ips"]["value"] == pytest.approx(told["clicks"] / told["decisions"])
    assert [one["policy"] for one in told["policies"]] == ["uniform", "node", "model.adjudge"]
    uniform = told["policies"][0]
    assert uniform["ctr"] == told["logged"]["ctr"], "the lot is uniform already"
    assert "model.adjudge" in CliRunner().invoke(commands, arguments).stdout


def test_what_cannot_be_judged_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused) as refused:
        own_log(tmp_path, ["node"])
    assert refused.value.code == "no_data"

    async def work() -> None:
        async with running_node(tmp_path, things=small_catalogue()):
            pass

    asyncio.run(work())
    for policies, code in ((["node"], "no_uniform_share"), (["best"], "unknown_policy")):
        with pytest.raises(Refused) as refused:
            own_log(tmp_path, policies)
        assert refused.value.code == code
    assert CliRunner().invoke(commands, ["off-policy", str(tmp_path / "no.csv")]).exit_code == 2
