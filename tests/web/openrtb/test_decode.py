"""Reading bodies: what is malformed is refused with its message, everything else is read, however odd.

Method: truth tables, and random damage to a real body's values (hypothesis): a body either is malformed
or becomes a reading; nothing else happens.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.web.openrtb.decode import Malformed, decode
from app.web.openrtb.read import to_ad_request
from app.web.openrtb.wire import Imp
from tests.web.openrtb.bodies import BANNER, NOW_MS, RATES, body, collected, parse


def imp(**fields: Any) -> dict[str, Any]:
    return {"id": "1", "banner": BANNER, **fields}


def banner(**fields: Any) -> dict[str, Any]:
    return imp(banner=fields)


ONE_OF = "No more than one of request.site or request.app or request.dooh can be defined"
RATIO = {"w": 1, "h": 1, "wratio": 1, "hratio": 1, "wmin": 1}
#   body                                                  message
MALFORMED = [
    (b"",                                                 "not JSON"),
    (b"malformed",                                        "not JSON"),
    (b'{"id": "1", "imp": [',                             "not JSON"),
    (b'{"id": "\xff"}',                                   "not JSON"),
    (b'{"id": "1", "imp": ' + b"[" * 50_000,              "not JSON"),
    (b"[]",                                               "not an object"),
    (b"null",                                             "not an object"),
    (b"{}",                                               'request missing required field: "id"'),
    (b'{"id": ""}',                                       'request missing required field: "id"'),
    (b'{"id": "r", "imp": {}}',                           'request.imp[0] missing required field: "id"'),
    (b'{"id": "r"}',                                      "request.imp must contain at least one element."),
    (body([]),                                            "request.imp must contain at least one element."),
    (body(tmax=-1),                                       "request.tmax must be nonnegative. Got -1"),
    (body(site={}, app={}),                               ONE_OF),
    (body(app={}, dooh={}),                               ONE_OF),
    (body(regs={"gdpr": 2}),                              "request.regs.gdpr must be either 0 or 1."),
    (body(regs={"ext": {"gdpr": -1}}),                    "request.regs.gdpr must be either 0 or 1."),
    (body(regs={"gdpr": "yes"}),                          "request.regs.gdpr must be either 0 or 1."),
    (body({"banner": BANNER}),                            'request.imp[0] missing required field: "id"'),
    (body({"id": "1"}),                                   'request.imp[0] must contain at least one of'),
    (body({"id": "1", "banner": None}),                   'request.imp[0] must contain at least one of'),
    (body(banner(w=-1, h=50)),                            "request.imp[0].banner.w must be a positive"),
    (body(banner(w=1, h="-50")),                          "request.imp[0].banner.h must be a positive"),
    (body(banner(format=[{"w": 1, "h": -1}])),            "request.imp[0].banner.format[0].h must be a"),
    (body(banner(format=[{"w": 1, "h": 1}, RATIO])),      "request.imp[0].banner.format[1] should define"),
    (body([imp(), {"id": "2", "video": {"mimes": []}}]),  "request.imp[1].video.mimes must contain at"),
    (body(imp(video={"w": -1})),                          "request.imp[0].video.w must be a positive"),
    (body(imp(native={"request": "request-test"})),       "native.request is not JSON"),
    (body(imp(pmp={"deals": [{"id": "d"}, {"at": 1}]})),  'request.imp[0].pmp.deals[1] missing required'),
    (body([imp(), imp()]),                                'request.imp[0].id and request.imp[1].id are both'),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "message"), MALFORMED)
def test_malformed(raw: bytes, message: str) -> None:
    with pytest.raises(Malformed) as refusal:
        decode(raw)
    assert str(refusal.value).startswith("Invalid request: " + message)


#   body                                                     why it is fine
FINE = [
    (body(tmax=0),                                           "no time is not negative time"),
    (body(unknown={"a": [1]}, at=999),                       "unknown fields and enum values"),
    (body(source="a string", ext=5),                         "nothing of it is read"),
    (body(site={}, app=None),                                "null is absent"),
    (body(regs=None, user=[], device="x"),                   "odd types are absent"),
    (body({"id": "1", "banner": {}}),                        "a banner without a size: no bid, not 400"),
    (body({"id": "1", "native": {}}),                        "a native without a request: likewise"),
    (body({"id": "1", "native": {"request": ""}}),           "an empty one too"),
    (body({"id": "1", "native": {"request": "[]"}}),         "JSON, though no object"),
    (body({"id": "1", "video": {}}),                         "absent mimes are unknown, not empty"),
    (body({"id": "1", "audio": {"mimes": []}}),              "the list speaks of video"),
    (body({"id": 1, "banner": BANNER}, id=7),                "ids as numbers"),
    (body(banner(format=[{"wratio": 1, "hratio": 1}])),      "a ratio alone"),
    (b'\n {"id":"r","imp":[{"id":"1","banner":{}}]} \n',     "white space around"),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "why"), FINE)
def test_fine(raw: bytes, why: str) -> None:
    assert to_ad_request(decode(raw), rates=RATES, currency="KRW", now_ms=NOW_MS).request.request_id, why


def first(given: dict[str, Any]) -> Imp:
    return parse(given).imp[0]


def test_odd_types_are_read_as_what_they_mean() -> None:
    assert first(banner(w="728", h=90.0)).banner == first(banner(w=728, h=90)).banner
    assert first(banner(w=728.9, h="90.0")).banner == first(banner(w=728, h=90)).banner
    assert first(imp(bidfloor="0.5")).bidfloor == 0.5
    assert first(imp(secure=True)).secure == 1
    assert first(imp(tagid=23917)).tagid == "23917"
    assert first(imp(tagid=1e3)).tagid == "1000"
    assert (
        first(imp(video={"mimes": "video/mp4", "api": "7"})).video
        == first(imp(video={"mimes": ["video/mp4"], "api": [7]})).video
    )
    assert first(imp(pmp=[])).pmp is None
    assert first(imp(bidfloor=1e300, tagid=[None])).bidfloor == 0.0
    request = parse(cur="USD", badv=["a.com", None, 5, {}], at=2.0, tmax="100", test="1", device=None)
    assert (request.cur, request.badv, request.tmax, request.test) == (["USD"], ["a.com", "5"], 100, 1)


def test_one_odd_field_leaves_the_others_alone() -> None:
    request = parse(user={"id": 42, "yob": "abc", "data": {"segment": [{"id": 1}, "x"]}, "keywords": "a"})
    assert request.user is not None
    assert (request.user.id, request.user.yob, request.user.keywords) == ("42", 0, "a")
    assert [segment.id for provider in request.user.data for segment in provider.segment] == ["1"]


@pytest.mark.parametrize("path", collected(malformed=True), ids=lambda path: path.name)
def test_every_collected_malformed_body_is_refused(path: Any) -> None:
    with pytest.raises(Malformed):
        decode(path.read_bytes())


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "1", "-1", "2.0", "x", "1e999", "USD", "{}", "\u0000", "가"])
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def paths_of(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """List the way to every value inside a plain one."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return (
        [path, *(way for key, one in inner for way in paths_of(one, (*path, key)))]
        if path
        else [way for key, one in inner for way in paths_of(one, (key,))]
    )


WHOLE: dict[str, Any] = {
    "id": "r-1", "test": 0, "tmax": 100, "cur": ["USD"], "wseat": ["s"], "bcat": ["IAB1"], "badv": ["a.com"],
    "imp": [{"id": "1", "banner": {"w": 1, "h": 1, "format": [{"w": 1, "h": 1}], "mimes": ["a"]},
             "video": {"mimes": ["video/mp4"], "minduration": 5, "rqddurs": [5]}, "bidfloor": 1.5,
             "native": {"request": '{"assets":[{"id":1,"required":1,"title":{"len":5}}]}'},
             "pmp": {"private_auction": 0, "deals": [{"id": "d"}]}, "secure": 1, "tagid": "t", "exp": 5}],
    "site": {"id": "s", "cat": ["IAB1"], "page": "http://p", "publisher": {"id": "p"}},
    "device": {"ua": "u", "sua": {"platform": {"brand": "iOS"}, "mobile": 1}, "geo": {"country": "USA"},
               "devicetype": 4, "os": "iOS", "dnt": 0},
    "user": {"id": "u", "yob": 1980, "gender": "F", "keywords": "a,b", "consent": "C",
             "data": [{"segment": [{"id": "1"}]}], "eids": [{"uids": [{"id": "e"}]}],
             "ext": {"consent": "x"}},
    "regs": {"coppa": 0, "gdpr": 0, "us_privacy": "1YNN", "gpp": "D~1YNN", "gpp_sid": [6],
             "ext": {"gdpr": 0}},
}  # fmt: skip
PATHS = paths_of(WHOLE)


@settings(deadline=None, max_examples=300)
@given(changes=st.lists(st.tuples(st.sampled_from(PATHS), values), min_size=1, max_size=4))
def test_damage_makes_a_body_malformed_or_leaves_it_readable(changes: list[tuple[Any, Any]]) -> None:
    damaged = msgspec.json.decode(msgspec.json.encode(WHOLE))
    for path, value in changes:
        inner = damaged
        for key in path[:-1]:
            inner = inner[key] if isinstance(inner, dict | list) and _has(inner, key) else None
        if isinstance(inner, dict | list) and _has(inner, path[-1]):
            inner[path[-1]] = value
    try:
        request = decode(json.dumps(damaged).encode())  # the standard library takes integers of any size
    except Malformed:
        return
    reading = to_ad_request(request, rates=RATES, currency="KRW", now_ms=NOW_MS)
    assert reading.request.request_id
    for ask in reading.request.asks:
        assert ask.name and ask.demands and 0 <= ask.floor_micros <= 10**15
        assert len(ask.placement_id.encode()) <= 64


def _has(inner: Any, key: Any) -> bool:
    return key in inner if isinstance(inner, dict) else isinstance(key, int) and key < len(inner)
