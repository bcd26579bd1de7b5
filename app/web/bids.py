"""`POST /openrtb2/bid`: OpenRTB 2.6 in and out. 204 is no bid; a malformed body is 400 without content."""

from __future__ import annotations

import msgspec

from app.domain.catalogue import Advertiser, Creative
from app.domain.decisions import Choice, Placed
from app.domain.refusals import Busy, Refused
from app.flows.agents import agent_of
from app.flows.enriching import enriched
from app.flows.node import Node
from app.flows.serve import serve, served_ads
from app.web.asgi import JSON, Answer, Asked
from app.web.links import AdLinks, Links
from app.web.openrtb.decode import Malformed, decode
from app.web.openrtb.nonbids import NBR_OF_FLAW, wants_reasons
from app.web.openrtb.policy import Policy, objection
from app.web.openrtb.read import NBR_TOO_LATE, Reading, to_ad_request
from app.web.openrtb.wire import BidRequest
from app.web.openrtb.write import bid_response, no_bid_response
from app.web.problems import status_of
from app.web.tokens import Tokens

VERSION = (b"x-openrtb-version", b"2.6")
_MALFORMED = Answer(400, b"", [VERSION], "malformed")


class BidsDoor:
    """Answers bid requests."""

    def __init__(self, node: Node, links: Links, tokens: Tokens) -> None:
        self.node = node
        self.links = links
        self.tokens = tokens
        settings = node.settings
        self.policy = Policy(settings.schain, settings.schain_blocked, settings.inventory)

    def __call__(self, asked: Asked) -> Answer:
        node = self.node
        try:
            request = decode(asked.body, many_channels=self.policy.judges_inventory)
        except Malformed:
            return _MALFORMED
        settings, now_ms = node.settings, node.now_ms()
        reading = to_ad_request(
            request, rates=node.state.rates_micros, currency=settings.currency, now_ms=now_ms,
            ua_parse=agent_of, registered=self._registered,
            keys_of=lambda identity: node.user_keys.of(identity, now_ms),
        )  # fmt: skip
        told = request if reading.test or wants_reasons(request.ext) else None
        if asked.late(reading.tmax_ms or None):  # 0: the exchange does not say
            node.counters.shed.labels("timeout").inc()
            return _no_bid(told, msgspec.structs.replace(reading, no_bid=NBR_TOO_LATE), None, "timeout")
        objected = objection(request, self.policy)
        if objected is not None:
            reading = msgspec.structs.replace(reading, no_bid=objected)
        if reading.no_bid is not None:
            return _no_bid(told, reading, None)
        known = enriched(node, reading.request, reading.ip, reading.user_agent)
        if known.flaw and settings.fold.invalid_traffic == "on":
            # The exchange would be paid for what nobody is billed for.
            reading = msgspec.structs.replace(reading, no_bid=NBR_OF_FLAW[known.flaw])
            return _no_bid(told, reading, None, known.flaw)
        reading = msgspec.structs.replace(reading, request=known)
        choice = serve(node, reading.request, is_test=reading.test)
        body = self._write(reading, choice, told)
        if body is None:
            return _no_bid(told, reading, choice)
        return Answer(200, body, [JSON, VERSION], "bid")

    def _registered(self, placement_id: str) -> bool:
        placement = self.node.state.catalogue.get("placement", placement_id)
        return placement is not None and placement.status != "archived"

    def _write(self, reading: Reading, choice: Choice, told: BidRequest | None) -> bytes | None:
        catalogue, request = self.node.state.catalogue, reading.request

        def creative_of(identity: str) -> Creative:
            return catalogue.things["creative"][identity]  # type: ignore[return-value] # by its kind

        def advertiser_of(identity: str) -> Advertiser:
            return catalogue.things["advertiser"][identity]  # type: ignore[return-value] # by its kind

        def links_of(placed: Placed) -> list[AdLinks]:
            ads = served_ads(choice, placed, request.person, request.flaw)
            if reading.test:  # nobody pays for them: their tokens are genuine, and expired from the start
                ads = [msgspec.structs.replace(ad, issued_at_ms=0) for ad in ads]
            return [self.links.of(self.tokens.seal(ad)) for ad in ads]

        return bid_response(
            reading, choice, creative_of=creative_of, advertiser_of=advertiser_of, links_of=links_of,
            told=told,
        )  # fmt: skip


def _no_bid(
    told: BidRequest | None, reading: Reading, choice: Choice | None, outcome: str = "no_bid"
) -> Answer:
    """Answer that there is no bid; why, where the request asks for that (`told`)."""
    if told is None:
        return Answer(204, b"", [VERSION], outcome)
    return Answer(200, no_bid_response(reading, told, choice), [JSON, VERSION], outcome)


def refuse_bare(error: Refused | Busy) -> Answer:
    """Refuse as the trade does, without content: 400, but for a missing key, a huge body, or when busy.

    When there is too much to do it is no bid, the trade's cheapest answer.
    """
    if error.code == "overloaded":
        return Answer(204, b"", [VERSION], error.code)
    status = status_of(error.code) if error.code in {"key_required", "out_of_scope", "too_large"} else 400
    return Answer(503 if isinstance(error, Busy) else status, b"", [VERSION], error.code)
