"""The forecast over HTTP: what traffic is to come, who of it fits, and what is not told of a few people.

Method: one node that has decided on a minute of requests of known people, and one that has seen nothing yet.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from app.domain.catalogue import AdGroup, Advertiser, Audience, Pricing, Rule, Targeting
from app.domain.requests import Person
from app.flows.keys import make_key
from app.web.admin.app import admin_app
from app.web.admin.auth import key_hash
from tests.node import Server, ask_for, decide, serving, small_catalogue, tick
from tests.web.admin.conftest import HEADERS, KEY

START_MS = 1_767_225_600_000  # 2026-01-01T00:00:00Z, 09:00 in Seoul
SECONDS = 60
REQUESTS = 3 * SECONDS
DAY = REQUESTS / SECONDS * 86_400
OTHERS = [
    Advertiser(id="adv-2"),
    Audience(id="aud-2", advertiser_id="adv-2"),
    AdGroup(
        id="g-women", campaign_id="c-1", pricing=Pricing(kind="cpc", bid_micros=1_000_000_000),
        targeting=Targeting(gender=Rule(include=("F",))),
    ),
]  # fmt: skip


class Clock:
    """Moves a second a tick."""

    now_ms = START_MS

    def __call__(self) -> int:
        return self.now_ms


def people(second: int) -> list[Person]:
    """Sixty women and sixty men, all different; and the same three others, who alone are in a segment."""
    several = [Person(key=bytes([sex, second]) + bytes(10), gender="FM"[sex]) for sex in (0, 1)]
    return [*several, Person(key=bytes([2, second % 3]) + bytes(10), gender="O", segments=("rare",))]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    clock = Clock()
    with serving(
        tmp_path_factory.mktemp("node"),
        lambda node: admin_app(node, admin_key_hash=key_hash(KEY)),
        HEADERS,
        things=[*small_catalogue(), *OTHERS],
        clock_ms=clock,
    ) as server:

        async def play() -> None:
            for second in range(SECONDS):
                for person in people(second):
                    decide(server.node, ask_for("plc-1", person=person))
                clock.now_ms += 1_000
                await tick(server.node)

        server.run(play())
        yield server


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A node that was never asked for an ad."""
    with serving(
        tmp_path_factory.mktemp("fresh"),
        lambda node: admin_app(node, admin_key_hash=key_hash(KEY)),
        HEADERS,
        things=[*small_catalogue(), *OTHERS],
        clock_ms=Clock(),
    ) as server:
        yield server


def forecast(server: Server, **query: Any) -> Any:
    sent = {key: json.dumps(value) if isinstance(value, dict) else value for key, value in query.items()}
    answer = server.get("/v1/forecast?" + urlencode(sent))
    assert answer.status == 200, answer.body
    return answer.json()


def covers(estimate: Any, value: float) -> bool:
    return bool(estimate["low"] <= value <= estimate["high"])


def test_all_traffic_for_a_day(server: Server) -> None:
    told = forecast(server)
    for name in ("requests", "eligible"):
        assert told[name]["expected"] == pytest.approx(DAY, rel=0.02)
        assert covers(told[name], DAY)
    assert (told["wins"], told["spend"], told["suppressed"]) == (None, None, None)
    assert len(told["by_hour"]) in {24, 25}
    assert sum(each["requests"] for each in told["by_hour"]) == pytest.approx(DAY, rel=0.02)
    assert told["basis"]["sampled"] == REQUESTS


#   asked                                                    requests    eligible    why
TABLE = [
    ({"targeting": {"gender": ["F"]}},                       DAY,        DAY / 3,    "sixty of them"),
    ({"targeting": {"gender": {"exclude": ["M"]}}},          DAY,        DAY * 2 / 3, "sixty are left out"),
    ({"targeting": {"gender": {"exclude": ["O"]}}},          DAY,        DAY,        "three: not told apart"),
    ({"targeting": {"segment": {"exclude": ["rare"]}}},      DAY,        DAY,        "the same three"),
    ({"targeting": {"region": {"exclude": ["US"]}}},         DAY,        DAY,        "nobody tells a region"),
    ({"targeting": {"hour": [[9, 14]]}},                     DAY / 4,    DAY / 4,    "a quarter of the day"),
    ({"targeting": {"placement": ["plc-1", "plc-2"]}},       DAY,        DAY,        ""),
    ({"format": "native"},                                   DAY,        0,          "banners only"),
    ({"format": "banner", "width": 320, "height": 50},       DAY,        DAY,        ""),
    ({"targeting": {"site": ["a.example"]}},                 DAY,        0,          "a place: no floor"),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "requests", "eligible", "why"), TABLE)
def test_a_targeting(
    server: Server, asked: dict[str, Any], requests: float, eligible: float, why: str
) -> None:
    told = forecast(server, **asked)
    assert told["suppressed"] is None, why
    for name, wanted in (("requests", requests), ("eligible", eligible)):
        assert told[name]["expected"] == pytest.approx(wanted, rel=0.02), why
        assert covers(told[name], wanted), why
    posted = server.ask("POST", "/v1/forecast", asked)
    assert posted.status == 200
    assert posted.json()["eligible"] == told["eligible"]


#   targeting                                                why
FEW: list[tuple[dict[str, Any], str]] = [
    ({"segment": ["rare"]},                                  "three people, however many their requests"),
    ({"gender": ["O"]},                                      "the same three"),
    ({"segment": {"exclude": ["rare"]}, "gender": ["O"]},    "nobody: that is not told either"),
    ({"region": ["KR-11"]},                                  "nobody tells a region"),
    ({"gender": ["O"], "placement": ["plc-1"]},              "narrower still"),
    ({"keyword": ["yacht"]},                                 "a person's keyword, perhaps"),
    ({"keys": {"team": ["red"]}},                            "whatever that is, it may be a person's"),
]  # fmt: skip


@pytest.mark.parametrize(("targeting", "why"), FEW)
def test_of_few_people_nothing_is_told(server: Server, targeting: dict[str, Any], why: str) -> None:
    told = forecast(server, targeting=targeting, bid=20_000)
    assert told["suppressed"] == {"reason": "k_anonymity", "least_users": 50}, why
    for name in ("eligible", "wins", "spend"):
        assert told[name] == {"expected": None, "low": 0, "high": None}, why
    assert told["requests"]["expected"] == pytest.approx(DAY, rel=0.02), "all traffic, which is nobody's"
    assert forecast(server, targeting=targeting)["wins"] is None, "not asked"


def test_a_larger_sample_is_looked_at_before_people_are_too_few(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of forty decisions some thirteen are women's; all of them together are enough."""
    monkeypatch.setattr("app.flows.sampling.SAMPLE", 40)
    told = forecast(server, targeting={"gender": ["F"]})
    assert (told["suppressed"], told["basis"]["sampled"]) == (None, REQUESTS)
    monkeypatch.setattr("app.flows.sampling.LARGER_SAMPLE", 40)
    assert forecast(server, targeting={"gender": ["F"]})["suppressed"] is not None
    assert forecast(server)["basis"]["sampled"] == 40, "without a targeting there is nobody to find out about"


def test_people_without_an_id_are_one_each(server: Server) -> None:
    async def ask() -> None:
        for _ in range(50):
            decide(server.node, ask_for("plc-2", person=Person(age=33)))

    before = forecast(server, targeting={"age": [33]})
    server.run(ask())
    after = forecast(server, targeting={"age": [33]})
    assert (before["suppressed"] is None, after["suppressed"] is None) == (False, True)


def test_a_higher_bid_wins_more(server: Server) -> None:
    """The best of ad group g-2 bids 19,498 per 1,000, the others 2,000 a click at 1 %."""
    plc_1 = {"placement": ["plc-1"]}
    low, middle, high = (
        forecast(server, bid=bid, kind="cpm", targeting=plc_1) for bid in (100, 19_700, 200_000)
    )
    assert low["wins"]["expected"] < high["wins"]["expected"]
    assert low["wins"]["expected"] <= middle["wins"]["expected"] <= high["wins"]["expected"]
    assert high["wins"]["expected"] == pytest.approx(DAY, rel=0.02)
    assert 0 < high["spend"]["expected"] <= DAY * 200
    assert covers(high["spend"], high["spend"]["expected"])
    assert low["spend"]["expected"] == 0
    assert low["spend"]["high"] > 0, "the sample may have missed what it would win"
    by_click = forecast(server, bid=20_000, kind="cpc", pctr=0.01, targeting=plc_1)
    assert by_click["wins"] == high["wins"]


def test_an_ad_group_as_it_stands(server: Server) -> None:
    told = forecast(server, ad_group_id="g-1")
    assert told["eligible"]["expected"] == pytest.approx(told["requests"]["expected"], rel=0.02)
    assert told["wins"] is not None
    answer = server.get("/v1/forecast?ad_group_id=g-9")
    assert (answer.status, answer.json()["code"]) == (404, "not_found")


def test_a_place_that_was_never_asked_about(server: Server) -> None:
    """A minute was watched and nothing came: half a request a minute, give or take."""
    told = forecast(server, targeting={"placement": ["plc-unseen"]})
    assert told["requests"]["expected"] == pytest.approx(0.5 * 86_400 / SECONDS, rel=0.05)
    assert told["requests"]["low"] < 2
    assert told["requests"]["high"] > 3_000


@pytest.mark.parametrize("asked", [{}, {"targeting": {"gender": ["F"]}}, {"ad_group_id": "g-women"}])
def test_before_anything_was_seen(fresh: Server, asked: dict[str, Any]) -> None:
    """Estimates by priors alone, and intervals that say so; never null, since it is nobody's secret."""
    told = forecast(fresh, **{"bid": 2_000, "kind": "cpc", **asked})
    assert told["suppressed"] is None
    assert told["basis"] == {"hours_seen": 0, "sampled": 0, "hourly_error": 0.2}
    for name in ("requests", "eligible", "wins", "spend"):
        estimate = told[name]
        assert estimate["low"] < estimate["expected"] < estimate["high"], name
        assert estimate["high"] > 5 * estimate["expected"] > 10 * estimate["low"], name
    if asked:
        assert told["eligible"]["expected"] == pytest.approx(told["requests"]["expected"] / 2, abs=0.1)
    else:
        assert told["eligible"] == told["requests"]
    assert told["wins"]["expected"] < told["eligible"]["expected"]


#   from, to                                   zone                from, to as told                   why
TIMES = [
    ("2026-01-02", "2026-01-03", None,         "2026-01-02T00:00:00.000+09:00", 24, "the node's midnights"),
    ("2026-01-02", "2026-01-05", "UTC",        "2026-01-02T00:00:00.000+00:00", 72, "of the zone asked for"),
    ("2026-01-02", None, None,                 "2026-01-02T00:00:00.000+09:00", 24, "a day from there"),
    ("2026-01-02T00:00:00Z", "2026-01-03", None, "2026-01-02T09:00:00.000+09:00", 15, "mixed"),
    ("2026-01-02T09:00:00 09:00", None, None,  "2026-01-02T09:00:00.000+09:00", 24, "an unescaped plus"),
    ("2026-03-08", "2026-03-09", "America/New_York", "2026-03-08T00:00:00.000-05:00", 23, "clocks change"),
]  # fmt: skip


@pytest.mark.parametrize(("start", "end", "zone", "told_from", "hours", "why"), TIMES)
def test_dates(
    server: Server, start: str, end: str | None, zone: str | None, told_from: str, hours: int, why: str
) -> None:
    query = {"from": start, "to": end, "time_zone": zone}
    query = {name: value for name, value in query.items() if value is not None}
    told = forecast(server, **query)
    assert told["from"] == told_from, why
    assert len(told["by_hour"]) == hours, why
    posted = server.ask("POST", "/v1/forecast", query)
    assert (posted.status, posted.json()["from"], posted.json()["to"]) == (200, told["from"], told["to"])


#   query                          field                  why
WRONG = [
    ("from=yesterday",             "from",                "no time"),
    ("from=2026-13-01",            "from",                "no such month"),
    ("to=2025-01-01T00:00:00Z",    "to",                  "before now"),
    ("to=2025-01-01",              "to",                  "before now"),
    ("from=2026-01-01&to=2027-03-01", "to",               "too long"),
    ("from=9999-12-31T12:00:00Z",  "from",                "beyond all calendars"),
    ("targeting=%7B",              "targeting",           "not JSON"),
    ("targeting=%7B%22x%22:1%7D",  "targeting.x",         "no such dimension"),
    ("bid=cheap",                  "bid",                 "no number"),
    ("bid=-1",                     "bid",                 "nothing to bid"),
    ("kind=cpx",                   "kind",                "no such kind"),
    ("surprise=1",                 "surprise",            "unknown"),
]  # fmt: skip


@pytest.mark.parametrize(("query", "field", "why"), WRONG)
def test_what_cannot_be_asked(server: Server, query: str, field: str, why: str) -> None:
    answer = server.get(f"/v1/forecast?{query}")
    assert answer.status == 422, why
    assert answer.json()["errors"][0]["field"] == field, why


def test_audiences_of_others_cannot_be_counted(server: Server) -> None:
    _, text = server.run(make_key(server.node, "one", ("reports",), ("adv-1",)))
    own = {"Authorization": f"Bearer {text}"}
    query = urlencode({"targeting": json.dumps({"audience": ["aud-2"]})})
    absent = urlencode({"targeting": json.dumps({"audience": {"exclude": ["aud-9"]}})})
    for headers, asked, status in ((own, query, 422), (HEADERS, query, 200), (HEADERS, absent, 422)):
        answer = server.get(f"/v1/forecast?{asked}", headers)
        assert answer.status == status
        if status == 422:
            assert (answer.json()["code"], answer.json()["field"]) == (
                "unknown_audience", "targeting.audience",
            )  # fmt: skip
