"""Lines: what is written is what is read, now and by versions to come.

Every kind is built from its own type hints, so that a field added tomorrow is tested tomorrow.
"""

from __future__ import annotations

from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from app.domain import lines
from app.domain.catalogue import (
    KINDS,
    PARENTS,
    AdGroup,
    Advertiser,
    Audience,
    Campaign,
    Creative,
    Experiment,
    Placement,
    Pricing,
    Publisher,
    Thing,
    kind_of,
    parent_of,
)
from app.domain.decisions import ServedAd

PLAIN: dict[Any, SearchStrategy[Any]] = {
    str: st.text(max_size=6),
    bytes: st.binary(max_size=16),
    int: st.integers(-(2**53), 2**53),
    float: st.floats(allow_nan=False),
    bool: st.booleans(),
    NoneType: st.none(),
}
LINE_KINDS: tuple[Any, ...] = get_args(lines.Line)


def values_of(hint: Any) -> SearchStrategy[Any]:
    """Make values of a type as our structs use them."""
    origin, arguments = get_origin(hint), get_args(hint)
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return structs_of(hint)
    if origin in (Union, UnionType):
        return st.one_of(*map(values_of, arguments))
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin is dict:
        return st.dictionaries(*map(values_of, arguments), max_size=2)
    if origin is tuple and arguments[-1] is Ellipsis:
        return st.lists(values_of(arguments[0]), max_size=2).map(tuple)
    if origin is tuple:
        return st.tuples(*map(values_of, arguments))
    return PLAIN[hint]


def structs_of(kind: type[msgspec.Struct]) -> SearchStrategy[Any]:
    """Make structs of a kind, every field given."""
    hints = get_type_hints(kind)
    return st.deferred(
        lambda: st.builds(kind, **{field: values_of(hints[field]) for field in kind.__struct_fields__})
    )


def defaults_of(kind: type[msgspec.Struct]) -> int:
    """Count the trailing fields that an older version may not have written."""
    fields = msgspec.structs.fields(kind)
    return sum(field.default is not msgspec.NODEFAULT for field in fields)


@pytest.mark.parametrize("kind", LINE_KINDS, ids=lambda kind: kind.__name__)
@settings(max_examples=25)
@given(data=st.data())
def test_a_line_survives_writing_and_reading(kind: type[msgspec.Struct], data: st.DataObject) -> None:
    line = data.draw(structs_of(kind))
    read = lines.decode(lines.encode(line))
    assert read == line
    assert type(read) is kind
    assert lines.encode(read) == lines.encode(line)


@pytest.mark.parametrize("kind", LINE_KINDS, ids=lambda kind: kind.__name__)
@settings(max_examples=25)
@given(data=st.data())
def test_a_line_of_an_older_version_reads_with_defaults(
    kind: type[msgspec.Struct], data: st.DataObject
) -> None:
    line = data.draw(structs_of(kind))
    written = msgspec.msgpack.decode(lines.encode(line))
    assert isinstance(written, list)
    for missing in range(defaults_of(kind) + 1):
        older = msgspec.msgpack.encode(written[: len(written) - missing])
        read = lines.decode(older)
        fields = msgspec.structs.fields(kind)
        for place, field in enumerate(fields):
            known = place < len(fields) - missing
            assert getattr(read, field.name) == (getattr(line, field.name) if known else field.default)


@given(structs_of(lines.FoldSettings))
def test_settings_of_an_older_version_read_with_defaults(settings: lines.FoldSettings) -> None:
    written = msgspec.msgpack.decode(lines.encode(lines.Configured(at_ms=1, settings=settings)))
    for count in range(len(written[2])):
        short = msgspec.msgpack.encode([*written[:2], written[2][:count]])
        read = lines.decode(short)
        assert isinstance(read, lines.Configured)
        names = lines.FoldSettings.__struct_fields__
        told = [getattr(read.settings, name) for name in names[:count]]
        assert msgspec.msgpack.encode(told) == msgspec.msgpack.encode(written[2][:count])
        assert [getattr(read.settings, name) for name in names[count:]] == [
            getattr(lines.FoldSettings(), name) for name in names[count:]
        ]


#   thing, and what is absent of it by API.md
BARE: list[Thing] = [
    Advertiser(id="a"),
    Audience(id="u", advertiser_id="a"),
    Campaign(id="c", advertiser_id="a"),
    AdGroup(id="g", campaign_id="c", pricing=Pricing(kind="cpc", bid_micros=1)),
    Creative(id="r", ad_group_id="g", format="banner", landing_url="https://x.example"),
    Publisher(id="p"),
    Placement(id="l", publisher_id="p"),
    Experiment(id="e"),
]


@pytest.mark.parametrize("thing", BARE, ids=kind_of)
def test_a_thing_without_a_later_field_reads_with_its_default(thing: Thing) -> None:
    written = msgspec.msgpack.decode(lines.encode(lines.Catalogued(at_ms=1, thing=thing)))
    required = {field.name for field in msgspec.structs.fields(type(thing)) if field.required}
    written[2] = {key: value for key, value in written[2].items() if key in {"type", *required}}
    read = lines.decode(msgspec.msgpack.encode(written))
    assert isinstance(read, lines.Catalogued)
    assert read.thing == thing


def test_every_kind_of_thing_knows_its_place() -> None:
    assert [kind_of(thing) for thing in BARE] == list(KINDS)
    ids = {kind_of(thing): thing.id for thing in BARE}
    for thing in BARE:
        above = parent_of(thing)
        assert (above is None) == (kind_of(thing) not in PARENTS)
        assert above is None or ids[above[0]] == above[1]


@given(st.sampled_from(LINE_KINDS).flatmap(structs_of), st.data())
def test_a_damaged_line_is_refused_not_misread_as_nothing(line: lines.Line, data: st.DataObject) -> None:
    body = lines.encode(line)
    cut = data.draw(st.integers(0, len(body) - 1))
    with pytest.raises(msgspec.DecodeError):
        lines.decode(body[:cut])


@given(structs_of(ServedAd), st.text(max_size=4))
def test_the_events_of_one_ad_are_told_apart_and_refer_to_each_other(ad: Any, own: str) -> None:
    ad = msgspec.structs.replace(ad, decision_id=bytes(15), ad_index=3)
    shown, clicked = lines.Shown(at_ms=1, ad=ad), lines.Clicked(at_ms=2, ad=ad)
    converted = lines.Converted(at_ms=3, ad=ad, own_id=own)
    refund = lines.Refunded(at_ms=4, target_id=clicked.event_id, target_position=2, target=clicked)
    noticed = [lines.Noticed(at_ms=5, ad=ad, kind=kind) for kind in ("win", "loss")]
    events: list[lines.Event] = [shown, clicked, converted, lines.Dismissed(at_ms=3, ad=ad), refund, *noticed]
    assert len({event.event_id for event in events}) == len(events)
    assert clicked.refers_to == shown.event_id
    assert converted.refers_to == clicked.event_id
    assert refund.refers_to == clicked.event_id
    assert shown.refers_to is None
    later = lines.Refunded(at_ms=9, target_id=clicked.event_id, target_position=2, target=clicked, reason="x")
    assert later.event_id == refund.event_id, "an event is refunded once, whatever the reason"
