"""Caps hold under load, though impressions come late, and over a node that is killed and starts again.

Method: a few people ask a real node for more ads than their caps allow, all at once; what they get is shown
up to two seconds later. The node is killed in the middle, when its decisions are on disk but most of what it
gave is still to be shown, and another goes on. Then the journal is read, and every person's impressions of
everything with a cap are counted from its lines alone.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from urllib.parse import urlsplit

import pytest

from app.domain.catalogue import AdGroup, Campaign, Creative
from app.domain.lines import Catalogued, Shown
from app.flows.tracing import retrace_sample
from app.journal.reader import SqliteReader
from app.offline.client import Client
from tests.journeys.load import JSON_TYPE, PLACEMENTS, Load, Memory, catalogue
from tests.journeys.nursery import COLUMNS, nursery

PEOPLE, VISITORS = 4, 6
ANSWERS, LATEST_S, FLUSHED_S = 400, 2.0, 0.6
CAPS: dict[str, tuple[int, str]] = {
    "c-0": (4, "lifetime"), "c-1": (6, "week"), "g-2-0": (2, "hour"), "g-2-1": (3, "lifetime"),
    "cr-3-0-0": (1, "day"), "cr-3-1-1": (2, "hour"), "c-3": (5, "week"), "c-4": (7, "lifetime"),
}  # fmt: skip


class People:
    """Visitors who ask without end, and see what they were given a little later."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.given: list[tuple[float, str]] = []  # when it will be shown, and where
        self.answered = self.refused = 0
        self.over = False

    async def live(self, url: str, answers: int, *, to_the_end: bool) -> None:
        """Ask so often, and see meanwhile; what is not yet shown then is left to the next node, or seen."""
        upto, self.over = self.answered + answers, False
        async with Client(url, VISITORS + 1) as client:
            seeing = asyncio.ensure_future(self._see(client, to_the_end=to_the_end))
            await asyncio.gather(*(self._ask(client, upto) for _ in range(VISITORS)))
            self.over = True
            await seeing

    async def _ask(self, client: Client, upto: int) -> None:
        while self.answered < upto:
            self.answered += 1
            chance = self.chance
            placements = [
                {"name": str(number), "placement_id": f"plc-{number}", "count": chance.randrange(1, 4)}
                for number in chance.sample(range(PLACEMENTS), 2)
            ]
            body = {"placements": placements, "user": {"id": f"u-{chance.randrange(PEOPLE)}"}}
            answer = json.loads((await client.post("/v1/ads", JSON_TYPE, json.dumps(body).encode())).body)
            self.refused += sum(each["reasons"].get("frequency", 0) > 0 for each in answer["no_ad"].values())
            for ad in [ad for ads in answer["decisions"].values() for ad in ads]:
                if chance.random() < 0.9:
                    self.given.append((monotonic() + chance.uniform(0, LATEST_S), ad["impression_url"]))

    async def _see(self, client: Client, *, to_the_end: bool) -> None:
        while not self.over or (to_the_end and self.given):
            now = monotonic()
            due = [each for each in self.given if each[0] <= now]
            self.given = [each for each in self.given if each[0] > now]
            for _, url in due:
                assert (await client.get(urlsplit(url).path)).status == 200
            await asyncio.sleep(0.01)


def capped_catalogue() -> list[dict[str, Any]]:
    lines = catalogue()
    for line in lines:
        if line["id"] in CAPS:
            count, per = CAPS[line["id"]]
            line["frequency_cap"] = [{"count": count, "per": per}]
        if line["type"] in {"campaign", "ad_group"}:  # caps are to stop them, not money
            line.update(budget_daily=None, budget_total=None)
    return lines


@pytest.mark.slow
def test_caps_hold_under_load_and_over_a_kill(tmp_path: Path) -> None:
    data = tmp_path / "data"
    people = People(seed=5)
    with nursery() as nodes:
        node = nodes.node(data, snapshot_every_lines=400, invalid_traffic="off")
        at = node.ready()
        load = Load(random.Random(1), Memory(), at, data)
        asyncio.run(load.bring(capped_catalogue()))
        ports = (urlsplit(at["public"]).port or 0, urlsplit(at["admin"]).port or 0)
        asyncio.run(people.live(at["public"], ANSWERS // 2, to_the_end=False))
        sleep(FLUSHED_S)
        node.kill()
        node = nodes.node(data, ports, snapshot_every_lines=400, invalid_traffic="off")
        asyncio.run(people.live(node.ready()["public"], ANSWERS, to_the_end=True))
        node.stop()
    seen = impressions(data)
    worst = Counter(
        {thing: max((n for (_, one), n in seen.items() if one == thing), default=0) for thing in CAPS}
    )
    assert {thing: count for thing, count in worst.items() if count > CAPS[thing][0]} == {}
    reached = [thing for thing, count in worst.items() if count == CAPS[thing][0]]
    assert len(reached) > len(CAPS) // 2, f"else the caps were never put to the test: {worst}"
    assert people.refused > 0
    traced = retrace_sample(data, COLUMNS, 200)
    assert len(traced) == 200 and all(one.agrees for one in traced)


def impressions(data: Path) -> Counter[tuple[bytes, str]]:
    """Count each person's impressions of every creative, ad group and campaign, by the journal's lines."""
    reader, position = SqliteReader(data / "journal.db"), 0
    above: dict[str, str] = {}
    seen: Counter[tuple[bytes, str]] = Counter()
    while entries := reader.read(position, 1_000):
        position = entries[-1].position
        for line in (entry.line for entry in entries):
            match line:
                case Catalogued(thing=Creative() as thing):
                    above[thing.id] = thing.ad_group_id
                case Catalogued(thing=AdGroup() as thing):
                    above[thing.id] = thing.campaign_id
                case Catalogued(thing=Campaign()):
                    pass
                case Shown(ad=ad):
                    group = above[ad.creative_id]
                    assert ad.user
                    seen.update((ad.user, thing) for thing in (ad.creative_id, group, above[group]))
                case _:
                    pass
    return seen
