"""The demo's own process, against a fake node: what it prints, how it fails, and that it never stays."""

import asyncio
import json
from collections.abc import Callable

import pytest

from app.domain.refusals import Refused
from app.offline.demo import DemoPlan, watch_demo
from app.offline.tally import Ledger, summary
from tests.offline.fake_node import Answer, fake_node, one_ad


def a_node(refused: int = 0) -> Callable[[str, str, bytes], Answer]:
    """Answer as a node with both its doors on one port."""
    serve = one_ad("crt-1")

    def answer(method: str, path: str, body: bytes) -> Answer:
        if path.startswith("/v1/import"):
            lines = [{"line": 1, "code": "unknown_parent"}] * refused
            return 200, json.dumps({"counts": {"refused": refused}, "lines": lines}).encode()
        return serve(method, path, body)

    return answer


async def watched(answer: Callable[[str, str, bytes], Answer], duration: float | None, json_out: bool) -> int:
    """Run the demo beside a fake node; without a duration, until it is under way. Returns calls of stop."""
    stops: list[None] = []
    under_way = asyncio.Event()

    def noting(method: str, path: str, body: bytes) -> Answer:
        if path.startswith("/i/"):
            under_way.set()
        return answer(method, path, body)

    async with asyncio.timeout(60), fake_node(noting) as node:
        plan = DemoPlan(node.url, node.url, "secret", duration, rate=100, json_out=json_out)
        watching = asyncio.create_task(watch_demo(plan, lambda: stops.append(None)))
        if duration is None:
            await under_way.wait()
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        else:
            await watching
    return len(stops)


def test_json_is_printed_at_the_end_and_the_node_stopped(capfd: pytest.CaptureFixture[str]) -> None:
    assert asyncio.run(watched(a_node(), duration=0.2, json_out=True)) == 1
    figures = json.loads(capfd.readouterr().out)
    assert list(figures) == list(summary(Ledger(), 1.0))
    assert 0 < figures["requests"] <= 21  # 100 a second for 0.2 s, both ends counted
    assert figures["fill"] == 1.0


def test_text_is_printed_where_there_is_no_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    assert asyncio.run(watched(a_node(), duration=0.2, json_out=False)) == 1
    assert "ad requests, p50" in capfd.readouterr().out


def test_it_ends_with_its_figures_when_the_node_ends(capfd: pytest.CaptureFixture[str]) -> None:
    """Cancelling closes the process's input, as the death of the node does; there is no other signal."""
    assert asyncio.run(watched(a_node(), duration=None, json_out=True)) == 1
    assert json.loads(capfd.readouterr().out)["requests"] >= 1


def test_a_refusal_reaches_the_command_line_and_the_node_is_stopped() -> None:
    with pytest.raises(Refused, match=r"import_failed: .*unknown_parent") as refusal:
        asyncio.run(watched(a_node(refused=1), duration=5.0, json_out=True))
    assert refusal.value.code == "demo_failed"
