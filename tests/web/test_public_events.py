"""POST /v1/events over a real socket: one result per event, money to the micro, and at once in the model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.domain import ids
from app.domain.catalogue import AdGroup, Pricing
from app.domain.lines import Dismissed, Refunded, Returned
from app.domain.refusals import Busy
from app.flows.feedback import refund
from tests.node import small_catalogue
from tests.web.public_port import DAY_S, PublicPort, banner, public_port

REFUSED = {"status": "refused", "billed": 0, "learned": False, "position": None, "event_id": None}


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PublicPort]:
    with public_port(tmp_path_factory.mktemp("events")) as port:
        yield port


@pytest.fixture
def later(port: PublicPort) -> Iterator[PublicPort]:
    """The port, and its clock back where it was afterwards."""
    yield port
    port.clock.ahead_ms = 0


def event(ad: dict[str, Any], kind: str, **more: Any) -> dict[str, Any]:
    return {"token": ad["tokens"][kind], "kind": kind, **more}


def statuses(results: list[dict[str, Any]]) -> list[str]:
    return [result["status"] for result in results]


def test_a_batch_has_a_result_per_event_in_its_order(port: PublicPort) -> None:
    ad, other = port.ad(), port.ad()
    price = ad["pricing"]["price"]
    before = port.position
    results = port.report(
        event(ad, "impression"),
        "not an event",
        event(ad, "impression"),
        {"token": ad["tokens"]["impression"][:-1] + "!", "kind": "impression"},
        event(ad, "click", at="2026-01-01T00:00:00+09:00", ip="192.0.2.1", user_agent="Mozilla/5.0"),
        {"token": ad["tokens"]["impression"], "kind": "click"},
        event(other, "click"),
        event(ad, "conversion", value=39_000),
        event(ad, "dismissal"),
        event(ad, "click"),
        event(other, "impression"),
    )
    assert all(set(one) == {"status", "billed", "learned", "code", "position", "event_id"} for one in results)
    told = [(one["status"], one["code"], one["billed"], one["learned"], one["position"]) for one in results]
    assert told == [
        ("counted", None, 0, True, before + 1),
        ("refused", "malformed", 0, False, None),
        ("repeat", None, 0, False, before + 1),
        ("refused", "forged", 0, False, None),
        ("counted", None, price, True, before + 2),
        ("refused", "wrong_kind", 0, False, None),
        ("held", None, 0, False, before + 3),
        ("counted", None, 0, True, before + 4),
        ("counted", None, 0, False, before + 5),
        ("repeat", None, 0, False, before + 2),
        ("counted", None, 0, True, before + 6),
    ]
    assert port.position == before + 6
    named = [one["event_id"] for one in results]
    assert named[2] == named[0] and named[9] == named[4], "a repeat has the first one's id"
    assert len({one for one in named if one is not None}) == 6
    assert port.report(event(other, "click"))[0]["status"] == "repeat", "the held click was settled"


#   item                                                       why
MALFORMED: list[tuple[Any, str]] = [
    (None, "null"),
    (7, "a number"),
    ([], "a list"),
    ({}, "nothing in it"),
    ({"kind": "click"}, "no token"),
    ({"token": "x"}, "no kind"),
    ({"token": None, "kind": "click"}, "no token"),
    ({"token": 5, "kind": "click"}, "a number for a token"),
    ({"token": "x", "kind": "win"}, "exchanges report those, by URL"),
    ({"token": "x", "kind": "Click"}, "kinds are lower-case"),
    ({"token": "x" * 4_097, "kind": "click"}, "too long for a token"),
    ({"token": "x", "kind": "click", "at": "yesterday"}, "no time"),
    ({"token": "x", "kind": "click", "at": "2026-01-01T00:00:00"}, "no offset"),
    ({"token": "x", "kind": "click", "at": 5}, "a number for a time"),
    ({"token": "x", "kind": "conversion", "value": "5"}, "a text for a value"),
    ({"token": "x", "kind": "conversion", "id": ""}, "an empty id"),
    ({"token": "x", "kind": "conversion", "id": "i" * 257}, "too long for an id"),
]


def test_malformed_items_spoil_no_other(port: PublicPort) -> None:
    ad = port.ad()
    results = port.report(*(item for item, _ in MALFORMED), event(ad, "impression"))
    for result, (_, why) in zip(results, MALFORMED, strict=False):
        assert result == {**REFUSED, "code": "malformed"}, why
    assert statuses(results[len(MALFORMED) :]) == ["counted"]


def test_an_item_that_is_not_utf8_is_malformed(port: PublicPort) -> None:
    body = (
        b'{"events":[{"token":"\xff","kind":"click"},'
        + json.dumps(event(port.ad(), "click")).encode()
        + b"]}"
    )
    results = port.post("/v1/events", body).json()["results"]
    assert [(one["status"], one["code"]) for one in results] == [("refused", "malformed"), ("held", None)]


def test_forged_wrong_and_expired_tokens(later: PublicPort) -> None:
    ad = later.ad()
    token = ad["tokens"]["impression"]
    cases = [
        ({"token": "", "kind": "impression"}, "forged", "empty"),
        ({"token": "é", "kind": "impression"}, "forged", "not base64url"),
        ({"token": token + "=", "kind": "impression"}, "forged", "padded"),
        ({"token": token[:50], "kind": "impression"}, "forged", "cut short"),
        ({"token": token[:50] + ("A" if token[50] != "A" else "B") + token[51:], "kind": "impression"},
         "forged", "a letter changed"),
        ({"token": token, "kind": "conversion"}, "wrong_kind", "an impression's"),
    ]  # fmt: skip
    before = later.position
    for result, (_, code, why) in zip(later.report(*(case[0] for case in cases)), cases, strict=True):
        assert result == {**REFUSED, "code": code}, why
    later.clock.ahead_ms = (DAY_S + 60) * 1000
    kinds = ("impression", "click", "dismissal", "conversion")
    results = later.report(*(event(ad, kind) for kind in kinds))
    assert [result["code"] for result in results] == ["expired", "expired", "expired", "view_through"]
    assert results[0] == {**REFUSED, "code": "expired"}
    assert results[3]["status"] == "counted", "a conversion may come for 30 days"
    later.clock.ahead_ms = (30 * DAY_S + 60) * 1000
    assert later.report(event(ad, "conversion", id="late")) == [{**REFUSED, "code": "expired"}]
    assert later.position == before + 1


def test_several_conversions_need_ids_of_their_own(port: PublicPort) -> None:
    ad = port.ad()
    port.report(event(ad, "impression"), event(ad, "click"))
    results = port.report(
        event(ad, "conversion", id="order-1", value=10.5),
        event(ad, "conversion", id="order-2"),
        event(ad, "conversion", id="order-1", value=99),
        event(ad, "conversion"),
        event(ad, "conversion"),
    )
    assert statuses(results) == ["counted", "counted", "repeat", "counted", "repeat"]
    assert results[2]["position"] == results[0]["position"]
    assert results[2]["event_id"] == results[0]["event_id"]


def test_an_id_of_its_own_makes_no_second_impression(port: PublicPort) -> None:
    ad = port.ad()
    results = port.report(event(ad, "impression", id="a"), event(ad, "impression", id="b"))
    assert statuses(results) == ["counted", "repeat"]


def test_the_next_ad_request_sees_it(tmp_path: Path) -> None:
    """An answered event is in the model: no wait and no second look is needed."""
    with public_port(tmp_path) as port:
        first = port.ad()
        assert first["pctr"] == pytest.approx(0.01)
        port.report(event(first, "impression"))
        shown = port.ad()["pctr"]
        assert shown < 0.01, "shown and not yet clicked"
        port.report(event(first, "click"))
        clicked = port.ad()["pctr"]
        assert clicked > 0.01, "and now clicked"
        port.report(event(first, "click"), event(first, "impression"))
        assert port.ad()["pctr"] == clicked, "repeats teach nothing"
        port.get(port.ad()["impression_url"])
        assert port.ad()["pctr"] < clicked, "a pixel is answered when applied, too"


def test_a_held_click_is_learned_with_its_impression(tmp_path: Path) -> None:
    with public_port(tmp_path) as port:
        ad = port.ad()
        (click,) = port.report(event(ad, "click"))
        assert (click["status"], click["billed"], click["learned"]) == ("held", 0, False)
        assert port.ad()["pctr"] == ad["pctr"], "nothing is learned of a click without its impression"
        (impression,) = port.report(event(ad, "impression"))
        assert (impression["status"], impression["learned"]) == ("counted", True)
        assert port.ad()["pctr"] > ad["pctr"]
        account = port.node.state.catalogue.campaign_accounts
        assert account.spent[0] == round(ad["pricing"]["price"] * 1e6), "the click was billed then"


def test_clicks_are_billed_at_the_tokens_price_though_the_bid_changed(tmp_path: Path) -> None:
    with public_port(tmp_path) as port:
        ad = port.ad()
        assert ad["pricing"]["price"] == 1949.8
        port.register(
            AdGroup(id="g-1", campaign_id="c-1", pricing=Pricing(kind="cpc", bid_micros=5_000_000_000))
        )
        port.register(*(banner(f"cr-1-{place}", "g-1") for place in (1, 2)))
        assert port.ad()["pricing"]["bid"] == 5000
        results = port.report(event(ad, "impression"), event(ad, "click"))
        assert [result["billed"] for result in results] == [0, 1949.8]


def test_a_thousand_impressions_cost_the_cpm_exactly(tmp_path: Path) -> None:
    """Thousandths of a micro are carried: 999 charges are the CPM's thousandth, cut, and one makes up."""
    groups = [
        thing for thing in small_catalogue(groups=2, creatives=1) if getattr(thing, "id", "") != "cr-1-1"
    ]
    with public_port(tmp_path, groups) as port:
        port.register(
            AdGroup(id="g-2", campaign_id="c-1", pricing=Pricing(kind="cpm", bid_micros=1_234_567_891))
        )
        port.register(banner("cr-2-1", "g-2"))
        floor = {"name": "one", "placement_id": "plc-1", "floor_cpm": 1234.567891}
        billed = 0
        for _ in range(50):
            asked = [{**floor, "name": f"n-{number}"} for number in range(20)]
            ads = [port.ads(one).json()["decisions"][one["name"]][0] for one in asked]
            assert ads[0]["pricing"] == {
                "kind": "cpm", "bid": 1234.567891, "price": 1.234568, "ecpm": 1234.567891, "currency": "KRW",
            }  # fmt: skip
            results = port.report(*(event(ad, "impression") for ad in ads))
            assert {result["billed"] for result in results} <= {1.234567, 1.234568}
            billed += sum(round(result["billed"] * 1_000_000) for result in results)
        assert billed == 1_234_567_891


def test_a_budget_bills_the_rest_then_nothing_and_counts_on(tmp_path: Path) -> None:
    things = small_catalogue(budget_daily_micros=3_000_000_000)
    with public_port(tmp_path, things) as port:
        ads = [port.ad() for _ in range(3)]
        assert {ad["pricing"]["price"] for ad in ads} == {1949.8}
        port.report(*(event(ad, "impression") for ad in ads))
        clicks = port.report(*(event(ad, "click") for ad in ads))
        assert statuses(clicks) == ["counted"] * 3
        assert [click["billed"] for click in clicks] == [1949.8, 1050.2, 0]
        assert [click["learned"] for click in clicks] == [True] * 3
        said = port.ads().json()
        assert said["no_ad"]["top"] == {"code": "budget", "reasons": {"budget": 6}}
        again = port.report(event(ads[2], "click"))
        assert [(one["status"], one["billed"]) for one in again] == [("repeat", 0)], "never billed later"


def test_a_cheat_does_not_learn_what_gave_it_away(tmp_path: Path) -> None:
    """A click whose impression was taken back reads like a valid one, but costs and teaches nothing."""
    with public_port(tmp_path) as port:
        ad = port.ad()
        (impression,) = port.report(event(ad, "impression"))
        port.server.run(refund(port.node, [ids.from_text(impression["event_id"])], "fraud"))
        pctr = port.ad()["pctr"]
        (click,) = port.report(event(ad, "click"))
        told = {key: click[key] for key in ("status", "billed", "learned", "code")}
        assert told == {"status": "counted", "billed": ad["pricing"]["price"], "learned": True, "code": None}
        assert int(port.node.state.catalogue.campaign_accounts.spent[0]) == 0
        assert port.ad()["pctr"] == pctr
        (again,) = port.report(event(ad, "click"))
        assert (again["status"], again["billed"], again["code"]) == ("repeat", 0, None)


def test_a_journal_that_cannot_take_it_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers are told when to come back; a page's pixel and a person's click are answered all the same."""

    def full(*_: object) -> None:
        raise Busy("journal_full", 1_200)

    with public_port(tmp_path) as port:
        ad = port.ad()
        with monkeypatch.context() as patch:
            patch.setattr(port.node.journal, "append", full)
            answer = port.post("/v1/events", {"events": [event(ad, "impression")]})
            assert (answer.status, answer.json()["code"]) == (503, "journal_full")
            assert answer.headers["retry-after"] == "2"
            assert port.get(ad["dismiss_url"]).status == 204
            assert port.get(ad["impression_url"]).status == 200
            assert port.get(ad["click_url"]).headers["location"] == "https://shop.example/"
            assert port.ads().json()["decisions"]["top"], "ads need no journal"
        results = port.report(event(ad, "impression"), event(ad, "click"), event(ad, "dismissal"))
        assert statuses(results) == ["counted"] * 3, "none of them had been counted"


def test_a_thousand_events_and_no_more(port: PublicPort) -> None:
    ad = port.ad()
    results = port.report(*[event(ad, "impression")] * 1_000)
    assert statuses(results) == ["counted"] + ["repeat"] * 999
    fresh = port.ad()
    before = port.position
    answer = port.post("/v1/events", {"events": [event(fresh, "impression")] * 1_001})
    assert answer.status == 413
    assert (answer.json()["code"], answer.json()["field"]) == ("too_many", "events")
    assert port.position == before, "none of them was taken"


#   body                           status  code        field     why
BODIES: list[tuple[bytes, int, str, str | None, str]] = [
    (b"", 400, "not_json", None, "nothing"),
    (b'{"events":[', 400, "not_json", None, "cut short"),
    (b'{"events":[' + b"[" * 100_000 + b"]" * 100_000 + b"]}", 400, "not_json", None, "nested beyond reason"),
    (b"{}", 422, "invalid", "events", "required"),
    (b'{"events":{}}', 422, "invalid", "events", "a list"),
    (b'{"events":null}', 422, "invalid", "events", "a list"),
    (b"[]", 422, "invalid", None, "an object"),
    (b'{"events":["' + b"a" * (1 << 20) + b'"]}', 413, "too_large", None, "over 1 MiB"),
]


@pytest.mark.parametrize(("body", "status", "code", "field", "why"), BODIES)
def test_bodies_that_are_refused(
    port: PublicPort, body: bytes, status: int, code: str, field: str | None, why: str
) -> None:
    answer = port.post("/v1/events", body)
    assert answer.status == status, (why, answer.body[:200])
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.json()["code"], answer.json()["field"]) == (code, field), why


def test_an_empty_batch_has_no_results(port: PublicPort) -> None:
    assert port.report() == []


def test_unknown_fields_are_tolerated(port: PublicPort) -> None:
    body = {"events": [event(port.ad(), "impression", odd={"a": 1})], "odd": [1]}
    answer = port.post("/v1/events", json.dumps(body).encode())
    assert statuses(answer.json()["results"]) == ["counted"]


def test_times_at_the_edge_of_the_calendar(port: PublicPort) -> None:
    times = ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "1969-12-31T23:59:59Z")
    results = port.report(*(event(port.ad(), "impression", at=at) for at in times))
    assert set(statuses(results)) <= {"counted", "refused"}
    assert port.report(event(port.ad(), "impression"))[0]["status"] == "counted"


def test_a_return_goes_by_the_conversion_s_token_and_a_dismissal_tells_its_reason(port: PublicPort) -> None:
    ad = port.ad()
    port.report(event(ad, "impression"), event(ad, "click"))
    token = {"token": ad["tokens"]["conversion"], "kind": "return"}
    registry, labels = port.node.counters.registry, {"reason": "accidental_click"}
    accidents = registry.get_sample_value("adjudge_invalid_total", labels) or 0
    (done,) = port.report({**token, "dwell_ms": 300})
    assert (done["status"], done["billed"], done["learned"]) == ("counted", 0, False)
    assert registry.get_sample_value("adjudge_invalid_total", labels) == accidents + 1
    refund_line, back = (port.node.journal.entry_at(port.position - ago) for ago in (0, 1))
    assert refund_line is not None and back is not None
    assert back.line == Returned(at_ms=back.line.at_ms, ad=back.line.ad, dwell_ms=300)  # type: ignore[union-attr]
    assert isinstance(refund_line.line, Refunded)
    assert refund_line.line.reason == "accidental_click"
    assert port.report(token)[0]["status"] == "repeat"
    assert port.report({**token, "token": ad["tokens"]["click"]})[0]["code"] == "wrong_kind"
    assert port.report({**token, "dwell_ms": -1})[0]["code"] == "malformed"
    port.report(event(ad, "dismissal", reason="My name is Kim"))
    entry = port.node.journal.entry_at(port.position)
    assert entry is not None
    assert isinstance(entry.line, Dismissed)
    assert entry.line.reason == "other", "what people write is not kept"
