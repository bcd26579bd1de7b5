"""The tracking routes: what a page or an exchange's server calls when something happened to an ad.

A pixel is always answered, a genuine click always sent on; what is counted is counted once, by its token.
Where a click goes comes from the catalogue, never from the URL.
"""

from __future__ import annotations

import asyncio
from urllib.parse import parse_qsl

from app.domain.catalogue import Creative
from app.domain.decisions import ServedAd
from app.domain.lines import Feedback, Sender
from app.domain.refusals import Busy, Refused
from app.flows.feedback import line_of, take_event
from app.flows.keys import caller_of
from app.flows.node import Node
from app.web.asgi import NO_STORE, Answer, Asked
from app.web.links import Links
from app.web.markup import landing, needs_links
from app.web.openrtb.macros import notice_values
from app.web.tokens import TokenExpired, Tokens

GIF = bytes.fromhex("47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b")
PIXEL = [(b"content-type", b"image/gif"), NO_STORE]
# A redirect is due within 50 ms whatever the journal does; the click's line stays queued all the same.
CLICK_WAIT_S = 0.03
PIXEL_WAIT_S = 2.0
_PREFETCH_HEADERS = (b"purpose", b"sec-purpose", b"x-purpose", b"x-moz")
_PREFETCH_WORDS = (b"prefetch", b"prerender", b"preview")
_SENDER_HEADERS = (b"user-agent", b"x-device-user-agent", b"x-device-ip", b"x-forwarded-for", b"x-api-key")
# An exchange's server calls these: its own agent and address say nothing of the person.
_SERVER_FIRED = frozenset("bwl")
# The person's own device calls these. Whoever could name another device here would pass every list and limit.
_PERSONS_OWN = frozenset("cxr")


class Tracking:
    """Handlers of the tracking routes, one method each."""

    def __init__(self, node: Node, tokens: Tokens, links: Links) -> None:
        self.node = node
        self.tokens = tokens
        self.links = links

    async def impression(self, asked: Asked) -> Answer:
        """GET /i/{token}, /b/{token}: always 200 and a 1x1 GIF."""
        outcome = "uncounted"
        if self.node.limiter.sheds_impressions():
            outcome = self._shed("impressions")
        elif self._counts(asked):
            try:
                outcome = await self._count(asked, "impression", PIXEL_WAIT_S)
            except Busy as busy:
                outcome = self._shed(busy.code)
            except Refused as refused:
                outcome = refused.code
        return Answer(200, GIF, PIXEL, outcome)

    async def click(self, asked: Asked) -> Answer:
        """GET /c/{token}: 302 to the creative's landing page; a forged one goes nowhere (400)."""
        outcome = "uncounted"
        try:
            ad = self.tokens.open(asked.token, "click", self.node.now_ms())
            if self.node.limiter.sheds_clicks():
                outcome = self._shed("clicks")
            elif self._counts(asked):
                outcome = await self._note("click", ad, asked, CLICK_WAIT_S)
        except TokenExpired as expired:
            ad, outcome = expired.ad, "expired"
        except Busy as busy:
            outcome = self._shed(busy.code)
        target = self._target(ad, asked.token)
        return Answer(302, b"", [(b"location", target.encode()), NO_STORE], outcome)

    async def notice(self, asked: Asked) -> Answer:
        """GET /w/{token}, /l/{token}, /x/{token}: 204."""
        kind = {"w": "win", "l": "loss", "x": "dismissal"}[asked.scope["path"][1]]
        outcome = "uncounted"
        try:
            if self._counts(asked):
                outcome = await self._count(asked, kind, PIXEL_WAIT_S)
        except TokenExpired:
            outcome = "expired"
        except Busy as busy:
            outcome = self._shed(busy.code)
        return Answer(204, b"", [NO_STORE], outcome)

    async def returned(self, asked: Asked) -> Answer:
        """GET /r/{token}: 204. A landing page says, by its conversion token, that the person left it."""
        outcome = "uncounted"
        try:
            if self._counts(asked):
                now_ms = self.node.now_ms()
                ad = self.tokens.open(asked.token, "conversion", now_ms)
                dwell_ms = _dwell_ms(_query(asked).get("dwell_ms", ""))
                sender = self._sender(asked, now_ms)
                line = line_of("return", ad, now_ms, dwell_ms=dwell_ms, sender=sender)
                outcome = await self._wait_for(line, PIXEL_WAIT_S)
        except TokenExpired:
            outcome = "expired"
        except Busy as busy:
            outcome = self._shed(busy.code)
        return Answer(204, b"", [NO_STORE], outcome)

    def _shed(self, reason: str) -> str:
        """Note that an event was answered and will never be counted."""
        self.node.counters.shed.labels(reason).inc()
        self.node.counters.lost.inc()
        return reason

    async def _count(self, asked: Asked, kind: str, wait_s: float) -> str:
        ad = self.tokens.open(asked.token, kind, self.node.now_ms())
        return await self._note(kind, ad, asked, wait_s)

    async def _note(self, kind: str, ad: ServedAd, asked: Asked, wait_s: float) -> str:
        price_micros, reason = notice_values(_query(asked))
        now_ms = self.node.now_ms()
        line = line_of(
            kind, ad, now_ms, reason=reason, price_micros=price_micros, sender=self._sender(asked, now_ms)
        )
        return await self._wait_for(line, wait_s)

    async def _wait_for(self, line: Feedback, wait_s: float) -> str:
        taken = asyncio.ensure_future(take_event(self.node, line))
        done, _ = await asyncio.wait({taken}, timeout=wait_s)
        if not done:
            taken.add_done_callback(lambda late: late.cancelled() or late.exception())
            return "late"
        return taken.result().status

    def _sender(self, asked: Asked, now_ms: int) -> Sender | None:
        """Judge who calls by the door's lists: the device that a server names, else whoever is there.

        A device is named by whoever may: a trusted proxy, or a partner by a key with scope `events`. From
        anybody else such headers mean nothing: they would lead around every list and limit.
        """
        if self.node.settings.fold.invalid_traffic == "off":
            return None
        told = {
            key: value.decode("latin-1") for key, value in asked.scope["headers"] if key in _SENDER_HEADERS
        }
        route = asked.scope["path"][1]
        ip, agent = told.get(b"x-device-ip"), told.get(b"x-device-user-agent")
        named = (ip is not None or agent is not None) and route not in _PERSONS_OWN
        if route in _SERVER_FIRED and not named:
            return None
        peer = asked.scope["client"][0] if asked.scope.get("client") else ""
        address = self.node.clients.address_of(peer, told.get(b"x-forwarded-for", ""))
        if named and (self.node.clients.trusts(address) or self._is_partner(told.get(b"x-api-key"))):
            return self.node.clients.sender(ip, agent, now_ms, direct=False)
        if route in _SERVER_FIRED:
            return None
        return self.node.clients.sender(address, told.get(b"user-agent", ""), now_ms, direct=True)

    def _is_partner(self, key: str | None) -> bool:
        caller = caller_of(self.node, key.encode("latin-1")) if key is not None else None
        return caller is not None and caller.may("events")

    def _counts(self, asked: Asked) -> bool:
        """Say whether a call stands for a person's act: a HEAD or a prefetch is answered and not counted."""
        if asked.scope["method"] == "HEAD":
            return False
        if any(
            key in _PREFETCH_HEADERS and any(word in value.lower() for word in _PREFETCH_WORDS)
            for key, value in asked.scope["headers"]
        ):
            if self.node.settings.fold.invalid_traffic != "off":
                self.node.counters.invalid.labels("prefetch").inc()
            return False
        return True

    def _target(self, ad: ServedAd, token: str) -> str:
        creative = self.node.state.catalogue.get("creative", ad.creative_id)
        assert isinstance(creative, Creative)
        url = creative.landing_url
        if needs_links(url) or not url.isascii():
            return landing(url, self.links.of_token(token))
        return url


def _dwell_ms(text: str) -> int | None:
    """Read how long a page was looked at; what is no number of milliseconds tells nothing."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _query(asked: Asked) -> dict[str, str]:
    text = asked.scope["query_string"]
    return dict(parse_qsl(text.decode("latin-1"), keep_blank_values=True)) if text else {}
