"""The public port's document against the port: same routes, same codes, and examples that work on a demo."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.domain.catalogue import Thing
from app.offline.sample import sample_catalogue
from app.web.catalogue.parsing import parse
from app.web.problems import STATUSES
from app.web.public_openapi import PUBLIC_OPENAPI
from tests.web.public_port import PublicPort, public_port

REFERENCE = re.compile(r"#/components/([a-zA-Z]+)/([A-Za-z]+)")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PublicPort]:
    """Serve what `adjudge demo` serves."""
    things = [thing_of({**line}) for line in sample_catalogue(seed=1, creatives=2_000)]
    with public_port(tmp_path_factory.mktemp("demo"), things, columns=8_192) as port:
        yield port


def thing_of(line: dict[str, Any]) -> Thing:
    return parse(line["type"], line, "Asia/Seoul").thing


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in PUBLIC_OPENAPI["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def test_it_names_the_ports_routes_and_no_other(demo: PublicPort) -> None:
    for path, method, _ in operations():
        answer = demo.get(path.replace("{token}", "x"), method=method.upper())
        assert answer.status not in {404, 405}, (method, path)
    letters = {path[1] for path in PUBLIC_OPENAPI["paths"] if path.endswith("{token}")}
    served = {letter for letter in "abcdefghijklmnopqrstuvwxyz" if demo.get(f"/{letter}/x").status != 404}
    assert letters == served


def test_every_reference_leads_somewhere_and_every_component_is_used() -> None:
    text = json.dumps(PUBLIC_OPENAPI)
    named = {(kind, name) for kind in ("schemas", "responses") for name in PUBLIC_OPENAPI["components"][kind]}
    assert set(REFERENCE.findall(text)) == named


def test_operation_ids_are_unique() -> None:
    identities = [operation["operationId"] for _, _, operation in operations()]
    assert len(set(identities)) == len(identities) == 21


def test_codes_stand_at_the_status_that_they_have() -> None:
    """A `code` in a response's description is one of the house's, at the status that the table gives it."""
    found = 0
    for path, method, operation in operations():
        for status, written in operation["responses"].items():
            response = written
            if "$ref" in written:
                response = PUBLIC_OPENAPI["components"]["responses"][written["$ref"].rpartition("/")[2]]
            if "application/problem+json" not in response.get("content", {}):
                continue
            codes = re.findall(r"`([a-z_]+)`", response["description"].partition(":")[0])
            assert codes, (path, method, status)
            for code in codes:
                assert STATUSES[code] == int(status), (path, method, code)
                found += 1
    assert found > 20


def test_every_route_tells_its_405_and_its_503() -> None:
    for path, method, operation in operations():
        assert "405" in operation["responses"], (path, method)
        assert "503" in operation["responses"] or path == "/healthz", (path, method)


def example(path: str) -> dict[str, Any]:
    content = PUBLIC_OPENAPI["paths"][path]["post"]["requestBody"]["content"]["application/json"]
    value: dict[str, Any] = content["examples"]["demo"]["value"]
    return value


def test_the_examples_win_ads_on_a_demo(demo: PublicPort) -> None:
    """Then the third works with one of the tokens pasted in."""
    ads = demo.post("/v1/ads", example("/v1/ads"))
    assert ads.status == 200
    (ad,) = ads.json()["decisions"]["top"]
    bids = demo.post("/openrtb2/bid", example("/openrtb2/bid"))
    assert bids.status == 200, "204: no bid"
    assert bids.json()["seatbid"][0]["bid"][0]["price"] >= 0.5
    events = example("/v1/events")
    assert demo.post("/v1/events", events).json()["results"][0]["code"] == "forged"
    events = {"events": [{**events["events"][0], "token": ad["tokens"]["impression"]}]}
    assert demo.post("/v1/events", events).json()["results"][0]["status"] == "counted"


def test_the_rooms_of_the_demo_are_those_that_the_examples_name(tmp_path: Path) -> None:
    """Whatever the seed, a demo has the placement that the examples ask for."""
    for seed in range(3):
        identities = {line["id"] for line in sample_catalogue(seed=seed, creatives=50)}
        assert example("/v1/ads")["placements"][0]["placement_id"] in identities
        assert example("/openrtb2/bid")["imp"][0]["tagid"] in identities
