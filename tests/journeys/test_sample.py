"""A whole node on the sample catalogue, for days that pass in seconds: all that people do goes on at once.

Method: a forked node (`nursery.py`) whose clock runs 14,400 times as fast as ours, so that hours are archived
and lines trimmed while visitors ask for ads on every placement, see, click, buy and dismiss, and operators
import, edit budgets, upload audiences, read every report and take back events. Nothing may go wrong beside
the requests either: the node's log is searched for errors. Then the books are folded from the first line
(where the journal keeps it) and decisions are made again.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import pytest

from app.flows.follow import fold
from app.flows.snapshotting import load
from app.flows.tracing import retrace
from app.journal import archive
from app.journal.decisions import DecisionReader
from app.journal.reader import SqliteReader
from app.offline.client import Client, Reply
from app.offline.sample import PLACEMENTS, sample_catalogue
from tests.journeys import ledger
from tests.journeys.load import JSON_TYPE, NDJSON, Document, Load, Memory
from tests.journeys.nursery import COLUMNS, Nursery, nursery
from tests.web.openrtb.bodies import body, collected

CREATIVES = 300
START_MS = 1_798_714_800_000  # 2026-12-31 20:00 in Seoul: midnights and a new year are ahead
TIMES = 14_400  # four hours a second
REQUESTS = 400
ARCHIVED_HOURS = 8
LATEST_S = 120.0  # for a machine that is busy with other things
TRACED = 60
LONG: dict[str, int] = {f"life_{kind}_s": 20 * 86_400 for kind in ("impression", "click", "dismissal")}
DAY = "2027-01-01T{:02d}:00:00%2B09:00"


def catalogue(chance: random.Random) -> list[Document]:
    """The sample catalogue, with a little of everything that delivery can be told to do."""
    lines = [dict(line) for line in sample_catalogue(5, CREATIVES)]
    for line in lines:
        match line["type"]:
            case "campaign":
                line["pacing"] = chance.choice(("even", "asap"))
                line["frequency_cap"] = chance.choice(([], [{"count": 3, "per": "hour"}]))
                line["budget_total"] = chance.choice((None, 40_000))
            case "ad_group":
                other = {"kind": "cpa", "bid": 30_000}, {"kind": "ocpm", "target_cpa": 30_000}
                line["pricing"] = chance.choice((line["pricing"], line["pricing"], *other))
                line["frequency_cap"] = chance.choice(([], [], [{"count": 2, "per": "day"}]))
            case "placement":
                line["separation"] = chance.choice(([], ["creative"], ["creative", "advertiser"]))
    # A campaign without ads, an ad group without ads, an advertiser without campaigns.
    lines += [
        {"type": "advertiser", "id": "adv-bare"},
        {"type": "campaign", "id": "cmp-bare", "advertiser_id": "adv-0", "budget_daily": 1_000},
        {"type": "ad_group", "id": "grp-bare", "campaign_id": "cmp-1", "pricing": {"kind": "cpc", "bid": 9}},
        {"type": "audience", "id": "aud-1", "advertiser_id": "adv-0"},
    ]
    return lines


class Patient(Client):
    """A client that waits: the machine may be busy with other things, and no speed is measured here."""

    async def _send(self, request: bytes, timeout_s: float) -> Reply:
        return await super()._send(request, LATEST_S)

    async def ask(self, method: str, path: str, body: str = "", kind: str = JSON_TYPE) -> Reply:
        """Send anything."""
        head = f"{method} {path} HTTP/1.1\r\n{self._head}Content-Type: {kind}\r\n"
        request = f"{head}Content-Length: {len(body.encode())}\r\n\r\n{body}"
        return await self._send(request.encode(), LATEST_S)


class People(Load):
    """Everybody who has to do with a node."""

    bodies = [path.read_bytes() for path in collected(malformed=False)] or [body()]

    def __init__(self, chance: random.Random, memory: Memory, at: Document, data: Path) -> None:
        super().__init__(chance, memory, at, data)
        key = (data / "admin.key").read_text().strip()
        self.public = Patient(at["public"], 5)
        self.admin: Patient = Patient(at["admin"], 3, {"Authorization": f"Bearer {key}"})
        self.lines = catalogue(chance)
        self.campaigns = [line for line in self.lines if line["type"] == "campaign"]
        self.asked: set[str] = set()
        self.read: set[str] = set()

    async def register(self) -> None:
        await self.bring(self.lines)

    def visitors(self) -> list[Callable[[], Awaitable[None]]]:
        person, report = self._person, self._report
        return [person, person, report, report, report, self._pixel, self._refund, self._budget, self._look,
                self._know, self._bid, self._explain]  # fmt: skip

    def ask(self) -> Document:
        """Ask for up to ten placements at once, for somebody of whom more or less is known."""
        chance = self.chance
        numbers = chance.sample(range(PLACEMENTS), chance.choice((1, 2, 10)))
        self.asked |= {f"plc-{number}" for number in numbers}
        placements = [
            {"name": str(number), "placement_id": f"plc-{number}", "count": chance.choice((1, 1, 3))}
            for number in numbers
        ]
        user = {"id": f"u-{chance.randrange(80)}", "gender": chance.choice("FM"), "age": chance.randrange(80)}
        context = {"device": chance.choice(("mobile", "desktop")), "os": chance.choice(("ios", "android"))}
        asked = {"request_id": f"r-{chance.randrange(10_000)}", "placements": placements, "context": context}
        return {**asked, "user": user} if chance.random() < 0.9 else asked

    async def _bid(self) -> None:
        """Ask as an exchange does; some of its bodies are for places and ads that nobody has."""
        answer = await self.public.post("/openrtb2/bid", JSON_TYPE, self.chance.choice(self.bodies))
        assert answer.status in {200, 204}, answer.body[:500]
        for seat in json.loads(answer.body).get("seatbid", ()) if answer.body else ():
            for bid in seat["bid"]:
                notices = [urlsplit(bid[name]) for name in ("burl", "nurl") if name in bid]
                for notice in notices:
                    path = f"{notice.path}?{notice.query}".replace("${AUCTION_PRICE}", "1.5")
                    assert (await self.public.get(path)).status in {200, 204}
        await asyncio.sleep(0.02)

    async def _explain(self) -> None:
        """Ask why, and what would be tomorrow; look up a decision."""
        ask = {**self.ask(), "explain": True, "at": self.chance.choice((None, "2027-01-02T12:00:00+09:00"))}
        answer = await self.admin.ask("POST", "/v1/ads", json.dumps(ask))
        assert answer.status in {200, 503}, answer.body[:2_000]
        decisions = json.loads(answer.body).get("decisions", {}) if answer.status == 200 else {}
        for ads in decisions.values() if ask["at"] is None else ():
            await asyncio.sleep(0.3)  # it is readable by now
            answer = await self.admin.ask("GET", f"/v1/decisions/{ads[0]['decision_id']}")
            assert answer.status in {200, 404, 503}, answer.body[:2_000]
            break
        await asyncio.sleep(0.05)

    async def _budget(self) -> None:
        """Edit budgets, pause and revive; the catalogue's other halves come again unchanged."""
        some = self.chance.sample(self.campaigns, 3)
        for line in some:
            line["budget_daily"] = self.chance.choice((None, 300, 20_000, 900_000))
            line["status"] = self.chance.choice(("active", "active", "active", "paused"))
        await self.bring([*some, *self.chance.sample(self.lines, 3)])
        await asyncio.sleep(0.05)

    async def _know(self) -> None:
        """Tell of people, list some, forget one."""
        people = [{"type": "user", "id": f"u-{number}", "age": 20 + number % 50} for number in range(60)]
        await self._told("POST", "/v1/users", "\n".join(map(json.dumps, people)), NDJSON)
        listed = "\n".join(f"u-{number}" for number in self.chance.sample(range(80), 60))
        await self._told("PUT", "/v1/audiences/aud-1/members", listed, "text/plain")
        await self._told("DELETE", f"/v1/users/u-{self.chance.randrange(80)}")
        await asyncio.sleep(0.1)

    async def _look(self) -> None:
        """Read whatever there is to read."""
        number = self.chance.randrange(len(self.campaigns))
        campaign = self.chance.choice(("cmp-bare", self.campaigns[number]["id"]))
        span = f"from={DAY.format(0)}&to={DAY.format(self.chance.randrange(1, 24))}"
        for path in (
            "/v1/reports?by=day,campaign", f"/v1/reports?by=hour,placement&{span}", "/v1/reports?format=csv",
            f"/v1/reports?by=advertiser,variant&{span}", f"/v1/campaigns/{campaign}/delivery",
            f"/v1/campaigns/{campaign}/funnel", f"/v1/campaigns/{campaign}/funnel?{span}",
            f"/v1/forecast?ad_group_id={self.chance.choice(('grp-bare', 'grp-7'))}",
            f"/v1/creatives/crt-{number}/quality", "/v1/export", "/metrics", "/readyz",
        ):  # fmt: skip
            await self._told("GET", path)
            self.read.add(path.partition("?")[0])
        wanted = {"targeting": {"gender": ["F"]}, "kind": "cpc", "bid": 2_000}
        await self._told("POST", "/v1/forecast", json.dumps(wanted))

    async def _told(self, method: str, path: str, body: str = "", kind: str = JSON_TYPE) -> None:
        answer = await self.admin.ask(method, path, body, kind)
        assert answer.status in {200, 201, 204, 503}, (method, path, answer.status, answer.body[:2_000])


async def live(people: People, data: Path, enough: Callable[[], bool]) -> None:
    """Have everybody do what they do until that is enough."""
    await people.register()
    living, deadline = asyncio.ensure_future(people.run()), monotonic() + LATEST_S
    while not living.done() and not enough():
        assert monotonic() < deadline, "the days do not pass"
        await asyncio.sleep(0.2)
    people.stopped = True
    await living
    assert enough(), "the node went away"


def days(nodes: Nursery, data: Path, seed: int, journal_days: int) -> tuple[People, list[Document]]:
    """Let a node live for some days, then stop it; returns who was there, and the node's log."""
    played, chance = (START_MS, TIMES), random.Random(seed)
    settings: dict[str, Any] = {"journal_days": journal_days, "snapshot_every_lines": 400, **LONG}
    node = nodes.node(data, played=played, invalid_traffic="mark", **settings)
    people = People(chance, Memory(), node.ready(), data)

    def enough() -> bool:
        log = ledger.log_events(data)
        long = not journal_days or bool(ledger.logged(log, "trimming"))
        hours = len(ledger.logged(log, "archived"))
        return long and people.memory.answered >= REQUESTS and hours >= ARCHIVED_HOURS

    asyncio.run(live(people, data, enough))
    node.stop()
    return people, ledger.log_events(data)


def check_nothing_failed(data: Path, log: list[Document]) -> None:
    """What goes on beside the requests tells of its failures in the log alone."""
    assert "Traceback" not in Path(f"{data}.log").read_text()
    assert [event for event in log if event["level"] in {"error", "critical"}] == []
    assert ledger.logged(log, "snapshot")


def retraced(data: Path, records: list[Any]) -> None:
    traced = retrace(data, COLUMNS, records)
    assert len(traced) == len(records) > 0
    assert [(one.then, one.now) for one in traced if not one.agrees] == []


@pytest.mark.slow
def test_days_of_a_node_that_keeps_everything(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with nursery() as nodes:
        people, log = days(nodes, data, seed=1, journal_days=0)
    check_nothing_failed(data, log)
    assert people.asked == {f"plc-{number}" for number in range(PLACEMENTS)}
    assert len(people.read) > 8
    books = ledger.read_books(data, COLUMNS)
    ledger.check_acknowledged(books, people.memory)
    state, damaged = ledger.restored(data, COLUMNS)
    assert damaged == []
    assert ledger.differences(books.state, state) == []
    retraced(data, DecisionReader(data / "decisions.db").sample(TRACED, seed=0))


@pytest.mark.slow
def test_days_of_a_node_that_trims(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with nursery() as nodes:
        _, log = days(nodes, data, seed=2, journal_days=2)
    check_nothing_failed(data, log)
    reader = SqliteReader(data / "journal.db")
    assert reader.first_position > 1
    state, damaged = load(data / "snapshots", COLUMNS)
    assert damaged == []
    fold(state, reader)
    state.check()
    reader.close()
    hours = archive.hours(data / "archive")
    assert hours == list(range(hours[0], hours[-1] + 1))
    recent = DecisionReader(data / "decisions.db").sample(10**6, seed=0)[-TRACED:]
    retraced(data, recent)
