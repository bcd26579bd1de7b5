"""Bodies for the OpenRTB tests: small ones made here, and the collected ones where their folder is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from app.domain.catalogue import AdGroup, Advertiser, Campaign, Creative, Native, Pricing, Thing
from app.web.openrtb.decode import decode
from app.web.openrtb.read import Reading, to_ad_request
from app.web.openrtb.wire import BidRequest

COLLECTED = Path(__file__).parents[3].parent / "shared" / "openrtb"
RATES = {"USD": 1_350_000_000, "EUR": 1_480_000_000}
NOW_MS = 1_790_000_000_000  # in 2026

BANNER = {"w": 320, "h": 50}


def collected(malformed: bool) -> list[Path]:
    """List the collected bodies, malformed ones or the others; none where the folder is absent."""
    return sorted(path for path in COLLECTED.glob("*.json") if path.name.startswith("bad-") == malformed)


def body(imp: dict[str, Any] | list[Any] | None = None, **top: Any) -> bytes:
    """Write a request of one banner imp, or of the imp given, with more fields at the top."""
    imps = imp if isinstance(imp, list) else [{"id": "1", "banner": BANNER} if imp is None else imp]
    return msgspec.json.encode({"id": "r-1", "imp": imps, **top})


def parse(imp: dict[str, Any] | list[Any] | None = None, **top: Any) -> BidRequest:
    """Decode such a request."""
    return decode(body(imp, **top))


def read(imp: dict[str, Any] | list[Any] | None = None, **top: Any) -> Reading:
    """Read such a request, dollars and euros known, won the account's currency, ids their own keys."""
    return to_ad_request(
        parse(imp, **top), rates=RATES, currency="KRW", now_ms=NOW_MS,
        keys_of=lambda identity: (identity.encode() if identity else None, None),
    )  # fmt: skip


SIZES = ((300, 250), (320, 50), (728, 90), (160, 600), (300, 300), (320, 480), (777, 666), (666, 777))
SEATS = (None, "165", "test-appnexus-id", "seat1")  # those that collected bodies ask for


def matching_things() -> list[Thing]:
    """Make a catalogue, parents first, that has an ad for nearly every collected body."""
    things: list[Thing] = []
    page = "https://shop.example/"
    for at, seat in enumerate(SEATS):
        group = f"g-{at}"
        things += [
            Advertiser(id=f"adv-{at}", domain=f"shop{at}.example", category="IAB20", seat=seat),
            Campaign(id=f"c-{at}", advertiser_id=f"adv-{at}"),
            AdGroup(id=group, campaign_id=f"c-{at}", pricing=Pricing(kind="cpm", bid_micros=20_000_000_000)),
        ]
        things += [
            Creative(
                id=f"banner-{at}-{width}x{height}",
                ad_group_id=group,
                format="banner",
                width=width,
                height=height,
                landing_url=page,
                markup="<a href='{click_url}'>x</a>",
            )
            for width, height in SIZES
        ]
        for number in range(2):  # a pod wants two
            things.append(
                Creative(
                    id=f"video-{at}-{number}",
                    ad_group_id=group,
                    format="video",
                    landing_url=page,
                    markup="<VAST/>",
                    duration_s=15,
                    protocols=(2,),
                )
            )
        parts = Native(title="Title", body="Body", sponsored="Us", image_url="https://cdn.example/m.png")
        audio = Creative(
            id=f"audio-{at}", ad_group_id=group, format="audio", landing_url=page, markup="<VAST/>"
        )
        things += [
            audio,
            Creative(id=f"native-{at}", ad_group_id=group, format="native", landing_url=page, native=parts),
        ]
    return things
