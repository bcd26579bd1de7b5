"""Judging traffic in the fold: what is found, when, what it costs, and what is taken back later.

Two ad groups bid 2,000 and 1,500 a click; every ad here is sold at 1,000. People and addresses
are single bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from app.domain.catalogue import Advertiser, Campaign
from app.domain.decisions import ServedAd
from app.domain.lines import Clicked, Converted, FoldSettings, Refunded, Sender, Shown
from app.flows.tallies import Tallies
from app.state.apply import Receipt
from app.state.traffic import Pending
from tests.state.world import WON, World, banner, group, one_of_each, placement

PRICE = 1_000 * WON
LIMITS = "user_clicks=3/60,ip_clicks=5/60,placement_clicks=9/60,user_impressions=6/60"


class Street(World):
    """A world that watches its traffic."""

    def __init__(self, how: str = "on", **settings: Any) -> None:
        given = {"traffic_limits": LIMITS, "traffic_counters": 1_024, **settings}
        super().__init__(FoldSettings(invalid_traffic=how, **given))
        self.add(*one_of_each(), placement("plc-2"))
        self.add(Advertiser(id="adv-2"), Campaign(id="c-2", advertiser_id="adv-2"))
        self.add(group("g-2", "c-2", bid=1_500), banner("cr-2", "g-2"))

    def seen(
        self, user: int = 0, ip: int = 0, *, creative: str = "cr-1", publisher: str = "pub-1", flaw: str = "",
        direct: bool = True, place: str = "plc-1", kind: str = "cpc",
    ) -> tuple[ServedAd, Sender]:  # fmt: skip
        """Show an ad to somebody, and wait two seconds."""
        ad, sender = self.given(
            user, ip, creative=creative, publisher=publisher, flaw=flaw, direct=direct, place=place, kind=kind
        )
        self.put(Shown(at_ms=self.now_ms, ad=ad, sender=sender))
        self.now_ms += 2_000
        return ad, sender

    def given(
        self, user: int = 0, ip: int = 0, *, creative: str = "cr-1", publisher: str = "pub-1", flaw: str = "",
        direct: bool = True, place: str = "plc-1", kind: str = "cpc",
    ) -> tuple[ServedAd, Sender]:  # fmt: skip
        """Make an ad that somebody may report."""
        ad = msgspec.structs.replace(
            self.ad(creative, price_micros=PRICE, placement_id=place, kind=kind),
            user=bytes([user]) * 12 if user else b"", publisher_id=publisher,
        )  # fmt: skip
        return ad, Sender(flaw, bytes([ip]) * 8 if ip else b"", direct)

    def clicked(self, ad: ServedAd, sender: Sender | None) -> Receipt:
        """Report a click."""
        receipt = self.put(Clicked(at_ms=self.now_ms, ad=ad, sender=sender)).receipt
        assert receipt is not None
        return receipt

    def visit(self, user: int = 0, ip: int = 0, **more: Any) -> Receipt:
        """Show an ad to somebody who clicks on it."""
        return self.clicked(*self.seen(user, ip, **more))

    def burst(self, count: int) -> list[Receipt]:
        """Let one person click every eleven seconds, on another ad each time."""
        receipts = []
        for number in range(count):
            self.wait(9_000)
            receipts.append(self.visit(1, creative=("cr-1", "cr-2")[number % 2]))
        return receipts

    def wait(self, elapsed_ms: int) -> None:
        """Let time pass."""
        self.now_ms += elapsed_ms

    def code(self, receipt: Receipt) -> str | None:
        """Tell what is written of an event by now."""
        verdict = self.known[receipt.event_id].verdict
        assert verdict is not None
        return verdict.code

    def take_back(self) -> list[Receipt]:
        """Do what the node does at a tick."""
        receipts = []
        for position, pending in list(self.state.traffic.pending.items()):
            target = self.entries[position - 1].line
            assert isinstance(target, Clicked)
            line = Refunded(
                at_ms=self.now_ms, target_id=target.event_id, target_position=position, target=target,
                impression_position=pending.impression_position, code=pending.code,
            )  # fmt: skip
            receipt = self.put(line).receipt
            assert receipt is not None
            receipts.append(receipt)
        return receipts


def hurried(street: Street) -> str | None:
    ad, sender = street.given(1)
    street.put(Shown(at_ms=street.now_ms, ad=ad, sender=sender))
    street.now_ms += 149
    return street.clicked(ad, sender).code


def in_time(street: Street) -> str | None:
    ad, sender = street.given(1)
    street.put(Shown(at_ms=street.now_ms, ad=ad, sender=sender))
    street.now_ms += 150
    return street.clicked(ad, sender).code


def by_a_server_at_once(street: Street) -> str | None:
    ad, sender = street.given(1, direct=False)
    street.put(Shown(at_ms=street.now_ms, ad=ad, sender=sender))
    return street.clicked(ad, sender).code


def by_a_server_with_its_times(street: Street) -> str | None:
    ad, _ = street.given(1)
    street.put(Shown(at_ms=street.now_ms, ad=ad, sent_at_ms=5_000))
    receipt = street.put(Clicked(at_ms=street.now_ms, ad=ad, sent_at_ms=5_100)).receipt
    return receipt.code if receipt else None


def of_two_clocks(street: Street) -> str | None:
    ad, sender = street.given(1)
    street.put(Shown(at_ms=street.now_ms, ad=ad, sender=sender))
    receipt = street.put(Clicked(at_ms=street.now_ms, ad=ad, sent_at_ms=street.now_ms + 5)).receipt
    return receipt.code if receipt else None


def twice(first: dict[str, Any], second: dict[str, Any], gap_ms: int) -> Callable[[Street], str | None]:
    def act(street: Street) -> str | None:
        assert street.visit(**first).code is None
        other = street.given(**second)
        street.put(Shown(at_ms=street.now_ms - 1_000, ad=other[0], sender=other[1]))
        street.now_ms += gap_ms
        return street.clicked(*other).code

    return act


def times(count: int, **who: Any) -> Callable[[Street], str | None]:
    """One clicks so often, on another ad each time."""

    def act(street: Street) -> str | None:
        for number in range(count - 1):
            street.visit(creative=("cr-1", "cr-2")[number % 2], **who)
            street.now_ms += 4_000
        return street.visit(creative=("cr-1", "cr-2")[(count - 1) % 2], **who).code

    return act


#   what somebody does                                      code            why
TABLE: list[tuple[Callable[[Street], str | None], str | None, str]] = [
    (lambda s: s.visit(1).code, None, "an honest click"),
    (lambda s: s.visit().code, None, "of somebody of whom nothing is known"),
    (lambda s: s.visit(1, flaw="bot").code, "invalid_impression", "the impression was the robot's already"),
    (lambda s: s.clicked(s.seen(1)[0], Sender("data_centre")).code, "data_centre", "a click from elsewhere"),
    (hurried, "too_soon", "nobody sees, decides and clicks in 0.15 s"),
    (in_time, None, "but in that time to the millisecond"),
    (by_a_server_at_once, None, "a server reports both together: that says nothing"),
    (by_a_server_with_its_times, "too_soon", "unless it tells its times"),
    (of_two_clocks, None, "two clocks are not compared"),
    (twice({"user": 1}, {"user": 1}, 9_999), "double_click", "the same person, the same ad, under 10 s"),
    (twice({"user": 1}, {"user": 1}, 10_000), None, "ten seconds later it is another click"),
    (twice({"user": 1}, {"user": 2}, 100), None, "another person"),
    (twice({"user": 1}, {"user": 1, "creative": "cr-2"}, 100), None, "another ad"),
    (twice({"ip": 1}, {"ip": 1}, 100), "double_click", "without an id the address stands for the person"),
    (twice({"user": 1, "ip": 1}, {"user": 2, "ip": 1}, 100), None, "but not where there is one"),
    (times(3, user=1), None, "three in a minute are allowed"),
    (times(4, user=1), "user_clicks", "the fourth is not"),
    (times(5, ip=1), None, "five of an address are"),
    (times(6, ip=1), "ip_clicks", "the sixth is not"),
]  # fmt: skip


@pytest.mark.parametrize(("act", "code", "why"), TABLE)
def test_what_is_found(act: Callable[[Street], str | None], code: str | None, why: str) -> None:
    assert act(Street()) == code, why


@pytest.mark.parametrize(("act", "code", "why"), TABLE[::3])
def test_switched_off_nothing_is(act: Callable[[Street], str | None], code: str | None, why: str) -> None:
    assert act(Street("off")) is None, why


@pytest.mark.parametrize("whose", ["user", "ip", "placement", "publisher"])
@pytest.mark.parametrize("kind", ["clicks", "impressions"])
def test_every_limit_is_of_one_alone(whose: str, kind: str) -> None:
    """Two of one are allowed in a minute, a third is not; somebody else's third is nobody's business."""
    street = Street(traffic_limits=f"{whose}_{kind}=2/60", double_click_s=0)
    one: dict[str, Any] = {"user": 1, "ip": 1, "place": "plc-1", "publisher": "pub-1"}
    another = {"user": 2, "ip": 2, "place": "plc-2", "publisher": "pub-2"}
    own = {"user": "user", "ip": "ip", "placement": "place", "publisher": "publisher"}[whose]
    codes = []
    for who in (one, one, {**one, own: another[own]}, one):
        ad, sender = street.given(**who)
        shown = street.put(Shown(at_ms=street.now_ms, ad=ad, sender=sender)).receipt
        street.now_ms += 2_000
        assert shown is not None
        codes.append(shown.code if kind == "impressions" else street.clicked(ad, sender).code)
    assert codes == [None, None, None, f"{whose}_{kind}"]
    street.wait(120_000)
    assert street.visit(**one).code is None, "two minutes later the window is empty"


def test_an_invalid_click_costs_nothing_and_takes_its_impression_along() -> None:
    street = Street()
    street.visit(1)
    before, spent = street.state.model.w.copy(), street.spent()
    receipt = street.visit(1)
    assert (receipt.code, receipt.billed_micros, receipt.learned) == ("double_click", 0, False)
    assert (receipt.seeming_billed_micros, receipt.seeming_learned) == (PRICE, True)
    assert street.spent() == spent == PRICE
    assert abs(street.state.model.w - before).max() < 1e-6, "neither click nor impression is in the model"


def test_what_a_valid_one_would_have_been_billed_ends_with_the_budget() -> None:
    street = Street()
    street.change("campaign", "c-1", budget_daily_micros=PRICE + 5)
    street.visit(1)
    assert street.visit(1).seeming_billed_micros == 5


def test_marked_it_is_billed_and_learned_all_the_same() -> None:
    street = Street("mark")
    street.visit(1)
    receipt = street.visit(1)
    assert (receipt.code, receipt.billed_micros, receipt.learned) == ("double_click", PRICE, True)
    assert street.code(receipt) == "double_click"


def test_impressions_beyond_the_limit() -> None:
    street = Street()
    codes = []
    for _ in range(8):
        ad, sender = street.given(1, kind="cpm")
        receipt = street.put(Shown(at_ms=street.now_ms, ad=ad, sender=sender)).receipt
        assert receipt is not None
        codes.append((receipt.code, receipt.billed_micros))
    assert codes == [(None, PRICE // 1000)] * 6 + [("user_impressions", 0)] * 2


def test_the_beginning_of_a_burst_is_taken_back_when_it_is_known_for_one() -> None:
    street = Street()
    before = street.state.model.w.copy()
    receipts = street.burst(5)
    assert [one.code for one in receipts] == [None, None, None, "user_clicks", "invalid_impression"]
    assert list(street.state.traffic.pending) == [one.position for one in receipts[:3]]
    back = street.take_back()
    assert [(one.billed_micros, one.learned, one.code) for one in back] == [(PRICE, True, "user_clicks")] * 3
    assert [street.code(one) for one in receipts] == ["user_clicks"] * 4 + ["invalid_impression"]
    assert street.spent("c-1") == street.spent("c-2") == 0
    assert abs(street.state.model.w - before).max() < 0.01
    assert not street.state.traffic.pending


def test_marked_the_beginning_of_a_burst_is_told_of() -> None:
    street = Street("mark")
    receipts = street.burst(5)
    assert [street.code(one) for one in receipts] == ["user_clicks"] * 5
    assert not street.state.traffic.pending and street.spent("c-1") == 3 * PRICE


def test_what_an_admin_took_back_is_not_taken_back_again() -> None:
    street = Street()
    receipts = street.burst(2)
    street.refund(receipts[0])
    for n in range(2):
        street.wait(9_000)
        receipts.append(street.visit(1, creative=("cr-1", "cr-2")[n % 2]))
    assert list(street.state.traffic.pending) == [receipts[1].position, receipts[2].position]
    street.refund(receipts[1])
    assert list(street.state.traffic.pending) == [receipts[2].position]


def test_a_publisher_that_clicks_itself() -> None:
    """Everybody else has a click rate of one in fifty; here every second impression is clicked on."""
    street = Street(traffic_limits="", double_click_s=0, publisher_ctr_clicks=10)
    for number in range(600):
        street.seen(publisher="pub-1")
        if number % 50 == 0:
            street.visit(publisher="pub-1")
    receipts = []
    for _ in range(20):
        street.seen(publisher="pub-2")
        receipts.append(street.visit(publisher="pub-2"))
    codes = [one.code for one in receipts]
    first = codes.index("publisher_ctr")
    assert 9 <= first < 19 and set(codes[:first]) == {None} and set(codes[first:]) == {"publisher_ctr"}
    assert len(street.take_back()) == first
    assert {street.code(one) for one in receipts} == {"publisher_ctr"}
    assert street.visit(publisher="pub-1").code is None
    for _ in range(1_500):
        street.seen(publisher="pub-2")
    assert street.visit(publisher="pub-2").code is None, "the rate has come down again"


def test_a_rate_that_is_declared_is_no_surprise() -> None:
    street = Street(traffic_limits="", double_click_s=0, publisher_ctr_clicks=10)
    street.add(placement("plc-1", prior_ctr=0.3))
    for number in range(400):
        street.seen(publisher="pub-1", place="plc-2")
        if number % 50 == 0:
            street.visit(publisher="pub-1", place="plc-2")
    for _ in range(25):
        street.seen(publisher="pub-2")
        assert street.visit(publisher="pub-2").code is None


def test_a_robots_conversion_is_noted_and_nothing_more() -> None:
    street = Street()
    ad, sender = street.seen(1)
    street.clicked(ad, sender)
    receipt = street.put(Converted(at_ms=street.now_ms, ad=ad, sender=Sender("bot"))).receipt
    assert receipt is not None and receipt.code == "bot"


def test_a_person_is_forgotten() -> None:
    street = Street()
    street.visit(1, 2)
    street.visit(3, 2)
    assert set(street.state.traffic.clicks.ring["whose"][:2, 0].tolist()) != {0}
    street.state.traffic.forget([bytes([1]) * 12])
    assert (street.state.traffic.clicks.ring["whose"][0, :2] == 0).all()
    assert (street.state.traffic.clicks.ring["whose"][1, :2] != 0).all(), "nobody else is"
    assert times(3, user=1)(street) is None, "counted anew"
    street.tick(86_400_000)
    street.tick(1_000)
    assert not street.state.traffic.clicks.ring["whose"][:, :2].any(), "a day later everybody is"


def test_what_waits_too_long_is_given_up() -> None:
    street = Street()
    receipts = street.burst(4)
    assert len(street.state.traffic.pending) == 3 and receipts[3].code == "user_clicks"
    assert isinstance(next(iter(street.state.traffic.pending.values())), Pending)
    street.tick(8 * 86_400_000)
    assert not street.state.traffic.pending


def test_reports_tell_gross_net_and_reasons() -> None:
    for how, counted in (("on", 3), ("mark", 5)):
        street = Street(how)
        for n in range(5):
            street.wait(11_000)
            street.visit(1 if n < 2 else 2, creative=("cr-1", "cr-2")[n % 2], flaw="bot" if n > 2 else "")
        tallies = Tallies((), "Asia/Seoul", {}, {})
        for entry in street.entries:
            line = entry.line
            if isinstance(line, Shown | Clicked):
                tallies.take(line.at_ms, line, street.known[line.event_id].verdict)
        total = tallies.total()
        assert (total.clicks, total.impressions) == (counted, counted), how
        assert total.gross == {"impressions": 5, "clicks": 5}
        assert total.net == {"impressions": 3, "clicks": 3}
        assert sum(total.invalid.values()) == 4
