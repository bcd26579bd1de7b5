"""The public port over a real node and a real socket, with a clock that tests may move forward."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from app.domain.catalogue import Creative, Placement, Thing
from app.domain.lines import FoldSettings
from app.flows.clients import Clients
from app.flows.node import Node
from app.flows.spans import Spans
from app.web.links import Links
from app.web.public import public_app
from app.web.tokens import KINDS, Tokens
from tests.node import COLUMNS, FOLD, Answer, Server, now_ms, register, serving, small_catalogue

DAY_S = 86_400
LIVES_S = dict.fromkeys(KINDS, DAY_S) | {"conversion": 30 * DAY_S}
# Nothing listens there: that links start with it shows that they do not start with the Host header.
PUBLIC_URL = "https://ads.example/adjudge"
TOP = {"name": "top", "placement_id": "plc-1"}
JSON = {"content-type": "application/json"}


class Clock:
    """The wall clock, and what a test has put it forward by."""

    def __init__(self) -> None:
        self.ahead_ms = 0

    def __call__(self) -> int:
        return now_ms() + self.ahead_ms


@dataclass
class PublicPort:
    """A served node, its tokens and its clock."""

    server: Server
    tokens: Tokens
    clock: Clock

    @property
    def node(self) -> Node:
        return self.server.node

    @property
    def position(self) -> int:
        """How many lines the state has: an event that counted is one more."""
        return self.node.state.position

    def get(self, path: str, headers: dict[str, str] | None = None, method: str = "GET") -> Answer:
        """Call a path, or the path of a tracking URL."""
        return self.server.ask(method, local(path), None, headers or {})

    def post(self, path: str, body: Any, headers: dict[str, str] | None = None) -> Answer:
        """Post JSON, or bytes as they stand."""
        return self.server.ask("POST", path, body, JSON if headers is None else headers)

    def ads(self, *placements: dict[str, Any], **more: Any) -> Answer:
        """Ask for ads."""
        return self.post("/v1/ads", {"placements": list(placements or (TOP,)), **more})

    def ad(self, placement_id: str = "plc-1") -> dict[str, Any]:
        """Ask for one ad and return its decision."""
        answer = self.ads({"name": "one", "placement_id": placement_id})
        assert answer.status == 200, answer
        decision: dict[str, Any] = answer.json()["decisions"]["one"][0]
        return decision

    def report(self, *events: Any) -> list[dict[str, Any]]:
        """Report events and return their results."""
        answer = self.post("/v1/events", {"events": list(events)})
        assert answer.status == 200, answer
        results: list[dict[str, Any]] = answer.json()["results"]
        return results

    def register(self, *things: Thing) -> None:
        """Bring more things into force, parents first."""
        self.server.run(register(self.node, things))


@contextmanager
def public_port(
    tmp_path: Path,
    things: Iterable[Thing] | None = None,
    *,
    open_doors: bool = True,
    rates: dict[str, int] | None = None,
    columns: int = COLUMNS,
    fold: FoldSettings = FOLD,
    clients: Clients | None = None,
    spans: Spans | None = None,
    **settings: Any,
) -> Iterator[PublicPort]:
    """Serve the public port over a node with a catalogue; `rates` are micros per unit of a currency.

    `settings` are others of the node's settings.
    """
    clock = Clock()
    tokens = Tokens([b"m" * 32], LIVES_S, b"process!")

    def make_app(node: Node) -> Any:
        node.settings = replace(node.settings, open_doors=open_doors, **settings)
        node.clients = clients or node.clients
        node.spans = spans
        return public_app(node, tokens, Links(PUBLIC_URL, tokens))

    catalogue = list(small_catalogue()) if things is None else list(things)
    fold = msgspec.structs.replace(fold, rates_micros=tuple(sorted((rates or {}).items())))
    with serving(tmp_path, make_app, clock_ms=clock, things=catalogue, columns=columns, fold=fold) as server:
        yield PublicPort(server, tokens, clock)


def local(url: str) -> str:
    """Cut a tracking URL down to what our listener is asked for."""
    if not url.startswith("http"):
        return url
    assert url.startswith(PUBLIC_URL + "/"), url
    parts = urlsplit(url[len(PUBLIC_URL) :])
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def placement(identity: str, **more: Any) -> Placement:
    """Write a banner placement of the small catalogue's publisher."""
    fields: dict[str, Any] = {"sizes": ((320, 50),), "formats": ("banner",)}
    return Placement(id=identity, publisher_id="pub-1", **{**fields, **more})


def banner(identity: str, group: str, **more: Any) -> Creative:
    """Write a 320x50 banner."""
    fields: dict[str, Any] = {"landing_url": "https://shop.example/", "markup": "<b>ad</b>"}
    return Creative(
        id=identity, ad_group_id=group, format="banner", width=320, height=50, **{**fields, **more}
    )


def packed(body: bytes) -> bytes:
    """Pack a body, the same at any time of day: it may name a test."""
    return gzip.compress(body, mtime=0)
