"""No raw id, address or URL query is written down. Goal: after traffic by every door no file or log has one.

Method: a real node over a socket is told values that appear nowhere else; then every file of it is searched.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.web.public_port import TOP, public_port

SECRETS = {
    "the caller's id": "raw-user-id-4711",
    "the exchange's id": "raw-exchange-id-4712",
    "the device's id": "raw-device-ifa-4713",
    "another's id": "raw-eid-4714",
    "an address": "198.51.100.77",
    "another address": "2001:db8:4715::77",
    "a query": "session=raw-query-4716",
    "a fragment": "raw-fragment-4717",
    "a login": "raw-login-4718",
    "withheld": "raw-withheld-4719",
}
URL = f"https://{SECRETS['a login']}@news.example/story?{SECRETS['a query']}#{SECRETS['a fragment']}"
CLIENT = {"x-device-ip": SECRETS["an address"], "x-forwarded-for": SECRETS["an address"]}


def bid_request(**user: Any) -> dict[str, Any]:
    return {
        "id": "b-1",
        "imp": [{"id": "1", "tagid": "plc-1", "banner": {"format": [{"w": 320, "h": 50}]}}],
        "site": {"page": URL, "publisher": {"id": "pub-1"}},
        "device": {"ip": SECRETS["an address"], "ipv6": SECRETS["another address"], "ua": "Mozilla/5.0"},
        "user": user,
        "cur": ["KRW"],
    }


def test_nothing_raw_is_written_down(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with public_port(tmp_path) as port:
        context = {"url": URL, "ip": SECRETS["an address"], "user_agent": "Mozilla/5.0"}
        user = {"id": SECRETS["the caller's id"], "gender": "F"}
        answer = port.ads(TOP, user=user, context=context, request_id="kept-4720").json()
        nobody = {"id": SECRETS["withheld"], "age": 30}
        withheld = port.ads(TOP, user=nobody, context=context, consent={"personal": False}).json()
        assert withheld["personal"] == {"used": [], "withheld": "consent"}
        (ad,) = answer["decisions"]["top"]
        assert port.get(ad["impression_url"], CLIENT).status == 200
        assert port.get(ad["click_url"] + "?" + SECRETS["a query"], CLIENT).status == 302
        event = {"token": ad["tokens"]["conversion"], "kind": "conversion", "ip": SECRETS["an address"]}
        assert port.report(event)[0]["status"] == "counted"
        bids = [
            bid_request(id=SECRETS["the exchange's id"]),
            bid_request(eids=[{"source": "s", "uids": [{"id": SECRETS["another's id"]}]}]),
        ]
        bids[1]["device"]["ifa"] = SECRETS["the device's id"]
        for body in bids:
            assert port.post("/openrtb2/bid", body).status in (200, 204)
        port.node.decisions.flush()
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert any(b"kept-4720" in content for content in written), "the records are there, and searchable"
    said = "".join(capfd.readouterr())
    for what, secret in SECRETS.items():
        assert not any(secret.encode() in content for content in written), what
        assert secret not in said, what
