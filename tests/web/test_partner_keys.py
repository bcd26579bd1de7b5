"""Partner keys at the public port when its doors are not open: what each scope opens, and what it shows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from app.domain.catalogue import Advertiser
from app.domain.keys import SCOPES
from app.flows.keys import make_key, revoke_key
from tests.web.public_port import JSON, TOP, PublicPort, public_port

BID = {"id": "a", "imp": [{"id": "1", "tagid": "plc-1", "banner": {"w": 320, "h": 50}}], "cur": ["KRW"]}
ADS = {"placements": [TOP]}
DOORS: list[tuple[str, dict[str, Any], str]] = [
    ("/v1/ads", ADS, "ads"),
    ("/openrtb2/bid", BID, "ads"),
    ("/v1/events", {"events": []}, "events"),
]


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PublicPort]:
    with public_port(tmp_path_factory.mktemp("closed"), open_doors=False) as port:
        port.register(Advertiser(id="adv-2"))
        yield port


def keyed(port: PublicPort, *scopes: str, bound: tuple[str, ...] | None = None) -> dict[str, str]:
    """Make a key and write the headers that send it."""
    _, text = port.server.run(make_key(port.node, "partner", scopes, bound))
    return {**JSON, "x-api-key": text}


@pytest.mark.parametrize(("path", "body", "scope"), DOORS)
def test_a_door_wants_its_scope(port: PublicPort, path: str, body: dict[str, Any], scope: str) -> None:
    for held in SCOPES:
        answer = port.post(path, body, keyed(port, held))
        if held == scope:
            assert answer.status in (200, 204), held
            continue
        assert answer.status == 403, (held, "`admin` is for the other port")
        assert answer.body == b"" if path == "/openrtb2/bid" else answer.json()["code"] == "out_of_scope"


@pytest.mark.parametrize(("path", "body", "scope"), DOORS)
def test_a_revoked_key_opens_nothing(port: PublicPort, path: str, body: dict[str, Any], scope: str) -> None:
    headers = keyed(port, scope)
    assert port.post(path, body, headers).status in (200, 204)
    port.server.run(revoke_key(port.node, headers["x-api-key"].split("_")[1]))
    assert port.post(path, body, headers).status == 401


@pytest.mark.parametrize(("path", "body", "scope"), DOORS)
def test_a_stranger_s_body_is_not_even_read(
    port: PublicPort, path: str, body: dict[str, Any], scope: str
) -> None:
    for wrong in (b"{", b"x" * (2 << 20)):
        assert port.post(path, wrong, JSON).status == 401
    assert port.post(path, b"{", keyed(port, "pricing")).status == 403


def test_two_keys_are_none(port: PublicPort) -> None:
    key = keyed(port, "ads")["x-api-key"]
    assert port.post("/v1/ads", ADS, {"x-api-key": key, "X-Api-Key": key}).status == 401


#   scopes               bound to      shown                   why
PRICING: list[tuple[tuple[str, ...], tuple[str, ...] | None, set[str], str]] = [
    (("ads",),           None,         {"price", "currency"},  "the price alone"),
    (("ads", "pricing"), None,         {"kind", "bid", "price", "ecpm", "currency"}, "in full"),
    (("ads", "pricing"), ("adv-1",),   {"kind", "bid", "price", "ecpm", "currency"}, "its own, in full"),
    (("ads", "pricing"), ("adv-2",),   {"price", "currency"},  "another's bid is not shown"),
]  # fmt: skip


@pytest.mark.parametrize(("scopes", "bound", "shown", "why"), PRICING)
def test_pricing_is_shown_in_full_to_its_scope(
    port: PublicPort, scopes: tuple[str, ...], bound: tuple[str, ...] | None, shown: set[str], why: str
) -> None:
    answer = port.post("/v1/ads", ADS, keyed(port, *scopes, bound=bound)).json()
    assert set(answer["decisions"]["top"][0]["pricing"]) == shown, why


def test_events_of_another_s_ads_are_not_taken_from_a_bound_key(port: PublicPort) -> None:
    tokens = port.post("/v1/ads", ADS, keyed(port, "ads")).json()["decisions"]["top"][0]["tokens"]
    event = {"token": tokens["impression"], "kind": "impression"}
    for bound, status, code in ((("adv-2",), "refused", "out_of_scope"), (("adv-1",), "counted", None)):
        answer = port.post("/v1/events", {"events": [event]}, keyed(port, "events", bound=bound)).json()
        assert [(each["status"], each["code"]) for each in answer["results"]] == [(status, code)]
