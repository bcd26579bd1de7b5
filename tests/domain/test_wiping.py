"""Lines without people: keys, profiles and sources go, all else stays; what is left is an event as before."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import pytest

from app.domain.decisions import ServedAd
from app.domain.lines import (
    Clicked,
    Converted,
    Dismissed,
    Erased,
    Feedback,
    Line,
    Noticed,
    Profiled,
    Refunded,
    Returned,
    Sender,
    Shown,
    Ticked,
    encode,
)
from app.domain.people import Profile
from app.domain.wiping import PERSONAL_KINDS, without_person

USER, FORMER, SOURCE = b"user-key-12b", b"formerkey-12", b"source-hash-"
AD = ServedAd(
    decision_id=bytes(15), ad_index=0, creative_id="cr-1", creative_index=0, generation=0,
    placement_id="plc-1", publisher_id="pub-1", rows=bytes(2), columns=bytes(2), schema_version=1,
    price_micros=5, price_kind="cpc", pctr=0.01, variant=0, issued_at_ms=7, user=USER, former_user=FORMER,
)  # fmt: skip
SENDER = Sender(source=SOURCE)
LINES: list[Any] = [
    Shown(at_ms=1, ad=AD, sender=SENDER, media_cost_micros=3),
    Clicked(at_ms=1, ad=AD, sender=SENDER),
    Converted(at_ms=1, ad=AD, own_id="o-1", value=2.0, sender=SENDER),
    Dismissed(at_ms=1, ad=AD, reason="seen", sender=SENDER),
    Returned(at_ms=1, ad=AD, dwell_ms=5, sender=SENDER),
    Noticed(at_ms=1, ad=AD, kind="win"),
    Refunded(at_ms=2, target_id=bytes(15), target_position=1, target=Shown(at_ms=1, ad=AD, sender=SENDER)),
    Profiled(at_ms=1, user=USER, profile=Profile(gender="F", interests=("travel",)), former_user=FORMER),
    Erased(at_ms=1, users=(USER, FORMER)),
]


@pytest.mark.parametrize("line", LINES, ids=lambda line: type(line).__name__)
def test_nothing_of_a_person_is_left(line: Line) -> None:
    assert USER in encode(line)
    wiped = without_person(line)
    assert not any(trace in encode(wiped) for trace in (USER, FORMER, SOURCE, b"travel"))
    assert without_person(wiped) is wiped


@pytest.mark.parametrize("line", LINES[:-2], ids=lambda line: type(line).__name__)
def test_all_else_stays(line: Any) -> None:
    wiped: Any = without_person(line)
    assert (wiped.event_id, wiped.refers_to, wiped.at_ms) == (line.event_id, line.refers_to, line.at_ms)
    ad = wiped.target.ad if isinstance(wiped, Refunded) else wiped.ad
    assert ad == msgspec.structs.replace(AD, user=b"", former_user=b"")


def test_a_line_of_nobody_is_the_same_line() -> None:
    for line in (Ticked(at_ms=1), Shown(at_ms=1, ad=msgspec.structs.replace(AD, user=b"", former_user=b""))):
        assert without_person(line) is line


def test_every_kind_of_event_is_looked_at() -> None:
    kinds = {kind.__struct_config__.tag for kind in get_args(Line)}
    assert set(PERSONAL_KINDS) <= kinds
    assert {type(line) for line in LINES} >= set(get_args(Feedback))
    assert {type(line).__struct_config__.tag for line in LINES} == set(PERSONAL_KINDS)
