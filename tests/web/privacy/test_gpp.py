"""GPP strings. Goal: what a plain writer wrote is read; what cannot be read allows nothing.

Method: a writer of bits as the specification lists its fields; strings seen in the trade.
"""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.web.privacy.bits import Bits
from app.web.privacy.gpp import sections, us_national_allows

LETTERS = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
TCF = "CPXxRfAPXxRfAAfKABENB-CgAAAAAAAAAAYgAAAAAAAA"


def letters(bits: str) -> str:
    bits += "0" * (-len(bits) % 6)
    return "".join(LETTERS[int(bits[at : at + 6], 2)] for at in range(0, len(bits), 6))


def fibonacci(number: int) -> str:
    """Write a number from 1 on as a sum of Fibonacci numbers, the smallest first, and a one behind."""
    steps = [1, 2]
    while steps[-1] <= number:
        steps.append(steps[-1] + steps[-2])
    bits = ["0"] * len(steps)
    for at in range(len(steps) - 1, -1, -1):
        if steps[at] <= number:
            bits[at], number = "1", number - steps[at]
    return "".join(bits).rstrip("0") + "1"


def header(ids: list[int]) -> str:
    """Write a header of single sections, each as its distance from the one before."""
    steps = [after - before for before, after in zip([0, *ids], ids, strict=False)]
    return letters(f"{3:06b}{1:06b}{len(ids):012b}" + "".join("0" + fibonacci(step) for step in steps))


@given(st.integers(1, 100_000))
def test_fibonacci_numbers(number: int) -> None:
    assert Bits(letters(fibonacci(number))).take_fibonacci() == number


@given(st.sets(st.integers(1, 60), max_size=8))
def test_sections_stand_where_the_header_says(ids: set[int]) -> None:
    ordered = sorted(ids)
    texts = {section: f"text-{section}" for section in ordered}
    assert sections("~".join([header(ordered), *texts.values()])) == texts


#   text                        sections                      why
SEEN: list[tuple[str, dict[int, str] | None, str]] = [
    ("DBABMA~" + TCF,            {2: TCF},                     "TCF EU"),
    ("DBABTA~1YNN",              {6: "1YNN"},                  "US privacy"),
    ("DBACNYA~" + TCF + "~1YNN", {2: TCF, 6: "1YNN"},          "both"),
    ("DBABLA~BVQqAAAAAgA.QA",    {7: "BVQqAAAAAgA.QA"},        "US national"),
    ("DBABMA",                   None,                         "a section short"),
    ("DBABMA~a~b",               None,                         "a section too many"),
    ("CBABMA~a",                 None,                         "another type"),
    ("DCABMA~a",                 None,                         "another version"),
    ("DBAB",                     None,                         "cut off"),
    ("",                         None,                         "empty"),
    ("é~a",                      None,                         "no letters of ours"),
    ("D" * 5_000,                None,                         "far too long"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "found", "why"), SEEN)
def test_strings_of_the_trade(text: str, found: dict[int, str] | None, why: str) -> None:
    assert sections(text) == found, why


def test_a_range_of_sections() -> None:
    head = letters(f"{3:06b}{1:06b}{1:012b}" + "1" + fibonacci(6) + fibonacci(2))
    assert sections(head + "~a~b~c") == {6: "a", 7: "b", 8: "c"}
    endless = letters(f"{3:06b}{1:06b}{1:012b}" + "1" + fibonacci(6) + fibonacci(10**9))
    assert sections(endless + "~a") is None


def national(
    *, version: int = 1, sale: int = 2, sharing: int = 2, ads: int = 2, children: int = 0, consent: int = 0,
    gpc: int | None = None,
) -> str:  # fmt: skip
    kinds, ages = {1: (12, 2), 2: (16, 3)}.get(version, (12, 2))
    fields = [0] * 6 + [sale, sharing, ads] + [0] * kinds + [children] * ages + [consent, 0, 0, 0]
    core = letters(f"{version:06b}" + "".join(f"{field:02b}" for field in fields))
    return core if gpc is None else core + "." + letters(f"01{gpc}")


#   section                        allowed  why
NATIONAL = [
    (national(),                   True,    "opted out of nothing"),
    (national(sale=0, ads=0),      True,    "does not apply"),
    (national(version=2),          True,    "the later layout"),
    (national(sale=1),             False,   "of sale"),
    (national(sharing=1),          False,   "of sharing"),
    (national(ads=1),              False,   "of targeted advertising"),
    (national(version=2, ads=1),   False,   "in the later layout"),
    (national(children=1),         False,   "a known child without consent"),
    (national(children=2),         False,   "a known child all the same"),
    (national(consent=1),          False,   "no consent to personal data"),
    (national(consent=2),          True,    "consent"),
    (national(gpc=1),              False,   "the browser's global control"),
    (national(gpc=0),              True,    "which is off"),
    (national(version=3),          False,   "a layout that we do not know"),
    (national()[:5],               False,   "cut off"),
    ("",                           False,   "not there"),
    ("BVQqAAAAAgA.QA",             True,    "one seen in the trade: two stand for `did not opt out`"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "allowed", "why"), NATIONAL)
def test_the_us_national_section(text: str, allowed: bool, why: str) -> None:
    assert us_national_allows(text) is allowed, why
