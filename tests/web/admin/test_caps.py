"""Caps and views where people look for reasons: explain, and a decision that is made again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from app.domain import ids
from app.domain.catalogue import FrequencyCap
from app.flows.serve import served_ads
from app.web.admin.app import admin_app
from app.web.admin.auth import key_hash
from app.web.ads import AdsDoor
from app.web.explain import explain
from app.web.links import Links
from app.web.tokens import KINDS, Tokens
from tests.node import Server, send, serving, small_catalogue
from tests.web.admin.conftest import HEADERS, KEY

ASKED: dict[str, Any] = {
    "placements": [{"name": "top", "placement_id": "plc-1"}], "user": {"id": "u-1"}, "explain": True,
}  # fmt: skip


@pytest.fixture
def capped(tmp_path: Path) -> Iterator[Server]:
    """One ad, twice a day."""

    def make(node: Any) -> Any:
        tokens = Tokens([bytes(32)], dict.fromkeys(KINDS, 86_400), bytes(8))
        door = AdsDoor(node, Links("http://127.0.0.1:1", tokens), tokens, admin=True, explain=explain)
        return admin_app(node, admin_key_hash=key_hash(KEY), ads_door=door)

    things: list[Any] = small_catalogue(groups=1, creatives=1)
    cap = FrequencyCap(count=2, per="day")
    capped = [replace(each, frequency_cap=(cap,)) if each.id == "c-1" else each for each in things]
    with serving(tmp_path, make, HEADERS, things=capped) as server:
        yield server


def test_explain_tells_of_caps_and_views(capped: Server) -> None:
    first = capped.ask("POST", "/v1/ads", ASKED).json()
    (ad,) = first["decisions"]["top"]
    assert not _views(first)
    asyncio.run_coroutine_threadsafe(_shown(capped, ad["decision_id"]), capped.loop).result(30)
    second = capped.ask("POST", "/v1/ads", ASKED).json()
    assert _views(second) == {"views:1"}
    third = capped.ask("POST", "/v1/ads", ASKED).json()
    assert third["no_ad"]["top"] == {"code": "frequency", "reasons": {"frequency": 1}}
    assert third["explain"]["top"]["reasons"] == {"frequency": 1}


def _views(answer: dict[str, Any]) -> set[str]:
    cells = answer["explain"]["top"]["best"][0]["weights"]["main"]
    return {cell["row"] for cell in cells if cell["row"].startswith("views")}


async def _shown(server: Server, decision_id: str) -> None:
    """Report the impression of a decision's ad, as its token would."""
    await asyncio.to_thread(server.node.decisions.flush)
    record = server.node.decisions.get(ids.from_text(decision_id))
    assert record is not None
    (ad,) = served_ads(record.choice, record.choice.placed[0], record.request.person)
    await send(server.node, "impression", ad)
