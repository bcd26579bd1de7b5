"""What the public port is beside its routes: what it does not have, methods, keys, sizes, gzip and health."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.web.public_port import JSON, TOP, PublicPort, packed, public_port

MIB = 1 << 20


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PublicPort]:
    with public_port(tmp_path_factory.mktemp("doors")) as port:
        yield port


ELSEWHERE = [
    "/", "/metrics", "/docs", "/docs/", "/openapi.json", "/openapi-public.json", "/console",
    "/console/login", "/v1", "/v1/", "/v1/keys", "/v1/import", "/v1/export", "/v1/refunds", "/v1/reports",
    "/v1/advertisers", "/v1/campaigns/c-1", "/v1/decisions/x", "/v1/ads/", "/v1/events/", "/openrtb2/bid/",
    "/openrtb2", "/healthz/", "/readyz/", "/i", "/i/", "/c/", "/i/a/b", "/c/a/", "/q/a", "//v1/ads",
    "/V1/ADS", "/v1/ads/..", "/static/../etc/passwd",
]  # fmt: skip


@pytest.mark.parametrize("path", ELSEWHERE)
def test_everything_else_is_404_and_never_a_redirect(port: PublicPort, path: str) -> None:
    for method in ("GET", "POST", "DELETE"):
        answer = port.server.ask(method, path, b"{}" if method == "POST" else None, {})
        assert answer.status == 404, (method, path)
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"] == "not_found"
        assert "location" not in answer.headers


#   path            allowed methods
METHODS = [
    *((path, {"POST"}) for path in ("/v1/ads", "/v1/events", "/openrtb2/bid")),
    *((f"/{letter}/x", {"GET", "HEAD"}) for letter in "ibcwlx"),
    ("/healthz", {"GET", "HEAD"}),
    ("/readyz", {"GET", "HEAD"}),
]


@pytest.mark.parametrize(("path", "allowed"), METHODS)
def test_other_methods_are_405_and_say_which_are_taken(
    port: PublicPort, path: str, allowed: set[str]
) -> None:
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"} - allowed:
        answer = port.server.ask(method, path, None, {})
        assert answer.status == 405, (method, path)
        assert {part.strip() for part in answer.headers["allow"].split(",")} == allowed
        assert path == "/openrtb2/bid" or answer.json()["code"] == "method_not_allowed"


def test_keys_are_never_looked_at(port: PublicPort) -> None:
    """Neither a right nor a wrong one opens or closes anything here."""
    for headers in ({"authorization": "Bearer wrong"}, {"x-api-key": "wrong"}, {"cookie": "session=x"}):
        assert port.post("/v1/ads", {"placements": [TOP]}, {**JSON, **headers}).status == 200
        assert port.get("/metrics", headers).status == 404
        assert port.get("/v1/advertisers", headers).status == 404
        assert port.post("/v1/events", {"events": []}, headers).status == 200


def test_closed_doors_want_a_key(tmp_path: Path) -> None:
    """As when a node is bound elsewhere than to loopback; tracking and health stay open."""
    with public_port(tmp_path, open_doors=False) as port:
        bodies = {"/v1/ads": {"placements": [TOP]}, "/v1/events": {"events": []}}
        for path, body in bodies.items():
            for headers in ({}, {"x-api-key": "adj_wrong"}, {"authorization": "Bearer adj_wrong"}):
                answer = port.post(path, body, headers)
                assert (answer.status, answer.json()["code"]) == (401, "key_required"), path
        bid = {"id": "a", "imp": [{"id": "1", "banner": {"w": 320, "h": 50}}], "cur": ["KRW"]}
        refused = port.post("/openrtb2/bid", bid)
        assert (refused.status, refused.body) == (401, b"")
        assert port.get("/i/x").status == 200
        assert port.get("/c/x").status == 400
        assert port.get("/healthz").status == port.get("/readyz").status == 200


def test_health(port: PublicPort) -> None:
    assert port.get("/healthz").json() == {"alive": True}
    ready = port.get("/readyz")
    assert (ready.status, ready.json()) == (200, {"ready": True})
    assert port.get("/healthz", method="HEAD").body == b""


def test_a_node_that_is_not_ready_says_so_everywhere(port: PublicPort) -> None:
    """It is alive, names what is missing, and sends nobody away without telling when to come back."""
    token = port.ad()["tokens"]["click"]
    port.node.missing.add("journal")
    try:
        assert port.get("/healthz").status == 200
        ready = port.get("/readyz")
        assert (ready.status, ready.json()) == (503, {"ready": False, "missing": ["journal"]})
        assert int(ready.headers["retry-after"]) >= 1
        answers = [port.ads(), port.post("/v1/events", {"events": []}), port.get(f"/c/{token}")]
        for answer in answers:
            assert (answer.status, answer.json()["code"]) == (503, "not_ready")
            assert int(answer.headers["retry-after"]) >= 1
        assert port.post("/openrtb2/bid", {}).status == 503
    finally:
        port.node.missing.discard("journal")
    assert port.get("/readyz").status == 200


def padded(size: int) -> bytes:
    """Write a sound body for ads of exactly so many bytes."""
    body = json.dumps({"placements": [TOP]}).encode()
    return body[:-1] + b" " * (size - len(body)) + body[-1:]


#   body                          headers                           status  code                       why
SIZES: list[tuple[bytes, dict[str, str], int, str | None, str]] = [
    (padded(MIB), {}, 200, None, "1 MiB to the byte"),
    (padded(MIB + 1), {}, 413, "too_large", "a byte more"),
    (padded(8 * MIB), {}, 413, "too_large", "far more"),
    (packed(padded(MIB)), {"content-encoding": "gzip"}, 200, None, "1 MiB once unpacked"),
    (packed(padded(200)), {"content-encoding": "GZIP"}, 200, None, "encodings have no case"),
    (packed(padded(MIB + 1)), {"content-encoding": "gzip"}, 413, "too_large", "a byte more, unpacked"),
    (packed(b"[" * (64 * MIB)), {"content-encoding": "gzip"}, 413, "too_large", "a gzip bomb"),
    (padded(200), {"content-encoding": "identity"}, 200, None, "plain, said aloud"),
    (padded(200), {"content-encoding": "gzip"}, 400, "not_gzip", "plain, called gzip"),
    (packed(padded(200))[:-6], {"content-encoding": "gzip"}, 400, "not_gzip", "gzip cut short"),
    (packed(padded(200)), {}, 400, "not_json", "gzip, not said"),
    (padded(200), {"content-encoding": "br"}, 415, "unsupported_media_type", "an encoding we do not read"),
    (padded(200), {"content-encoding": "gzip, gzip"}, 415, "unsupported_media_type", "twice"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "headers", "status", "code", "why"), SIZES, ids=[case[4].replace(" ", "-") for case in SIZES]
)
def test_sizes_and_encodings(
    port: PublicPort, body: bytes, headers: dict[str, str], status: int, code: str | None, why: str
) -> None:
    answer = port.post("/v1/ads", body, {**JSON, **headers})
    assert answer.status == status, (why, answer.body[:200])
    assert answer.json().get("code") == code, why


#   accept-encoding          packed   why
ACCEPTED = [
    ("gzip", True, "plainly"),
    ("gzip, deflate, br", True, "among others"),
    ("GZIP;q=0.5, *;q=0", True, "by weight"),
    ("br", False, "not ours"),
    ("gzip;q=0", False, "refused"),
    ("identity", False, "plain, please"),
    ("", False, "nothing said"),
]


@pytest.mark.parametrize(("accept", "packed", "why"), ACCEPTED)
def test_gzip_out(port: PublicPort, accept: str, packed: bool, why: str) -> None:
    body = {"placements": [{**TOP, "count": 5}]}
    answer = port.post("/v1/ads", body, {**JSON, "accept-encoding": accept})
    assert (answer.headers.get("content-encoding") == "gzip") == packed, why
    said = json.loads(gzip.decompress(answer.body) if packed else answer.body)
    assert len(said["decisions"]["top"]) == 5
    assert int(answer.headers["content-length"]) == len(answer.body)
