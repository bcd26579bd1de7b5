"""What an ad request leaves on the metrics: the time of its stage, once for each request decided."""

from __future__ import annotations

import asyncio
from pathlib import Path

from app.flows.serve import serve
from tests.node import ask_for, close_node, make_node, small_catalogue


def test_the_time_of_choosing_is_observed_once_a_request(tmp_path: Path) -> None:
    async def run() -> float | None:
        node = await make_node(tmp_path, things=small_catalogue())
        try:
            for _ in range(3):
                serve(node, ask_for("plc-1"))
            labels = {"stage": "choose"}
            return node.counters.registry.get_sample_value("adjudge_stage_duration_seconds_count", labels)
        finally:
            await close_node(node)

    assert asyncio.run(run()) == 3
