"""Reports add up: to the journal, to the accounts in the state, to the micro; whatever is refunded or cut.

A played-out day on a real node is reported by the flow and held against a plain fold of the same journal.
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterable
from concurrent.futures import BrokenExecutor, Executor, ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.domain.decisions import ServedAd
from app.domain.lines import (
    Clicked,
    Converted,
    Entry,
    Refunded,
    Shown,
    Ticked,
    Verdict,
)
from app.domain.refusals import Busy
from app.flows import reporting
from app.flows.feedback import refund
from app.flows.node import Node
from app.flows.reporting import Asked, report, reports, to_csv, to_json, verdicts_until
from app.flows.tallies import DIMENSIONS, OF_REQUESTS, Tallies, ecpm
from app.journal.reader import SqliteReader
from app.rules.intervals import wilson
from app.state.apply import apply
from app.state.state import State
from tests.node import COLUMNS, ask_for, decide, running_node, send, small_catalogue, tick

START_MS = 1_767_225_600_000 + 10 * 3_600_000  # 2026-01-01, 19:00 in Seoul
HOURS = 9  # into the next day there
STEP_MINUTES = 12
BUDGET_MICROS = 30_000_000_000


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.at_ms = START_MS

    def __call__(self) -> int:
        return self.at_ms


async def play(node: Node, clock: Clock, seed: int = 5) -> None:
    """Some hours of traffic: clicks before, long after and without impressions, refunds, a spent budget."""
    chance = random.Random(seed)
    late: list[ServedAd] = []
    for _ in range(HOURS * 60 // STEP_MINUTES):
        clock.at_ms += STEP_MINUTES * 60_000
        ads = decide(node, ask_for("plc-1", "plc-2", count=chance.choice([1, 2, 3]))).ads
        late += ads
        receipts = []
        for ad in ads:
            if chance.random() < 0.15:
                await send(node, "click", ad)  # held, then settled or expired
            if chance.random() < 0.8:
                receipts.append(await send(node, "impression", ad))
                if chance.random() < 0.3:
                    receipts.append(await send(node, "click", ad))
                    await send(node, "conversion", ad, own_id=str(chance.randrange(3)))
        for ad in chance.sample(late, 2):
            await send(node, chance.choice(["click", "impression", "loss"]), ad)
        await tick(node)
        if receipts and chance.random() < 0.3:
            await refund(node, [chance.choice(receipts).event_id], "test")


def plain_rows(data: Path, by: Iterable[str], zone_ms: int) -> dict[tuple[Any, ...], Counter[str]]:
    """Fold the journal anew and add up with the last verdict of each event: slow and plainly right."""
    reader = SqliteReader(data / "journal.db")
    entries: list[Entry] = reader.read(0, 10**9)
    reader.close()
    state = State(COLUMNS)
    verdicts: dict[bytes, Verdict] = {}
    for entry in entries:
        verdicts.update(apply(state, entry).verdicts)
    rows: dict[tuple[Any, ...], Counter[str]] = defaultdict(Counter)
    for entry in entries:
        line = entry.line
        if isinstance(line, Ticked) and OF_REQUESTS.issuperset(by):
            for placement, requests, _ in line.requests:
                key = tuple(plain_part(name, line.at_ms, placement, None, state, zone_ms) for name in by)
                rows[key]["requests"] += requests
        if not isinstance(line, Shown | Clicked | Converted):
            continue
        key = tuple(
            plain_part(name, line.at_ms, line.ad.placement_id, line.ad, state, zone_ms) for name in by
        )
        verdict = verdicts[line.event_id]
        rows[key]["spend_micros"] += verdict.billed_micros
        rows[key]["unbilled_micros"] += verdict.unbilled_micros
        if verdict.fate in {"learned", "skipped"}:
            name = {"Shown": "impressions", "Clicked": "clicks", "Converted": "conversions"}
            rows[key][name[type(line).__name__]] += 1
            rows[key]["predicted"] += line.ad.pctr if isinstance(line, Shown) else 0  # type: ignore[assignment]
            p = line.ad.pctr
            losses = {"Shown": -math.log(1 - p), "Clicked": math.log(1 - p) - math.log(p)}
            rows[key]["loss"] += losses.get(type(line).__name__, 0.0)  # type: ignore[assignment]
        elif verdict.fate != "held":
            rows[key]["invalid:" + (verdict.code or verdict.fate)] += 1
    return rows


def plain_part(
    name: str, at_ms: int, placement: str, ad: ServedAd | None, state: State, zone_ms: int
) -> str | int:
    local_s = (at_ms + zone_ms) // 1000
    days, rest = divmod(local_s, 86_400)
    day = f"2026-01-{days - 20454 + 1:02d}"
    if name == "day":
        return day
    if name == "hour":
        return f"{day}T{rest // 3600:02d}:00:00+09:00"
    if name == "minute":
        return f"{day}T{rest // 3600:02d}:{rest % 3600 // 60:02d}:00+09:00"
    if name == "placement":
        return placement
    if name == "publisher":
        return "pub-1"
    assert ad is not None
    if name == "variant":
        return ad.variant // 128
    group = state.catalogue.things["creative"][ad.creative_id].ad_group_id  # type: ignore[union-attr]
    return {"creative": ad.creative_id, "ad_group": group, "campaign": "c-1", "advertiser": "adv-1"}[name]


CHOICES = [
    (), ("day",), ("hour", "placement"), ("publisher", "day"), ("campaign",), ("ad_group", "creative"),
    ("advertiser", "hour"), ("variant", "placement", "creative"), DIMENSIONS,
]  # fmt: skip


def test_a_report_is_the_journals_own_sum(tmp_path: Path) -> None:
    """Each choice of dimensions against the plain fold; spend against the accounts in the state."""

    async def work() -> None:
        clock = Clock()
        things = small_catalogue(budget_daily_micros=BUDGET_MICROS)
        async with running_node(tmp_path, clock_ms=clock, things=things) as node:
            await play(node, clock)
            spent = int(node.state.catalogue.campaign_accounts.spent.sum())
            for by in CHOICES:
                asked = Asked(from_ms=0, to_ms=clock.at_ms + 1, by=by, zone="Asia/Seoul")
                told = json.loads(await report(node, asked), parse_float=Decimal)
                expected = plain_rows(tmp_path, by, 9 * 3_600_000)
                assert [tuple(row[name] for name in by) for row in told["rows"]] == sorted(expected)
                for row in told["rows"]:
                    compare(row, expected[tuple(row[name] for name in by)], OF_REQUESTS.issuperset(by))
                assert told["totals"]["spend"] * 1_000_000 == spent > 0
                assert sum(row["spend"] for row in told["rows"]) == told["totals"]["spend"]
            totals = told["totals"]
            assert totals["unbilled"] > 0, "the budget ran out"
            assert {"refunded", "no_impression"} <= totals["invalid"].keys()

    asyncio.run(work())


def test_several_reports_at_once_and_of_one_thing_are_the_rows_of_one_report(tmp_path: Path) -> None:
    """What `only` keeps to is that row of the whole; requests are told where they can be."""

    async def work() -> None:
        clock = Clock()
        async with running_node(tmp_path, clock_ms=clock, things=small_catalogue()) as node:
            await play(node, clock)
            whole = Asked(from_ms=0, to_ms=clock.at_ms + 1)
            for name, identity in ONLY:
                by = msgspec.structs.replace(whole, by=(name, "hour"))
                kept = msgspec.structs.replace(whole, by=("hour",), only=(name, identity))
                bodies = await reports(node, [by, kept])
                rows, told = (json.loads(body, parse_float=Decimal)["rows"] for body in bodies)
                expected = [row for row in rows if row.pop(name) == identity]
                assert told == expected != []
                assert bodies[1] == await report(node, kept)
            nobody = msgspec.structs.replace(whole, only=("campaign", "c-9"))
            assert json.loads(await report(node, nobody))["rows"] == []

    asyncio.run(work())


ONLY = [
    ("campaign", "c-1"), ("ad_group", "g-2"), ("creative", "cr-1-1"), ("placement", "plc-2"),
    ("publisher", "pub-1"),
]  # fmt: skip


def compare(row: dict[str, Any], expected: Counter[str], counts_requests: bool) -> None:
    for name in ("impressions", "clicks", "conversions"):
        assert row[name] == expected[name]
    assert row["requests"] == (expected["requests"] if counts_requests else None)
    assert row["spend"] * 1_000_000 == expected["spend_micros"]
    assert row["unbilled"] * 1_000_000 == expected["unbilled_micros"]
    assert float(row["predicted_clicks"]) == pytest.approx(expected["predicted"])
    invalid = {name[8:]: n for name, n in expected.items() if name.startswith("invalid:")}
    assert row["invalid"] == invalid
    if row["impressions"]:
        assert float(row["ctr"]) == pytest.approx(row["clicks"] / row["impressions"])
        assert row["ctr_low"] <= min(1, row["ctr"]) <= row["ctr_high"]
        exact = Decimal(expected["spend_micros"]) / row["impressions"] / 1000
        assert abs(row["ecpm"] - exact) <= Decimal("0.0000005")
    if 0 < row["clicks"] < row["impressions"]:
        rate = row["clicks"] / row["impressions"]
        entropy = -rate * math.log(rate) - (1 - rate) * math.log(1 - rate)
        assert float(row["log_loss"]) == pytest.approx(expected["loss"] / row["impressions"])
        assert float(row["ne"]) == pytest.approx(float(row["log_loss"]) / entropy)
    if row["clicks"]:
        assert float(row["calibration"]) == pytest.approx(float(row["predicted_clicks"]) / row["clicks"])


def test_stretches_of_time_add_up_and_never_overlap(tmp_path: Path) -> None:
    async def work() -> None:
        clock = Clock()
        async with running_node(tmp_path, clock_ms=clock, things=small_catalogue()) as node:
            await play(node, clock, seed=9)
            whole = await totals(node, 0, clock.at_ms + 1)
            middle = START_MS + 4 * 3_600_000
            parts = [await totals(node, 0, middle), await totals(node, middle, clock.at_ms + 1)]
            for name in ("requests", "impressions", "clicks", "conversions", "spend", "unbilled"):
                assert parts[0][name] + parts[1][name] == whole[name]
                assert parts[0][name] < whole[name] or whole[name] == 0
            edge = START_MS + STEP_MINUTES * 60_000  # where the first events happened
            assert (await totals(node, edge, edge + 1))["impressions"] > 0
            assert (await totals(node, edge + 1, edge + 2))["impressions"] == 0
            assert (await totals(node, edge, edge))["impressions"] == 0

    async def totals(node: Node, from_ms: int, to_ms: int) -> Any:
        body = await report(node, Asked(from_ms=from_ms, to_ms=to_ms))
        return json.loads(body, parse_float=Decimal)["totals"]

    asyncio.run(work())


def test_a_refunded_event_costs_nothing_and_counts_as_taken_back(tmp_path: Path) -> None:
    async def work() -> None:
        async with running_node(tmp_path, things=small_catalogue()) as node:
            ad = decide(node, ask_for("plc-1")).ads[0]
            await send(node, "impression", ad)
            click = await send(node, "click", ad)
            asked = Asked(from_ms=0, to_ms=2**50)
            before = json.loads(await report(node, asked))["totals"]
            assert (before["clicks"], before["spend"]) == (1, click.billed_micros / 1e6)
            await refund(node, [click.event_id], "test")
            after = json.loads(await report(node, asked))["totals"]
            assert (after["clicks"], after["spend"], after["invalid"]) == (0, 0, {"refunded": 1})
            assert after["impressions"] == 1

    asyncio.run(work())


def test_it_waits_for_the_verdicts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was acknowledged before the call is in the report; when the disk does not follow: Busy."""

    async def work() -> None:
        async with running_node(tmp_path, things=small_catalogue()) as node:
            for count in range(1, 6):
                await send(node, "impression", decide(node, ask_for("plc-1")).ads[0])
                told = json.loads(await report(node, Asked(from_ms=0, to_ms=2**50)))
                assert told["totals"]["impressions"] == count
                assert told["totals"]["invalid"] == {}
            monkeypatch.setattr(reporting, "VERDICTS_WAIT_S", 0.02)
            with pytest.raises(Busy) as busy:
                await verdicts_until(node, node.state.position + 1)
            assert busy.value.code == "journal_unavailable"

    asyncio.run(work())


class BrokenPool(ThreadPoolExecutor):
    """A pool whose worker was killed."""

    def submit(self, *_: Any, **__: Any) -> Any:
        raise BrokenExecutor("a worker died")


def test_a_killed_worker_is_busy(tmp_path: Path) -> None:
    async def work() -> None:
        pool: Executor = BrokenPool(1)
        async with running_node(tmp_path, things=small_catalogue(), workers=pool) as node:
            with pytest.raises(Busy) as busy:
                await report(node, Asked(from_ms=0, to_ms=1))
            assert busy.value.code == "workers_unavailable"

    asyncio.run(work())


def some_ad(**changes: Any) -> ServedAd:
    given = {
        "decision_id": bytes(15), "ad_index": 0, "creative_id": "cr", "creative_index": 0, "generation": 0,
        "placement_id": "plc", "publisher_id": "pub", "rows": b"", "columns": b"", "schema_version": 1,
        "price_micros": 5, "price_kind": "cpc", "pctr": 0.25, "variant": 0, "issued_at_ms": 0,
    }  # fmt: skip
    return ServedAd(**{**given, **changes})


#   verdict                                      impressions  invalid       why
VERDICTS = [
    (Verdict("learned"),                         1, {},                     "the usual"),
    (Verdict("skipped"),                         1, {},                     "the click stream was silent"),
    (Verdict("held"),                            0, {},                     "not yet anything"),
    (Verdict("invalid", code="no_impression"),   0, {"no_impression": 1},   "with its reason"),
    (Verdict("invalid"),                         0, {"invalid": 1},         "without one"),
    (Verdict("refunded"),                        0, {"refunded": 1},        "taken back"),
    (None,                                       0, {"forgotten": 1},       "its id is gone"),
]  # fmt: skip


@pytest.mark.parametrize(("verdict", "impressions", "invalid", "why"), VERDICTS)
def test_what_a_verdict_counts_as(
    verdict: Verdict | None, impressions: int, invalid: dict[str, int], why: str
) -> None:
    tallies = Tallies((), "UTC", {}, {})
    tallies.take(0, Shown(at_ms=0, ad=some_ad()), verdict)
    total = tallies.total()
    assert (total.impressions, total.invalid) == (impressions, invalid), why
    assert total.predicted_clicks == 0.25 * impressions


#   zone                time (UTC)                hour                   day           why
LABELS = [
    ("Asia/Seoul",      1_767_279_599_999, "2026-01-01T23:00:00+09:00", "2026-01-01", "the day's last"),
    ("Asia/Seoul",      1_767_279_600_000, "2026-01-02T00:00:00+09:00", "2026-01-02", "midnight"),
    ("Asia/Kolkata",    1_767_227_400_000, "2026-01-01T06:00:00+05:30", "2026-01-01", "30 minutes off"),
    ("Asia/Kathmandu",  1_767_225_600_000, "2026-01-01T05:00:00+05:45", "2026-01-01", "a quarter off"),
    ("America/New_York", 1_793_511_000_000, "2026-11-01T01:00:00-04:00", "2026-11-01", "first 1 o'clock"),
    ("America/New_York", 1_793_514_600_000, "2026-11-01T01:00:00-05:00", "2026-11-01", "second 1 o'clock"),
    ("UTC",             0,                 "1970-01-01T00:00:00+00:00", "1970-01-01", "the beginning"),
]  # fmt: skip


@pytest.mark.parametrize(("zone", "at_ms", "hour", "day", "why"), LABELS)
def test_hours_and_days_are_the_nodes(zone: str, at_ms: int, hour: str, day: str, why: str) -> None:
    tallies = Tallies(("hour", "day"), zone, {}, {})
    tallies.take(at_ms, Shown(at_ms=at_ms, ad=some_ad()), Verdict("learned"))
    tallies.take_tick(at_ms, Ticked(at_ms=at_ms, requests=(("plc", 2, 9), ("other", 1, 0))))
    assert list(tallies.rows) == [(hour, day)], why
    assert tallies.total().requests == 3


def test_a_name_that_looks_like_a_formula_is_only_a_name_in_csv() -> None:
    tallies = Tallies(("placement",), "UTC", {}, {})
    names = ["=cmd()", "+1", "@x", "-1+2", "plain name", "-plc-1", 'a "quoted", one']
    for name in names:
        tallies.take(0, Shown(at_ms=0, ad=some_ad(placement_id=name)), Verdict("invalid", code="a"))
        tallies.take(0, Shown(at_ms=0, ad=some_ad(placement_id=name)), Verdict("invalid", code="b"))
    rows = list(csv.DictReader(io.StringIO(to_csv(tallies).decode(), newline="")))
    assert {row["placement"] for row in rows} == {
        "'=cmd()", "'+1", "'@x", "'-1+2", "plain name", "-plc-1", 'a "quoted", one',
    }  # fmt: skip
    assert {row["invalid"] for row in rows} == {"a=1;b=1"}
    assert {row["placement"] for row in json.loads(to_json(tallies))["rows"]} == set(names)


def test_large_sums_stay_exact() -> None:
    tallies = Tallies((), "UTC", {}, {})
    billed = 10**15 - 1
    for _ in range(1_000):
        tallies.take(0, Clicked(at_ms=0, ad=some_ad()), Verdict("learned", billed))
    told = json.loads(to_json(tallies), parse_float=Decimal, parse_int=Decimal)["totals"]["spend"]
    assert told * 1_000_000 == 1_000 * billed


#   clicks  of  low      high      source
WILSON = [
    (0,     10,   0.0,      0.277533, "Newcombe 1998 and any table: z2 / (n + z2)"),
    (81,    263,  0.255251, 0.366215, "Newcombe 1998, table I, method 3: 0.2553 to 0.3662"),
    (15,    148,  0.062386, 0.160530, "Newcombe 1998, table I, method 3: 0.0624 to 0.1605"),
    (1,     29,   0.006113, 0.171755, "Newcombe 1998, table I, method 3: 0.0061 to 0.1718"),
    (29,    29,   0.883030, 1.0,      "all of them: mirrors 0 of 29, 0.1170"),
    (12,    10,   0.722467, 1.0,      "more clicks than impressions bound as all"),
]  # fmt: skip


@pytest.mark.parametrize(("clicks", "of", "low", "high", "source"), WILSON)
def test_wilson(clicks: int, of: int, low: float, high: float, source: str) -> None:
    assert wilson(clicks, of) == pytest.approx((low, high), abs=5e-5), source


def test_ecpm_is_rounded_to_the_micro() -> None:
    assert [ecpm(1, 3), ecpm(1, 2_000), ecpm(2, 3)] == [
        Decimal("0.000333"), Decimal("0.000001"), Decimal("0.000667"),
    ]  # fmt: skip


def test_the_journals_bulk_reads_agree_with_single_ones(tmp_path: Path) -> None:
    async def work() -> None:
        clock = Clock()
        async with running_node(tmp_path, clock_ms=clock, things=small_catalogue()) as node:
            await play(node, clock, seed=2)
            await verdicts_until(node, node.state.position)
            reader = SqliteReader(tmp_path / "journal.db")
            last = reader.last_position
            entries = reader.read(0, last)
            assert len(entries) == last
            kinds = {"shown": Shown, "clicked": Clicked, "refunded": Refunded}
            scanned = [row for rows in reader.scan(7, last - 5, list(kinds), limit=10) for row in rows]
            wanted = [
                entry.position
                for entry in entries
                if isinstance(entry.line, tuple(kinds.values())) and 7 < entry.position <= last - 5
            ]
            assert [position for position, _, _ in scanned] == wanted
            assert [at_ms for _, at_ms, _ in scanned] == sorted(at_ms for _, at_ms, _ in scanned)
            events = [entry.line.event_id for entry in entries if isinstance(entry.line, Shown | Clicked)]
            found = reader.verdicts([*events, bytes(15)])
            assert found == {event: node.journal.find(event)[1] for event in events}  # type: ignore[index]
            assert list(reader.scan(last, last, ["shown"])) == []
            reader.close()

    asyncio.run(work())
