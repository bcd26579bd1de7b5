"""The learning fold: what is learned, held, skipped and taken back ("The matrix" in DESIGN)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.lines import (
    Catalogued,
    Clicked,
    Configured,
    FoldSettings,
    Line,
    Refunded,
    Shown,
    Ticked,
    Verdict,
)
from app.journal.memory import MemoryJournal
from app.rules.evaluation import logit
from app.rules.features import MAIN_ONLY_FROM
from app.rules.ftrl import UNLEARN_HORIZON_EVENTS
from app.rules.ftrl_plain import PlainCell, plain_learn
from app.state.apply import Receipt, apply
from app.state.silence import WHOLE
from app.state.state import State
from tests.state.world import COLUMNS, NOW_MS, RECENT, WON, World, banner, contents, group, one_of_each

HELD_MS = 600_000


def fresh(settings: FoldSettings | None = None, **options: Any) -> World:
    world = World(settings, **options)
    world.add(*one_of_each(), group("g-2"), banner("cr-2", "g-2"))
    return world


def weights(world: World) -> dict[str, Any]:
    """All that the model knows, and w, as arrays of the rows ever touched."""
    model = world.state.model
    rows = np.flatnonzero(model.touched)
    return {"z": model.z[rows].copy(), "n": model.n[rows].copy(), "w": model.w[rows].copy()}


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(np.array_equal(one[name], other[name]) for name in one)


def verdict_of(world: World, receipt: Receipt) -> Verdict:
    verdict = world.known[receipt.event_id].verdict
    assert verdict is not None
    return verdict


# What an event teaches.


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["cr-1", "cr-2"]),
            st.lists(st.integers(1, 4_000), max_size=4, unique=True),
            st.integers(0, 2),
            st.booleans(),
        ),
        max_size=12,
    ),
    st.sampled_from([0.0, 0.05]),
)
def test_the_fold_learns_as_plain_ftrl_cell_by_cell(
    events: list[tuple[str, list[int], int, bool]], l1: float
) -> None:
    world = fresh(FoldSettings(l1=l1, cross_l1=l1 / 2))
    cells: dict[tuple[int, int], PlainCell] = {}

    def lit(rows: list[int], columns: list[int]) -> list[PlainCell]:
        found = []
        for row in rows:
            for column in columns:
                main = row == 0 or column == 0
                if column == 0 or row < MAIN_ONLY_FROM:
                    fallback = PlainCell(0.1 if main else 0.02, 1.0, l1 if main else l1 / 2, 1.0)
                    found.append(cells.setdefault((row, column), fallback))
        return found

    for creative_id, some_rows, slot, clicked in events:
        rows = [0, *some_rows, *([MAIN_ONLY_FROM + slot] if slot else [])]
        ad = world.ad(creative_id, rows=rows)
        columns = np.frombuffer(ad.columns, "<u2").tolist()
        world.show(ad)
        plain_learn(lit(rows, columns), logit(0.01), 1, 0)
        if clicked:
            world.click(ad)
            plain_learn(lit(rows, columns), logit(0.01), 0, 1)
    model = world.state.model
    for (row, column), cell in cells.items():
        assert model.z[row, column] == pytest.approx(cell.z, rel=1e-9, abs=1e-12)
        assert model.n[row, column] == pytest.approx(cell.n, rel=1e-9, abs=1e-12)
        assert model.w[row, column] == pytest.approx(cell.w, rel=1e-6, abs=1e-9)
    assert np.count_nonzero(model.n) <= len(cells), "no other cell was touched"


def test_an_impression_teaches_less_and_a_click_teaches_more() -> None:
    world = fresh()
    ad = world.ad()
    before = world.p(ad)
    assert world.show(ad).learned
    shown = world.p(ad)
    assert world.click(ad).learned
    assert shown < before < world.p(ad)
    assert world.winner() == "cr-1", "and the next request already sees it"


def test_the_p_is_that_of_the_moment_never_the_token_s() -> None:
    one, other = fresh(), fresh()
    for world, pctr in ((one, 0.9), (other, 0.0001)):
        ad = world.ad(pctr=pctr)
        world.show(ad)
        world.click(ad)
    assert same(weights(one), weights(other))


# A click shares the fate of its impression.


@pytest.mark.parametrize("write_back", [True, False])
def test_a_click_is_learned_with_its_impression(write_back: bool) -> None:
    world = fresh(write_back=write_back)
    ad = world.ad()
    world.show(ad)
    receipt = world.click(ad)
    assert (receipt.status, receipt.learned, receipt.billed_micros) == ("counted", True, 1_000 * WON)


def test_a_click_whose_impression_left_the_memory_goes_by_the_verdict() -> None:
    world = fresh(recent=4)
    ad = world.ad()
    world.show(ad)
    for _ in range(6):
        world.show(world.ad("cr-2"))
    assert world.click(ad).learned


def test_a_click_of_a_skipped_impression_is_billed_and_not_learned() -> None:
    world = fresh(FoldSettings(silence_clicks=1))
    world.show(world.ad(pctr=1.0))
    ad = world.ad()
    assert verdict_of(world, world.show(ad)).fate == "skipped"
    before = weights(world)
    receipt = world.click(ad)
    assert (receipt.learned, receipt.billed_micros) == (False, 1_000 * WON)
    assert verdict_of(world, receipt).fate == "skipped"
    assert same(before, weights(world))


@pytest.mark.parametrize("write_back", [True, False])
def test_a_click_of_a_refunded_impression_is_invalid(write_back: bool) -> None:
    world = fresh(write_back=write_back)
    ad = world.ad()
    world.refund(world.show(ad))
    before = weights(world)
    receipt = world.click(ad)
    assert (receipt.status, receipt.billed_micros, receipt.learned) == ("counted", 0, False)
    assert receipt.code == "invalid_impression"
    assert world.spent() == 0
    assert same(before, weights(world))


# Clicks that come first.


def test_a_click_before_its_impression_waits_and_then_counts_as_if_in_order() -> None:
    late, ordered = fresh(), fresh()
    ad = late.ad()
    held = late.click(ad)
    assert (held.status, held.billed_micros, held.learned) == ("held", 0, False)
    assert verdict_of(late, held).fate == "held"
    assert late.spent() == 0
    late.tick(HELD_MS - 1)
    shown = late.show(ad)
    assert shown.learned
    assert verdict_of(late, held) == Verdict("learned", 1_000 * WON, 0)
    same_ad = ordered.ad()
    ordered.show(same_ad)
    ordered.click(same_ad)
    assert same(weights(late), weights(ordered))
    assert late.spent() == ordered.spent() == 1_000 * WON


def test_a_held_click_expires_and_is_then_invalid_for_good() -> None:
    world = fresh()
    ad = world.ad()
    held = world.click(ad)
    world.tick(HELD_MS - 1)
    assert verdict_of(world, held).fate == "held"
    world.tick(1)
    assert verdict_of(world, held) == Verdict("invalid", code="no_impression")
    assert world.show(ad).learned, "the impression itself is sound"
    assert verdict_of(world, held).fate == "invalid"
    assert world.spent() == 0
    assert world.state.progress.clicks == 0


# When the click stream falls silent.


def test_learning_stops_when_clicks_fall_silent_and_resumes_with_one() -> None:
    world = fresh(FoldSettings(silence_clicks=30))
    ads = [world.ad(pctr=0.5) for _ in range(61)]
    receipts = [world.show(ad) for ad in ads]
    assert [receipt.learned for receipt in receipts] == [True] * 60 + [False]
    assert WHOLE in world.state.silence.silent()
    before = weights(world)
    assert not world.show(world.ad()).learned
    assert same(before, weights(world))
    assert world.state.progress.impressions == 62, "counted all the same"
    assert world.click(ads[0]).learned
    assert not world.state.silence.silent()
    assert world.show(world.ad()).learned


# Un-learning.

histories = st.lists(
    st.tuples(st.sampled_from(["cr-1", "cr-2"]), st.integers(1, 5), st.booleans()), max_size=8
)  # fmt: skip


def live_through(world: World, history: list[tuple[str, int, bool]]) -> None:
    for creative_id, row, clicked in history:
        ad = world.ad(creative_id, rows=(0, row))
        world.show(ad)
        if clicked:
            world.click(ad)


@settings(max_examples=60)
@given(histories, st.booleans())
def test_a_refund_at_once_leaves_the_model_as_if_nothing_had_been(
    history: list[tuple[str, int, bool]], clicked: bool
) -> None:
    world = fresh()
    live_through(world, history)
    ad = world.ad(rows=(0, 1, 2))
    model = world.state.model
    rows, columns = np.frombuffer(ad.rows, "<u2"), np.frombuffer(ad.columns, "<u2")
    cells = np.ix_(rows, columns)
    before = {name: getattr(model, name)[cells].copy() for name in "znw"}
    receipt = world.show(ad)
    if clicked:
        receipt = world.click(ad)
    assert world.refund(receipt).learned, "a refund's receipt says whether it was un-learned"
    for name in "znw":
        assert np.abs(getattr(model, name)[cells] - before[name]).max() <= 1e-12, name


def test_a_refunded_click_takes_its_impression_with_it() -> None:
    world = fresh()
    ad = world.ad(price_micros=5_000 * WON, kind="cpm")
    shown, clicked = world.show(ad), world.click(ad)
    world.refund(clicked)
    assert world.p(ad) == pytest.approx(0.01, rel=1e-9)
    spent = world.spent()
    again = world.refund(shown)
    assert not again.learned, "it was un-learned with its click"
    assert (spent, world.spent()) == (5 * WON, 0), "its money is its own"


def test_a_refunded_impression_takes_its_click_out_of_the_model_and_leaves_its_money() -> None:
    world = fresh()
    ad = world.ad()
    shown, clicked = world.show(ad), world.click(ad)
    assert world.refund(shown).learned
    assert world.p(ad) == pytest.approx(0.01, rel=1e-9)
    assert world.spent() == 1_000 * WON
    back = world.refund(clicked)
    assert (back.billed_micros, back.learned) == (1_000 * WON, False)


@pytest.mark.parametrize("write_back", [True, False])
def test_a_click_that_was_held_is_un_learned_with_its_impression(write_back: bool) -> None:
    world = fresh(write_back=write_back)
    ad = world.ad()
    held = world.click(ad)
    world.show(ad)
    assert world.refund(held).learned
    assert world.p(ad) == pytest.approx(0.01, rel=1e-9)


def test_a_skipped_impression_has_nothing_to_un_learn() -> None:
    world = fresh(FoldSettings(silence_clicks=1))
    world.show(world.ad(pctr=1.0))
    skipped = world.show(world.ad())
    before = weights(world)
    assert not world.refund(skipped).learned
    assert same(before, weights(world))


@pytest.mark.parametrize(("after", "unlearned"), [(-1, True), (1, False)])
def test_beyond_the_horizon_an_event_is_refunded_and_not_un_learned(after: int, unlearned: bool) -> None:
    world = fresh(FoldSettings(silence_clicks=10**6), recent=2 * UNLEARN_HORIZON_EVENTS)
    ad = world.ad(price_micros=5_000 * WON, kind="cpm", rows=(0,))
    receipt = world.show(ad)
    for _ in range(UNLEARN_HORIZON_EVENTS + after):
        world.put(Shown(at_ms=world.now_ms, ad=world.ad("cr-2", rows=(0,))), check=False)
    before = weights(world)
    back = world.refund(receipt)
    assert back.billed_micros == 5 * WON
    assert back.learned is unlearned
    assert same(before, weights(world)) is not unlearned


# Twice is once.


def test_a_repeat_never_reaches_the_fold() -> None:
    """Through a journal: lines sent again, in any order, leave the same state as those sent once."""
    world = fresh()
    one, other = world.ad(), world.ad("cr-2", 5_000 * WON, "cpm")
    once: list[Line] = [entry.line for entry in world.entries]
    assert {type(line) for line in once} == {Configured, Ticked, Catalogued}
    once += [Shown(at_ms=NOW_MS, ad=one), Shown(at_ms=NOW_MS, ad=other), Clicked(at_ms=NOW_MS, ad=one)]
    again: list[Line] = [Shown(at_ms=NOW_MS + 5, ad=one), Clicked(at_ms=NOW_MS + 9, ad=one)]

    def folded(lines: list[Line]) -> State:
        journal, state = MemoryJournal(threaded=False), State(columns=COLUMNS, recent=RECENT)
        for line in lines:
            journal.append(line)
            journal.commit()
        for entry in journal.read(0, 1_000):
            apply(state, entry)
        return state

    plain, repeated = folded(once), folded([*once, *again, *again])
    assert plain.hash == repeated.hash
    assert contents(plain) == contents(repeated)


def test_a_held_click_taken_back_while_its_impression_comes_loses_no_money() -> None:
    """The refund's line was written before the impression's was known, and stands behind it."""
    world = fresh()
    ad = world.ad()
    held = world.click(ad)
    target = world.entries[held.position - 1].line
    assert isinstance(target, Clicked)
    world.show(ad)
    assert world.spent() == 1_000 * WON, "the impression settled the click, and billed it"
    refund = Refunded(
        at_ms=world.now_ms, target_id=target.event_id, target_position=held.position, target=target
    )
    receipt = world.put(refund).receipt
    assert receipt is not None
    assert (receipt.billed_micros, world.spent()) == (1_000 * WON, 0)
