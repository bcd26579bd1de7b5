"""Schemathesis against both ports: no 5xx but a documented 503, and every answer as its document says.

It runs as its command does, deterministic and bounded, against a node on a free loopback port: examples of
the documents, the edges of every schema, then generated requests, right and wrong.
"""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from app.web.admin.app import admin_app
from app.web.admin.auth import key_hash
from app.web.ads import AdsDoor
from app.web.explain import explain
from app.web.links import Links
from app.web.public_openapi import PUBLIC_OPENAPI
from app.web.tokens import Tokens
from tests.node import serving, small_catalogue
from tests.web.openrtb.bodies import RATES
from tests.web.public_port import LIVES_S, PUBLIC_URL, PublicPort, public_port

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("schemathesis") is None and os.environ.get("CI") != "true",
        reason="schemathesis is not installed",
    ),
]

CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance",
    "response_headers_conformance", "response_schema_conformance", "unsupported_method",
    "allow_header_conformance",
)  # fmt: skip
# Lists and texts are no longer than this here: filling one of a thousand takes seconds and meets the same
# code; the real bounds have tests of their own.
SMALLER = {"maxItems": 24, "maxLength": 260}
KEY = "the-admin-key"
QUICK = "decisions|refunds|reports|import|export"
# Its command, which lacks one thing: how to write the import's lines.
PROGRAM = """
import json, schemathesis, schemathesis.cli

@schemathesis.serializer("application/x-ndjson")
def lines(_context, value):
    if isinstance(value, bytes):
        return value
    return (value if isinstance(value, str) else json.dumps(value)).encode()

schemathesis.cli.schemathesis()
"""
RUN = (sys.executable, "-c", PROGRAM, "run")


def smaller(document: Any) -> Any:
    """Copy a document with shorter lists and texts."""
    if isinstance(document, list):
        return [smaller(one) for one in document]
    if not isinstance(document, dict):
        return document
    copied = {key: smaller(value) for key, value in document.items()}
    for bound, largest in SMALLER.items():
        if isinstance(copied.get(bound), int):
            copied[bound] = min(copied[bound], largest)
    return copied


def fuzz(folder: Path, document: dict[str, Any], url: str, phases: str, *options: str) -> str:
    """Run phases of schemathesis over a document; returns what it printed when it found nothing wrong."""
    path = folder / "openapi.json"
    path.write_text(json.dumps(smaller(document)))
    command = [
        *RUN, str(path), "--url", url, "--checks", ",".join(CHECKS), "--phases", phases,
        "--max-examples", "8", "--generation-deterministic", "--no-color", *options,
    ]  # fmt: skip
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stdout[-6_000:] + done.stderr[-2_000:]
    return done.stdout


def with_tokens(port: PublicPort) -> dict[str, Any]:
    """Copy the public document with genuine tokens for examples: a made-up one only ever is `forged`."""
    document = copy.deepcopy(PUBLIC_OPENAPI)
    bid = {"id": "a", "imp": [{"id": "1", "banner": {"w": 320, "h": 50}}], "cur": ["KRW"]}
    urls = port.post("/openrtb2/bid", bid).json()["seatbid"][0]["bid"][0]
    ad = port.ad()
    tokens = {letter: ad["tokens"][kind] for letter, kind in
              {"i": "impression", "b": "impression", "c": "click", "x": "dismissal"}.items()}  # fmt: skip
    for letter, field in (("w", "nurl"), ("l", "lurl")):
        found = re.search(r"/([^/?]+)\?", urls[field])
        assert found
        tokens[letter] = found[1]
    for letter, token in tokens.items():
        for operation in document["paths"][f"/{letter}/{{token}}"].values():
            operation["parameters"][0]["example"] = token
    events = [{"token": ad["tokens"][kind], "kind": kind} for kind in ad["tokens"]]
    content = document["paths"]["/v1/events"]["post"]["requestBody"]["content"]["application/json"]
    content["examples"]["demo"]["value"] = {"events": events}
    return document


def test_the_public_port(tmp_path: Path) -> None:
    with public_port(tmp_path, rates=RATES) as port:
        before = port.position
        url = f"http://127.0.0.1:{port.server.port}"
        printed = fuzz(tmp_path, with_tokens(port), url, "examples,coverage,fuzzing")
        operations = sum(len(path) for path in PUBLIC_OPENAPI["paths"].values())
        assert f"Selected: {operations}/{operations}" in printed
        assert f"Tested: {operations}" in printed
        assert port.position > before, "genuine tokens were among the requests"


def test_the_admin_port(tmp_path: Path) -> None:
    tokens = Tokens([b"m" * 32], LIVES_S, b"process!")

    def make_app(node: Any) -> Any:
        ads = AdsDoor(node, Links(PUBLIC_URL, tokens), tokens, admin=True, explain=explain)
        return admin_app(node, admin_key_hash=key_hash(KEY), ads_door=ads)

    headers = {"Authorization": f"Bearer {KEY}"}
    with serving(tmp_path, make_app, headers, things=small_catalogue()) as server:
        document = server.get("/openapi.json").json()
        url, key = f"http://127.0.0.1:{server.port}", f"Authorization: Bearer {KEY}"
        printed = fuzz(tmp_path, document, url, "examples,fuzzing", "--header", key)
        assert re.search(r"Selected: (\d+)/\1\b", printed)
        # The edges of every schema take minutes for ad groups and creatives: these are the quick ones.
        fuzz(tmp_path, document, url, "coverage", "--header", key, "--include-path-regex", QUICK)
