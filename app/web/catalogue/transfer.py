"""The catalogue in and out by command: over a running node's admin port, or on a node opened for it."""

from __future__ import annotations

import json
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import msgspec

from app.domain.refusals import Refused
from app.flows.node import Node
from app.web.catalogue.bulk import import_body
from app.web.catalogue.models_in import MODELS
from app.web.catalogue.render import to_document

TIMEOUT_S = 600


def post_import(url: str, key: str, body: bytes) -> dict[str, Any]:
    """Import through a running node's admin port; returns its report.

    Errors  Refused: the node's own code, or `unreachable`.
    """
    answer: dict[str, Any] = json.loads(_call(url, "/v1/import?quiet=true", key, body))
    return answer


def get_export(url: str, key: str) -> bytes:
    """Export through a running node's admin port."""
    return _call(url, "/v1/export", key, None)


async def import_into(node: Node, body: bytes) -> dict[str, Any]:
    """Import into a node; returns the same report, refused lines alone."""
    counts, results = await import_body(node, node.settings.fold.time_zone, body)
    refused = [result for result in results if result.status == "refused"]
    return {"counts": counts, "lines": msgspec.to_builtins(refused)}


async def export_from(node: Node) -> bytes:
    """Export a node's catalogue, parents first."""
    catalogue = node.state.catalogue
    things = (catalogue.things[kind][key] for kind in MODELS for key in catalogue.in_order(kind))
    return b"".join(msgspec.json.encode(to_document(thing)) + b"\n" for thing in things)


def post_model(url: str, key: str, body: bytes) -> dict[str, Any]:
    """Load a trained model into a running node; returns what it says of it. Errors: as `post_import`."""
    answer: dict[str, Any] = json.loads(_call(url, "/v1/models", key, body, "application/octet-stream"))
    return answer


def _call(url: str, path: str, key: str, body: bytes | None, kind: str = "application/x-ndjson") -> bytes:
    if not url.startswith(("http://", "https://")):
        raise Refused("unreachable", f"{url}: not an http URL")
    headers = {"Authorization": f"Bearer {key}", "Content-Type": kind}
    request = Request(url.rstrip("/") + path, data=body, headers=headers)
    try:
        with urlopen(request, timeout=TIMEOUT_S) as response:
            answer: bytes = response.read()
            return answer
    except HTTPError as error:
        try:
            problem = json.loads(error.read())
            raise Refused(problem["code"], problem.get("detail") or problem["title"]) from error
        except (ValueError, KeyError) as unread:
            raise Refused("unreachable", f"{url}: HTTP {error.code}") from unread
    except (URLError, OSError) as error:
        raise Refused("unreachable", f"{url}: {error}") from error
