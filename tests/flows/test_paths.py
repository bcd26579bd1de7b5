"""Paths of the archive, held to a plain walk through the journal; what they may not tell is not in them."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter, defaultdict
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from app.cli import app as commands
from app.domain.catalogue import (
    AdGroup,
    Advertiser,
    Campaign,
    Creative,
    Placement,
    Pricing,
    Publisher,
    Thing,
)  # fmt: skip
from app.domain.decisions import ServedAd
from app.domain.ids import DAY_MS, HOUR_MS
from app.domain.lines import Clicked, Converted, Erased, Shown
from app.domain.requests import Person
from app.flows import archiving
from app.flows.attributing import AttributionAsked, attribution
from app.flows.feedback import refund
from app.flows.keeping import keep
from app.flows.node import Node
from app.flows.paths import COUNTED, FOLDER
from app.flows.reporting import Asked, report, verdicts_until
from app.journal import archive
from app.journal.reader import SqliteReader
from app.rules.attribution import NAMES
from tests.flows.test_reporting import Clock
from tests.node import ask_for, decide, running_node, send, tick

PEOPLE = [bytes([number] * 12) for number in range(1, 8)]
WINDOW_DAYS = 1
PRICING = Pricing(kind="cpm", bid_micros=10**9)


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "fsync", lambda _handle: None)


def catalogue() -> list[Thing]:
    """Two advertisers of two campaigns each, all worth the same: the lot of the tie decides."""
    things: list[Thing] = [
        Publisher(id="pub-1"),
        Placement(id="plc-1", publisher_id="pub-1", sizes=((320, 50),), formats=("banner",)),
        Advertiser(id="adv-1"),
        Advertiser(id="adv-2"),
    ]
    for number in range(1, 5):
        things += [
            Campaign(id=f"c-{number}", advertiser_id=f"adv-{1 + number % 2}"),
            AdGroup(id=f"g-{number}", campaign_id=f"c-{number}", pricing=PRICING),
            Creative(id=f"cr-{number}", ad_group_id=f"g-{number}", format="banner", width=320, height=50,
                     landing_url="https://shop.example/"),
        ]  # fmt: skip
    return things


async def live(node: Node, clock: Clock, hours: int, seed: int) -> list[ServedAd]:
    """People see, click and buy; some without an id, one whose key changes, one who is forgotten."""
    chance, converted = random.Random(seed), []
    for hour in range(hours):
        for _ in range(6):
            clock.at_ms += HOUR_MS // 7
            key = chance.choice([None, *PEOPLE])
            former = None
            if key == PEOPLE[0] and hour > hours // 2:
                key, former = bytes([99] * 12), PEOPLE[0]
            person = Person(key=key, former_key=former) if key else None
            ad = decide(node, ask_for("plc-1", person=person)).ads[0]
            await send(node, "impression", ad)
            if chance.random() < 0.5:
                clock.at_ms += 1_000
                await send(node, "click", ad)
                for own_id in ("1", "2")[: chance.choice([0, 0, 1, 1, 2])]:
                    clock.at_ms += chance.choice([1_000, 2_000])
                    await send(node, "conversion", ad, own_id=own_id)
                    converted.append(ad)
            await tick(node)
        if hour == hours // 2:
            await node.submit(Erased(at_ms=node.now_ms(), users=(PEOPLE[1],)))
        clock.at_ms = (clock.at_ms // HOUR_MS + 1) * HOUR_MS
        await tick(node)
    return converted


async def archive_all(node: Node, clock: Clock, later_ms: int = 3 * DAY_MS) -> None:
    clock.at_ms += later_ms
    await tick(node)
    await verdicts_until(node, node.state.position)
    while await archiving.archive_next(node) is not None:
        pass


def paths_of(data: Path) -> pl.DataFrame:
    files = sorted((data / "archive").glob("*/*/kind=paths/*.parquet"))
    return pl.concat([pl.read_parquet(file, hive_partitioning=False) for file in files])


def plain_paths(data: Path) -> tuple[dict[bytes, Any], Counter[Any]]:
    """Walk through the journal, person by person: of each conversion its path; orders that led nowhere."""
    reader = SqliteReader(data / "journal.db")
    entries = reader.read(0, 10**6)
    lines = [entry.line for entry in entries]
    events = [line for line in lines if isinstance(line, Shown | Clicked | Converted)]
    verdicts = reader.verdicts([line.event_id for line in events])
    reader.close()
    erased = {user: line.at_ms for line in lines if isinstance(line, Erased) for user in line.users}
    window_ms = WINDOW_DAYS * DAY_MS
    now = {line.ad.former_user: line.ad.user for line in events if line.ad.former_user}
    conversions: dict[bytes, Any] = {}
    nowhere: Counter[Any] = Counter()

    def end(whose: Any, mine: dict[Any, list[Any]], by_ms: int) -> None:
        """End the paths whose window was over by the end of an hour."""
        left = sorted((touch[0], key) for key, touch in mine.items() if not touch[2])
        left = [each for each in left if each[0] > erased.get(whose[0], 0)]
        while left and left[0][0] + window_ms <= by_ms:
            path = [key for ms, key in left if ms < left[0][0] + window_ms]
            nowhere[whose[1], tuple((key[2], mine[key][1]) for key in path)] += 1
            for key in path:
                mine[key][2] = True
            left = left[len(path) :]

    touched: defaultdict[Any, dict[Any, list[Any]]] = defaultdict(dict)  # whose -> ad -> [ms, click, told]
    for line in events:
        if verdicts[line.event_id].fate not in COUNTED:
            continue
        ad, at_ms = line.ad, line.at_ms
        number = int(ad.creative_id[-1])
        whose = user, _ = now.get(ad.user, ad.user), f"adv-{1 + number % 2}"
        mine = touched[whose] if user else {}
        key = (ad.decision_id, ad.ad_index, f"c-{number}")
        if not isinstance(line, Converted):
            if user:
                mine[key] = [at_ms, isinstance(line, Clicked), mine.get(key, [0, 0, False])[2]]
            continue
        found = {
            ad_key: touch
            for ad_key, touch in mine.items()
            if touch[0] > at_ms - window_ms and touch[0] > erased.get(user, 0)
        }
        found.setdefault(key, [ad.issued_at_ms, True, True])
        end(whose, mine, at_ms // HOUR_MS * HOUR_MS)
        for touch in mine.values():
            touch[2] = True
        ordered = sorted((touch[0], ad_key, touch[1]) for ad_key, touch in found.items())
        conversions[line.event_id] = [
            (ad_key[2], clicked, (at_ms - ms) // HOUR_MS) for ms, ad_key, clicked in ordered
        ]
    for whose, mine in touched.items():
        end(whose, mine, 2**60)
    return conversions, nowhere


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_paths_are_what_a_plain_walk_finds(tmp_path: Path, seed: int) -> None:
    async def work() -> None:
        clock = Clock()
        async with running_node(tmp_path, clock_ms=clock, things=catalogue()) as node:
            object.__setattr__(node.settings, "attribution_days", WINDOW_DAYS)
            await live(node, clock, 30, seed)
            await archive_all(node, clock)

    asyncio.run(work())
    conversions, nowhere = plain_paths(tmp_path)
    paths = paths_of(tmp_path)
    led = paths.filter(pl.col("event_id").is_not_null())
    found = {
        row["event_id"]: list(zip(row["campaigns"], row["clicked"], row["ages_h"], strict=True))
        for row in led.iter_rows(named=True)
    }
    assert len(found) == led.height > 30
    assert found == conversions
    assert max(map(len, found.values())) > 3
    ended = Counter[Any]()
    for row in paths.filter(pl.col("event_id").is_null()).iter_rows(named=True):
        ended[row["advertiser"], tuple(zip(row["campaigns"], row["clicked"], strict=True))] += row["count"]
    assert ended == nowhere
    assert len(nowhere) > 5
    kept = b"".join(path.read_bytes() for path in (tmp_path / "archive").rglob("*.parquet"))
    assert not any(person in kept for person in PEOPLE)
    waiting = list((tmp_path / FOLDER).iterdir())
    assert len(waiting) <= 2
    assert all(pl.read_parquet(path).height == 0 for path in waiting), "the window is over"
    assert {path.stat().st_mode & 0o777 for path in waiting} == {0o600}


def test_credits_sum_to_the_conversions_of_the_report_refunds_apart(tmp_path: Path) -> None:
    async def work() -> None:
        clock = Clock()
        async with running_node(tmp_path, clock_ms=clock, things=catalogue()) as node:
            await live(node, clock, 10, 5)
            await archive_all(node, clock)
            asked = AttributionAsked(from_ms=0, to_ms=clock.at_ms)

            async def told(asked: AttributionAsked) -> Any:
                return json.loads(await attribution(node, asked), parse_float=Decimal)

            first = await told(asked)
            counted = json.loads(await report(node, Asked(from_ms=0, to_ms=clock.at_ms)))["totals"]
            assert first["totals"]["conversions"] == counted["conversions"] > 8
            for found in (first, await told(AttributionAsked(from_ms=0, to_ms=clock.at_ms, by="creative"))):
                for rule in NAMES:
                    assert sum(row[rule] for row in found["rows"]) == counted["conversions"], rule
            one = await told(AttributionAsked(from_ms=0, to_ms=clock.at_ms, advertisers=("adv-1",)))
            assert one["rows"] == [row for row in first["rows"] if row["advertiser"] == "adv-1"]
            paths = paths_of(tmp_path)
            gone = paths.filter(pl.col("event_id").is_not_null())["event_id"][0]
            await refund(node, [gone], "test")
            late = await told(asked)
            assert late["totals"]["conversions"] == counted["conversions"] - 1
            assert {late["totals"][rule] for rule in NAMES} == {counted["conversions"] - 1}
            clicks = await told(AttributionAsked(from_ms=0, to_ms=clock.at_ms, touches="clicks"))
            assert clicks["totals"]["touches"] < late["totals"]["touches"]

    asyncio.run(work())
    answer = CliRunner().invoke(commands, ["attribution", "--data", str(tmp_path), "--json"])
    assert answer.exit_code == 0, answer.output
    assert json.loads(answer.stdout)["totals"]["conversions"] > 7
    assert "c-1" in CliRunner().invoke(commands, ["attribution", "--data", str(tmp_path)]).stdout


def test_an_hour_that_was_begun_and_killed_comes_to_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed when what waits was written and the hour was not: the next try begins at the hour before."""

    def killed(*_: object) -> None:
        raise RuntimeError("killed")

    async def work() -> None:
        clock = Clock()
        async with running_node(tmp_path, clock_ms=clock, things=catalogue()) as node:
            await live(node, clock, 6, 7)
            clock.at_ms += 3 * DAY_MS
            await tick(node)
            await verdicts_until(node, node.state.position)
            for _ in range(4):
                with monkeypatch.context() as patched:
                    patched.setattr(archive.HourWriter, "finish", killed)
                    with pytest.raises(RuntimeError, match="killed"):
                        await archiving.archive_next(node)
                await archiving.archive_next(node)
            await archive_all(node, clock, 0)

    asyncio.run(work())
    conversions, _ = plain_paths(tmp_path)
    led = paths_of(tmp_path).filter(pl.col("event_id").is_not_null())
    assert led["event_id"].len() == len(conversions) > 3
    assert {row["event_id"]: row["campaigns"] for row in led.iter_rows(named=True)} == {
        event_id: [campaign for campaign, *_ in path] for event_id, path in conversions.items()
    }


def test_what_waits_goes_with_the_window_or_when_nothing_is_archived_any_more(tmp_path: Path) -> None:
    async def work() -> None:
        clock = Clock()
        async with running_node(tmp_path, clock_ms=clock, things=catalogue()) as node:
            await live(node, clock, 4, 3)
            await archive_all(node, clock, 6 * HOUR_MS)
            waiting = [path.name for path in (tmp_path / FOLDER).glob("*")]
            assert len(waiting) == 2
            await keep(node)
            assert [path.name for path in (tmp_path / FOLDER).glob("*")] == waiting
            object.__setattr__(node.settings, "attribution_days", 0)
            await keep(node)
            assert list((tmp_path / FOLDER).glob("*")) == []

    asyncio.run(work())


def test_without_an_archive_there_is_nothing_to_tell(tmp_path: Path) -> None:
    async def work() -> None:
        async with running_node(tmp_path, things=catalogue()) as node:
            told = json.loads(await attribution(node, AttributionAsked(from_ms=0, to_ms=2**50)))
            assert (told["rows"], told["totals"]["conversions"]) == ([], 0)

    asyncio.run(work())
