"""What an exchange's imp demands of a creative (OpenRTB): one row per case people argue about."""

from __future__ import annotations

from typing import Any

import pytest

from app.domain.catalogue import Native
from app.domain.requests import Creativity
from tests.state.world import World, ask_for, banner, group, one_of_each

VIDEO: dict[str, Any] = {"format": "video", "width": None, "height": None}
PARTS = Native(title="t", image_url="https://x.example/i.png")
NATIVE = {"format": "native", "native": PARTS}

#   creative, format, what an imp demands of it, the reason it leaves with
TABLE: list[tuple[dict[str, Any], str, dict[str, Any], str | None]] = [
    ({**VIDEO, "mimes": ("video/mp4",)},       "video",  {"mimes": ("video/mp4", "x/y")},    None),
    ({**VIDEO, "mimes": ("video/webm",)},      "video",  {"mimes": ("video/mp4",)},          "mime"),
    ({**VIDEO, "mimes": ("a/b", "video/mp4")}, "video",  {"mimes": ("video/mp4",)},          None),
    ({**VIDEO},                                "video",  {"mimes": ("video/mp4",)},          None),
    ({**VIDEO, "protocols": (3,)},             "video",  {"protocols": (2, 5)},              "protocol"),
    ({**VIDEO, "protocols": (2,)},             "video",  {"protocols": (2, 5)},              None),
    ({**VIDEO, "api": (7,)},                   "video",  {"api": (1,)},                      "api"),
    ({**VIDEO, "attributes": (6, 8)},          "video",  {"blocked_attributes": (8,)},       "attribute"),
    ({**VIDEO, "attributes": (6,)},            "video",  {"blocked_attributes": (8,)},       None),
    ({**VIDEO, "duration_s": 30},              "video",  {"duration_max_s": 30},             None),
    ({**VIDEO, "duration_s": 31},              "video",  {"duration_max_s": 30},             "duration"),
    ({**VIDEO, "duration_s": 5},               "video",  {"duration_min_s": 6},              "duration"),
    ({**VIDEO, "duration_s": None},            "video",  {"duration_min_s": 6},              None),
    (NATIVE,                                   "native", {"native_assets": ("title",)},       None),
    (NATIVE,                                   "native", {"native_assets": ("title", "cta")}, "native_asset"),
    ({"attributes": (8,)},                     "banner", {"blocked_attributes": (8,)},       "attribute"),
    ({"attributes": (8,)},                     "video",  {"blocked_attributes": (8,)},       None),
    ({"duration_s": 60},                       "video",  {"duration_max_s": 30},             None),
]  # fmt: skip


@pytest.mark.parametrize(("creative", "name", "demand", "reason"), TABLE)
def test_a_creative_meets_the_demands_of_its_own_format(
    creative: dict[str, Any], name: str, demand: dict[str, Any], reason: str | None
) -> None:
    world = World()
    world.add(*one_of_each()[:-1], banner("cr-1", **creative))
    world.change("placement", "plc-1", formats=(), sizes=())
    request = ask_for("plc-1", demands={name: Creativity(**demand)})
    assert world.winner(request) == (None if reason else "cr-1")
    assert world.reasons(request) == ({reason: 1} if reason else {})


def test_video_and_audio_of_one_imp_have_limits_of_their_own() -> None:
    world = World()
    world.add(*one_of_each()[:-1], group("g-2"))
    world.change("placement", "plc-1", formats=(), sizes=())
    world.add(
        banner("v", **VIDEO, duration_s=20), banner("a", "g-2", **{**VIDEO, "format": "audio"}, duration_s=20)
    )
    both = {"video": Creativity(duration_max_s=15), "audio": Creativity(duration_max_s=30)}
    for _ in range(2):  # and nothing of one request is left for the next
        assert world.winner(ask_for("plc-1", demands=both)) == "a"
        assert world.reasons(ask_for("plc-1", demands=both)) == {"duration": 1}
        assert world.reasons(ask_for("plc-1")) == {"outbid": 1}
