"""What is explained is what was decided: same sums, same prices, and the node's own counts untouched."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.domain import ids
from app.domain.catalogue import (
    AdGroup,
    Advertiser,
    Campaign,
    Creative,
    Placement,
    Pricing,
    Publisher,
    Thing,
)  # fmt: skip
from app.domain.lines import Catalogued, Configured, Entry, FoldSettings, Line, Ticked
from app.domain.requests import AdRequest, Ask, Person
from app.rules.pricing import least_bid
from app.rules.standing import moment_at
from app.state.apply import apply
from app.state.choose import Chooser, Preview
from app.state.explain import CANDIDATES, CROSSES, Explainer
from app.state.state import State

NOW_MS = 1_767_225_600_000
KEY = ids.request_key(NOW_MS, bytes(range(10)))


def made_state(groups: int, seed: int, floor_micros: int = 0) -> State:
    """A state of `groups` ad groups with two creatives each, and a model that has learned noise."""
    state, chance = State(512, recent=64), np.random.default_rng(seed)
    things: list[Thing] = [
        Publisher(id="pub"),
        Placement(id="plc", publisher_id="pub", formats=("banner",), floor_micros=floor_micros),
        Advertiser(id="adv", category="IAB1"),
        Campaign(id="c", advertiser_id="adv"),
    ]
    for number in range(groups):
        kind: Any = "cpc" if chance.random() < 0.7 else "cpm"
        bid = int(chance.integers(500, 3_000)) * (1_000_000 if kind == "cpc" else 10_000_000)
        things.append(AdGroup(id=f"g{number}", campaign_id="c", pricing=Pricing(kind=kind, bid_micros=bid)))
        things += [
            Creative(id=f"x{number}-{n}", ad_group_id=f"g{number}", format="banner", width=300, height=250,
                     landing_url="https://x.example") for n in range(2)
        ]  # fmt: skip
    lines: list[Line] = [Configured(at_ms=NOW_MS, settings=FoldSettings()), Ticked(at_ms=NOW_MS)]
    lines += [Catalogued(at_ms=NOW_MS, thing=thing) for thing in things]
    for position, line in enumerate(lines, 1):
        apply(state, Entry(position, line))
    request = asked(1)
    for _ in range(60):
        ad = int(chance.integers(0, 2 * groups))
        rows = Chooser(state).choose(request, KEY, NOW_MS).placed[0].rows
        columns = state.catalogue.ads.columns[:, ad].tolist()
        sample = struct.pack(f"<{len(rows)}H", *rows), struct.pack(f"<{len(columns)}H", *columns)
        state.model.learn(*sample, state.prior_logit, 1.0, float(chance.random() < 0.2))
    return state


def asked(count: int, floor_micros: int = 0) -> AdRequest:
    person = Person(region="KR-11", interests=("travel",))
    ask = Ask(name="top", placement_id="plc", count=count, floor_micros=floor_micros)
    return AdRequest(request_id="r", asks=(ask,), person=person)


@settings(max_examples=25)
@given(st.integers(1, 12), st.integers(0, 9), st.integers(1, 4), st.sampled_from([0, 5_000_000_000]))
def test_it_agrees_with_choose(groups: int, seed: int, count: int, floor_micros: int) -> None:
    state = made_state(groups, seed)
    request = asked(count, floor_micros)
    choice = Chooser(state).choose(request, KEY, NOW_MS)
    again, (told,) = Explainer(state).explain(request, KEY, NOW_MS)
    assert again == choice
    placed = choice.placed[0]
    assert (told.reasons, told.candidates) == (placed.reasons, placed.candidates)
    assert [slot.creative_id for slot in told.slots] == [win.creative_id for win in placed.wins]
    for slot, win in zip(told.slots, placed.wins, strict=True):
        rival = -math.inf if slot.rival_score is None else slot.rival_score
        assert slot.price_micros == win.price_micros == least_bid(
            win.bid_micros, slot.v, slot.quality, slot.floor_micros, rival
        )  # fmt: skip
        terms = [term for term in (slot.floor_term_micros, slot.rival_term_micros) if term is not None]
        assert abs(slot.price_micros - max(terms, default=0)) <= 1 + 1e-9 * slot.price_micros
    best = {each.creative_index: each for each in told.best}
    for win in placed.wins[:1]:
        assert told.best[0].score == max(each.score for each in told.best)
        assert best[win.creative_index].pctr == win.pctr
        assert best[win.creative_index].ecpm_micros == win.ecpm_micros


@pytest.mark.parametrize("seed", range(3))
def test_the_best_are_the_best_of_all(seed: int) -> None:
    """Held against every ad's score in plain Python."""
    state = made_state(40, seed)
    _, (told,) = Explainer(state).explain(asked(1), KEY, NOW_MS)
    placed = Chooser(state).choose(asked(1), KEY, NOW_MS).placed[0]
    ads, rows = state.catalogue.ads, list(placed.rows)
    scores = []
    for ad in ads.places.by_key.values():
        x = state.prior_logit + float(state.model.w[rows][:, ads.columns[:, ad]].sum(dtype=np.float64))
        pctr = 1 / (1 + math.exp(-x))
        scores.append(float(ads.bid[ad] * (1000 * pctr if ads.per_click[ad] else 1)))
    expected = sorted(scores, reverse=True)[:CANDIDATES]
    assert [each.score for each in told.best] == pytest.approx(expected, rel=1e-5)
    assert len(told.best) == CANDIDATES


def test_the_cells_add_up_to_the_logit() -> None:
    state = made_state(6, 1)
    _, (told,) = Explainer(state).explain(asked(1), KEY, NOW_MS)
    lit_rows = len(told.rows)
    for each in told.best:
        weights = [cell.weight for cell in (*each.main, *each.crosses)]
        total = each.prior_logit + math.fsum(weights) + each.crosses_left_out_sum
        assert total == pytest.approx(each.logit, abs=1e-5)
        assert each.pctr == pytest.approx(1 / (1 + math.exp(-each.calibrated_logit)))
        assert len(each.main) == lit_rows + len(each.columns) - 1
        assert len(each.crosses) == CROSSES
        assert len(each.crosses) + each.crosses_left_out == (lit_rows - 1) * (len(each.columns) - 1)
        strengths = [abs(cell.weight) for cell in each.crosses]
        assert strengths == sorted(strengths, reverse=True)
        assert each.columns[0] == "any"
        assert each.columns[5] == f"creative:{each.creative_id}"
        assert {cell.row for cell in each.crosses} <= set(told.rows)
    assert {"any", "placement:plc", "publisher:pub", "region:KR-11", "interest:travel"} <= set(told.rows)


def test_what_is_seen_more_is_less_uncertain() -> None:
    state = made_state(1, 0)

    def doubt() -> tuple[float, float]:
        best = Explainer(state).explain(asked(1), KEY, NOW_MS)[1][0].best[0]
        return best.uncertainty, best.variance

    first = doubt()
    chosen = Chooser(state).choose(asked(1), KEY, NOW_MS).placed[0]
    rows = struct.pack(f"<{len(chosen.rows)}H", *chosen.rows)
    columns = struct.pack(f"<{len(chosen.wins[0].columns)}H", *chosen.wins[0].columns)
    for _ in range(50):
        state.model.learn(rows, columns, state.prior_logit, 1.0, 1.0)
    second = doubt()
    assert 0 < second[0] < first[0]
    assert 0 < second[1] < first[1]


def test_a_fresh_model_is_as_uncertain_as_its_settings_say() -> None:
    state = State(64, recent=8)
    lines: list[Line] = [Configured(at_ms=NOW_MS, settings=FoldSettings()), Ticked(at_ms=NOW_MS)]
    for position, line in enumerate(lines, 1):
        apply(state, Entry(position, line))
    rows, columns = [0, 5, 9], [0, 1]  # four main cells (0.1 each), two crosses (0.02 each); beta 1, l2 1
    uncertainty, variance = Explainer(state)._doubt(state.model, rows, columns)
    assert uncertainty == pytest.approx(4 * 0.1 + 2 * 0.02)
    assert variance == pytest.approx(4 / (1 / 0.1 + 1) + 2 / (1 / 0.02 + 1))


def test_it_leaves_the_nodes_own_counts_alone() -> None:
    state = made_state(4, 2)
    chooser = Chooser(state)
    choice = chooser.choose(asked(2), KEY, NOW_MS)
    own: list[NDArray[Any]] = [chooser.losers.planes, chooser.index, chooser.bound]
    before, hash_before = [array.copy() for array in own], state.hash
    Explainer(state).explain(asked(2), KEY, NOW_MS)
    assert [np.array_equal(was, array) for was, array in zip(before, own, strict=True)] == [True] * 3
    assert state.hash == hash_before
    assert chooser.choose(asked(2), KEY, NOW_MS) == choice


def test_previews_and_places_that_are_not_there() -> None:
    state = made_state(3, 3)
    at_ms = NOW_MS + 5 * 3_600_000
    moments = [moment_at(zone, at_ms) for zone in state.catalogue.zones]
    preview = Preview(moments, state.standing_at(at_ms, moments))
    choice, (told,) = Explainer(state).explain(asked(1), KEY, at_ms, preview)
    assert choice == Chooser(state).choose(asked(1), KEY, at_ms, preview)
    assert f"hour:{moments[0].hour}" in told.rows
    nowhere = AdRequest(request_id="r", asks=(Ask(name="n", placement_id="nowhere"),))
    _, (nothing,) = Explainer(state).explain(nowhere, KEY, NOW_MS)
    assert (nothing.best, nothing.slots, nothing.rows, nothing.candidates) == ([], [], [], 0)
