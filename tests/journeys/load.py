"""Load for a node that is about to be killed: people, reporters, importers; and a memory of every answer.

What the node acknowledged is kept in `Memory`, and what it may or may not have taken (no answer came) is
sent again to whatever node comes next, as a server would.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from app.offline.client import Client, Reply

PLACEMENTS = 4
CAMPAIGNS = 5
TIGHT = {"c-1": (9_000, None), "c-2": (None, 14_000), "c-3": (25_000, 30_000)}  # daily, total
SHAPES = ("320x50", "300x250")
NDJSON, JSON_TYPE = "application/x-ndjson", "application/json"
Document = dict[str, Any]
EventKey = tuple[str, str, str | None]


def catalogue() -> list[Document]:
    """Five campaigns, three of them with budgets that a few clicks use up, over four placements."""
    lines: list[Document] = [{"type": "publisher", "id": "pub-1"}]
    lines += [
        {"type": "placement", "id": f"plc-{number}", "publisher_id": "pub-1", "sizes": list(SHAPES),
         "formats": ["banner"], "floor_cpm": 3 * number, "prior_ctr": 0.05 if number == 1 else None}
        for number in range(PLACEMENTS)
    ]  # fmt: skip
    for number in range(CAMPAIGNS):
        daily, total = TIGHT.get(f"c-{number}", (None, None))
        lines += [
            {"type": "advertiser", "id": f"adv-{number}", "category": "IAB20"},
            {"type": "campaign", "id": f"c-{number}", "advertiser_id": f"adv-{number}",
             "budget_daily": daily, "budget_total": total,
             # Budgets are to be used up; the last campaign's groups have budgets that are paced.
             "pacing": "even" if number == CAMPAIGNS - 1 else "asap"},
        ]  # fmt: skip
        lines += [group_line(f"{number}-{at}") for at in range(2)]
        lines += [creative_line(f"{number}-{at}-{n}") for at in range(2) for n in range(2)]
    return lines


def group_line(key: str, name: str = "", status: str = "active") -> Document:
    """Write an ad group; the first of each campaign pays per click, the second of each in another way."""
    campaign, at = key.split("-")
    others: list[Document] = [
        {"kind": "cpm", "bid": 9_000}, {"kind": "cpa", "bid": 40_000}, {"kind": "ocpm", "target_cpa": 40_000},
    ]  # fmt: skip
    own: Document = {"kind": "cpc", "bid": 500 + 7 * int(campaign)}
    pricing = others[int(campaign) % 3] if at == "1" else own
    budget = 3_000 if key == "4-0" else None
    return {"type": "ad_group", "id": f"g-{key}", "campaign_id": f"c-{campaign}", "pricing": pricing,
            "budget_daily": budget, "name": name, "status": status}  # fmt: skip


def creative_line(key: str, name: str = "") -> Document:
    """Write a banner."""
    width, height = SHAPES[int(key[-1])].split("x")
    return {"type": "creative", "id": f"cr-{key}", "ad_group_id": f"g-{key[:-2]}", "format": "banner",
            "width": int(width), "height": int(height), "landing_url": "https://shop.example/",
            "markup": "<b>ad</b>", "name": name}  # fmt: skip


@dataclass
class Acknowledged:
    """What the node said of an event when it first counted it. Units: micros."""

    event_id: str
    kind: str
    position: int
    status: str
    billed_micros: int
    learned: bool


@dataclass
class Memory:
    """What was answered, and what still has to be sent; outlives the nodes."""

    outbox: list[EventKey] = field(default_factory=list)
    acknowledged: dict[EventKey, Acknowledged] = field(default_factory=dict)
    repeats: dict[EventKey, int] = field(default_factory=dict)  # first seen as a repeat: its position
    refunded: dict[str, int] = field(default_factory=dict)  # event id: micros given back, as answered
    names: dict[str, int] = field(default_factory=dict)  # acknowledged catalogue changes, by id
    sent_names: dict[str, int] = field(default_factory=dict)  # the last ones sent
    answered: int = 0  # ad requests
    retried: int = 0


class Load:
    """One node's visitors, until it dies or they are told to stop."""

    def __init__(self, chance: random.Random, memory: Memory, at: Document, data: Path) -> None:
        self.chance = chance
        self.memory = memory
        self.public = Client(at["public"], 5)
        key = (data / "admin.key").read_text().strip()
        self.admin = Client(at["admin"], 2, {"Authorization": f"Bearer {key}"})
        self.stopped = False
        self.early = False  # came before the node was ready: it may refuse, or not even listen

    async def register(self) -> None:
        """Import the catalogue, whole."""
        await self.bring(catalogue())

    def visitors(self) -> list[Callable[[], Awaitable[None]]]:
        """List what goes on at once; each is done again and again."""
        person, report = self._person, self._report
        return [person, person, report, report, self._pixel, self._edit, self._refund]

    async def run(self) -> None:
        """Come and go until the node is gone, or `stopped`."""
        async with self.public, self.admin:
            await asyncio.gather(*(self._until_gone(step) for step in self.visitors()))

    async def settle(self) -> None:
        """Report what is left to report."""
        async with self.public, self.admin:
            while self.memory.outbox:
                await self._report()

    async def _until_gone(self, step: Callable[[], Awaitable[None]]) -> None:
        while not self.stopped:
            try:
                await step()
            except (OSError, TimeoutError):
                if not self.early:
                    return
                await asyncio.sleep(0.005)
            await asyncio.sleep(0)

    async def _person(self) -> None:
        answer = await self.post(self.public, "/v1/ads", JSON_TYPE, json.dumps(self.ask()).encode())
        if answer is None:
            return
        self.memory.answered += 1
        for ads in json.loads(answer.body)["decisions"].values():
            for ad in ads:
                self._behave(ad["tokens"])
        if len(self.memory.outbox) > 400:
            await asyncio.sleep(0.02)

    def ask(self) -> Document:
        """Write an ad request."""
        chance = self.chance
        names = chance.sample(range(PLACEMENTS), chance.randrange(1, 4))
        placements = [
            {"name": str(name), "placement_id": f"plc-{name}", "count": chance.randrange(1, 4),
             "floor_cpm": chance.choice((0, 0, 5)), "sizes": chance.choice(([], [], [], ["970x90"]))}
            for name in names
        ]  # fmt: skip
        user = {"id": f"u-{chance.randrange(50)}", "gender": chance.choice("FM"), "age": chance.randrange(80)}
        return {"request_id": f"r-{chance.randrange(10_000)}", "placements": placements, "user": user}

    def _behave(self, tokens: dict[str, str]) -> None:
        """See, click, buy and dismiss; a click may be reported before its impression, or without one."""
        chance, wanted = self.chance, list[EventKey]()
        if chance.random() < 0.9:
            wanted.append((tokens["impression"], "impression", None))
        if chance.random() < 0.4:
            wanted.append((tokens["click"], "click", None))
        if chance.random() < 0.05:
            wanted += [(tokens["conversion"], "conversion", f"order-{number}") for number in range(2)]
        if chance.random() < 0.05:
            wanted.append((tokens["dismissal"], "dismissal", None))
        chance.shuffle(wanted)
        self.memory.outbox += wanted

    async def _report(self) -> None:
        memory, chance = self.memory, self.chance
        if not memory.outbox:
            await asyncio.sleep(0.003)
            return
        batch = [memory.outbox.pop(0) for _ in range(min(len(memory.outbox), chance.randrange(1, 14)))]
        if chance.random() < 0.3:
            batch.append(chance.choice(batch))
        if memory.acknowledged and chance.random() < 0.3:
            batch.append(chance.choice(list(memory.acknowledged)))
            memory.retried += 1
        events = [{"token": token, "kind": kind, "id": own_id} for token, kind, own_id in batch]
        answer = None
        try:
            answer = await self.post(
                self.public, "/v1/events", JSON_TYPE, json.dumps({"events": events}).encode()
            )
        finally:
            if answer is None:  # perhaps taken, perhaps not: the next node hears of it again
                memory.outbox += [key for key in batch if key not in memory.acknowledged]
        if answer is not None:
            for key, result in zip(batch, json.loads(answer.body)["results"], strict=True):
                self._remember(key, result)

    def _remember(self, key: EventKey, result: Document) -> None:
        memory = self.memory
        assert result["status"] in {"counted", "held", "repeat"}, result
        known = memory.acknowledged.get(key)
        if result["status"] == "repeat":
            assert result["billed"] == 0, result
            first = known.position if known else memory.repeats.setdefault(key, result["position"])
            assert result["position"] == first, (known, result)
            return
        assert known is None, (known, result)
        assert key not in memory.repeats, (key, result)
        billed = int(Decimal(str(result["billed"])) * 1_000_000)
        memory.acknowledged[key] = Acknowledged(
            result["event_id"], key[1], result["position"], result["status"], billed, result["learned"]
        )

    async def _pixel(self) -> None:
        """Report by a page's own means: nobody is told what was counted."""
        if not self.memory.outbox:
            await asyncio.sleep(0.003)
            return
        token, kind, _ = self.chance.choice(self.memory.outbox)
        if kind in {"impression", "click"}:
            answer = await self.public.get(f"/{kind[0]}/{token}")
            assert answer.status == {"impression": 200, "click": 302}[kind] or (
                self.early and answer.status == 503
            )
        await asyncio.sleep(0.005)

    async def _edit(self) -> None:
        """Rename creatives, pause and revive ad groups."""
        memory, chance = self.memory, self.chance
        lines = []
        for _ in range(chance.randrange(1, 5)):
            campaign, at = chance.randrange(CAMPAIGNS), chance.randrange(2)
            identity = f"cr-{campaign}-{at}-{chance.randrange(2)}"
            number = memory.sent_names[identity] = memory.sent_names.get(identity, 0) + 1
            lines.append(creative_line(identity.removeprefix("cr-"), str(number)))
            if chance.random() < 0.2:
                status = chance.choice(("active", "active", "paused"))
                lines.append(group_line(f"{campaign}-{at}", str(number), status))
        await self.bring(lines)
        for line in lines:
            if line["type"] == "creative":
                memory.names[line["id"]] = max(memory.names.get(line["id"], 0), int(line["name"]))
        await asyncio.sleep(0.02)

    async def bring(self, lines: list[Document]) -> None:
        """Import things."""
        body = "\n".join(map(json.dumps, lines)).encode()
        answer = await self.post(self.admin, "/v1/import", NDJSON, body)
        if answer is None:
            raise ConnectionError("not imported")
        counts = json.loads(answer.body)["counts"]
        assert counts["refused"] == 0, answer.body[:2000]

    async def _refund(self) -> None:
        memory, chance = self.memory, self.chance
        known = [
            each.event_id
            for each in list(memory.acknowledged.values())[-400:]
            if each.kind in {"impression", "click"}
        ]
        if known:
            wanted = chance.sample(known, min(len(known), chance.randrange(1, 4)))
            body = json.dumps({"event_ids": wanted, "reason": "test"}).encode()
            answer = await self.post(self.admin, "/v1/refunds", JSON_TYPE, body)
            for result in json.loads(answer.body)["results"] if answer else ():
                assert result["status"] in {"refunded", "repeat"}, result
                if result["status"] == "refunded":
                    assert result["event_id"] not in memory.refunded, result
                    micros = int(Decimal(str(result["refunded"])) * 1_000_000)
                    memory.refunded[result["event_id"]] = micros
        await asyncio.sleep(0.04)

    async def post(self, client: Client, path: str, kind: str, body: bytes) -> Reply | None:
        """Post a body; None when the node is too busy to take it."""
        answer = await client.post(path, kind, body)
        if answer.status == 503:  # a node that is busy or stops says so, and has not taken it
            await asyncio.sleep(0.01)
            return None
        assert answer.status == 200, (urlsplit(path).path, answer.status, answer.body[:2000])
        return answer
