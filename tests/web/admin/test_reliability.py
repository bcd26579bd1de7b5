"""The reliability table over HTTP, and the same on the node's metrics."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from app.web.admin.app import admin_app
from app.web.admin.auth import key_hash
from tests.node import FOLD, Server, ask_for, decide, send, serving, small_catalogue, tick
from tests.web.admin.conftest import HEADERS, KEY


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(
        tmp_path_factory.mktemp("node"),
        lambda node: admin_app(node, admin_key_hash=key_hash(KEY)),
        HEADERS,
        things=small_catalogue(),
        fold=msgspec.structs.replace(FOLD, calibration_clicks=4),
    ) as server:
        yield server


def test_predictions_and_clicks_are_told_by_bucket(server: Server) -> None:
    async def visits(times: int) -> None:
        for _ in range(times):
            (ad,) = decide(server.node, ask_for("plc-1")).ads
            await send(server.node, "impression", ad)
            await send(server.node, "click", ad)
        await tick(server.node)

    before = server.get("/v1/reliability").json()
    assert (before["in_use"], before["clicks"], before["memory_clicks"]) == (False, 0.0, 4)
    assert all(bucket["raw_pctr"] == pytest.approx(bucket["calibrated_pctr"]) for bucket in before["buckets"])
    server.run(visits(2))
    told = server.get("/v1/reliability").json()
    assert told["in_use"]
    assert told["clicks"] == pytest.approx(2.0, abs=0.1)
    assert 0.02 < told["predicted_clicks"] < told["clicks"]
    assert sum(bucket["clicks"] for bucket in told["buckets"]) == pytest.approx(told["clicks"])
    rates = [bucket["calibrated_pctr"] for bucket in told["buckets"]]
    assert rates == sorted(set(rates)), "they rise"
    own = server.get("/v1/reliability?placement_id=plc-1").json()
    assert own["clicks"] == told["clicks"]
    assert server.get("/v1/reliability?placement_id=plc-2").json()["clicks"] == 0.0
    assert server.get("/v1/reliability?placement_id=nowhere").status == 404
    metrics = server.get("/metrics").body.decode()
    lines = [line for line in metrics.splitlines() if line.startswith("adjudge_reliability_clicks{")]
    assert sum(float(line.split()[-1]) for line in lines) == pytest.approx(told["clicks"])
