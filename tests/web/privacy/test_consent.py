"""Consent at the door of POST /v1/ads: what is withheld, what stays, and what the answer says of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.domain.requests import AdRequest
from app.web.ads_in import read_ads
from app.web.privacy.signals import personal_of
from tests.web.openrtb.bodies import read
from tests.web.openrtb.test_privacy import GOOD
from tests.web.privacy.test_gpp import national

USER = {"id": "u-1", "gender": "F", "age": 27, "region": "KR-11", "interests": ["travel"]}


def asked(consent: dict[str, Any] | None, user: dict[str, Any] | None = USER) -> AdRequest:
    body = {"placements": [{"name": "top", "placement_id": "plc-1"}], "user": user, "consent": consent}
    return read_ads(json.dumps(body).encode(), lambda identity: (b"k" * 12, None), admin=False).request


#   consent                                                       withheld       why
TABLE: list[tuple[dict[str, Any] | None, str | None, str]] = [
    (None,                                                        None,          "nothing said"),
    ({},                                                          None,          "nothing said"),
    ({"personal": False},                                         "consent",     "the caller says no"),
    ({"gdpr": True},                                              "gdpr",        "nobody said yes"),
    ({"gdpr": True, "personal": True},                            None,          "the caller's word"),
    ({"gdpr": True, "tcf": GOOD},                                 None,          "a TCF string"),
    ({"gdpr": True, "personal": True, "tcf": "junk"},             "gdpr",        "the stricter"),
    ({"gdpr": True, "personal": False, "tcf": GOOD},              "consent",     "the stricter"),
    ({"coppa": True, "personal": True},                           "coppa",       "a child"),
    ({"dnt": True},                                               "declined",    "do not track"),
    ({"lmt": True},                                               "declined",    "limit ad tracking"),
    ({"us_privacy": "1YYN"},                                      "us_privacy",  "opted out of sale"),
    ({"us_privacy": "1YNN"},                                      None,          "and not"),
    ({"gpp": "DBABLA~" + national(), "gpp_sid": [7]},             None,          "US national"),
    ({"gpp": "DBABLA~" + national(ads=1), "gpp_sid": [7]},        "gpp",         "opted out there"),
    ({"gpp": "DBABLA~" + national(ads=1), "gpp_sid": []},         None,          "not in force"),
    ({"gpp": "DBABLA~" + national(), "gpp_sid": [7, 8]},          "gpp",         "an unknown section"),
]  # fmt: skip


@pytest.mark.parametrize(("consent", "withheld", "why"), TABLE)
def test_what_is_withheld(consent: dict[str, Any] | None, withheld: str | None, why: str) -> None:
    request = asked(consent)
    assert request.withheld == withheld, why
    used = ["id", "gender", "age", "region", "interests"] if withheld is None else ["region"]
    assert personal_of(request) == {"used": used, "withheld": withheld}


def test_of_somebody_withheld_the_country_alone_is_left() -> None:
    person = asked({"personal": False}).person
    assert person is not None and (person.key, person.region, person.age) == (None, "KR", None)
    assert asked({"personal": False}, {"id": "u-1"}).person is None


def test_both_doors_judge_alike() -> None:
    geo = {"geo": {"country": "KOR", "region": "11"}}
    request = read(regs={"gdpr": 1}, user={"id": "u-1", "yob": 1990}, device=geo).request
    assert request.withheld == "gdpr"
    assert request.person == asked({"gdpr": True}).person
