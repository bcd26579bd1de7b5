"""The simulated audience: a truth that is fixed, wide enough to be worth learning, and learned by the node.

The last test is the demo without HTTP: the real door, choice and fold, once with feedback and once
without. Only with it may the ads' worth under the truth rise.
"""

import heapq
import json
import math
import statistics
from typing import Any

import numpy as np
import pytest

from app.domain import ids
from app.domain.decisions import Placed, ServedAd, Win
from app.domain.lines import (
    Catalogued,
    Clicked,
    Configured,
    Entry,
    FoldSettings,
    Line,
    Referred,
    Shown,
    Ticked,
)
from app.offline.audience import BROWSERS, ROBOTS, Audience
from app.offline.drive import AnsweredAd, Pricing, judged
from app.offline.sample import sample_catalogue
from app.offline.world.market import AD_SPREADS
from app.offline.world.people import Person
from app.state.apply import apply
from app.state.choose import Chooser
from app.state.state import State
from app.web.ads_in import read_ads
from app.web.catalogue.importing import parse_line

NOW_MS = 1_800_000_000_000
CATALOGUE = list(sample_catalogue(seed=1))
CREATIVES = [line["id"] for line in CATALOGUE if line["type"] == "creative"]


def test_the_seed_decides_who_comes_and_what_they_like() -> None:
    one, two, other = Audience(1, CATALOGUE), Audience(1, CATALOGUE), Audience(2, CATALOGUE)
    visits = [one.draw() for _ in range(50)]
    assert [two.draw() for _ in range(50)] == visits
    assert [other.draw() for _ in range(50)] != visits
    ads = list(zip(visits, CREATIVES, strict=False))
    forwards = [one.truth(visit.person, visit.placement_id, ad) for visit, ad in ads]
    backwards = [two.truth(visit.person, visit.placement_id, ad) for visit, ad in reversed(ads)]
    assert forwards == backwards[::-1]  # whatever was asked before
    assert forwards != [other.truth(visit.person, visit.placement_id, ad) for visit, ad in ads]


def test_a_few_visitors_are_robots_and_everybody_else_has_a_browser() -> None:
    audience = Audience(1, CATALOGUE)
    visits = [audience.draw() for _ in range(4_000)]
    robots = [visit for visit in visits if visit.robot]
    assert 5 <= len(robots) <= 45, "20 expected"
    assert {visit.user_agent for visit in robots} == set(ROBOTS)
    people = [visit for visit in visits if not visit.robot]
    assert all(visit.user_agent == BROWSERS[visit.person.os] for visit in people)
    assert len({visit.address for visit in visits}) == len({visit.person.id for visit in visits})


def test_one_person_is_the_same_at_every_visit_on_one_kind_of_device() -> None:
    audience = Audience(1, CATALOGUE)
    known: dict[tuple[str, bool], Person] = {}
    for _ in range(2_000):
        person = audience.draw().person
        assert known.setdefault((person.id, person.device == "desktop"), person) == person
    assert len(known) > 500


def test_base_rate_and_spread_are_as_announced() -> None:
    audience = Audience(1, CATALOGUE)
    visits = [audience.draw() for _ in range(2_000)]
    truths = [
        audience.truth(visit.person, visit.placement_id, CREATIVES[at]) for at, visit in enumerate(visits)
    ]
    assert 0.007 < statistics.fmean(truths) < 0.013
    visit = visits[0]
    for_one = [audience.truth(visit.person, visit.placement_id, ad) for ad in CREATIVES]
    assert 0.6 < statistics.stdev(math.log(p / (1 - p)) for p in for_one) < 1.1
    assert math.isclose(sum(spread**2 for spread in AD_SPREADS.values()), 0.64, abs_tol=0.01)


def test_ads_do_better_with_some_people_than_with_others() -> None:
    """Crosses: the order of two ads is not the same for everybody."""
    audience = Audience(1, CATALOGUE)
    visits = [audience.draw() for _ in range(100)]
    orders = set()
    for visit in visits:
        first, second = (audience.truth(visit.person, visit.placement_id, ad) for ad in CREATIVES[:2])
        gap = math.log(first / (1 - first)) - math.log(second / (1 - second))
        orders.add(round(gap, 6))
    assert len(orders) > 20


def test_clicks_come_as_often_as_the_truth_says_and_a_moment_later() -> None:
    audience = Audience(1, CATALOGUE)
    clicks = sum(audience.clicks(0.3) for _ in range(10_000))
    assert abs(clicks / 10_000 - 0.3) < 5 * math.sqrt(0.3 * 0.7 / 10_000)
    assert not audience.clicks(0.0)
    delays = [audience.click_delay_s() for _ in range(1_000)]
    assert min(delays) >= 0.2
    assert max(delays) <= 2.0


class Node:
    """The real state and chooser, fed line by line."""

    def __init__(self) -> None:
        self.state = State()
        self.put(Configured(at_ms=NOW_MS, settings=FoldSettings(click_window_s=5)))
        self.put(Ticked(at_ms=NOW_MS))
        for number, line in enumerate(CATALOGUE):
            thing = parse_line(json.dumps(line).encode(), number, "Asia/Seoul").thing
            assert thing is not None
            self.put(Catalogued(at_ms=NOW_MS, thing=thing))
        self.chooser = Chooser(self.state)

    def put(self, line: Line, referred: Referred | None = None) -> int:
        apply(self.state, Entry(self.state.position + 1, line, referred))
        return self.state.position

    def choose(self, body: dict[str, Any], number: int, now_ms: int) -> Placed:
        request = read_ads(json.dumps(body).encode(), lambda identity: (None, None), admin=False).request
        key = ids.request_key(now_ms, number.to_bytes(ids.RANDOM_BYTES, "big"))
        return self.chooser.choose(request, key, now_ms).placed[0]


def served(placed: Placed, win: Win, now_ms: int) -> ServedAd:
    return ServedAd(
        decision_id=placed.decision_id, ad_index=0, creative_id=win.creative_id,
        creative_index=win.creative_index, generation=win.generation, placement_id=placed.placement_id,
        publisher_id=placed.publisher_id, rows=np.array(placed.rows, dtype="<u2").tobytes(),
        columns=np.array(win.columns, dtype="<u2").tobytes(), schema_version=1, price_micros=win.price_micros,
        price_kind=win.kind, pctr=win.pctr, variant=0, issued_at_ms=now_ms,
    )  # fmt: skip


def worths(node: Node, visits: int, learning: bool) -> tuple[list[float], int]:
    """Serve visits at 200 a second; returns each answer's eCPM under the truth, and the unfilled."""
    audience = Audience(1, CATALOGUE)
    worth: list[float] = []
    waiting: list[tuple[int, int, ServedAd, int]] = []
    unfilled = 0
    for number in range(visits):
        now_ms = NOW_MS + number * 5
        while waiting and waiting[0][0] <= now_ms:
            at_ms, _, ad, impression = heapq.heappop(waiting)
            node.put(Clicked(at_ms=at_ms, ad=ad), Referred(impression))
        visit = audience.draw()
        placed = node.choose(visit.body, number, now_ms)
        if not placed.wins:
            unfilled += 1
            continue
        win = placed.wins[0]
        pricing = Pricing(win.kind, win.bid_micros / 1e6, win.price_micros / 1e6)
        views = audience.seen(visit.person, win.creative_id)
        truth = audience.truth(visit.person, visit.placement_id, win.creative_id, views)
        clicked = audience.clicks(truth)
        worth.append(judged(AnsweredAd(win.creative_id, win.pctr, "", "", pricing), truth, clicked).worth)
        if learning:
            ad = served(placed, win, now_ms)
            position = node.put(Shown(at_ms=now_ms, ad=ad))
            if clicked:
                heapq.heappush(waiting, (now_ms + int(audience.click_delay_s() * 1000), number, ad, position))
    return worth, unfilled


@pytest.mark.parametrize(("learning", "least_gain", "most_gain"), [(True, 0.2, 3.0), (False, -0.15, 0.15)])
def test_worth_under_the_truth_rises_with_feedback_and_only_with_it(
    learning: bool, least_gain: float, most_gain: float
) -> None:
    worth, unfilled = worths(Node(), 9_000, learning)
    first, last = (statistics.fmean(part) for part in (worth[:1_500], worth[-1_500:]))
    assert unfilled < 90
    assert least_gain < last / first - 1 < most_gain, (first, last)


def test_an_ad_of_another_catalogue_is_a_stranger_not_an_error() -> None:
    audience = Audience(1, CATALOGUE)
    visit = audience.draw()
    truths = [audience.truth(visit.person, visit.placement_id, ad) for ad in ("own-1", "own-2", "own-1")]
    assert 0 < min(truths) < max(truths) < 0.2
    assert truths[0] == truths[2]
