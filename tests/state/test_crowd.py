"""A small labelled crowd: what the rules find and whom they accuse. In full: `python -m loadtest invalid`.

The bounds lie below what the full run measures, by what a crowd of this size may differ.
"""

from __future__ import annotations

import pytest

from app.settings import Settings
from loadtest.crowd import Crowd
from loadtest.invalid import RULE_FOR, Score, play


@pytest.fixture(scope="module")
def score() -> Score:
    return play(
        Crowd(impressions=12_000, hours=0.5, seed=3), Settings(invalid_traffic="on", accidental_click_ms=0)
    )


#   what it truly is, recall at least, why
RECALL = [
    ("robot", 1.0, "it says what it is"),
    ("hosted", 1.0, "the list says where it is"),
    ("hurried", 1.0, "nobody is as fast"),
    ("double", 0.95, "all but those whose first click got lost"),
    ("clicker", 0.5, "the first and the last of a burst look like anybody's"),
    ("reloader", 0.75, "the first minute's limit"),
    ("self", 0.9, "once the rate is beyond doubt, all of it"),
]


@pytest.mark.parametrize(("label", "least", "why"), RECALL)
def test_recall(score: Score, label: str, least: float, why: str) -> None:
    assert score.recall(label) >= least, why
    assert score.recall(label, RULE_FOR[label], "invalid_impression") >= least, (
        "by the rule that is there for it"
    )


@pytest.mark.parametrize("rule", [*RULE_FOR.values(), "invalid_impression"])
def test_precision(score: Score, rule: str) -> None:
    assert any(code == rule for _, code in score.found), "a rule that finds nothing proves little"
    assert score.precision(rule) >= 0.9


def test_honest_people_are_left_alone_and_what_is_billed_is_theirs(score: Score) -> None:
    assert score.honest() >= 0.999
    assert score.wrongly_billed() <= 0.08


def test_marked_the_same_is_found_and_everything_is_billed(score: Score) -> None:
    crowd = Crowd(impressions=1_500, hours=0.1, seed=3)
    found = play(crowd, Settings(invalid_traffic="on", accidental_click_ms=0))
    marked = play(crowd, Settings(invalid_traffic="mark", accidental_click_ms=0))
    for label in ("robot", "hosted", "hurried", "double"):
        assert marked.recall(label) == found.recall(label) > 0
    assert marked.billed > found.billed
    ignored = play(crowd, Settings(invalid_traffic="off", accidental_click_ms=0))
    assert not any(code for _, code in ignored.found)
    assert ignored.billed == marked.billed
