"""What each field of a catalogue document takes, refuses and becomes: truth tables, one row per argument."""

# ruff: noqa: E501  (the tables are read across)

from __future__ import annotations

from typing import Any

import pytest

from app.domain.catalogue import AdGroup, Campaign, Creative, FrequencyCap, Kind, Placement, Rule
from app.domain.refusals import Refused
from app.web.catalogue.parsing import decode, parse
from tests.web.catalogue.samples import DOCUMENTED, SMALLEST

VAST = '<VAST version="4.2"/>'
# fmt: off
REFUSED: list[tuple[Kind, dict[str, Any], str, str, str]] = [
    # kind       change                                     field                    code              why
    ("advertiser", {"id": "a b"},                           "id",                    "pattern",        "a space"),
    ("advertiser", {"id": "x" * 65},                        "id",                    "pattern",        "64 at most"),
    ("advertiser", {"id": "a\n"},                           "id",                    "pattern",        "the end is the end"),
    ("advertiser", {"id": 5},                               "id",                    "not_a_string",   "numbers are no ids"),
    ("advertiser", {"id": None},                            "id",                    "required",       "an import names its things"),
    ("advertiser", {"nmae": "x"},                           "nmae",                  "unknown_field",  "a typo is told"),
    ("advertiser", {"name": "x" * 256},                     "name",                  "too_long",       ""),
    ("advertiser", {"domain": "https://example.com"},       "domain",                "pattern",        "a host, no URL"),
    ("advertiser", {"category": "IAB 20"},                  "category",              "pattern",        "one code"),
    ("advertiser", {"category": ["IAB20"]},                 "category",              "not_a_string",   "one code, no list"),
    ("advertiser", {"status": "deleted"},                   "status",                "not_one_of",     ""),
    ("advertiser", {"status": None},                        "status",                "not_one_of",     "absent is active, null is nothing"),
    ("advertiser", {"type": "campaign"},                    "type",                  "not_one_of",     "another kind's door"),
    ("campaign",   {"advertiser_id": ...},                  "advertiser_id",         "required",       ""),
    ("campaign",   {"advertiser_id": "a/b"},                "advertiser_id",         "pattern",        ""),
    ("campaign",   {"objective": "x" * 65},                 "objective",             "too_long",       ""),
    ("campaign",   {"budget_daily": -1},                    "budget_daily",          "out_of_range",   ""),
    ("campaign",   {"budget_daily": "100"},                 "budget_daily",          "not_a_number",   "numbers only"),
    ("campaign",   {"budget_daily": True},                  "budget_daily",          "not_a_number",   "true is not 1"),
    ("campaign",   {"budget_total": 0.0000001},             "budget_total",          "too_precise",    "six decimals"),
    ("campaign",   {"budget_total": 10**9 + 1},             "budget_total",          "out_of_range",   "sums must fit"),
    ("campaign",   {"starts_at": "2026-05-01"},             "starts_at",             "not_a_time",     "no time"),
    ("campaign",   {"starts_at": "2026-05-01T00:00:00"},    "starts_at",             "not_a_time",     "no offset"),
    ("campaign",   {"starts_at": "2026-02-30T00:00:00Z"},   "starts_at",             "not_a_time",     "no such day"),
    ("campaign",   {"starts_at": 1777593600000},            "starts_at",             "not_a_time",     "the name has no _ms"),
    ("campaign",   {"starts_at": "1969-12-31T23:59:59Z"},   "starts_at",             "out_of_range",   ""),
    ("campaign",   {"starts_at": "0001-01-01T00:00:00+23:59"}, "starts_at",          "out_of_range",   "before all years"),
    ("campaign",   {"starts_at": "2026-05-02T00:00:00Z", "ends_at": "2026-05-02T09:00:00+09:00"},
                                                            "ends_at",               "order",          "the same instant"),
    ("campaign",   {"time_zone": "Seoul"},                  "time_zone",             "unknown_zone",   ""),
    ("campaign",   {"time_zone": "localtime"},              "time_zone",             "unknown_zone",   "the machine's, not IANA's"),
    ("campaign",   {"time_zone": "../etc/passwd"},          "time_zone",             "unknown_zone",   ""),
    ("campaign",   {"pacing": "fast"},                      "pacing",                "not_one_of",     ""),
    ("campaign",   {"prior_cvr": 1},                        "prior_cvr",             "out_of_range",   "log odds need less"),
    ("campaign",   {"frequency_cap": {"count": 1}},         "frequency_cap",         "not_a_list",     ""),
    ("campaign",   {"frequency_cap": [{"count": 0, "per": "day"}]},
                                                            "frequency_cap[0].count", "out_of_range",  ""),
    ("campaign",   {"frequency_cap": [{"count": 1, "per": "day"}, {"count": 1, "per": "year"}]},
                                                            "frequency_cap[1].per",  "not_one_of",     ""),
    ("ad_group",   {"pricing": ...},                        "pricing",               "required",       ""),
    ("ad_group",   {"pricing": "cpc"},                      "pricing",               "not_an_object",  ""),
    ("ad_group",   {"pricing": {"kind": "cpc"}},            "pricing.bid",           "required",       ""),
    ("ad_group",   {"pricing": {"kind": "cpc", "bid": 0}},  "pricing.bid",           "out_of_range",   "more than nothing"),
    ("ad_group",   {"pricing": {"kind": "cpx", "bid": 1}},  "pricing.kind",          "not_one_of",     ""),
    ("ad_group",   {"pricing": {"kind": "ocpm"}},           "pricing.target_cpa",    "required",       ""),
    ("ad_group",   {"pricing": {"kind": "ocpm", "target_cpa": 0}}, "pricing.target_cpa", "out_of_range", ""),
    ("ad_group",   {"pricing": {"kind": "ocpm", "target_cpa": 9, "bid": 1}},
                                                            "pricing.bid",           "not_allowed",    "its bid follows the target"),
    ("ad_group",   {"pricing": {"kind": "cpm", "bid": 1, "target_cpa": 9}},
                                                            "pricing.target_cpa",    "not_allowed",    "ocpm's alone"),
    ("ad_group",   {"targeting": []},                       "targeting",             "not_an_object",  ""),
    ("ad_group",   {"targeting": {"ages": [3]}},            "targeting.ages",        "unknown_field",  "an unknown dimension"),
    ("ad_group",   {"targeting": {"age": 20}},              "targeting.age",         "not_a_list",     ""),
    ("ad_group",   {"targeting": {"age": None}},            "targeting.age",         "not_a_list",     ""),
    ("ad_group",   {"targeting": {"age": ["20"]}},          "targeting.age[0]",      "not_an_integer", ""),
    ("ad_group",   {"targeting": {"age": [20, [30, 20]]}},  "targeting.age[1]",      "order",          "ages do not wrap"),
    ("ad_group",   {"targeting": {"age": [[20, 25, 29]]}},  "targeting.age[0]",      "not_a_pair",     ""),
    ("ad_group",   {"targeting": {"age": [True]}},          "targeting.age[0]",      "not_an_integer", "true is not 1"),
    ("ad_group",   {"targeting": {"age": {"exclude": [151]}}}, "targeting.age.exclude[0]", "out_of_range", ""),
    ("ad_group",   {"targeting": {"age": {"only": [1]}}},   "targeting.age.only",    "unknown_field",  ""),
    ("ad_group",   {"targeting": {"hour": [24]}},           "targeting.hour[0]",     "out_of_range",   "0 to 23"),
    ("ad_group",   {"targeting": {"weekday": [7]}},         "targeting.weekday[0]",  "out_of_range",   "0 is Monday, 6 Sunday"),
    ("ad_group",   {"targeting": {"weekday": [[5, 0]]}},    "targeting.weekday[0]",  "order",          "only hours wrap"),
    ("ad_group",   {"targeting": {"gender": ["female"]}},   "targeting.gender[0]",   "not_one_of",     ""),
    ("ad_group",   {"targeting": {"region": ["KOR-11"]}},   "targeting.region[0]",   "pattern",        "ISO 3166-2 has two letters"),
    ("ad_group",   {"targeting": {"region": ["kr"]}},       "targeting.region[0]",   "pattern",        "in capitals"),
    ("ad_group",   {"targeting": {"segment": [""]}},        "targeting.segment[0]",  "too_short",      ""),
    ("ad_group",   {"targeting": {"keys": {"team": "red"}}}, "targeting.keys.team",  "not_a_list",     ""),
    ("ad_group",   {"targeting": {"keys": {"team": [None]}}}, "targeting.keys.team[0]", "not_a_number", ""),
    ("ad_group",   {"targeting": {"keys": {"n": [[1, "2"]]}}}, "targeting.keys.n[0]", "not_a_number",  ""),
    ("creative",   {"format": ...},                         "format",                "required",       ""),
    ("creative",   {"format": "popup"},                     "format",                "not_one_of",     ""),
    ("creative",   {"width": ...},                          "width",                 "required",       "a banner has a size"),
    ("creative",   {"height": None},                        "height",                "required",       "a banner has a size"),
    ("creative",   {"width": 320.5},                        "width",                 "not_an_integer", ""),
    ("creative",   {"width": 0},                            "width",                 "out_of_range",   ""),
    ("creative",   {"landing_url": ...},                    "landing_url",           "required",       ""),
    ("creative",   {"landing_url": "/x"},                   "landing_url",           "pattern",        "absolute"),
    ("creative",   {"landing_url": "ftp://a.b/"},           "landing_url",           "pattern",        "http or https"),
    ("creative",   {"landing_url": "javascript:alert(1)"},  "landing_url",           "pattern",        ""),
    ("creative",   {"landing_url": "https://"},             "landing_url",           "pattern",        "no host"),
    ("creative",   {"landing_url": "https://a.b/\r\nX: y"}, "landing_url",           "pattern",        "would split a header"),
    ("creative",   {"landing_url": "https://a.b/\n"},       "landing_url",           "pattern",        "would split a header"),
    ("creative",   {"landing_url": "https://a.b@evil/"},    "landing_url",           "pattern",        "no user part"),
    ("creative",   {"format": "video"},                     "markup",                "required",       "VAST"),
    ("creative",   {"format": "audio", "markup": "<b/>"},   "markup",                "not_vast",       ""),
    ("creative",   {"format": "native"},                    "native",                "required",       ""),
    ("creative",   {"native": {"title": "t"}},              "native",                "not_allowed",    "of a banner"),
    ("creative",   {"format": "native", "native": {"image_url": "x.png"}}, "native.image_url", "pattern", ""),
    ("creative",   {"secure": 1},                           "secure",                "not_a_boolean",  ""),
    ("creative",   {"attributes": ["1"]},                   "attributes[0]",         "not_an_integer", ""),
    ("creative",   {"categories": "IAB1"},                  "categories",            "not_a_list",     ""),
    ("creative",   {"mimes": ["gif"]},                      "mimes[0]",              "pattern",        ""),
    ("creative",   {"language": "korean!"},                 "language",              "pattern",        ""),
    ("creative",   {"duration_s": 0},                       "duration_s",            "out_of_range",   ""),
    ("creative",   {"markup": "x" * 262_145},               "markup",                "too_long",       ""),
    ("placement",  {"sizes": ["320x50", "320X50"]},         "sizes[1]",              "pattern",        ""),
    ("placement",  {"sizes": [[320, 50]]},                  "sizes[0]",              "pattern",        "a string"),
    ("placement",  {"formats": ["popup"]},                  "formats[0]",            "not_one_of",     ""),
    ("placement",  {"floor_cpm": None},                     "floor_cpm",             "not_a_number",   "0 is no floor"),
    ("placement",  {"prior_ctr": 0},                        "prior_ctr",             "out_of_range",   "log odds need more"),
    ("placement",  {"separation": ["seat"]},                "separation[0]",         "not_one_of",     ""),
    ("placement",  {"blocked": {"advertiser": []}},         "blocked.advertiser",    "unknown_field",  ""),
]

TAKEN: list[tuple[Kind, dict[str, Any], str, Any, str]] = [
    # kind       change                                     field                    becomes            why
    ("campaign",   {},                                      "time_zone",             "Europe/Paris",    "the node's default"),
    ("campaign",   {},                                      "pacing",                "even",            ""),
    ("campaign",   {},                                      "objective",             "traffic",         ""),
    ("campaign",   {"time_zone": None},                     "time_zone",             "Europe/Paris",    "null: the default"),
    ("campaign",   {"budget_daily": 0},                     "budget_daily_micros",   0,                 "nothing may be spent"),
    ("campaign",   {"budget_daily": 1764.705883},           "budget_daily_micros",   1_764_705_883,     "to the micro"),
    ("campaign",   {"budget_total": 999_999_999.999999},    "budget_total_micros",   999_999_999_999_999, "floats hold 15 digits"),
    ("campaign",   {"starts_at": "1970-01-01T00:00:00Z"},   "starts_at_ms",          0,                 ""),
    ("campaign",   {"starts_at": "1970-01-01T09:00:00.0019+09:00"}, "starts_at_ms",  1,                 "finer than ms is cut"),
    ("campaign",   {"frequency_cap": [{"count": 3, "per": "day"}]}, "frequency_cap", (FrequencyCap(count=3, per="day"),), ""),
    ("ad_group",   {},                                      "targeting.age",         Rule(),            "everything"),
    ("ad_group",   {"targeting": {"age": []}},              "targeting.age",         Rule(),            "everything"),
    ("ad_group",   {"targeting": {"age": [20, [30, 39]]}},  "targeting.age",         Rule(include=(20, (30, 39))), ""),
    ("ad_group",   {"targeting": {"hour": [[22, 3]]}},      "targeting.hour",        Rule(include=((22, 3),)), "wraps over midnight"),
    ("ad_group",   {"targeting": {"region": ["KR", "KR-11"]}}, "targeting.region",   Rule(include=("KR", "KR-11")), ""),
    ("ad_group",   {"targeting": {"gender": {"exclude": ["O"]}}}, "targeting.gender", Rule(exclude=("O",)), ""),
    ("ad_group",   {"targeting": {"keys": {"t": ["red", 5, [1, 2.5]]}}}, "targeting.keys",
                                                            {"t": Rule(include=("red", 5, (1, 2.5)))}, ""),
    ("advertiser", {"domain": "Example.COM"},               "domain",                "example.com",     "hosts have no case"),
    ("creative",   {},                                      "secure",                True,              ""),
    ("creative",   {"landing_url": "https://a.b/?c={click_url_encoded}"}, "landing_url",
                                                            "https://a.b/?c={click_url_encoded}", "macros"),
    ("creative",   {"landing_url": "HTTP://[::1]:8080"},    "landing_url",           "HTTP://[::1]:8080", ""),
    ("creative",   {"format": "video", "markup": VAST, "width": None, "height": None}, "width", None, "optional"),
    ("creative",   {"format": "video", "markup": VAST},     "height",                50,                ""),
    ("placement",  {"sizes": ["320x50", "300x250"]},        "sizes",                 ((320, 50), (300, 250)), ""),
    ("placement",  {"floor_cpm": 0.5},                      "floor_micros",          500_000,           ""),
    ("placement",  {},                                      "prior_ctr",             None,              "ADJUDGE_PRIOR_CTR at use"),
    ("placement",  {"separation": ["creative", "category"]}, "separation",           ("creative", "category"), ""),
]

NOT_ENFORCED: list[tuple[Kind, dict[str, Any], tuple[str, ...], str]] = [
    ("campaign",  {},                                           (),                  "even, but nobody asked for it"),
    ("campaign",  {"pacing": "even"},                           (),                  "that is what happens"),
    ("campaign",  {"pacing": "asap", "frequency_cap": []},      (),                  "that is what happens"),
    ("campaign",  {"prior_cvr": 0.1},                           (),                  "it is where pCVR begins"),
    ("campaign",  {"frequency_cap": [{"count": 1, "per": "day"}], "pacing": "even"}, (), "both hold"),
    ("ad_group",  {"targeting": {"deal": ["d-1"]}},             (),                  ""),
    ("creative",  {"frequency_cap": [{"count": 1, "per": "hour"}]}, (),              "held"),
    ("placement", {"separation": ["creative", "advertiser", "category"]}, (),        ""),
]
# fmt: on


def changed(kind: Kind, change: dict[str, Any]) -> dict[str, Any]:
    """The smallest sound document with a change; `...` takes a field out."""
    return {name: value for name, value in (SMALLEST[kind] | change).items() if value is not ...}


@pytest.mark.parametrize(("kind", "change", "field", "code", "why"), REFUSED)
def test_refused(kind: Kind, change: dict[str, Any], field: str, code: str, why: str) -> None:
    with pytest.raises(Refused) as caught:
        parse(kind, changed(kind, change), "UTC")
    assert [(error.field, error.code) for error in caught.value.errors] == [(field, code)], why
    assert caught.value.field == field
    assert caught.value.code == "invalid"


@pytest.mark.parametrize(("kind", "change", "field", "becomes", "why"), TAKEN)
def test_taken(kind: Kind, change: dict[str, Any], field: str, becomes: Any, why: str) -> None:
    value: Any = parse(kind, changed(kind, change), "Europe/Paris").thing
    for name in field.split("."):
        value = getattr(value, name)
    assert value == becomes, why


@pytest.mark.parametrize(("kind", "change", "fields", "why"), NOT_ENFORCED)
def test_not_enforced(kind: Kind, change: dict[str, Any], fields: tuple[str, ...], why: str) -> None:
    assert parse(kind, changed(kind, change), "UTC").not_enforced == fields, why


def test_the_documented_examples_are_taken() -> None:
    documents = [decode(line.encode()) for line in DOCUMENTED.strip().splitlines()]
    things = [parse(document["type"], document, "UTC").thing for document in documents]
    assert [document["id"] for document in documents] == [thing.id for thing in things]
    campaign, group, creative, placement = things[1], things[2], things[3], things[5]
    assert isinstance(campaign, Campaign) and campaign.budget_daily_micros == 100_000_000_000
    assert isinstance(group, AdGroup) and group.targeting.segment == Rule(exclude=("s-1",))
    assert isinstance(creative, Creative) and (creative.width, creative.height) == (320, 50)
    assert isinstance(placement, Placement) and placement.floor_micros == 500_000_000


def test_every_wrong_field_is_named_at_once() -> None:
    with pytest.raises(Refused) as caught:
        parse("placement", {"id": "p", "sizes": ["a", "1x1", "b"], "floor_cpm": -1, "x": 1}, "UTC")
    assert [(error.field, error.code) for error in caught.value.errors] == [
        ("publisher_id", "required"),
        ("sizes[0]", "pattern"),
        ("sizes[2]", "pattern"),
        ("floor_cpm", "out_of_range"),
        ("x", "unknown_field"),
    ]
    assert "3 more" not in caught.value.message and "(and 4 more)" in caught.value.message


@pytest.mark.parametrize(
    ("body", "code", "why"),
    [
        (b"", "not_json", "nothing"),
        (b"{", "not_json", "cut short"),
        (b'{"a": NaN}', "not_json", "no number of JSON"),
        (b'{"a": "\xff"}', "not_json", "no UTF-8"),
        (b"{} {}", "not_json", "two documents"),
        (b'{"a": 1e999}', "invalid", "JSON, but no number we can hold"),
        (b"[" * 100_000, "invalid", "deeper than any document"),
    ],
)
def test_bodies_that_cannot_be_read(body: bytes, code: str, why: str) -> None:
    with pytest.raises(Refused) as caught:
        decode(body)
    assert caught.value.code == code, why


@pytest.mark.parametrize("document", [[], "x", 5, None, True])
def test_a_document_is_an_object(document: object) -> None:
    with pytest.raises(Refused) as caught:
        parse("advertiser", document, "UTC")
    assert [error.code for error in caught.value.errors] == ["not_an_object"]
