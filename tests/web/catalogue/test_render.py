"""What is shown can be sent back: rendering and parsing are inverse, through JSON and through the journal."""

# ruff: noqa: E501  (the table is read across)

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from app.domain.catalogue import AdGroup, Campaign, Kind, Pricing, Rule, Targeting, Thing, kind_of
from app.domain.lines import Catalogued, decode, encode
from app.domain.refusals import Refused
from app.web.catalogue import parsing
from app.web.catalogue.render import instant, to_document
from app.web.catalogue.targeting_in import RuleIn, TargetingIn
from tests.web.catalogue.samples import SMALLEST
from tests.web.catalogue.things import things


@settings(max_examples=300, deadline=None)
@given(things)
def test_parsing_what_was_rendered_gives_the_thing_back(thing: Thing) -> None:
    line = decode(encode(Catalogued(at_ms=0, thing=thing)))
    assert isinstance(line, Catalogued)
    document = parsing.decode(msgspec.json.encode(to_document(line.thing)))
    assert parsing.parse(kind_of(thing), document, "UTC").thing == thing


@pytest.mark.parametrize("kind", SMALLEST)
def test_a_document_shows_every_field_of_its_kind(kind: Kind) -> None:
    thing = parsing.parse(kind, SMALLEST[kind], "UTC").thing
    shown = {name.removesuffix("_micros").removesuffix("_ms") for name in thing.__struct_fields__}
    renamed = {"floor": "floor_cpm"}
    assert set(to_document(thing)) == {renamed.get(name, name) for name in shown} | {"type"}


# fmt: off
INSTANTS = [
    # ms                   zone                shown                            why
    (1_777_593_600_000,    "Asia/Seoul",       "2026-05-01T09:00:00+09:00",     "the campaign's own zone"),
    (1_777_593_600_001,    "UTC",              "2026-05-01T00:00:00.001+00:00", "milliseconds where there are any"),
    (1_792_890_000_000,    "Europe/Paris",     "2026-10-25T02:00:00+01:00",     "the second 02:00 of that night"),
    (0,                    "Africa/Monrovia",  "1970-01-01T00:00:00+00:00",     "its offset had 30 seconds"),
]
# fmt: on


@pytest.mark.parametrize(("at_ms", "zone", "shown", "why"), INSTANTS)
def test_instants(at_ms: int, zone: str, shown: str, why: str) -> None:
    assert instant(at_ms, zone) == shown, why


def test_targeting_is_shown_as_it_was_written() -> None:
    targeting = {
        "age": [18, [20, 29]],
        "segment": {"include": ["s-1"], "exclude": ["s-2"]},
        "hour": [[22, 3]],
        "keys": {"team": ["red", 0.5, [1, 2.5]], "none": []},
    }
    document = SMALLEST["ad_group"] | {"targeting": targeting}
    assert to_document(parsing.parse("ad_group", document, "UTC").thing)["targeting"] == targeting


def test_money_and_whole_numbers_keep_their_look() -> None:
    group = AdGroup(
        id="g",
        campaign_id="c",
        pricing=Pricing(kind="cpm", bid_micros=500_000),
        budget_daily_micros=10**15,
        targeting=Targeting(age=Rule(include=((20.0, 29.0),))),
    )
    written = msgspec.json.encode(to_document(group)).decode()
    assert '"bid":0.5' in written
    assert '"budget_daily":1000000000,' in written
    assert "[20,29]" in written


def test_an_unset_flight_is_null() -> None:
    shown = to_document(Campaign(id="c", advertiser_id="a"))
    assert (shown["starts_at"], shown["ends_at"], shown["budget_daily"]) == (None, None, None)


DIMENSIONS = [name for name in TargetingIn.model_fields if name != "keys"]


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_both_spellings_of_every_dimension_check_their_terms(dimension: str) -> None:
    """A generic model once let anything into the exclude list."""
    spellings: list[tuple[Any, str]] = [
        ([{}], "[0]"),
        ({"include": [{}]}, ".include[0]"),
        ({"exclude": [{}]}, ".exclude[0]"),
    ]
    for sent, place in spellings:
        with pytest.raises(Refused) as caught:
            parsing.parse("ad_group", SMALLEST["ad_group"] | {"targeting": {dimension: sent}}, "UTC")
        assert caught.value.field == f"targeting.{dimension}{place}"


def test_a_rule_has_nothing_but_include_and_exclude() -> None:
    assert set(RuleIn.model_fields) == set(Rule.__struct_fields__)
