"""A decision can be made again later, bit for bit: every price, probability, reason and count.

Method: one node decides under a load of events, refunds, imports and snapshots, in our own JSON and in
OpenRTB, then a sample of a thousand of its decisions is made again by other processes: beside the running
node, after it was killed, and by the command. Previews decide too, and must leave nothing behind.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from app.domain.decisions import Record
from app.flows.tracing import Retraced, retrace_sample
from app.journal.decisions import DecisionReader
from app.journal.reader import SqliteReader
from app.web.catalogue.render import to_document
from tests.journeys import ledger
from tests.journeys.load import JSON_TYPE, Document, Load, Memory
from tests.journeys.nursery import COLUMNS, ROOT, Forked, nursery
from tests.web.openrtb.bodies import body, collected, matching_things

DECISIONS = 3_000
LINES = 3_000
SAMPLE = 1_000
PREVIEW = "preview"
FLUSHED_S = 0.5  # decisions are readable after a tenth of a second


class Traffic(Load):
    """The visitors of a node, exchanges and curious people among them."""

    bodies = [path.read_bytes() for path in collected(malformed=False)] or [body()]
    bids = 0

    def visitors(self) -> list[Callable[[], Awaitable[None]]]:
        return [*super().visitors(), self._bid, self._bid, self._preview]

    async def _bid(self) -> None:
        answer = await self.public.post("/openrtb2/bid", JSON_TYPE, self.chance.choice(self.bodies))
        assert answer.status in {200, 204}, answer.body[:500]
        self.bids += answer.status == 200

    async def _preview(self) -> None:
        """Ask what would be decided tomorrow."""
        asked = {**self.ask(), "request_id": PREVIEW, "at": "2030-01-01T12:00:00+09:00"}
        answer = await self.post(self.admin, "/v1/ads", JSON_TYPE, json.dumps(asked).encode())
        assert answer is None or "tokens" not in answer.body.decode()
        await asyncio.sleep(0.01)


def exchange_catalogue() -> list[Document]:
    """Ads that fit the exchanges' bodies, under ids of their own."""
    lines = [to_document(thing) for thing in matching_things()]
    for line in lines:
        for name in ("id", "advertiser_id", "campaign_id", "ad_group_id"):
            if name in line:
                line[name] = f"x-{line[name]}"
    return lines


async def decide(load: Traffic, data: Path) -> None:
    """Have decisions made until enough are kept."""
    await load.register()
    await load.bring(exchange_catalogue())
    visiting = asyncio.ensure_future(load.run())
    while not visiting.done() and not enough(data):  # noqa: ASYNC110 - told by another process's files
        await asyncio.sleep(0.1)
    load.stopped = True
    await visiting
    await asyncio.sleep(FLUSHED_S)


def enough(data: Path) -> bool:
    """Say whether the node has decided much, at many positions, and has been snapshot meanwhile."""
    reader = DecisionReader(data / "decisions.db")
    taken, positions = reader.count(), SqliteReader(data / "journal.db").last_position
    snapshots = ledger.logged(ledger.log_events(data), "snapshot")
    return taken >= DECISIONS and positions > LINES and len(snapshots) > 2


@pytest.fixture(scope="module", params=["linear", "ffm"])
def decided(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[tuple[Path, Forked]]:
    """The directory of a node that has decided much and still runs."""
    data = tmp_path_factory.mktemp("traced") / "data"
    with nursery() as nodes:
        node = nodes.node(data, rates="USD=1350,EUR=1480", snapshot_every_lines=400, learner=request.param)
        load = Traffic(random.Random(3), Memory(), node.ready(), data)
        asyncio.run(decide(load, data))
        assert load.bids > 50
        yield data, node
        node.kill()


def check_all_agree(traced: list[Retraced]) -> None:
    assert len(traced) == SAMPLE
    assert [(one.then, one.now) for one in traced if not one.agrees] == []


@pytest.mark.slow
def test_decisions_are_made_again_bit_for_bit(decided: tuple[Path, Forked]) -> None:
    data, node = decided
    records = DecisionReader(data / "decisions.db").sample(1_000_000, seed=0)
    check_the_story(data, records)
    check_all_agree(retrace_sample(data, COLUMNS, SAMPLE))
    node.kill()
    check_all_agree(retrace_sample(data, COLUMNS, SAMPLE, seed=1))
    command = [sys.executable, "-m", "app", "trace", "--sample", str(SAMPLE), "--data", str(data), "--json"]
    done = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        check=False,
        env={**os.environ, "ADJUDGE_COLUMNS": str(COLUMNS)},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"traced": SAMPLE, "agree": SAMPLE, "differing": []}


def check_the_story(data: Path, records: list[Record]) -> None:
    """Else agreement would prove little: all sorts of requests, at many states, and no preview."""
    assert len(records) >= DECISIONS
    asks = [ask for record in records for ask in record.request.asks]
    placed = [each for record in records for each in record.choice.placed]
    wins = [win for each in placed for win in each.wins]
    assert sum(len(record.request.asks) > 1 for record in records) > 100
    assert sum(ask.floor_micros > 0 for ask in asks) > 100
    assert any(ask.demands for ask in asks), "no exchange asked"
    assert any(win.ad_index for win in wins), "no slot below the top was filled"
    assert {win.kind for win in wins} == {"cpc", "cpm", "cpa", "ocpm"}
    assert sum(not each.wins for each in placed) > 100
    assert len({record.choice.position for record in records}) > 100
    assert len({win.pctr for win in wins}) > 300, "the model has not moved"
    assert not [record for record in records if record.request.request_id == PREVIEW]
