"""What came of an experiment over HTTP: figures that can be worked out by hand, and who may see them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from app.domain.catalogue import Experiment, Variant
from app.domain.lines import Catalogued
from app.rules.sequential import EXPECTED, half_width
from app.rules.splitting import BUCKETS, number_of
from tests.node import Server, tick

RESULTS = "/v1/experiments/e-1/results"
VARIANTS = (
    Variant(name="b", share=0.1, exploration_scale=1.0),
    Variant(name="s", share=0.5, shadow=True, floor_micros=1),
)


@pytest.fixture(scope="module")
def counted(server: Server) -> Server:
    """An experiment in two stages, with sums that are known."""

    async def happen() -> None:
        node = server.node
        for share in (0.1, 0.3):
            variants = (Variant(name="b", share=share, exploration_scale=1.0), VARIANTS[1])
            thing = Experiment(id="e-1", variants=variants)
            await node.submit(Catalogued(at_ms=node.now_ms(), thing=thing))
            await tick(node)
        results = node.state.experiments.results
        for seat, shown, clicks in ((1, 900, 9.0), (2, 100, 2.0), (4, 700, 35.0), (5, 300, 30.0)):
            for bucket in range(BUCKETS):
                each = {"impressions": shown, "clicks": clicks + bucket % 2, "decisions": 2 * shown}
                money = {"revenue_micros": 5e9, "predicted": 2 * clicks, "filled": shown}
                results.count(number_of(seat, bucket), **each, **money)
        for bucket in range(BUCKETS):
            results.count(
                number_of(3, bucket), decisions=4, differing=1, served_micros=8e6, would_be_micros=4e6
            )

    server.run(happen())
    return server


def told(server: Server) -> Any:
    answer = server.get(RESULTS)
    assert answer.status == 200
    return answer.json()


def test_figures_are_told_by_arm_with_stages_compared_each_with_itself(counted: Server) -> None:
    found = told(counted)
    assert (found["phase"], found["promoted"], found["alpha"]) == ("serving", None, 0.05)
    assert "understated" in found["note"]
    assert [stage["shares"] for stage in found["stages"]] == [{"b": 0.1}, {"b": 0.3}]
    control, tried = found["arms"]
    assert (control["name"], control["numbers"], tried["name"], tried["numbers"]) == (
        "control",
        [1, 4],
        "b",
        [2, 5],
    )
    assert (tried["share"], control["share"]) == (0.3, pytest.approx(0.7))
    assert tried["impressions"] == 400 * BUCKETS
    assert tried["revenue"] == 2 * 5_000 * BUCKETS
    rates = {(arm, stage): (clicks + 0.5) / shown for arm, stage, shown, clicks in (
        (0, 0, 900, 9), (1, 0, 100, 2), (0, 1, 700, 35), (1, 1, 300, 30))}  # fmt: skip
    weights = np.array([1 / (1 / 900 + 1 / 100), 1 / (1 / 700 + 1 / 300)])
    gaps = [rates[1, stage] - rates[0, stage] for stage in range(2)]
    ctr = tried["metrics"]["ctr"]
    assert ctr["difference"] == pytest.approx(float((weights * gaps).sum() / weights.sum()))
    assert ctr["value"] == pytest.approx((2.5 + 30.5) / 400)
    assert ctr["difference_low"] < ctr["difference"] < ctr["difference_high"]
    assert ctr["verdict"] == "higher"
    assert tried["metrics"]["fill"]["value"] == 0.5
    assert tried["metrics"]["ecpm"]["value"] == pytest.approx(1000 * 10_000 / 400)
    assert tried["metrics"]["revenue"]["value"] == pytest.approx(1000 * 10_000 / 800)
    assert tried["metrics"]["calibration"]["value"] == pytest.approx(64 / 33)
    assert tried["metrics"]["cvr"]["value"] == 0.0
    assert tried["metrics"]["latency_ms"]["value"] is None
    assert control["metrics"]["ctr"]["verdict"] is None
    assert (tried["exploration"], control["exploration"]) == (
        {"scale": 1.0, "factor": 1.0, "cost": 0.0},
        None,
    )


def test_an_arms_own_interval_is_the_rules(counted: Server) -> None:
    figure = told(counted)["arms"][0]["metrics"]["ctr"]
    shown, clicks = 1_600.0 * BUCKETS, 45.0 * BUCKETS
    top = np.array([44.0 + 2 * (bucket % 2) for bucket in range(BUCKETS)])
    parts = (top - clicks / shown * 1_600.0) / shown
    variance = float((parts**2).sum()) * BUCKETS / (BUCKETS - 1)
    half = half_width(variance, EXPECTED * clicks / shown)
    assert (figure["low"], figure["high"]) == pytest.approx((clicks / shown - half, clicks / shown + half))


def test_a_shadow_tells_how_often_it_would_have_chosen_otherwise(counted: Server) -> None:
    (shadow,) = told(counted)["shadows"]
    assert (shadow["name"], shadow["decisions"], shadow["differing"]["value"]) == ("s", 4 * BUCKETS, 0.25)
    assert (shadow["served_ecpm"], shadow["would_be_ecpm"]) == (2.0, 1.0)


def test_what_was_predicted_is_told_by_variant(counted: Server) -> None:
    for name in ("control", "b"):
        table = counted.get(f"/v1/reliability?variant={name}").json()
        assert (table["variant"], table["clicks"], len(table["buckets"])) == (name, 0.0, 32)
    assert counted.get("/v1/reliability?variant=s").status == 404
    assert counted.get("/v1/experiments/none/results").status == 404
