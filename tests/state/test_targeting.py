"""Targeting and everything else that keeps an ad out, against the slow evaluator, on random catalogues."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.catalogue import (
    AdGroup,
    Advertiser,
    Audience,
    Blocked,
    Campaign,
    Creative,
    Placement,
    Publisher,
    Rule,
    Targeting,
    Thing,
)  # fmt: skip
from app.domain.requests import AdRequest, Ask, Person, Surroundings
from tests.state.offline import reason_of
from tests.state.world import (
    DAY_MS,
    HOUR_MS,
    NOW_MS,
    World,
    ask_for,
    banner,
    group,
    one_of_each,
    placement,
)  # fmt: skip

CODES = ("IAB1", "IAB2", "IAB2-3", "IAB25", "IAB25-3")
REGIONS = ("KR", "KR-11", "KR-26", "US-CA")
WORDS = ("a", "b", "c")
SITES = ("news.example", "m.news.example", "ews.example", "blog.example")
STATUSES = (*("active",) * 40, "paused", "archived")
ZONES = ("Asia/Seoul", "America/New_York", "Asia/Kathmandu")


def some(values: Any, most: int = 2) -> st.SearchStrategy[tuple[Any, ...]]:
    terms = values if isinstance(values, st.SearchStrategy) else st.sampled_from(values)
    return st.lists(terms, max_size=most, unique=True).map(tuple)


def rule_of(values: Any, rare: bool = True) -> st.SearchStrategy[Rule]:
    rule = st.builds(Rule, include=some(values), exclude=some(values, 1))
    seldom: st.SearchStrategy[Rule] = st.one_of(*[st.just(Rule())] * 11, rule)
    return seldom if rare else rule


def pairs(low: int, high: int, wraps: bool = False) -> st.SearchStrategy[Any]:
    ends = st.tuples(st.integers(low, high), st.integers(low, high))
    return ends if wraps else ends.map(lambda pair: (min(pair), max(pair)))


ages = st.integers(18, 40) | pairs(18, 40)
hour_terms = st.integers(0, 23) | pairs(0, 23, wraps=True)
numbers = st.sampled_from(WORDS) | st.integers(0, 3) | pairs(0, 3)
AUDIENCES = ("aud-0", "aud-1")
targetings = st.builds(
    Targeting,
    gender=rule_of("FM"), age=rule_of(ages), region=rule_of(REGIONS), interest=rule_of(WORDS),
    segment=rule_of(WORDS), device=rule_of(("mobile", "desktop")), os=rule_of(("ios", "android")),
    placement=rule_of(("plc-1", "plc-2")), publisher=rule_of(("pub-1", "pub-2")),
    site_category=rule_of(CODES), browser=rule_of(("chrome", "safari")), site=rule_of(SITES),
    app=rule_of(("com.a", "com.b")), keyword=rule_of(WORDS), hour=rule_of(hour_terms),
    weekday=rule_of(st.integers(0, 6) | pairs(0, 6)),
    keys=st.dictionaries(st.sampled_from(("team", "level")), rule_of(numbers, rare=False), max_size=2),
    audience=rule_of(AUDIENCES), exclude_after=st.sampled_from(("", "", "", "click", "conversion")),
)  # fmt: skip
times = st.sampled_from([*[None] * 40, NOW_MS - DAY_MS, NOW_MS, NOW_MS + 1, NOW_MS + DAY_MS])
advertisers = st.builds(
    Advertiser, id=st.just("?"), category=st.none() | st.sampled_from(CODES),
    status=st.sampled_from(STATUSES), domain=st.sampled_from((None, "shop.example", "food.example")),
    seat=st.sampled_from((None, "s1", "s2")),
)  # fmt: skip
campaigns = st.builds(
    Campaign, id=st.just("?"), advertiser_id=st.sampled_from(("adv-0", "adv-1")), starts_at_ms=times,
    ends_at_ms=times, time_zone=st.sampled_from(ZONES), status=st.sampled_from(STATUSES),
)  # fmt: skip
groups = st.builds(
    AdGroup, id=st.just("?"), campaign_id=st.sampled_from(("c-0", "c-1")), targeting=targetings,
    pricing=st.just(group("x").pricing), status=st.sampled_from(STATUSES),
)  # fmt: skip
creatives = st.builds(
    Creative, id=st.just("?"), ad_group_id=st.sampled_from(("g-0", "g-1", "g-2")),
    format=st.sampled_from(("banner", "banner", "native")), width=st.sampled_from((320, 300)),
    height=st.sampled_from((50, 250)), landing_url=st.just("https://x.example"), categories=some(CODES),
    secure=st.sampled_from((*(True,) * 8, False)), status=st.sampled_from(STATUSES),
)  # fmt: skip
sizes = st.sampled_from(((), (), ((320, 50),), ((300, 250), (320, 50))))
formats = st.sampled_from(((), (), ("banner",), ("native", "banner")))
blocks = st.builds(
    Blocked, categories=some(["IAB1", "IAB25-3"], 1), advertisers=some(["adv-1", "nobody.example"], 1),
    creatives=some(["r-0", "r-9"], 1),
)  # fmt: skip
placements = st.builds(
    Placement, id=st.just("plc-1"), publisher_id=st.just("pub-1"), sizes=sizes, formats=formats,
    categories=some(CODES), blocked=st.just(Blocked()) | blocks,
)  # fmt: skip
asks = st.builds(
    Ask, name=st.just("top"), placement_id=st.sampled_from(("plc-1", "other")), sizes=sizes, formats=formats,
    secure=st.booleans(), publisher_id=st.sampled_from(("", "pub-2")), count=st.integers(1, 2),
).map(lambda ask: ask if ask.placement_id == "plc-1" else _unregistered(ask))  # fmt: skip
people = st.none() | st.builds(
    Person, gender=st.sampled_from(("F", "M", None)), age=st.none() | st.integers(16, 45),
    region=st.none() | st.sampled_from(REGIONS), interests=some(WORDS, 3), segments=some(WORDS, 3),
    audiences=some((*AUDIENCES, "click@c-0", "click@c-1", "conversion@c-0"), 3),
    keywords=some(WORDS, 1),
)  # fmt: skip
places = st.builds(
    Surroundings, site_category=some(CODES), device=st.sampled_from((None, "mobile", "desktop")),
    os=st.sampled_from((None, "ios", "android")), browser=st.sampled_from((None, "chrome", "safari")),
    site=st.sampled_from((None, *SITES)), bundle=st.sampled_from((None, "com.a")), keywords=some(WORDS),
    keys=st.dictionaries(
        st.sampled_from(("team", "level", "else")),
        st.lists(st.sampled_from(WORDS) | st.integers(0, 3).map(float), min_size=1, max_size=2).map(tuple),
        max_size=2,
    ),
)  # fmt: skip
requests = st.builds(
    AdRequest, request_id=st.just("r"), asks=asks.map(lambda ask: (ask,)), person=people, surroundings=places,
    blocked=st.just(Blocked()) | blocks,
    seats=st.sampled_from((*((),) * 12, ("s1",), ("s1", "s2"))),
    blocked_seats=st.sampled_from((*((),) * 8, ("s2",))),
)  # fmt: skip


def _unregistered(ask: Ask) -> Ask:
    return Ask(
        name=ask.name, placement_id=ask.placement_id, unregistered=True, publisher_id=ask.publisher_id,
        sizes=ask.sizes, formats=ask.formats, secure=ask.secure, count=ask.count,
    )  # fmt: skip


def named(drawn: list[Any], prefix: str) -> list[Any]:
    """Give drawn things their ids: adv-0, adv-1, ..."""
    fields = [{f: getattr(thing, f) for f in type(thing).__struct_fields__} for thing in drawn]
    return [
        type(thing)(**{**known, "id": f"{prefix}-{n}"})
        for n, (thing, known) in enumerate(zip(drawn, fields, strict=True))
    ]  # fmt: skip


@st.composite
def catalogues(draw: Any) -> list[Thing]:
    def several(values: st.SearchStrategy[Any], count: int, prefix: str) -> list[Any]:
        return named(draw(st.lists(values, min_size=count, max_size=count)), prefix)

    owned = several(campaigns, 2, "c")
    owners = {campaign.id: campaign.advertiser_id for campaign in owned}
    return [
        Publisher(id="pub-1"), draw(placements), *several(advertisers, 2, "adv"),
        *(Audience(id=each, advertiser_id=each.replace("aud", "adv")) for each in AUDIENCES), *owned,
        *(_with_own_audiences(each, owners[each.campaign_id]) for each in several(groups, 3, "g")),
        *several(creatives, draw(st.integers(1, 6)), "r"),
    ]  # fmt: skip


def _with_own_audiences(group: AdGroup, owner: str) -> AdGroup:
    """Keep those audiences of a drawn group that are its advertiser's: others are refused."""

    def own(terms: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(term for term in terms if term.replace("aud", "adv") == owner)

    rule = group.targeting.audience
    audience = Rule(include=own(rule.include), exclude=own(rule.exclude))
    targeting = msgspec.structs.replace(group.targeting, audience=audience)
    return msgspec.structs.replace(group, targeting=targeting)


def expected(things: list[Thing], request: AdRequest, at_ms: int) -> Counter[str | None]:
    by_id: dict[str, Any] = {thing.id: thing for thing in things}
    (ask,) = request.asks
    reasons: Counter[str | None] = Counter()
    for creative in things:
        if isinstance(creative, Creative):
            ad_group = by_id[creative.ad_group_id]
            campaign = by_id[ad_group.campaign_id]
            chain = (creative, ad_group, campaign, by_id[campaign.advertiser_id])
            stored = None if ask.unregistered else by_id["plc-1"]
            reasons[reason_of(chain, request, ask, stored, at_ms)] += 1
    del reasons["archived"]  # nobody's loss
    return reasons


def lives(things: list[Thing]) -> World:
    world = World()
    for thing in things:
        # A parent that is archived comes active first: a child is never registered under an archived one.
        world.add(thing if thing.status == "active" else _active(thing))
    world.add(*(thing for thing in reversed(things) if thing.status != "active"))
    return world


def _active(thing: Thing) -> Thing:
    fields = {field: getattr(thing, field) for field in type(thing).__struct_fields__}
    return type(thing)(**{**fields, "status": "active"})


@settings(max_examples=120)
@given(catalogues(), st.lists(requests, min_size=1, max_size=6), st.integers(0, 30))
def test_compiled_sets_decide_as_the_slow_evaluator(
    things: list[Thing], asked: list[AdRequest], hours: int
) -> None:
    world = lives(things)
    world.tick(hours * HOUR_MS)
    copy = world.copy()
    for request in asked:
        want = expected(things, request, world.now_ms)
        key = world.key()
        (placed,) = world.choose(request, key).placed
        allowed = want.pop(None, 0)
        assert placed.candidates == allowed
        assert len(placed.wins) == min(allowed, request.asks[0].count)
        if allowed > len(placed.wins):
            want["outbid"] = allowed - len(placed.wins)
        assert placed.reasons == want
        assert (placed.code == "") == bool(placed.wins)
        if not placed.wins and want:
            assert want[placed.code] == max(want.values())
        assert copy.choose(request, key).placed == (placed,)


# The rules that people argue about, one row each.

ANY = Rule()
#   dimension        include       exclude        told                   passes  why
TABLE = [
    ("gender",        ("F",),       (),            Person(gender="F"),    True,  "included"),
    ("gender",        ("F",),       (),            Person(gender="M"),    False, "not included"),
    ("gender",        ("F",),       (),            None,                  False, "unknown fails an include"),
    ("gender",        (),           ("F",),        None,                  True,  "unknown passes an exclude"),
    ("gender",        (),           ("F",),        Person(gender="F"),    False, "excluded"),
    ("gender",        ("F",),       ("F",),        Person(gender="F"),    False, "exclude wins"),
    ("age",           ((20, 29),),  (),            Person(age=20),        True,  "pairs are inclusive below"),
    ("age",           ((20, 29),),  (),            Person(age=29),        True,  "and above"),
    ("age",           ((20, 29),),  (),            Person(age=30),        False, "and end there"),
    ("age",           ((20, 39),),  ((25, 29),),   Person(age=27),        False, "a range out of a range"),
    ("age",           (27,),        (),            Person(age=27),        True,  "a single number"),
    ("region",        ("KR",),      (),            Person(region="KR-11"), True, "a country holds its parts"),
    ("region",        ("KR-11",),   (),            Person(region="KR"),   False, "a part is not the country"),
    ("region",        ("KR-1",),    (),            Person(region="KR-11"), False, "no prefix of letters"),
    ("region",        (),           ("KR",),       Person(region="KR-11"), False, "excluded with its parts"),
    ("audience",      ("aud-1",),   (),            Person(audiences=("aud-1", "x")), True, "in the list"),
    ("audience",      ("aud-1",),   (),            Person(audiences=("x",)), False, "in another"),
    ("audience",      (),           ("aud-1",),    Person(audiences=("aud-1",)), False, "kept out"),
    ("interest",      ("a", "b"),   (),            Person(interests=("b", "z")), True, "one of many will do"),
    ("segment",       (),           ("s",),        Person(segments=("s", "t")), False, "one of many is out"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("dimension", "include", "exclude", "told", "passes", "why"), TABLE, ids=[f"{r[0]}:{r[5]}" for r in TABLE]
)
def test_what_a_rule_means(
    dimension: str, include: Any, exclude: Any, told: Person | None, passes: bool, why: str
) -> None:
    world = World()
    world.add(*one_of_each(), Audience(id="aud-1", advertiser_id="adv-1"))
    rule: dict[str, Any] = {dimension: Rule(include=include, exclude=exclude)}
    world.change("ad_group", "g-1", targeting=Targeting(**rule))
    request = AdRequest(request_id="r", asks=ask_for("plc-1").asks, person=told)
    assert world.winner(request) == ("cr-1" if passes else None), why
    assert world.reasons(request) == ({} if passes else {dimension: 1})


# dimension include exclude told passes why
PAGES = [
    ("site", ("news.example",), (), Surroundings(site="m.news.example"), True, "holds its parts"),
    ("site", ("m.news.example",), (), Surroundings(site="news.example"), False, "not what is above"),
    ("site", ("ews.example",), (), Surroundings(site="news.example"), False, "whole labels"),
    ("site", (), ("news.example",), Surroundings(site="m.news.example"), False, "excluded with its parts"),
    ("site", ("news.example",), (), Surroundings(bundle="com.a"), False, "an app is no site"),
    ("app", ("com.a",), (), Surroundings(bundle="com.a"), True, "by bundle"),
    ("app", (), ("com.a",), Surroundings(site="news.example"), True, "a site is no app"),
    ("keyword", ("go", "baduk"), (), Surroundings(keywords=("baduk",)), True, "one will do"),
    ("keyword", (), ("war",), Surroundings(keywords=("go", "war")), False, "one is enough"),
    ("keyword", ("baduk",), (), Surroundings(), False, "unknown"),
    ("browser", ("whale",), (), Surroundings(browser="whale"), True, "included"),
    ("browser", (), ("ie",), Surroundings(), True, "unknown passes"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("dimension", "include", "exclude", "told", "passes", "why"), PAGES, ids=[f"{r[0]}:{r[5]}" for r in PAGES]
)
def test_what_a_rule_about_the_page_means(
    dimension: str, include: Any, exclude: Any, told: Surroundings, passes: bool, why: str
) -> None:
    world = World()
    world.add(*one_of_each())
    rule: dict[str, Any] = {dimension: Rule(include=include, exclude=exclude)}
    world.change("ad_group", "g-1", targeting=Targeting(**rule))
    request = AdRequest(request_id="r", asks=ask_for("plc-1").asks, surroundings=told)
    assert world.winner(request) == ("cr-1" if passes else None), why
    assert world.reasons(request) == ({} if passes else {dimension: 1})


def test_a_person_s_keywords_count_like_the_page_s() -> None:
    world = World()
    world.add(*one_of_each())
    world.change("ad_group", "g-1", targeting=Targeting(keyword=Rule(include=("baduk",))))
    asks = ask_for("plc-1").asks
    assert world.winner(AdRequest(request_id="r", asks=asks, person=Person(keywords=("baduk",)))) == "cr-1"
    assert world.winner(AdRequest(request_id="r", asks=asks, person=Person(interests=("baduk",)))) is None


def seoul(day: int, hour: int) -> int:
    """January 2027 in Seoul, as ms; the 18th is a Monday."""
    return NOW_MS - 17 * HOUR_MS + (day - 15) * DAY_MS + hour * HOUR_MS


@pytest.mark.parametrize(
    ("hours", "at_ms", "passes"),
    [
        ((9, 18), seoul(18, 9), True),
        ((9, 18), seoul(18, 19) - 1, True),
        ((9, 18), seoul(18, 19), False),
        ((22, 3), seoul(18, 23), True),
        ((22, 3), seoul(18, 3), True),
        ((22, 3), seoul(18, 4), False),
    ],
)
def test_hours_are_the_campaign_s(hours: tuple[int, int], at_ms: int, passes: bool) -> None:
    world = World()
    world.add(*one_of_each())
    world.change("ad_group", "g-1", targeting=Targeting(hour=Rule(include=(hours,))))
    world.tick(at_ms - NOW_MS)
    assert world.reasons() == ({} if passes else {"hour": 1})


def test_the_same_hours_elsewhere_are_other_hours() -> None:
    world = World()
    world.add(*one_of_each(time_zone="America/New_York"))
    world.change("ad_group", "g-1", targeting=Targeting(hour=Rule(include=((9, 18),))))
    world.tick(seoul(18, 12) - NOW_MS)  # 22:00 on Sunday in New York
    assert world.reasons() == {"hour": 1}
    world.change("ad_group", "g-1", targeting=Targeting(weekday=Rule(include=(6,))))
    assert world.winner() == "cr-1"


def test_hour_and_weekday_turn_with_the_tick() -> None:
    world = World()
    world.add(*one_of_each())
    only = Targeting(hour=Rule(exclude=((0, 8),)), weekday=Rule(include=((0, 4),)))
    world.change("ad_group", "g-1", targeting=only)
    world.tick(seoul(18, 9) - NOW_MS - 1)
    assert world.reasons() == {"hour": 1}
    world.tick(1)
    assert world.winner() == "cr-1"
    world.tick(5 * DAY_MS)
    assert world.reasons() == {"weekday": 1}


def test_a_blocked_category_takes_its_children_and_not_its_parent() -> None:
    world = World()
    world.add(*one_of_each())
    world.change("creative", "cr-1", categories=("IAB25-3",))

    def request(*blocked: str) -> AdRequest:
        return AdRequest(
            request_id="r", asks=ask_for("plc-1").asks, blocked=Blocked(categories=blocked)
        )  # fmt: skip

    assert world.reasons(request("IAB25")) == {"category_blocked": 1}
    assert world.winner(request("IAB2", "IAB25-30")) == "cr-1"
    assert world.reasons(request("IAB20")) == {"category_blocked": 1}, "the advertiser's own category"


@pytest.mark.parametrize("name", ["adv-1", "shop.example", "SHOP.example"])
def test_an_advertiser_is_blocked_by_id_or_domain_and_its_old_domain_is_forgotten(name: str) -> None:
    world = World()
    world.add(*one_of_each(), placement("plc-2", blocked=Blocked(advertisers=(name,))))
    assert world.reasons(ask_for("plc-2")) == {"advertiser_blocked": 1}
    assert world.winner(ask_for("plc-1")) == "cr-1"
    world.change("advertiser", "adv-1", domain="other.example")
    assert world.winner(ask_for("plc-2")) == (None if name == "adv-1" else "cr-1")


def test_a_creative_that_is_blocked_and_not_wanted_is_counted_as_blocked() -> None:
    """Reasons are checked in their listed order: blocks come before targeting."""
    world = World()
    world.add(*one_of_each())
    world.change("ad_group", "g-1", targeting=Targeting(gender=Rule(include=("F",))))
    blocked = Blocked(creatives=("cr-1",))
    assert world.reasons(AdRequest(request_id="r", asks=ask_for("plc-1").asks, blocked=blocked)) == {
        "creative_blocked": 1
    }


def test_a_private_auction_and_an_ad_for_deals_get_nothing_without_a_deal() -> None:
    world = World()
    world.add(*one_of_each(), group("g-2", targeting=Targeting(deal=Rule(include=("d-1",)))))
    world.add(banner("cr-2", "g-2"))
    assert world.reasons() == {"deal": 1}
    assert world.reasons(ask_for("plc-1", deal_only=True)) == {"deal": 2}
