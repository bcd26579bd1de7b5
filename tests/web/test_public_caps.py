"""Frequency caps as a partner sees them: over a real socket, by the ids that it sends, and over a restart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msgspec.structs import replace

from app.domain.catalogue import FrequencyCap, Thing
from tests.node import small_catalogue
from tests.web.public_port import TOP, PublicPort, public_port

HOUR_MS = 3_600_000


def capped(*caps: FrequencyCap) -> list[Thing]:
    """One ad; its campaign has caps."""
    things: list[Any] = small_catalogue(groups=1, creatives=1)
    return [replace(thing, frequency_cap=caps) if thing.id == "c-1" else thing for thing in things]


def ask(port: PublicPort, user: str | None) -> dict[str, Any]:
    body: dict[str, Any] = {"placements": [TOP]}
    if user is not None:
        body["user"] = {"id": user}
    answer: dict[str, Any] = port.post("/v1/ads", body).json()
    return answer


def test_a_cap_holds_before_and_after_the_impressions(tmp_path: Path) -> None:
    things = capped(FrequencyCap(count=2, per="hour"))
    refused = {"top": {"code": "frequency", "reasons": {"frequency": 1}}}
    with public_port(tmp_path, things=things) as port:
        given = [ask(port, "u-1") for _ in range(3)]
        assert [list(each["decisions"]) for each in given] == [["top"], ["top"], []]
        assert given[2]["no_ad"] == refused
        for each in given[:2]:
            assert port.get(each["decisions"]["top"][0]["impression_url"]).status == 200
        assert ask(port, "u-1")["no_ad"] == refused
        assert ask(port, "u-2")["decisions"] and ask(port, None)["decisions"]
        port.clock.ahead_ms += HOUR_MS + 1_000
        assert ask(port, "u-1")["decisions"], "an hour later"


def test_what_is_never_shown_counts_for_a_minute(tmp_path: Path) -> None:
    with public_port(tmp_path, things=capped(FrequencyCap(count=1, per="lifetime"))) as port:
        assert ask(port, "u-1")["decisions"]
        assert not ask(port, "u-1")["decisions"]
        port.clock.ahead_ms += 61_000
        assert ask(port, "u-1")["decisions"]


def test_caps_outlive_a_restart(tmp_path: Path) -> None:
    things = capped(FrequencyCap(count=1, per="lifetime"))
    with public_port(tmp_path, things=things) as port:
        shown = ask(port, "u-1")["decisions"]["top"][0]
        port.get(shown["impression_url"])
        keys = port.node.user_keys
    with public_port(tmp_path, things=()) as port:
        port.node.user_keys = keys  # a node reads them from its directory
        assert ask(port, "u-1")["no_ad"]["top"]["code"] == "frequency"
        assert ask(port, "u-2")["decisions"]
