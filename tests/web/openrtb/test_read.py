"""Bid requests as ad requests: asks, floors, demands, audience, surroundings, each by a truth table."""

from __future__ import annotations

from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.requests import Creativity
from app.flows.agents import Agent
from app.rules.features import DEVICES, SYSTEMS
from app.web.openrtb import places
from app.web.openrtb.decode import decode
from app.web.openrtb.read import (
    NBR_NO_CURRENCY,
    NBR_NOTHING_OFFERED,
    UNNAMED_PLACEMENT,
    bare_domain,
    to_ad_request,
)
from tests.web.openrtb.bodies import BANNER, NOW_MS, RATES, collected, parse, read

# Collected bodies with nothing for us, and why.
NO_BID = {
    "iab-07-dooh-video.json": NBR_NO_CURRENCY,  # pounds alone
    "r4f-11-native-appwall.json": NBR_NOTHING_OFFERED,  # a native imp without `request`
}


@pytest.mark.parametrize("path", collected(malformed=False), ids=lambda path: path.name)
def test_every_other_collected_body_reads_into_asks(path: Path) -> None:
    request = decode(path.read_bytes())
    reading = to_ad_request(request, rates=RATES, currency="KRW", now_ms=NOW_MS)
    assert reading.request.request_id == request.id
    assert reading.no_bid == NO_BID.get(path.name)
    if reading.no_bid is None:
        imps = {imp.id: imp for imp in request.imp}
        for ask in reading.request.asks:
            assert set(ask.demands) == set(ask.formats)
            for kind in ask.formats:
                assert getattr(imps[ask.name], kind) is not None
        assert reading.currency == (request.cur[0] if request.cur else "USD")


#   floor, currency         micros             why
FLOORS: list[tuple[Any, Any, int | None, str]] = [
    (None,       None,      1,                 "no floor: a price is above 0 all the same"),
    (0,          "XXX",     1,                 "a floor of 0 needs no currency"),
    (-1,         "XXX",     1,                 "nor does a negative one"),
    (1,          None,      1_350_000_000,     "without a currency: US dollars"),
    (1,          "",        1_350_000_000,     "an empty one too"),
    (3,          "EUR",     4_440_000_000,     "its own currency"),
    (3,          "eur",     4_440_000_000,     "in whatever case"),
    (500,        "KRW",     500_000_000,       "the account's own"),
    (0.03,       "USD",     40_500_000,        "the decimal that was sent, not its float"),
    ("0.16",     "USD",     216_000_000,       "as text"),
    (1e-10,      "USD",     1,                 "rounded up to the micro"),
    (3.3507,     "USD",     4_523_445_000,     "exactly"),
    (1e300,      "USD",     10**15,            "more than anyone has"),
    (1,          "GBP",     None,              "an unknown currency: no bid for this imp"),
]  # fmt: skip


@pytest.mark.parametrize(("floor", "currency", "micros", "why"), FLOORS)
def test_floors(floor: Any, currency: Any, micros: int | None, why: str) -> None:
    imp = {"id": "1", "banner": BANNER, "bidfloor": floor, "bidfloorcur": currency}
    asks = read(imp).request.asks
    assert [ask.floor_micros for ask in asks] == ([] if micros is None else [micros]), why


@given(floor=st.floats(0.000001, 100_000), rate=st.integers(1, 10**10))
def test_floors_are_rounded_up_to_the_micro(floor: float, rate: int) -> None:
    imp = {"id": "1", "banner": BANNER, "bidfloor": floor}
    reading = to_ad_request(parse(imp), rates={"USD": rate}, currency="KRW", now_ms=NOW_MS)
    assert reading.request.asks[0].floor_micros == min(ceil(Fraction(repr(floor)) * rate), 10**15)


#   cur               answer in   no bid             why
CURRENCIES: list[tuple[Any, str | None, int | None, str]] = [
    (None,            "USD",      None,              "absent: US dollars"),
    ([],              "USD",      None,              "empty is absent"),
    (["EUR", "USD"],  "EUR",      None,              "the first known"),
    (["GBP", "USD"],  "USD",      None,              "the first is not known"),
    (["KRW"],         "KRW",      None,              "the account's own"),
    ("USD",           "USD",      None,              "a lone text"),
    (["GBP"],         None,       NBR_NO_CURRENCY,   "none known"),
]  # fmt: skip


@pytest.mark.parametrize(("cur", "answer", "no_bid", "why"), CURRENCIES)
def test_the_currency_of_the_answer(cur: Any, answer: str | None, no_bid: int | None, why: str) -> None:
    reading = read(cur=cur)
    assert (reading.currency, reading.no_bid) == (answer, no_bid), why
    assert (
        reading.rate_micros == {"USD": 1_350_000_000, "EUR": 1_480_000_000, "KRW": 1_000_000, None: 0}[answer]
    )


def test_dollars_unknown_is_no_bid() -> None:
    reading = to_ad_request(parse(), rates={}, currency="KRW", now_ms=NOW_MS)
    assert (reading.currency, reading.no_bid) == (None, NBR_NO_CURRENCY)


ONE, TWO = ((320, 50),), ((320, 50), (300, 250))
FLEXIBLE = {"wratio": 1, "hratio": 1}
#   banner                                            sizes   why
SIZES: list[tuple[Any, tuple[Any, ...], str]] = [
    (BANNER,                                          ONE,    "w and h"),
    ({"w": "320", "h": 50.0},                         ONE,    "in odd types"),
    ({"w": 1, "h": 1, "format": [BANNER]},            ONE,    "format comes first"),
    ({"format": [BANNER, {"w": 300, "h": 250}]},      TWO,    "several"),
    ({"format": [FLEXIBLE, BANNER]},                  ONE,    "a ratio is no size of ours"),
    ({},                                              (),     "none"),
    ({"w": 320},                                      (),     "half of one"),
    ({"w": 10**9, "h": 50},                           (),     "larger than any screen"),
]  # fmt: skip


@pytest.mark.parametrize(("banner", "sizes", "why"), SIZES)
def test_sizes(banner: Any, sizes: tuple[Any, ...], why: str) -> None:
    asks = read({"id": "1", "banner": banner}).request.asks
    assert [ask.sizes for ask in asks] == ([sizes] if sizes else []), why
    (ask,) = read({"id": "1", "banner": banner, "video": {}}).request.asks
    assert (ask.sizes, ask.formats) == (sizes, ("banner", "video") if sizes else ("video",)), why


def demand(**fields: Any) -> Creativity:
    """Say what is demanded; an API framework that is not listed is not there."""
    return Creativity(**({"api": (0,)} | fields))


PLAIN, MP4, MP3 = demand(), demand(mimes=("video/mp4",)), demand(mimes=("audio/mpeg",))
TITLE = '{"assets":[{"id":1,"required":1,"title":{"len":25}}]}'
#   imp                                                                 demands by format
DEMANDS: list[tuple[dict[str, Any], dict[str, Creativity]]] = [
    ({"banner": BANNER},                                                {"banner": PLAIN}),
    ({"banner": {}},                                                    {}),
    ({"banner": BANNER | {"mimes": ["image/png"], "api": [3]}},
        {"banner": demand(mimes=("image/png",), api=(3,))}),
    ({"banner": BANNER | {"battr": [14]}},                {"banner": demand(blocked_attributes=(14,))}),
    ({"banner": BANNER, "video": {"mimes": ["video/mp4"]}},             {"banner": PLAIN, "video": MP4}),
    ({"banner": {}, "video": {"mimes": ["video/mp4"]}},                 {"video": MP4}),
    ({"video": {"w": 640, "h": 480, "minduration": 5, "maxduration": 30, "protocols": [2, 3]}},
        {"video": demand(duration_min_s=5, duration_max_s=30, protocols=(2, 3))}),
    ({"video": {"rqddurs": [30, 15], "minduration": 1, "protocol": 2}},
        {"video": demand(duration_min_s=15, duration_max_s=30, protocols=(2,))}),
    ({"video": {"minduration": 0, "maxduration": -5, "battr": [13]}},
        {"video": demand(blocked_attributes=(13,))}),
    ({"audio": {"mimes": ["audio/mpeg"]}},                              {"audio": MP3}),
    ({"native": {"request": TITLE, "api": [7]}},
        {"native": demand(native_assets=("title",), api=(7,))}),
    ({"native": {}},                                                    {}),
]  # fmt: skip


@pytest.mark.parametrize(("imp", "demands"), DEMANDS)
def test_demands(imp: dict[str, Any], demands: dict[str, Creativity]) -> None:
    reading = read({"id": "1", **imp})
    assert [ask.demands for ask in reading.request.asks] == ([demands] if demands else [])
    assert reading.no_bid == (None if demands else NBR_NOTHING_OFFERED)


def test_an_imp_that_we_cannot_serve_leaves_the_others() -> None:
    imps = [{"id": "a", "banner": {}}, {"id": "b", "banner": BANNER}, {"id": "c", "native": {}}]
    assert [ask.name for ask in read(imps).request.asks] == ["b"]
    many = [{"id": str(number), "banner": BANNER} for number in range(30)]
    assert [ask.name for ask in read(many).request.asks] == [str(number) for number in range(20)]


def test_the_ask_itself() -> None:
    site = {"publisher": {"id": "pub-1"}}
    imp = {"id": "1", "banner": BANNER, "tagid": "plc-1", "secure": 1, "exp": 300}
    reading = read(imp, site=site)
    (ask,) = reading.request.asks
    assert (ask.name, ask.placement_id, ask.unregistered) == ("1", "plc-1", False)
    assert (ask.publisher_id, ask.secure, ask.deal_only) == ("pub-1", True, False)
    assert reading.expiries_s == {"1": 300}
    for known in (True, False):
        reading = to_ad_request(
            parse(imp), rates=RATES, currency="KRW", now_ms=NOW_MS, registered={"plc-1": known}.__getitem__
        )
        (ask,) = reading.request.asks
        assert (ask.placement_id, ask.unregistered) == ("plc-1", not known)
    (plain,) = read(site=site).request.asks
    assert (plain.placement_id, plain.unregistered, plain.secure) == (UNNAMED_PLACEMENT, True, False)
    for private, deal_only in ((1, True), (0, False)):
        imp = {"id": "1", "banner": BANNER, "pmp": {"private_auction": private, "deals": [{"id": "d"}]}}
        assert read(imp).request.asks[0].deal_only is deal_only


#   channel                                                      publisher id    why
PUBLISHERS = [
    ({"site": {"publisher": {"id": "p"}, "domain": "d.com"}},    "p",            "as it is named"),
    ({"app": {"publisher": {"id": "p"}}},                        "p",            "of an app"),
    ({"dooh": {"publisher": {"id": "p"}}},                       "p",            "of a screen"),
    ({"site": {"publisher": {"id": 7}}},                         "7",            "a number"),
    ({"site": {"domain": "d.com", "id": "s"}},                   "d.com",        "unnamed: its domain"),
    ({"app": {"bundle": "com.x", "id": "a"}},                    "com.x",        "or its bundle"),
    ({"site": {"id": "s"}},                                      "s",            "or its id"),
    ({},                                                         "",             "nothing told"),
]  # fmt: skip


@pytest.mark.parametrize(("channel", "publisher", "why"), PUBLISHERS)
def test_the_publisher(channel: dict[str, Any], publisher: str, why: str) -> None:
    assert read(**channel).request.asks[0].publisher_id == publisher, why


def test_long_names_are_shortened_and_stay_apart() -> None:
    names = []
    for last in "ab":
        (ask,) = read({"id": "1", "banner": BANNER, "tagid": "/18190176/가" * 20 + last}).request.asks
        names.append(ask.placement_id)
        assert len(ask.placement_id.encode()) <= 64 and ask.placement_id.startswith("/18190176/가")
    assert names[0] != names[1]
    exact = "t" * 64
    assert read({"id": "1", "banner": BANNER, "tagid": exact}).request.asks[0].placement_id == exact


def test_what_is_blocked_and_who_may_bid() -> None:
    reading = read(
        bcat=["IAB25", "BSW1"],
        badv=["https://www.Bad.com/path?q", "worse.com", "worst.co.uk:443"],
        bapp=["com.bad.app"],
        wseat=["s1", 2, "adjudge"],
        bseat=["s3"],
    )
    blocked = reading.request.blocked
    assert blocked.categories == ("IAB25", "BSW1")
    assert blocked.advertisers == ("bad.com", "worse.com", "worst.co.uk", "com.bad.app")
    assert (reading.request.seats, reading.request.blocked_seats) == (("s1", "2", ""), ("s3",))
    assert bare_domain("//user:pw@Example.com.#x") == ""  # no scheme and no host: blocks nothing
    assert bare_domain("http://user:pw@Example.com./#x") == "example.com"
    assert bare_domain("x" * 10_000) == "x" * 512


def test_the_person() -> None:
    person = read(
        user={
            "id": "u-1",
            "yob": 1986,
            "gender": "f",
            "keywords": " Travel,,food ,travel",
            "kwarray": ["Cars"],
            "data": [{"segment": [{"id": "s-1"}, {"name": "named"}, {}]}, {"segment": [{"id": 9}]}],
        },
        device={"geo": {"country": "KOR", "region": "11"}},
    ).request.person
    assert person is not None
    assert (person.key, person.gender, person.age, person.region) == (b"u-1", "F", 40, "KR-11")
    assert person.interests == ("travel", "food", "cars")
    assert person.segments == ("s-1", "named", "9")


#   user and device                                              id        why
IDS: list[tuple[dict[str, Any], str | None, str]] = [
    ({"user": {"id": "u", "buyeruid": "b"}},                     "b",      "our own id for them comes first"),
    ({"user": {"id": "u"}, "device": {"ifa": "i"}},              "u",      "then the exchange's"),
    ({"user": {}, "device": {"ifa": "i"}},                       "i",      "then the device's"),
    ({"device": {"ifa": "i"}},                                   "i",      "without a user too"),
    ({"user": {"eids": [{"uids": []}, {"uids": [{"id": "e"}]}]}}, "e",     "then another's"),
    ({"user": {"ext": {"eids": [{"uids": [{"id": "e"}]}]}}},     "e",      "in its place of 2.5"),
    ({},                                                         None,     "unknown"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "name", "why"), IDS)
def test_the_persons_id(given: dict[str, Any], name: str | None, why: str) -> None:
    person = read(**given).request.person
    assert person is not None and person.key == (name.encode() if name else None), why


@pytest.mark.parametrize(
    ("yob", "age"), [(2000, 26), (2026, None), (2030, None), (1906, None), (0, None), ("x", None)]
)
def test_age(yob: Any, age: int | None) -> None:
    person = read(user={"yob": yob}).request.person
    assert person is not None and person.age == age


#   country, region          ISO 3166-2
REGIONS = [
    ("KOR",  "11",           "KR-11"),
    ("KR",   "11",           "KR-11"),
    ("kor",  "kr-11",        "KR-11"),
    ("",     "KR-11",        "KR-11"),
    ("USA",  "NY",           "US-NY"),
    ("USA",  "New York",     "US"),
    ("USA",  "",             "US"),
    ("USA",  "KR-11",        "US"),
    ("XXX",  "11",           None),
    ("",     "11",           None),
    ("x" * 99, "y" * 99,     None),
]  # fmt: skip


@pytest.mark.parametrize(("country", "region", "iso"), REGIONS)
def test_regions(country: str, region: str, iso: str | None) -> None:
    assert places.region_of(country, region) == iso


def test_countries_are_whole() -> None:
    assert len(places._ALPHA_2) == len(places._KNOWN) == 249


#   device                                                    device and os              why
DEVICE_TABLE: list[tuple[dict[str, Any], tuple[str | None, str | None], str]] = [
    ({"devicetype": 4, "os": "iOS"},                          ("mobile", "ios"),         "as told"),
    ({"devicetype": "2", "os": "Windows 7"},                  ("desktop", "windows"),    "as text"),
    ({"devicetype": 3.0, "os": "Tizen"},                      ("tv", "tizen"),           "as a fraction"),
    ({"devicetype": 5, "os": "iPadOS"},                       ("tablet", "ipados"),      "a tablet"),
    ({"devicetype": 99, "os": "BeOS"},                        (None, None),              "unknown values"),
    ({"sua": {"platform": {"brand": "Android"}, "mobile": 1}, "ua": "X"}, ("mobile", "android"), "hints"),
    ({"sua": {"platform": {"brand": "macOS"}, "mobile": 0}},  ("desktop", "macos"),      "not mobile"),
    ({"sua": {"platform": {"brand": "MS"}}, "ua": "UA"},      ("tablet", "linux"),       "hints are mute"),
    ({"os": "Android", "ua": "UA"},                           ("tablet", "android"),     "what is missing"),
    ({"ua": ""},                                              (None, None),              "nothing told"),
]  # fmt: skip


@pytest.mark.parametrize(("device", "words", "why"), DEVICE_TABLE)
def test_devices(device: dict[str, Any], words: tuple[str | None, str | None], why: str) -> None:
    surroundings = to_ad_request(
        parse(device=device),
        rates=RATES,
        currency="KRW",
        now_ms=NOW_MS,
        ua_parse=lambda _: Agent("tablet", "linux", "chrome"),
    ).request.surroundings
    assert (surroundings.device, surroundings.os) == words, why


def test_device_words_are_those_of_the_features() -> None:
    assert set(places._DEVICES.values()) <= set(DEVICES)
    assert {system for _, system in places._SYSTEMS} <= set(SYSTEMS)


def test_surroundings() -> None:
    site = {"page": "https://p.com/x", "cat": ["IAB1"], "sectioncat": ["IAB1-2"], "pagecat": ["IAB1"]}
    surroundings = read(site=site, wlang=["EN-us", "ko"]).request.surroundings
    assert surroundings.url == "https://p.com/x"
    assert surroundings.site_category == ("IAB1", "IAB1-2")
    assert surroundings.language == ("en", "ko")
    assert surroundings.bundle is None
    assert read(app={"bundle": "com.x"}).request.surroundings.bundle == "com.x"
    assert read(dooh={}).request.surroundings.device == "dooh"
    assert surroundings.site == "p.com"
    site = {"domain": "WWW.News.example", "keywords": "Go, baduk ,", "kwarray": ["GO", "war"]}
    surroundings = read(site=site).request.surroundings
    assert (surroundings.site, surroundings.keywords) == ("news.example", ("go", "baduk", "war"))
    brands = [{"brand": "Not/A)Brand"}, {"brand": "Chromium"}, {"brand": "Whale", "version": ["3"]}]
    hinted = read(device={"sua": {"browsers": brands}, "ua": "UA"}).request.surroundings
    assert hinted.browser == "whale"
    person = read(user={"keywords": "Baduk"}).request.person
    assert person is not None
    assert person.keywords == ("baduk",)


def test_the_rest_of_the_reading() -> None:
    reading = read(test=1, tmax=75, device={"ip": "", "ipv6": "::1", "ua": "UA"})
    assert (reading.test, reading.tmax_ms, reading.ip, reading.user_agent) == (True, 75, "::1", "UA")
    reading = read()
    assert (reading.test, reading.tmax_ms, reading.ip, reading.user_agent) == (False, None, None, None)
