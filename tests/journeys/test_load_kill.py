"""A node killed (-9) while a trained model is brought to it answers by the old one or by the new.

Method: a data directory with an archive, and events behind it, so that the load has something to catch up. A
model is posted to a forked node that answers ads meanwhile; it is killed at a stage of the load (told by its
files and its answers) or at a seeded instant. Every answer is the old model's or the new one's, never
another, and no old one follows a new one. The node that starts again goes on with the one that its journal
names, and its state is the fold of the journal bit for bit.
"""

from __future__ import annotations

import asyncio
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.flows.follow import fold
from app.flows.loading import trained_under
from app.flows.snapshotting import load
from app.journal.models import FOLDER
from app.journal.reader import SqliteReader
from app.offline.client import Client
from app.offline.train import TrainPlan, train_archive
from app.state.state import State
from tests.flows.test_reporting import Clock
from tests.journeys.ledger import differences
from tests.journeys.nursery import COLUMNS, Forked, Nursery, nursery
from tests.node import running_node, small_catalogue
from tests.offline.archives import archive_past, live

CHANCES = 4  # kills at seeded instants, besides those at each stage
LONGEST_S = 0.15
SETTINGS: dict[str, Any] = {"exploration": "off", "uniform_share": 0.0, "archive": "off", "clusters": 0}
ASK = json.dumps(
    {
        "request_id": "r-1",
        "placements": [{"name": str(n), "placement_id": f"plc-{n}", "count": 3} for n in (1, 2)],
    }
).encode()
Answer = tuple[tuple[str, float], ...]


def lived(data: Path, clock: Clock) -> bytes:
    """Leave the data of a node that lived, archived and lived on; gives the model of the archive."""

    async def work() -> bytes:
        async with running_node(data, clock_ms=clock, columns=COLUMNS, things=small_catalogue()) as node:
            await live(node, clock, hours=2, requests=15)
            await archive_past(node, clock)
            await live(node, clock, hours=1, requests=15, seed=8)
        return train_archive(data / "archive", TrainPlan()).content

    data.mkdir()
    return asyncio.run(work())


class Visit:
    """One node's life under a load: what it answered, until it was killed."""

    def __init__(self, data: Path, at: dict[str, str]) -> None:
        key = (data / "admin.key").read_text().strip()
        self.public = Client(at["public"], 1)
        self.admin = Client(at["admin"], 1, {"Authorization": f"Bearer {key}"})
        self.answers: list[Answer] = []
        self.loaded = False

    async def ask(self) -> Answer:
        """Ask for ads; gives each one's pCTR, which the model alone decides."""
        answer = await self.public.post("/v1/ads", "application/json", ASK)
        assert answer.status == 200, answer.body
        ads = json.loads(answer.body)["decisions"].values()
        self.answers.append(tuple(sorted((ad["creative_id"], ad["pctr"]) for some in ads for ad in some)))
        return self.answers[-1]

    async def bring(self, content: bytes) -> None:
        """Post the model."""
        try:
            answer = await self.admin.post("/v1/models", "application/octet-stream", content)
        except (OSError, TimeoutError):  # killed meanwhile
            return
        assert answer.status == 200, answer.body
        assert json.loads(answer.body)["impressions_since"] > 0
        self.loaded = True

    async def be_killed(self, node: Forked, content: bytes, is_time: Callable[[Visit], bool]) -> None:
        """Answer ads while the model comes, and die when it is time."""
        async with self.public, self.admin:
            await self.ask()
            bringing = asyncio.ensure_future(self.bring(content))
            while not is_time(self):
                await self.ask()
            node.kill()
            await bringing


def files_are_there(count: int) -> Callable[[Path], Callable[[Visit], bool]]:
    """Kill when so many whole model files lie in the directory."""

    def of(data: Path) -> Callable[[Visit], bool]:
        def is_time(_: Visit) -> bool:
            folder = data / FOLDER
            return folder.is_dir() and sum("-" not in path.name for path in folder.iterdir()) >= count

        return is_time

    return of


def after(seconds: float) -> Callable[[Path], Callable[[Visit], bool]]:
    """Kill after a while."""

    def of(_: Path) -> Callable[[Visit], bool]:
        ends = []

        def is_time(_: Visit) -> bool:
            now = asyncio.get_running_loop().time()
            ends.append(now + seconds)
            return now >= ends[0]

        return is_time

    return of


STAGES: list[Callable[[Path], Callable[[Visit], bool]]] = [
    after(0.0), files_are_there(1), files_are_there(2),
    lambda _: lambda visit: len(set(visit.answers)) > 1,  # the first answer of the new model
    lambda _: lambda visit: visit.loaded,
]  # fmt: skip


def same_after_all(data: Path) -> State:
    """Come up from snapshot and journal, and from the journal alone: bit for bit the same."""
    states = [load(data / "snapshots", COLUMNS)[0], State(COLUMNS)]
    for state in states:
        state.trained = trained_under(data)
        reader = SqliteReader(data / "journal.db")
        fold(state, reader)
        reader.close()
        state.check()
    assert differences(*states) == []
    return states[0]


@pytest.mark.slow
def test_a_kill_leaves_the_old_model_or_the_new_one_and_never_a_mixture(tmp_path: Path) -> None:
    clock, chance = Clock(), random.Random("load")
    content = lived(tmp_path / "base", clock)
    played = clock.at_ms + 600_000, 1  # an hour that the test does not leave

    async def once(visit: Visit) -> Answer:
        async with visit.public:
            return await visit.ask()

    def start(nodes: Nursery, data: Path) -> tuple[Forked, Visit]:
        node = nodes.node(data, played=played, **SETTINGS)
        return node, Visit(data, node.ready())

    kinds: set[bool] = set()
    with nursery() as nodes:
        shutil.copytree(tmp_path / "base", tmp_path / "whole")
        node, visit = start(nodes, tmp_path / "whole")
        asyncio.run(
            visit.be_killed(node, content, lambda visit: visit.loaded and len(set(visit.answers)) > 1)
        )
        old, new = visit.answers[0], visit.answers[-1]
        waits = [after(chance.uniform(0.0, LONGEST_S)) for _ in range(CHANCES)]
        for number, stage in enumerate(STAGES + waits):
            data = tmp_path / str(number)
            shutil.copytree(tmp_path / "base", data)
            node, visit = start(nodes, data)
            try:
                asyncio.run(visit.be_killed(node, content, stage(data)))
            finally:
                node.kill()
            nodes.settle()
            assert [each for each in visit.answers if each not in (old, new)] == []
            assert sorted(visit.answers, key=[old, new].index) == visit.answers, "the old one came back"
            state = same_after_all(data)
            is_new = bool(state.loadings)
            kinds.add(is_new)
            assert is_new or not (visit.loaded or new in visit.answers)
            node, visit = start(nodes, data)
            assert asyncio.run(once(visit)) == (new if is_new else old)
            node.stop()
            nodes.settle()
            same_after_all(data)
    assert kinds == {False, True}
