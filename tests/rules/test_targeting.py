"""Targeting over plain values: what API.md says of rules, one row per case people argue about."""

from __future__ import annotations

import pytest

from app.domain.catalogue import Placement, Rule, Targeting
from app.domain.requests import AdRequest, Ask, Deal, Person, Surroundings
from app.rules.targeting import meets, takes_shape, told_by

PLACEMENT = Placement(
    id="plc-1", publisher_id="pub-1", sizes=((320, 50),), formats=("banner",), categories=("IAB12-3",)
)
REQUEST = AdRequest(
    request_id="r-1",
    asks=(Ask(name="a", placement_id="plc-1", deals=(Deal(id="d-1"),)),),
    person=Person(gender="F", age=27, region="KR-11", interests=("travel",)),
    surroundings=Surroundings(device="mobile", keys={"team": ("red", 3)}),
)

TABLE = [
    (Targeting(),                                            True,  "nothing asked"),
    (Targeting(gender=Rule(include=("F",))),                 True,  ""),
    (Targeting(gender=Rule(exclude=("F",))),                 False, ""),
    (Targeting(age=Rule(include=((20, 27),))),               True,  "pairs are inclusive"),
    (Targeting(age=Rule(include=((20, 26), 30))),            False, ""),
    (Targeting(region=Rule(include=("KR",))),                True,  "a region lies in its country"),
    (Targeting(region=Rule(include=("KR-26",))),             False, ""),
    (Targeting(segment=Rule(include=("s-1",))),              False, "not told fails an include"),
    (Targeting(segment=Rule(exclude=("s-1",))),              True,  "and passes an exclude"),
    (Targeting(site_category=Rule(include=("IAB12",))),      True,  "the placement's own, with its parents"),
    (Targeting(publisher=Rule(include=("pub-1",))),          True,  ""),
    (Targeting(deal=Rule(include=("d-1",))),                 True,  "offered"),
    (Targeting(deal=Rule(include=("d-2",))),                 False, "not offered"),
    (Targeting(keys={"team": Rule(include=("red",))}),       True,  ""),
    (Targeting(keys={"team": Rule(include=((1, 5),))}),      True,  "a number among a key's values"),
    (Targeting(keys={"team": Rule(exclude=("red",))}),       False, ""),
    (Targeting(keys={"town": Rule(include=("x",))}),         False, ""),
]  # fmt: skip


@pytest.mark.parametrize(("targeting", "expected", "why"), TABLE)
def test_meets(targeting: Targeting, expected: bool, why: str) -> None:
    told = told_by(REQUEST, REQUEST.asks[0], PLACEMENT)
    assert meets(targeting, told, REQUEST.surroundings.keys) is expected, why


SHAPES = [
    ((),                           True,  "any will do"),
    ((("banner", 320, 50),),       True,  ""),
    ((("banner", 300, 250),),      False, "not a size of the placement"),
    ((("native", None, None),),    False, "not a format of the placement"),
    ((("banner", 300, 250), ("banner", 320, 50)), True, "one of them"),
]  # fmt: skip


@pytest.mark.parametrize(("shapes", "expected", "why"), SHAPES)
def test_takes_shape(shapes: tuple[tuple[str, int, int], ...], expected: bool, why: str) -> None:
    assert takes_shape(shapes, REQUEST.asks[0], PLACEMENT) is expected, why
