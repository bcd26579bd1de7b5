"""Invalid traffic adds up to the report, and the events that are found are those that were judged so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.domain import ids
from app.domain.keys import EVERYONE, Caller
from app.domain.lines import Sender
from app.flows import finding_events
from app.flows.campaigns import read_report
from app.flows.feedback import refund
from app.flows.finding_events import FoundEvent, Wanted, find_events
from app.flows.invalid_traffic import KINDS, invalid_traffic
from app.flows.node import Node
from app.flows.reporting import Asked, report
from tests.node import FOLD, ask_for, decide, running_node, send, small_catalogue, tick

OTHER = Caller(frozenset({"reports"}), frozenset({"adv-2"}))
OWN = Caller(frozenset({"reports"}), frozenset({"adv-1"}))


@asynccontextmanager
async def watched(tmp_path: Path, how: str = "on") -> AsyncIterator[Node]:
    """A node with 12 impressions and their clicks: every fourth by a robot, one refunded."""
    fold = msgspec.structs.replace(FOLD, invalid_traffic=how, click_soonest_ms=0)
    async with running_node(tmp_path, things=small_catalogue(), fold=fold) as node:
        click = None
        for number in range(12):
            ad = decide(node, ask_for("plc-1" if number < 8 else "plc-2")).ads[0]
            sender = Sender(flaw="bot" if number % 4 == 0 else "")
            await send(node, "impression", ad, sender=sender)
            receipt = await send(node, "click", ad, sender=sender)
            click = receipt if receipt.billed_micros else click
        assert click is not None
        await refund(node, [click.event_id], "test")
        await tick(node)
        yield node


def test_gross_net_reasons_and_sources_are_the_reports(tmp_path: Path) -> None:
    async def work() -> None:
        async with watched(tmp_path) as node:
            told = await invalid_traffic(node, EVERYONE)
            total = read_report(await report(node, Asked(from_ms=0, to_ms=2**50)))["totals"]
            for count, kind in zip(told.counts, KINDS, strict=True):
                assert (count.gross, count.net) == (total[f"gross_{kind}"], total[f"net_{kind}"])
            assert told.counts[0].share == pytest.approx(3 / 12)
            assert told.counts[0].low is not None
            assert told.counts[0].low < 3 / 12
            assert told.counts[2].share is None
            assert {each.code: each.count for each in told.reasons} == total["invalid"]
            assert all(each.why for each in told.reasons)
            places = [(each.id, each.invalid) for each in told.sources["placement"]]
            assert [place for place, _ in places] == ["plc-1", "plc-2"]
            assert sum(invalid for _, invalid in places) == sum(total["invalid"].values())
            assert told.sources["placement"][0].reason == "bot"
            assert told.mode == "on"
            nothing = await invalid_traffic(node, OTHER)
            assert [each.gross for each in nothing.counts] == [0, 0, 0]
            assert nothing.reasons == []

    asyncio.run(work())


#   asked                                                     found  why
ASKED: list[tuple[dict[str, Any], int, str]] = [
    ({}, 24, "everything"),
    ({"kind": "click"}, 12, "clicks alone"),
    ({"kind": "conversion"}, 0, "there were none"),
    ({"reason": "bot", "kind": "impression"}, 3, "by the robot"),
    ({"reason": "bot", "by": "placement", "id": "plc-2", "kind": "impression"}, 1, "of one placement"),
    ({"by": "publisher", "id": "pub-1"}, 24, "of its publisher"),
    ({"by": "campaign", "id": "c-1"}, 24, "of its campaign"),
    ({"by": "campaign", "id": "c-9"}, 0, "of none that is there"),
    ({"by": "creative", "id": "cr-9"}, 0, "of no creative"),
    ({"reason": "refunded"}, 1, "taken back"),
    ({"reason": "-", "kind": "impression"}, 9, "nothing against them"),
    ({"since_ms": 2**50}, 0, "later than now"),
]  # fmt: skip


def test_events_are_found_by_what_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        async with watched(tmp_path) as node:

            async def found(caller: Caller = EVERYONE, **asked: Any) -> list[FoundEvent]:
                return (await find_events(node, caller, Wanted(**{"since_ms": 0, **asked}))).events

            for places in (4_096, 5):
                monkeypatch.setattr(finding_events, "PLACES_AT_ONCE", places)
                for asked, count, why in ASKED:
                    assert len(await found(**asked)) == count, why
            everything = await found()
            assert [each.at_ms for each in everything] == sorted(
                (each.at_ms for each in everything), reverse=True
            )
            assert all(node.journal.find(ids.from_text(each.event_id)) for each in everything)
            assert all(each.billed_micros for each in await found(billed=True))
            assert len(await found(OWN)) == 24
            assert await found(OTHER) == []
            assert await found(OTHER, by="campaign", id="c-1") == []
            monkeypatch.setattr(finding_events, "MOST_FOUND", 3)
            assert await found() == everything[:3]

    asyncio.run(work())
