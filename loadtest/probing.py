"""A probe that looks from outside how soon an event is seen: a click, and the next answer's pCTR is higher.

It has a placement of its own with one ad of a size that nobody else has, so that this ad always wins there.
The events go through /v1/events, which answers when they are durable and applied; time runs from the start
of that call to the sending of the first ad request whose answer shows the click.
"""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import Any

import msgspec

from loadtest.bodies import ADS, encode, post
from loadtest.client import Pool

EVERY_S = 0.1
CLICK_EVERY = 3  # probes; the others send an impression alone, so that the pCTR stays away from 1
GIVE_UP_S = 2.0
REFUSED_S = 0.01

PROBE_LINES: tuple[dict[str, Any], ...] = (
    {"type": "publisher", "id": "probe", "name": "Probe"},
    {
        "type": "placement", "id": "probe", "publisher_id": "probe", "name": "Probe", "sizes": ["77x77"],
        "formats": ["banner"],
    },
    {"type": "advertiser", "id": "probe", "name": "Probe", "domain": "probe.example"},
    {"type": "campaign", "id": "probe", "advertiser_id": "probe", "name": "Probe"},
    {
        "type": "ad_group", "id": "probe", "campaign_id": "probe", "name": "Probe",
        "pricing": {"kind": "cpc", "bid": 1},
    },
    {
        "type": "creative", "id": "probe", "ad_group_id": "probe", "format": "banner", "width": 77,
        "height": 77, "landing_url": "https://probe.example/",
    },
)  # fmt: skip

_ASK = post(ADS, encode({"placements": [{"name": "slot", "placement_id": "probe"}]}))
_decode = msgspec.json.Decoder().decode


class Probe:
    """Runs until it is cancelled. Units: `visible_ms`, one for each click; `unseen` counts the rest."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.visible_ms: list[float] = []
        self.unseen = 0

    async def run(self) -> None:
        number = 0
        while True:
            started = perf_counter()
            await self.once(click=number % CLICK_EVERY == 0)
            number += 1
            await asyncio.sleep(max(0.0, EVERY_S - (perf_counter() - started)))

    async def once(self, *, click: bool) -> None:
        """Ask, report the impression and perhaps a click, and ask until the click shows."""
        ad = await self._ask()
        kinds = ("impression", "click") if click else ("impression",)
        events = [{"token": ad["tokens"][kind], "kind": kind} for kind in kinds]
        started = perf_counter()
        reply = await self.pool.exchange(post("/v1/events", encode({"events": events})))
        results = _decode(reply.body)["results"]
        if any(result["status"] != "counted" for result in results):
            raise RuntimeError(f"the probe's events were not counted: {results}")
        if not click:
            return
        while True:
            sent = perf_counter()
            if (await self._ask())["pctr"] > ad["pctr"]:
                self.visible_ms.append((sent - started) * 1e3)
                return
            if sent - started > GIVE_UP_S:
                self.unseen += 1
                return

    async def _ask(self) -> dict[str, Any]:
        """Ask until the answer is no refusal, at most ten times."""
        for _ in range(10):
            reply = await self.pool.exchange(_ASK)
            if reply.status == 200:
                found: dict[str, Any] = _decode(reply.body)["decisions"]["slot"][0]
                return found
            await asyncio.sleep(REFUSED_S)
        raise RuntimeError(f"the probe was refused again and again, lately with {reply.status}")
