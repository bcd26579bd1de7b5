"""The endpoint that a node is measured against: Starlette on the same server, typed decoding, a fixed answer.

`python -m loadtest.bare ADS_BYTES BID_BYTES` serves it on a free loopback port. It decodes the bodies into
the same structs as the node's doors and answers a fixed ad, or bid, of the size given; a tracking URL gets
an empty 200. It decides nothing, seals nothing and stores nothing.
"""

from __future__ import annotations

import asyncio
import json
import sys

import msgspec
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.web.ads_in import AdsIn
from app.web.listening import bound, url_of
from app.web.openrtb.wire import BidRequest
from app.web.server import server_of

_ads = msgspec.json.Decoder(AdsIn)
_bid = msgspec.json.Decoder(BidRequest, strict=False)


def bare_app(ads_bytes: int, bid_bytes: int) -> Starlette:
    """Build the application; its answers are JSON objects of the sizes given."""
    ads_answer, bid_answer = _answer(ads_bytes), _answer(bid_bytes)

    async def ads(request: Request) -> Response:
        _ads.decode(await request.body())
        return Response(ads_answer, media_type="application/json")

    async def bid(request: Request) -> Response:
        _bid.decode(await request.body())
        return Response(bid_answer, media_type="application/json")

    async def track(request: Request) -> Response:
        return Response(b"", media_type="image/gif")

    return Starlette(
        routes=[
            Route("/v1/ads", ads, methods=["POST"]),
            Route("/openrtb2/bid", bid, methods=["POST"]),
            Route("/i/{token}", track),
            Route("/c/{token}", track),
        ]
    )


def _answer(size: int) -> bytes:
    return json.dumps({"ad": "x" * max(0, size - len('{"ad": ""}'))}).encode()


async def _serve(ads_bytes: int, bid_bytes: int) -> None:
    with bound("127.0.0.1", 0) as listening:
        print(json.dumps({"public_url": url_of("127.0.0.1", listening)}), flush=True)
        await server_of(bare_app(ads_bytes, bid_bytes)).serve(sockets=[listening])


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(int(sys.argv[1]), int(sys.argv[2])))
