"""The door's words with a real decision between: every collected body that is sound gets its answer.

Method: a catalogue with an ad for nearly every body, decided on by the state itself, without HTTP.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from app.domain.catalogue import Advertiser, Creative
from app.domain.decisions import Placed, ServedAd, Win
from app.domain.ids import request_key
from app.domain.lines import Catalogued, Entry, Line, Ticked
from app.state.apply import apply
from app.state.choose import Chooser
from app.state.state import State
from app.web.links import AdLinks, Links
from app.web.openrtb.decode import decode
from app.web.openrtb.read import to_ad_request
from app.web.openrtb.write import bid_response
from app.web.tokens import KINDS, Tokens
from tests.web.openrtb.bodies import NOW_MS, RATES, collected, matching_things

# Bodies without a bid of ours, and why.
NO_BID = {
    "iab-05-pmp-two-deals.json": "a private auction",
    "iab-07-dooh-video.json": "pounds alone",
    "r4f-06-private-auction.json": "a private auction",
    "r4f-11-native-appwall.json": "a native imp without `request`",
}
TOKENS = Tokens((b"m" * 32,), dict.fromkeys(KINDS, 86_400), b"process1")


@pytest.fixture(scope="module")
def chooser() -> Chooser:
    state = State(columns=512, recent=64)
    lines: list[Line] = [Catalogued(at_ms=NOW_MS, thing=thing) for thing in matching_things()]
    for position, line in enumerate([*lines, Ticked(at_ms=NOW_MS)], start=1):
        apply(state, Entry(position, line))
    return Chooser(state)


def links_of(placed: Placed) -> list[AdLinks]:
    return [links_of_win(placed, win) for win in placed.wins]


def links_of_win(placed: Placed, win: Win) -> AdLinks:
    ad = ServedAd(
        decision_id=placed.decision_id,
        ad_index=win.ad_index,
        creative_id=win.creative_id,
        creative_index=win.creative_index,
        generation=win.generation,
        placement_id=placed.placement_id,
        publisher_id=placed.publisher_id,
        rows=b"",
        columns=b"",
        schema_version=1,
        price_micros=win.price_micros,
        price_kind=win.kind,
        pctr=win.pctr,
        variant=0,
        issued_at_ms=NOW_MS,
    )
    return Links("https://ads.example", TOKENS).of(TOKENS.seal(ad))


@pytest.mark.parametrize("path", collected(malformed=False), ids=lambda path: path.name)
def test_a_sound_body_gets_its_answer(path: Any, chooser: Chooser) -> None:
    bid_request = decode(path.read_bytes())
    reading = to_ad_request(bid_request, rates=RATES, currency="KRW", now_ms=NOW_MS)
    asks = tuple(msgspec.structs.replace(ask, unregistered=True) for ask in reading.request.asks)
    request = msgspec.structs.replace(reading.request, asks=asks)
    catalogue = chooser.state.catalogue

    def creative_of(creative_id: str) -> Creative:
        thing = catalogue.get("creative", creative_id)
        assert isinstance(thing, Creative)
        return thing

    def advertiser_of(advertiser_id: str) -> Advertiser:
        thing = catalogue.get("advertiser", advertiser_id)
        assert isinstance(thing, Advertiser)
        return thing

    choice = chooser.choose(request, request_key(NOW_MS, bytes(10)), NOW_MS)
    body = bid_response(
        reading, choice, creative_of=creative_of, advertiser_of=advertiser_of, links_of=links_of
    )
    assert (body is None) is (path.name in NO_BID)
    if body is not None:
        floors = {ask.name: ask.floor_micros for ask in asks}
        for seat in msgspec.json.decode(body)["seatbid"]:
            assert not bid_request.wseat or seat["seat"] in bid_request.wseat
            for bid in seat["bid"]:
                assert bid["price"] * reading.rate_micros >= floors[bid["impid"]] * (1 - 1e-12)
