"""What is found late is taken back by the journal's own lines: once, a few at a time, and over restarts."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import msgspec
import pytest

from app.domain.catalogue import AdGroup, Pricing
from app.domain.lines import FoldSettings, Refunded, Sender
from app.flows.feedback import refund
from app.flows.node import Node
from app.flows.reporting import Asked, report
from app.flows.traffic import take_back
from app.state.apply import Receipt
from tests.node import ask_for, close_node, decide, make_node, send, small_catalogue, tick

FOLD = FoldSettings(
    time_zone="Asia/Seoul", uniform_share=0.0, invalid_traffic="on", traffic_limits="user_clicks=3/3600",
    double_click_s=0, traffic_counters=1_024,
)  # fmt: skip
PERSON = Sender(source=b"address!")


async def click(node: Node, user: bytes) -> Receipt:
    """Have somebody see an ad and click on it, as servers report it."""
    (ad,) = decide(node, ask_for("plc-1")).ads
    ad = msgspec.structs.replace(ad, user=user)
    await send(node, "impression", ad, sender=PERSON)
    return await send(node, "click", ad, sender=PERSON)


def spent(node: Node) -> int:
    return int(node.state.catalogue.campaign_accounts.spent[0])


def test_a_burst_is_taken_back_whatever_happens_in_between(tmp_path: Path) -> None:
    async def run() -> None:
        node = await make_node(tmp_path, fold=FOLD, things=small_catalogue())
        honest = await click(node, b"h" * 12)
        kept = spent(node)
        receipts = [await click(node, b"u" * 12) for _ in range(5)]
        assert [one.code for one in receipts] == [None, None, None, "user_clicks", "invalid_impression"]
        assert len(node.state.traffic.pending) == 3
        assert await take_back(node, at_most=1) == 1, "a few at a time"
        await close_node(node)

        node = await make_node(tmp_path, fold=FOLD)
        assert len(node.state.traffic.pending) == 2, "what is left is known after a restart"
        (again,) = await refund(node, [receipts[1].event_id], "by hand, at the same time")
        assert isinstance(again, Receipt) and again.status == "counted"
        assert await take_back(node) == 1
        assert await take_back(node) == 0
        clicks = sum(one.billed_micros for one in receipts)
        impressions = spent(node) - kept
        assert honest.code is None and clicks > 0 and impressions >= 0
        lines = [entry.line for entry in node.journal.read(0, 1_000)]
        assert [one.code for one in lines if isinstance(one, Refunded)] == [
            "user_clicks",
            None,
            "user_clicks",
        ]
        now_ms = node.now_ms()
        told = json.loads(await report(node, Asked(from_ms=0, to_ms=now_ms + 1, zone="Asia/Seoul")))["totals"]
        assert told["invalid"] == {"invalid_impression": 1, "refunded": 1, "user_clicks": 4}
        assert (told["clicks"], told["gross_clicks"], told["net_clicks"]) == (1, 6, 1)
        assert told["spend"] * 1_000_000 == spent(node), "to the micro, refunds and all"
        await close_node(node)

    asyncio.run(run())


@pytest.mark.parametrize("how", ["on", "mark"])
def test_it_is_counted_by_reason(tmp_path: Path, how: str) -> None:
    """Three clicks found late, one at once, and whatever was shown or clicked on afterwards."""

    async def run() -> tuple[float | None, float | None]:
        fold = msgspec.structs.replace(FOLD, invalid_traffic=how)
        node = await make_node(tmp_path, fold=fold, things=small_catalogue())
        for _ in range(5):
            await click(node, b"u" * 12)
        await take_back(node)
        registry = node.counters.registry
        found = registry.get_sample_value("adjudge_invalid_total", {"reason": "user_clicks"})
        counted = registry.get_sample_value("adjudge_clicks_total")
        await close_node(node)
        return found, counted

    assert asyncio.run(run()) == ((5, 3) if how == "on" else (6, 5))


def test_conversions_of_a_click_found_late_are_refunded_too(tmp_path: Path) -> None:
    """By lines of their own behind the click's, over a restart in between; other people's stay billed."""

    async def run() -> None:
        by_conversion = Pricing(kind="cpa", bid_micros=10**12)
        things = [
            msgspec.structs.replace(thing, pricing=by_conversion) if isinstance(thing, AdGroup) else thing
            for thing in small_catalogue()
        ]
        node = await make_node(tmp_path, fold=FOLD, things=things)
        bought = {}
        for user in (b"h", b"u", b"u", b"u"):
            (ad,) = decide(node, ask_for("plc-1")).ads
            ad = msgspec.structs.replace(ad, user=user * 12)
            for kind in ("impression", "click"):
                await send(node, kind, ad, sender=PERSON)
            bought[user] = await send(node, "conversion", ad, own_id="order-1")
            assert bought[user].billed_micros > 0
        honest = bought[b"h"].billed_micros
        await click(node, b"u" * 12)  # one too many
        assert await take_back(node) == 3
        assert spent(node) > honest, "their conversions wait for the next tick"
        await close_node(node)

        node = await make_node(tmp_path, fold=FOLD)
        assert await take_back(node) == 3
        assert await take_back(node) == 0
        assert spent(node) == honest
        lines = [entry.line for entry in node.journal.read(0, 1_000)]
        codes = [one.code for one in lines if isinstance(one, Refunded)]
        assert codes == ["user_clicks"] * 3 + ["invalid_click"] * 3
        told = json.loads(await report(node, Asked(from_ms=0, to_ms=node.now_ms() + 1)))["totals"]
        assert (told["conversions"], told["net_conversions"], told["gross_conversions"]) == (1, 1, 4)
        assert told["spend"] * 1_000_000 == honest
        await close_node(node)

    asyncio.run(run())


def test_a_click_that_waited_in_vain_is_counted(tmp_path: Path) -> None:
    async def run() -> float | None:
        fold = msgspec.structs.replace(FOLD, held_s=0)
        node = await make_node(tmp_path, fold=fold, things=small_catalogue())
        (ad,) = decide(node, ask_for("plc-1")).ads
        await send(node, "click", ad, sender=PERSON)
        await asyncio.sleep(0.002)
        await tick(node)
        found = node.counters.registry.get_sample_value("adjudge_invalid_total", {"reason": "no_impression"})
        await close_node(node)
        return found

    assert asyncio.run(run()) == 1
