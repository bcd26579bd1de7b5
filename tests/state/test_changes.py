"""What changed, for a picture of earnings. Goal: launches, settings, models and ramps, few, in words.

Method: a table of edits, then lines through the fold and a snapshot.
"""

from __future__ import annotations

import msgspec
import pytest

from app.domain.catalogue import Advertiser, Campaign, Experiment, Publisher, Thing, Variant
from app.domain.lines import Catalogued, Configured, Entry, FoldSettings, Line
from app.state import saving
from app.state.apply import apply
from app.state.changes import KEPT, MERGED_MS, Change, Changes
from app.state.state import State

LIVE = Campaign(id="c-1", advertiser_id="adv-1")
TEST = Experiment(id="e-1", variants=(Variant(name="b", share=0.1),))

HALF = msgspec.structs.replace(TEST, variants=(Variant(name="b", share=0.5),))


def now(thing: Thing, **fields: object) -> Thing:
    return msgspec.structs.replace(thing, **fields)


#   before                         after                                   told
EDITS = [
    (None,                         LIVE,                                   "c-1 launched"),
    (None,                         now(LIVE, status="paused"),             ""),
    (now(LIVE, status="paused"),   LIVE,                                   "c-1 launched"),
    (LIVE,                         now(LIVE, budget_daily_micros=5),       ""),
    (LIVE,                         now(LIVE, status="paused"),             "c-1 paused"),
    (LIVE,                         now(LIVE, status="archived"),           "c-1 archived"),
    (None,                         Publisher(id="p"),                      ""),
    (None,                         TEST,                                   "e-1 started at b 10 %"),
    (TEST,                         now(TEST, name="other"),                ""),
    (TEST,                         HALF,                                   "e-1 ramped to b 50 %"),
    (TEST,                         now(TEST, status="archived"),           "e-1 stopped"),
    (TEST,                         now(TEST, promoted="b"),                "e-1 promoted b"),
    (now(TEST, promoted="b"),      now(TEST, promoted="b", status="archived"), ""),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after", "told"), EDITS)
def test_an_edit_is_told_where_it_changes_what_is_shown(
    before: Thing | None, after: Thing, told: str
) -> None:
    changes = Changes()
    changes.catalogued(0, after, before)
    assert [one.label for one in changes.kept] == ([told] if told else [])


def test_many_alike_at_once_are_one_and_the_list_is_bounded() -> None:
    changes = Changes()
    for number in range(40):
        changes.note(Change(number, "campaign", "launched", f"c-{number}"))
    assert [one.label for one in changes.kept] == ["40 campaigns launched"]
    for number in range(KEPT + 5):
        changes.note(Change((number + 1) * MERGED_MS, "campaign", "paused", f"c-{number}"))
    changes.check()
    assert len(changes.kept) == KEPT
    assert changes.kept[-1].what == f"c-{KEPT + 4}"


def test_the_fold_keeps_them_through_a_snapshot() -> None:
    state = State(columns=1024, recent=8)
    lines: list[Line] = [
        Configured(at_ms=1, settings=FoldSettings(alpha=0.2)),
        Catalogued(at_ms=2, thing=Advertiser(id="adv-1", name="Shop")),
        Catalogued(at_ms=3, thing=LIVE),
        Configured(at_ms=4, settings=FoldSettings(alpha=0.3, l2=2.0)),
    ]
    for position, line in enumerate(lines, start=1):
        apply(state, Entry(position, line))
    assert [one.label for one in state.changes.kept] == ["c-1 launched", "settings changed: alpha, l2"]
    other = State(columns=1024, recent=8)
    saving.restore(other, state.position, saving.parts(state))
    assert other.changes.kept == state.changes.kept
