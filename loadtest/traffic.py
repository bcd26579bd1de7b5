"""What is sent to a server and what follows: bodies that get an ad, impressions of the ads, some clicks."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any
from urllib.parse import urlsplit

import msgspec

from loadtest.bodies import ADS, BID, Body, bid_bodies, get, native_bodies
from loadtest.client import Pool, Reply, closed_loop
from loadtest.machine import say

CLICK_SHARE = 0.02
WARM_ADS = 6_000  # ad requests with their events, before anything is measured: the model has learned then
WARM_CONNECTIONS = 64

_decode = msgspec.json.Decoder().decode


class Mix:
    """The bodies that are sent, in a fixed order: as many native ones as OpenRTB ones, by turns.

    Of the OpenRTB bodies those that the node answers with a bid: one without costs less, and the bare
    endpoint would answer it with a bid all the same. `ads_bytes`, `bid_bytes`: the node's mean answers.
    """

    def __init__(self, native: Sequence[Body], bids: Sequence[Body], sizes: dict[str, int]) -> None:
        self.native, self.bids = native, bids
        self.bodies = [
            one for at in range(len(native)) for one in (native[at], bids[at % len(bids)])
        ]  # fmt: skip
        self.ads_bytes, self.bid_bytes = sizes[ADS], sizes[BID]


async def probe(pool: Pool, creatives: int, native_count: int = 2_000) -> Mix:
    """Ask the node every body once, and make the mix of those that get an ad; the report says which."""
    native, (bids, whose) = native_bodies(native_count, creatives), bid_bodies()
    replies = [(body, await pool.exchange(body.request)) for body in bids]
    filled = [body for body, reply in replies if reply.status == 200 and b'"seatbid"' in reply.body]
    if not filled:
        raise RuntimeError("no OpenRTB body gets a bid: is the catalogue there?")
    sizes = {
        BID: sum(len(reply.body) for body, reply in replies if body in filled) // len(filled),
        ADS: sum([len((await pool.exchange(body.request)).body) for body in native[:200]]) // 200,
    }
    share = f"{len(filled)} of {len(bids)} {whose} OpenRTB bodies get a bid"
    say(f"bodies: {len(native):,} native visits; {share}")
    say(f"answers: {sizes[ADS]:,} bytes native, {sizes[BID]:,} bytes OpenRTB, on average")
    say()
    return Mix(native, filled, sizes)


def served(door: str, reply: Reply) -> list[tuple[str, str | None]]:
    """List the ads of an answer: the paths of impression and, where the answer tells it, of the click."""
    if reply.status != 200:
        return []
    answer: dict[str, Any] = _decode(reply.body)
    if door == ADS:
        ads = [ad for ads in answer.get("decisions", {}).values() for ad in ads]
        return [(urlsplit(ad["impression_url"]).path, urlsplit(ad["click_url"]).path) for ad in ads]
    bids = [bid for seat in answer.get("seatbid", ()) for bid in seat["bid"]]
    return [(urlsplit(bid["burl"]).path, None) for bid in bids if "burl" in bid]


async def report_events(pool: Pool, ads: Sequence[tuple[str, str | None]], random: Random) -> None:
    """Send the impressions of an answer's ads, and now and then a click."""
    for impression, click in ads:
        await pool.exchange(get(impression))
        if click is not None and random.random() < CLICK_SHARE * 2:  # half of the ads tell their click's URL
            await pool.exchange(get(click))


async def warm_up(pool: Pool, mix: Mix, count: int = WARM_ADS) -> None:
    """Ask for ads and report what became of them, so that the model has weights and its pages are touched."""
    random = Random(1)

    async def visit(number: int) -> None:
        body = mix.bodies[number % len(mix.bodies)]
        reply = await pool.exchange(body.request)
        await report_events(pool, served(body.door, reply), random)

    await closed_loop(visit, WARM_CONNECTIONS, count=count)
