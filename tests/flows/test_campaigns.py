"""What people see of campaigns agrees with delivery, with reports and with the state's own accounts.

A short morning is played on a real node with a clock that the test moves.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.domain.catalogue import Advertiser, Campaign
from app.domain.keys import EVERYONE, Caller
from app.domain.refusals import Refused
from app.flows.campaigns import (
    CampaignDay,
    campaign_day,
    campaign_list,
    pace_of,
    read_report,
    spent_by_hour,
    standing_of,
)
from app.flows.catalogue import patch
from app.flows.delivery import delivery_of
from app.flows.node import Node
from app.flows.reporting import Asked, report
from app.state.pacing import Plan
from tests.node import ask_for, decide, register, running_node, send, small_catalogue, tick

START_MS = 1_767_225_600_000  # 2026-01-01T00:00:00Z, 09:00 in Seoul
HOUR_MS = 3_600_000
BUDGET_MICROS = 900_000_000_000


class Clock:
    """A clock that the test moves."""

    at_ms = START_MS

    def __call__(self) -> int:
        return self.at_ms


@asynccontextmanager
async def played(tmp_path: Path, hours: int = 3) -> AsyncIterator[Node]:
    """A node after some hours with a request every five minutes, a click of each third."""
    clock = Clock()
    things = small_catalogue(budget_daily_micros=BUDGET_MICROS)
    async with running_node(tmp_path, clock_ms=clock, things=things) as node:
        for number in range(hours * 12):
            for ad in decide(node, ask_for("plc-1", "plc-2")).ads:
                await send(node, "impression", ad)
                if number % 3 == 0:
                    await send(node, "click", ad)
            clock.at_ms += 300_000
            await tick(node)
        yield node


async def day_of(node: Node) -> CampaignDay:
    return await campaign_day(node, "c-1")


def test_a_day_is_the_reports_and_the_accounts(tmp_path: Path) -> None:
    async def work() -> None:
        async with played(tmp_path) as node:
            day = await day_of(node)
            accounts = node.state.catalogue.campaign_accounts
            spent = int(accounts.spent[0])
            assert day.delivery.plan.spent_today == spent > 0
            assert day.spent[0] == (day.course.from_ms, 0)
            assert day.spent[-1] == (node.state.clock_ms, spent)
            assert [value for _, value in day.spent] == sorted(value for _, value in day.spent)
            assert day.course.ahead[0] == (node.state.clock_ms, spent)
            midnight_ms = START_MS - 9 * HOUR_MS
            asked = Asked(from_ms=midnight_ms, to_ms=node.now_ms() + 1, by=("creative",))
            whole = read_report(await report(node, asked))
            assert [row.measures for row in day.creatives if row.measures] == sorted(
                whole["rows"], key=lambda row: (-row["impressions"], row["creative"])
            )
            assert len(day.creatives) == 6, "those without impressions are there, too"
            by = ("hour", "campaign")
            by_hour = read_report(await report(node, msgspec.structs.replace(asked, by=by)))
            assert {row.pop("campaign") for row in by_hour["rows"]} == {"c-1"}
            assert (day.hours, day.total) == (by_hour["rows"], by_hour["totals"])
            delivery = msgspec.structs.replace(await delivery_of(node, "c-1"), funnel={})
            assert day.delivery == delivery

    asyncio.run(work())


def test_there_is_no_day_of_what_is_not_there(tmp_path: Path) -> None:
    async def work() -> None:
        async with running_node(tmp_path) as node:
            with pytest.raises(Refused, match="there is no campaign c-9"):
                await campaign_day(node, "c-9")

    asyncio.run(work())


def test_a_list_shows_each_its_own_and_finds_by_words(tmp_path: Path) -> None:
    async def work() -> None:
        async with played(tmp_path, hours=1) as node:
            other = Campaign(id="c-2", advertiser_id="adv-2", name="Winter Sale", status="paused")
            gone = Campaign(id="c-3", advertiser_id="adv-2", name="Old", status="archived")
            await register(node, [Advertiser(id="adv-2", name="Ski"), other, gone])

            def ids(caller: Caller = EVERYONE, **asked: Any) -> list[str]:
                return [row.campaign.id for row in campaign_list(node, caller, **asked).rows]

            assert ids() == ["c-1", "c-2"], "who spent most comes first; archived ones are asked for"
            assert ids(status="archived") == ["c-3"]
            assert ids(status="paused") == ["c-2"]
            assert ids(text="winter") == ids(text="C-2") == ["c-2"]
            assert ids(text="nothing like it") == []
            assert ids(size=1, page=2) == ["c-2"]
            assert ids(size=1, page=9) == ["c-2"], "behind the last page is the last page"
            bound = Caller(frozenset({"catalogue:read"}), frozenset({"adv-2"}))
            assert ids(bound) == ["c-2"]
            row = campaign_list(node, EVERYONE).rows[0]
            assert (row.advertiser, row.standing) == ("Shop", "")
            assert row.plan == (await delivery_of(node, "c-1")).plan

    asyncio.run(work())


def test_standing_is_told_where_no_group_takes_part(tmp_path: Path) -> None:
    async def work() -> None:
        async with running_node(tmp_path, things=small_catalogue()) as node:
            await register(node, [Campaign(id="c-2", advertiser_id="adv-1")])
            assert (standing_of(node, "c-1"), standing_of(node, "c-2")) == ("", "no_ads")
            await patch(
                node, "campaign", "c-1", "*", lambda thing: msgspec.structs.replace(thing, status="paused")
            )
            await tick(node)
            assert standing_of(node, "c-1") == "paused"

    asyncio.run(work())


def some_plan(spent: int, planned: float | None, allowance: float | None = 1_000.0) -> Plan:
    return Plan(
        throttle=1.0, spent_today=spent, in_flight=0, allowance=allowance, planned=planned, hour_planned=None,
        hour_spent=None, aim=None, full=None, billed_ratio=1.0, day_end=None,
    )  # fmt: skip


#   spent  planned  word         why
PACES = [
    (0,    None,    "unplanned", "as soon as possible, or no budget"),
    (0,    5.0,     "starting",  "half a percent of the day says nothing yet"),
    (500,  500.0,   "on_plan",   "to the point"),
    (549,  500.0,   "on_plan",   "a tenth is no news"),
    (551,  500.0,   "ahead",     "more than a tenth over"),
    (449,  500.0,   "behind",    "more than a tenth under"),
]  # fmt: skip


@pytest.mark.parametrize(("spent", "planned", "word", "why"), PACES)
def test_the_word_for_a_pace(spent: int, planned: float | None, word: str, why: str) -> None:
    assert pace_of(some_plan(spent, planned)) == word, why


def test_a_line_of_hours_never_falls_and_ends_now() -> None:
    rows = [
        {"hour": "1970-01-01T00:00:00+00:00", "spend": Decimal("1")},
        {"hour": "1970-01-01T03:00:00+00:00", "spend": Decimal("0.000001")},
    ]
    assert spent_by_hour(rows, 0, 3 * HOUR_MS + 5) == [
        (0, 0), (HOUR_MS, 1_000_000), (3 * HOUR_MS, 1_000_000), (3 * HOUR_MS + 5, 1_000_001),
    ]  # fmt: skip
    assert spent_by_hour([], 7, 9) == [(7, 0), (9, 0)]
    assert spent_by_hour([], 7, 7) == [(7, 0)]
