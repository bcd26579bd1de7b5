"""All four kinds of price through the doors: what an answer says it costs, and what its events are billed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.domain.catalogue import (
    AdGroup,
    Advertiser,
    Campaign,
    Creative,
    Placement,
    Pricing,
    PricingKind,
    Publisher,
    Thing,
)
from app.state.explain import Explainer
from app.web.explain import placement_words
from tests.node import FOLD
from tests.state.world import World, ask_for, banner, group, one_of_each
from tests.web.public_port import PublicPort, public_port

WON = 1_000_000
KINDS: tuple[PricingKind, ...] = ("cpm", "cpc", "cpa", "ocpm")
ACTIONS = ("impression", "click", "conversion")


def things() -> Iterator[Thing]:
    """One placement, and one ad for each kind of price, of a size of its own: so each can be asked for."""
    yield Publisher(id="pub-1")
    yield Advertiser(id="adv-1", domain="shop.example")
    for number, kind in enumerate(KINDS):
        size = (300 + number, 50)
        yield Placement(
            id=f"plc-{kind}", publisher_id="pub-1", sizes=(size,), formats=("banner",), floor_micros=400 * WON
        )
        yield Campaign(id=f"c-{kind}", advertiser_id="adv-1", prior_cvr=0.1)
        bid = {"cpm": 2_000, "cpc": 100, "cpa": 2_000, "ocpm": 2_000}[kind]
        yield AdGroup(
            id=f"g-{kind}", campaign_id=f"c-{kind}", pricing=Pricing(kind=kind, bid_micros=bid * WON)
        )
        yield Creative(
            id=f"cr-{kind}", ad_group_id=f"g-{kind}", format="banner", width=size[0], height=size[1],
            landing_url="https://shop.example/", markup="<b>ad</b>",
        )  # fmt: skip


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PublicPort]:
    folder: Path = tmp_path_factory.mktemp("prices")
    with public_port(folder, things(), fold=FOLD) as port:
        yield port


@pytest.fixture(scope="module")
def ads(port: PublicPort) -> dict[str, Any]:
    """An ad of each kind, decided before anything was learned."""
    return {kind: port.ad(f"plc-{kind}") for kind in KINDS}


#   kind    price  ecpm   charged at    why
PRICES = [
    ("cpm",  0.4,   2_000, "impression", "the floor of 400, each thousandth"),
    ("cpc",  40,    1_000, "click",      "40 x 1000 x 0.01 = 400"),
    ("cpa",  400,   2_000, "conversion", "400 x 1000 x 0.01 x 0.1 = 400"),
    ("ocpm", 0.4,   2_000, "impression", "400 x 0.01 x 0.1, each impression"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "price", "ecpm", "charged", "why"), PRICES)
def test_what_is_charged(
    port: PublicPort, ads: dict[str, Any], kind: str, price: float, ecpm: float, charged: str, why: str
) -> None:
    ad = ads[kind]
    assert ad["pricing"]["kind"] == kind
    assert ad["pricing"]["price"] == pytest.approx(price, abs=2e-6), why
    assert ad["pricing"]["ecpm"] == pytest.approx(ecpm, rel=1e-9)
    assert ad.get("pcvr") == (pytest.approx(0.1) if kind in ("cpa", "ocpm") else None)
    for action in ACTIONS:
        (result,) = port.report({"token": ad["tokens"][action], "kind": action})
        billed = price if action == charged else 0
        assert (result["status"], result["billed"]) == ("counted", pytest.approx(billed, abs=2e-6)), action
        assert result["learned"], "in one matrix or the other"


def test_each_conversion_with_an_id_of_its_own_is_charged_and_the_first_teaches(port: PublicPort) -> None:
    ad = port.ad("plc-cpa")
    send: list[dict[str, Any]] = [{"token": ad["tokens"][kind], "kind": kind} for kind in ACTIONS]
    send += [{**send[2], "id": "order-2"}, send[2]]
    results = port.report(*send)
    price = ad["pricing"]["price"]
    assert [result["billed"] for result in results] == [0, 0, price, price, 0]
    assert [result["learned"] for result in results] == [True, True, True, False, False]
    assert results[-1]["status"] == "repeat"


def test_a_conversion_of_an_ad_that_was_only_seen_counts_and_bills_nothing(port: PublicPort) -> None:
    """Whoever is shown an ad has its conversion token, so everybody is told."""
    tokens = port.ad("plc-cpa")["tokens"]
    shown, seen, clicked, bought = port.report(
        {"token": tokens["impression"], "kind": "impression"},
        {"token": tokens["conversion"], "kind": "conversion", "id": "view"},
        {"token": tokens["click"], "kind": "click"},
        {"token": tokens["conversion"], "kind": "conversion", "id": "click"},
    )
    assert (seen["status"], seen["billed"], seen["learned"], seen["code"]) == (
        "counted", 0, False, "view_through",
    )  # fmt: skip
    assert bought["billed"] > 0
    assert [each["code"] for each in (shown, clicked, bought)] == [None, None, None]


def test_an_explanation_shows_what_an_ocpm_group_bids_of_its_target() -> None:
    world = World()
    world.add(*one_of_each()[:-2], group("g-1", bid=1_000, kind="ocpm"), banner("cr-1"))
    world.show(world.ad(kind="ocpm", price_micros=1_000 * WON, pctr=1.0, pcvr=1.0))
    world.tick()
    _, (explained,) = Explainer(world.state).explain(ask_for("plc-1"), world.key(), world.now_ms)
    told = placement_words(explained)["best"][0]
    assert told["pricing"] == {"kind": "ocpm", "bid": 910, "target_cpa": 1_000, "multiplier": 0.91}
    assert told["pcvr"] == pytest.approx(0.02)
    assert told["ecpm"] == pytest.approx(910 * 1000 * told["pctr"] * 0.02, rel=1e-6)
