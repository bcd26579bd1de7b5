"""The catalogue's flow on a fake node: revisions and If-Match, archiving, and imports in order.

Method: tables of what is refused and why; imports held, by hypothesis, against the plain version that
goes line by line.
"""

# ruff: noqa: E501  (the table are read across)

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.catalogue import AdGroup, Advertiser, Campaign, Creative, Pricing, Status, Thing, kind_of
from app.domain.refusals import Refused
from app.flows import catalogue as flow
from tests.flows.fake_catalogue import FakeNode

PRICING = Pricing(kind="cpc", bid_micros=1)
ADVERTISER = Advertiser(id="adv-1")
CAMPAIGN = Campaign(id="c-1", advertiser_id="adv-1")
GROUP = AdGroup(id="g-1", campaign_id="c-1", pricing=PRICING)
CREATIVE = Creative(
    id="cr-1", ad_group_id="g-1", format="banner", width=1, height=1, landing_url="https://a.b"
)
TREE: tuple[Thing, ...] = (ADVERTISER, CAMPAIGN, GROUP, CREATIVE)


def with_status(thing: Thing, status: Status) -> Thing:
    return msgspec.structs.replace(thing, status=status)


def refusal_of(call: Coroutine[Any, Any, object]) -> Refused:
    with pytest.raises(Refused) as caught:
        asyncio.run(call)
    return caught.value


def test_create_then_put_then_patch_moves_the_revision() -> None:
    node: Any = FakeNode()

    async def story() -> None:
        first = await flow.create(node, ADVERTISER)
        assert (first.outcome, first.revision) == ("created", 1)
        second = await flow.put(node, Advertiser(id="adv-1", name="n"), frozenset({1}))
        assert (second.outcome, second.revision) == ("updated", 2)
        third = await flow.patch(
            node,
            "advertiser",
            "adv-1",
            frozenset({2}),
            lambda old: msgspec.structs.replace(old, seat="s"),
        )
        assert third.thing == Advertiser(id="adv-1", name="n", seat="s")
        assert flow.find(node, "advertiser", "adv-1") == flow.Stored(third.thing, 3)

    asyncio.run(story())
    assert len(node.lines) == 3


Call = Callable[[Any], Coroutine[Any, Any, flow.Stored]]
NEW_NAME = Advertiser(id="adv-1", name="new")
# fmt: off
REFUSED: list[tuple[Call, str, str]] = [
    # call                                                             code                     why
    (lambda n: flow.create(n, ADVERTISER),                             "taken",                 "the same thing, still not new"),
    (lambda n: flow.put(n, NEW_NAME, None),                            "precondition_required", "exists"),
    (lambda n: flow.put(n, ADVERTISER, None),                          "precondition_required", "exists, even unchanged"),
    (lambda n: flow.put(n, NEW_NAME, frozenset({2})),                  "stale",                 "a revision to come"),
    (lambda n: flow.put(n, NEW_NAME, frozenset()),                     "stale",                 "a tag that is none of ours"),
    (lambda n: flow.put(n, Advertiser(id="x"), frozenset({1})),        "stale",                 "nothing there to match"),
    (lambda n: flow.put(n, Advertiser(id="x"), "*"),                   "stale",                 "any, but there is none"),
    (lambda n: flow.archive(n, "advertiser", "x", None),               "not_found",             "absence goes first"),
    (lambda n: flow.archive(n, "creative", "cr-1", None),              "precondition_required", "archiving is a change"),
    (lambda n: flow.archive(n, "creative", "cr-1", frozenset({9})),    "stale",                 ""),
    (lambda n: flow.archive(n, "ad_group", "g-1", "*"),                "has_children",          "a creative is in use"),
    (lambda n: flow.put(n, with_status(GROUP, "archived"), "*"),       "has_children",          "no way around by PUT"),
    (lambda n: flow.create(n, Campaign(id="c", advertiser_id="no")),   "unknown_parent",        "the state's own"),
    (lambda n: flow.put(n, Campaign(id="c-1", advertiser_id="o"), "*"), "parent_fixed",         "may not move"),
    (lambda n: flow.create(n, AdGroup(id="g", campaign_id="c-0", pricing=PRICING)), "archived_parent", ""),
]
# fmt: on


@pytest.mark.parametrize(("call", "code", "why"), REFUSED)
def test_what_is_refused_changes_nothing(call: Call, code: str, why: str) -> None:
    others = (Advertiser(id="o"), Campaign(id="c-0", advertiser_id="o", status="archived"))
    node: Any = FakeNode([*TREE, *others])
    before = node.snapshot()
    assert refusal_of(call(node)).code == code, why
    assert (node.lines, node.snapshot()) == ([], before)


def test_the_same_thing_again_appends_no_line() -> None:
    node: Any = FakeNode(TREE)
    stored = asyncio.run(flow.put(node, CAMPAIGN, frozenset({1})))
    assert (stored.outcome, stored.revision, node.lines) == ("unchanged", 1, [])


def test_archive_from_the_leaves_and_revive_from_the_root() -> None:
    node: Any = FakeNode(TREE)

    async def story() -> None:
        for thing in reversed(TREE):
            stored = await flow.archive(node, kind_of(thing), thing.id, "*")
            assert stored.thing.status == "archived"
        again = await flow.archive(node, "creative", "cr-1", frozenset({2}))
        assert (again.outcome, again.revision) == ("unchanged", 2)
        for thing in TREE:
            assert (await flow.put(node, thing, frozenset({2}))).revision == 3

    asyncio.run(story())
    assert flow.find(node, "creative", "cr-1").thing == CREATIVE


def test_of_two_changes_that_read_the_same_revision_one_wins() -> None:
    node: Any = FakeNode(TREE)

    async def race() -> list[object]:
        puts = [flow.put(node, Advertiser(id="adv-1", name=name), frozenset({1})) for name in "ab"]
        return await asyncio.gather(*puts, return_exceptions=True)

    won, lost = asyncio.run(race())
    assert isinstance(won, flow.Stored) and isinstance(lost, Refused)
    assert lost.code == "stale"


def lines_of(things: Sequence[Thing]) -> list[flow.ParsedLine]:
    return [flow.ParsedLine(line=number, thing=thing) for number, thing in enumerate(things, start=1)]


def imported(node: Any, lines: Sequence[flow.ParsedLine], slice_size: int) -> list[flow.ImportedLine]:
    async def slices() -> AsyncIterator[Sequence[flow.ParsedLine]]:
        for start in range(0, len(lines), slice_size):
            yield lines[start : start + slice_size]

    return asyncio.run(flow.import_things(node, slices()))


def test_import_of_good_and_bad_lines() -> None:
    node: Any = FakeNode([ADVERTISER])
    lines = [
        flow.ParsedLine(line=1, thing=ADVERTISER),
        flow.ParsedLine(line=2, thing=Campaign(id="c-1", advertiser_id="no")),
        flow.ParsedLine(line=3, thing=GROUP),
        flow.ParsedLine(
            line=4, type="campaign", id="c-2", code="required", field="advertiser_id", message="m"
        ),
        flow.ParsedLine(line=6, thing=Campaign(id="c-3", advertiser_id="adv-1"), not_enforced=("pacing",)),
        flow.ParsedLine(line=7, thing=Advertiser(id="adv-1", name="new")),
    ]
    results = imported(node, lines, flow.IMPORT_SLICE)
    assert [(r.line, r.status, r.code, r.field) for r in results] == [
        (1, "unchanged", None, None),
        (2, "refused", "unknown_parent", "advertiser_id"),
        (3, "refused", "unknown_parent", "campaign_id"),
        (4, "refused", "required", "advertiser_id"),
        (6, "created", None, None),
        (7, "updated", None, None),
    ]
    assert (results[4].not_enforced, results[3].id, results[3].message) == (("pacing",), "c-2", "m")
    assert len(node.lines) == 2


def test_an_import_sent_twice_changes_nothing_the_second_time() -> None:
    node: Any = FakeNode()
    assert {r.status for r in imported(node, lines_of(TREE), flow.IMPORT_SLICE)} == {"created"}
    written = len(node.lines)
    assert {r.status for r in imported(node, lines_of(TREE), flow.IMPORT_SLICE)} == {"unchanged"}
    assert len(node.lines) == written == 4


def test_a_tree_listed_depth_first_needs_a_commit_per_level_only() -> None:
    things: list[Thing] = []
    for number in range(10):
        things += [Advertiser(id=f"a{number}"), Campaign(id=f"c{number}", advertiser_id=f"a{number}")]
        things += [AdGroup(id=f"g{number}", campaign_id=f"c{number}", pricing=PRICING)]
    node: Any = FakeNode()
    imported(node, lines_of(things), flow.IMPORT_SLICE)
    assert (len(node.lines), node.commits) == (30, 3)


@pytest.mark.parametrize("room", [0, 1, 2, 7, 30, 31])
def test_a_catalogue_that_fills_up_in_the_middle_of_a_slice(room: int) -> None:
    """What does not fit is refused, never appended: the fold cannot say no."""
    node: Any = FakeNode(TREE[:3], capacity=3 + room)
    creatives = [msgspec.structs.replace(CREATIVE, id=f"cr-{number}") for number in range(30)]
    results = imported(node, lines_of(creatives), flow.IMPORT_SLICE)
    assert [r.status for r in results] == ["created"] * min(room, 30) + ["refused"] * (30 - min(room, 30))
    assert {r.code for r in results if r.status == "refused"} <= {"catalogue_full"}
    assert len(node.lines) == min(room, 30)


STATUSES: list[Status] = ["active", "paused", "archived"]


@st.composite
def busy_things(draw: st.DrawFn) -> Thing:
    """Few ids and many statuses, so that lines meet: repeats, orphans, moves, archiving, revivals."""
    own, parent = draw(st.sampled_from("xy")), draw(st.sampled_from("xy"))
    status, name = draw(st.sampled_from(STATUSES)), draw(st.sampled_from(["", "n"]))
    match draw(st.integers(0, 3)):
        case 0:
            return Advertiser(id=own, status=status, name=name)
        case 1:
            return Campaign(id=own, advertiser_id=parent, status=status, name=name)
        case 2:
            return AdGroup(id=own, campaign_id=parent, pricing=PRICING, status=status, name=name)
        case _:
            return msgspec.structs.replace(CREATIVE, id=own, ad_group_id=parent, status=status)


@settings(max_examples=300, deadline=None)
@given(st.lists(busy_things(), max_size=25), st.integers(1, 25))
def test_waves_come_to_the_same_as_going_line_by_line(things: list[Thing], slice_size: int) -> None:
    by_waves: Any = FakeNode()
    by_line: Any = FakeNode()
    assert imported(by_waves, lines_of(things), slice_size) == imported(by_line, lines_of(things), 1)
    assert by_waves.snapshot() == by_line.snapshot()
    assert by_waves.state.catalogue.revisions == by_line.state.catalogue.revisions
