"""The driver: simulated visits over HTTP at a steady rate, as a page's browser would make them.

Each visit asks for ads, reports the impression by the URL in the answer, and sometimes clicks a moment
later. It follows no redirect. Needs nothing of the node but its public URL.
"""

import asyncio
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from app.offline.audience import Audience, Visit
from app.offline.client import Client
from app.offline.tally import Ledger, Shown, Tally

# A pacer that fell behind by more forgives its debt instead of flooding a node that just came back.
LARGEST_DEBT_S = 0.5
FAILURE_PAUSE_S = 0.2


class Pricing(Struct, frozen=True):
    """The money of an answered ad, as far as the driver reads it; the price is that of one charged action."""

    kind: str
    bid: float
    price: float


class AnsweredAd(Struct, frozen=True):
    """An answered ad, as far as the driver reads it."""

    creative_id: str
    pctr: float
    impression_url: str
    click_url: str
    pricing: Pricing


class Answer(Struct, frozen=True):
    """An answer of `POST /v1/ads`, as far as the driver reads it."""

    decisions: dict[str, list[AnsweredAd]] = {}


_answers = msgspec.json.Decoder(Answer)
_encoder = msgspec.json.Encoder()


class Driver:
    """Sends an audience to a node and keeps the ledger.

    At most `connections` visits are under way at once; when they all wait, the rate is not reached, and
    the ledger shows it.
    """

    def __init__(self, audience: Audience, public_url: str, rate: float, connections: int = 16) -> None:
        if rate <= 0:
            raise ValueError("the rate must be above 0")
        self.ledger = Ledger()
        self.elapsed_s = 0.0
        self._audience = audience
        self._client = Client(public_url, connections)
        self._rate = rate
        self._free = asyncio.Semaphore(connections)

    async def run(self, duration_s: float | None) -> None:
        """Drive for so long (None: until cancelled), then wait for the clicks still to come. Once only."""
        loop = asyncio.get_running_loop()
        started_s = due_s = loop.time()
        async with self._client, asyncio.TaskGroup() as self._tasks:
            while duration_s is None or due_s - started_s < duration_s:
                await asyncio.sleep(due_s - loop.time())
                await self._free.acquire()
                self._tasks.create_task(self._visit(due_s - started_s))
                due_s = max(due_s + 1.0 / self._rate, loop.time() - LARGEST_DEBT_S)
                self.elapsed_s = loop.time() - started_s
            self.elapsed_s = duration_s

    async def _visit(self, elapsed_s: float) -> None:
        try:
            await self._ask(self._audience.draw(), elapsed_s)
        except (OSError, TimeoutError, msgspec.MsgspecError):
            self.ledger.at(elapsed_s).failed += 1
            await asyncio.sleep(FAILURE_PAUSE_S)
        finally:
            self._free.release()

    async def _ask(self, visit: Visit, elapsed_s: float) -> None:
        loop = asyncio.get_running_loop()
        body = _encoder.encode(visit.body)
        sent_s = loop.time()
        reply = await self._client.post("/v1/ads", "application/json", body)
        latency_s = loop.time() - sent_s
        if reply.status != 200:
            raise ConnectionError(f"/v1/ads answered {reply.status}")
        answer = _answers.decode(reply.body)
        tally = self.ledger.at(elapsed_s)
        tally.answered(latency_s, len(visit.body["placements"]), len(answer.decisions))
        for ads in answer.decisions.values():
            for ad in ads:
                await self._show(visit, ad, tally)

    async def _show(self, visit: Visit, ad: AnsweredAd, tally: Tally) -> None:
        reply = await self._client.get(_path_of(ad.impression_url), _headers_of(visit))
        if reply.status != 200:
            raise ConnectionError(f"the impression was answered {reply.status}")
        if visit.robot:  # nobody saw it: it is not in the ledger
            if self._audience.robot_clicks():
                self._tasks.create_task(self._click(visit, ad, tally, 0.0))
            return
        views = self._audience.seen(visit.person, ad.creative_id)
        truth = self._audience.truth(visit.person, visit.placement_id, ad.creative_id, views)
        clicked = self._audience.clicks(truth)
        tally.shown(judged(ad, truth, clicked))
        if clicked:
            self._tasks.create_task(self._click(visit, ad, tally, self._audience.click_delay_s()))

    async def _click(self, visit: Visit, ad: AnsweredAd, tally: Tally, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        try:
            await self._client.get(_path_of(ad.click_url), _headers_of(visit))
        except (OSError, TimeoutError):
            tally.failed += 1


def judged(ad: AnsweredAd, truth: float, clicked: bool) -> Shown:
    """Put an ad's promise and price beside what the truth says.

    >>> ad = AnsweredAd("crt-1", 0.02, "", "", Pricing("cpc", bid=1_000, price=800))
    >>> judged(ad, truth=0.03, clicked=True)
    Shown(pctr=0.02, truth=0.03, clicked=True, charged=800, worth=30000.0)
    """
    pricing = ad.pricing
    if pricing.kind == "cpm":
        return Shown(ad.pctr, truth, clicked, pricing.price, pricing.bid)
    return Shown(ad.pctr, truth, clicked, pricing.price * clicked, pricing.bid * truth * 1000)


def _headers_of(visit: Visit) -> str:
    return f"User-Agent: {visit.user_agent}\r\nX-Forwarded-For: {visit.address}\r\n"


def _path_of(url: str) -> str:
    """Keep a URL's path: the host is the one driven, whatever the node calls itself."""
    return urlsplit(url).path
