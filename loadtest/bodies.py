"""The requests that are sent: visits of the sample audience, and real OpenRTB bodies where they are there.

Encoded once, before anything is measured. Real bodies stay where they are (a folder beside the project);
without that folder the few of our own in `loadtest/bodies/` stand in, and the report says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from app.offline.audience import Audience
from app.offline.sample import sample_catalogue
from loadtest.machine import PROJECT
from loadtest.servers import SEED

REAL = PROJECT.parent / "shared" / "openrtb"
OWN = Path(__file__).parent / "bodies"
ADS, BID = "/v1/ads", "/openrtb2/bid"


@dataclass(frozen=True, slots=True)
class Body:
    """One request to send: which door, a name for the report, and the whole HTTP request."""

    door: str
    name: str
    request: bytes


def post(path: str, body: bytes, headers: str = "") -> bytes:
    """Write a POST of JSON."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n{headers}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def get(path: str) -> bytes:
    """Write a GET."""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


def native_bodies(count: int, creatives: int) -> list[Body]:
    """Draw visits of the sample audience: one placement each, a known person, device and os told."""
    audience = Audience(SEED, list(sample_catalogue(SEED, creatives)))
    visits = [audience.draw() for _ in range(count)]
    return [Body(ADS, visit.placement_id, post(ADS, encode(visit.body))) for visit in visits]


def bid_bodies() -> tuple[list[Body], str]:
    """Read the OpenRTB bodies, and say whose they are."""
    folder, whose = (REAL, "real") if REAL.is_dir() else (OWN, "our own")
    paths = sorted(path for path in folder.glob("*.json") if not path.name.startswith("bad-"))
    return [Body(BID, path.stem, post(BID, path.read_bytes())) for path in paths], whose


def encode(value: Any) -> bytes:
    """Write JSON."""
    return msgspec.json.encode(value)
