"""What may be used of a person: one row per signal people argue about; TCF strings against a plain writer."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.web.privacy.tcf import purposes
from tests.web.openrtb.bodies import read


def tcf(granted: set[int], *, version: int = 2, tail: str = "") -> str:
    """Write a TCF v2 core segment bit by bit, as the specification lists its fields."""
    fields = [
        (version, 6), (16_000_000_000, 36), (16_000_000_000, 36), (31, 12), (1, 12), (1, 6),
        (4, 6), (13, 6), (120, 12), (2, 6), (1, 1), (0, 1), (0, 12),
    ]  # fmt: skip
    bits = "".join(f"{value:0{width}b}" for value, width in fields)
    bits += "".join("1" if number in granted else "0" for number in range(1, 25))
    bits += "0" * 24 + "0" + f"{4:06b}{13:06b}" + f"{10:016b}" + "0" + "0" * 10
    bits += "0" * (-len(bits) % 8)
    data = int(bits, 2).to_bytes(len(bits) // 8, "big")
    return urlsafe_b64encode(data).rstrip(b"=").decode() + tail


@given(granted=st.sets(st.integers(1, 24)), tail=st.sampled_from(["", ".YAAAAAAAAAA", "."]))
def test_purposes_are_read_as_written(granted: set[int], tail: str) -> None:
    assert purposes(tcf(granted, tail=tail)) == frozenset(granted)


GOOD = tcf({1, 2, 3, 4})
REAL = (
    "CO-X2XiO_eyUoAsAxBFRBECsAP_AAH_AAAqIGMgB7CpERSNAYWApAOMAKYhfQAACAGAABAYIASgBQQBAMJQEkGAIMAjAAAAKAAAEACQA"
    "AAAgCAGAAAAAAAAAAQCMAAAAABAAACAAAAASAAAACAAACACSCAAQjAAAAAEAgAAAAAIF5wJwAFgAPAAqABcADIAHAAQAAqABiADQAHkA"
)


NO_TCF = [
    "", "x", "thisisconstentedto", "Y29uc2VudCBkYXRh", tcf({1}, version=1), GOOD[:37], "é" * 60, "=" * 60,
    GOOD[:20] + "!" + GOOD[21:],
]  # fmt: skip


@pytest.mark.parametrize("text", NO_TCF)
def test_what_is_no_tcf_string(text: str) -> None:
    assert purposes(text) is None


def test_a_real_string() -> None:
    assert purposes(REAL) == frozenset(range(1, 11))


#   regs                                       user                         personal  why
TABLE: list[tuple[dict[str, Any], dict[str, Any], bool, str]] = [
    ({},                                       {},                          True,     "nothing said"),
    ({"gdpr": 0},                              {"consent": "junk"},         True,     "GDPR does not apply"),
    ({"gdpr": 1},                              {},                          False,    "no consent string"),
    ({"gdpr": 1},                              {"consent": ""},             False,    "an empty one"),
    ({"gdpr": 1},                              {"consent": "junk"},         False,    "no TCF string"),
    ({"gdpr": 1},                              {"consent": GOOD},           True,     "purposes 1, 3, 4"),
    ({"gdpr": 1},                              {"consent": tcf({1, 3})},    False,    "not 4"),
    ({"gdpr": "1"},                            {},                          False,    "as text"),
    ({"gdpr": True},                           {},                          False,    "as truth"),
    ({"ext": {"gdpr": 1}},                     {},                          False,    "of 2.5"),
    ({"ext": {"gdpr": 1}},                     {"ext": {"consent": GOOD}},  True,     "both of 2.5"),
    ({"gdpr": 0, "ext": {"gdpr": 1}},          {},                          False,    "the stricter"),
    ({"gdpr": 1},           {"consent": GOOD, "ext": {"consent": "junk"}},  False,    "the stricter"),
    ({"coppa": 1},                             {"consent": GOOD},           False,    "a child"),
    ({"us_privacy": "1YNN"},                   {},                          True,     "no opt-out"),
    ({"us_privacy": "1YYN"},                   {},                          False,    "opted out of sale"),
    ({"us_privacy": "1yyn"},                   {},                          False,    "in small letters"),
    ({"us_privacy": "1---"},                   {},                          True,     "does not apply"),
    ({"us_privacy": "xYYYY"},                  {},                          True,     "bad: says nothing"),
    ({"ext": {"us_privacy": "1YYN"}},          {},                          False,    "of 2.5"),
    ({"gpp": "DBABMA~" + GOOD, "gpp_sid": [2]}, {},                         True,     "GPP with TCF"),
    ({"gpp": "DBABMA~junk", "gpp_sid": [2]},   {},                          False,    "unreadable"),
    ({"gpp_sid": [2], "gdpr": 0},              {},                          False,    "the stricter"),
    ({"gpp": "DBABTA~1YNN", "gpp_sid": [6]},   {},                          True,     "GPP's US privacy"),
    ({"gpp": "DBABTA~1YYN", "gpp_sid": [6]},   {},                          False,    "opted out there"),
    ({"gpp": "DBABTA~zz", "gpp_sid": [6]},     {},                          False,    "unreadable"),
    ({"gpp": "D~1YNN", "gpp_sid": [6]},        {},                          False,    "no header of GPP"),
    ({"gpp": "DBABTA~1YNN", "gpp_sid": [2]},   {"consent": GOOD},           False,    "not there"),
    ({"gpp": "DBABMA~" + GOOD, "gpp_sid": [2], "gdpr": 1}, {},              True,     "one consents"),
    ({"gpp": "DBABMA~" + GOOD, "gpp_sid": [2]}, {"consent": "junk"},        False,    "the stricter"),
    ({"gpp": "D~x", "gpp_sid": [7]},           {},                          False,    "unknown section"),
    ({"gpp": "D~1YYN", "gpp_sid": []},         {},                          True,     "no section in force"),
    ({"ext": {"gpp": "D~x", "gpp_sid": [8]}},  {},                          False,    "of 2.5"),
    ({"gpp_sid": [-1]},                        {},                          True,     "no section applies"),
]  # fmt: skip


@pytest.mark.parametrize(("regs", "user", "allowed", "why"), TABLE)
def test_personal(regs: dict[str, Any], user: dict[str, Any], allowed: bool, why: str) -> None:
    person = read(regs=regs, user={"id": "u-1", **user}).request.person
    assert (person is not None) is allowed, why


@pytest.mark.parametrize(
    ("device", "allowed"),
    [({"dnt": 1}, False), ({"lmt": 1}, False), ({"dnt": "1"}, False), ({"dnt": 0, "lmt": 0}, True)],
)
def test_declined_tracking(device: dict[str, Any], allowed: bool) -> None:
    assert (read(device=device, user={"id": "u"}).request.person is not None) is allowed
