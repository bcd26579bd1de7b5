"""Money: micros and decimals are two writings of one amount, and nothing that is not money gets in."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.money import MAX_MICROS, to_decimal, to_micros

AMOUNTS = st.integers(0, MAX_MICROS)


@given(AMOUNTS)
def test_micros_survive_the_way_out_and_back(micros: int) -> None:
    assert to_micros(to_decimal(micros)) == micros
    assert to_micros(str(to_decimal(micros))) == micros


@given(st.integers(-MAX_MICROS, MAX_MICROS))
def test_a_decimal_is_exact_and_without_trailing_zeros(micros: int) -> None:
    amount = to_decimal(micros)
    assert amount * 1_000_000 == micros
    text = str(amount)
    assert "E" not in text
    assert "." not in text or not text.endswith(("0", "."))


@given(AMOUNTS, AMOUNTS)
def test_order_is_kept(one: int, other: int) -> None:
    assert (one < other) == (to_decimal(one) < to_decimal(other))


@given(st.integers(0, 10**9))
def test_a_float_of_six_decimals_means_what_it_shows(micros: int) -> None:
    assert to_micros(micros / 1_000_000) == micros


#   amount                        why it is refused
NOT_MONEY = [
    ("abc",                       "no number"),
    ("",                          "no number"),
    (float("nan"),                "not finite"),
    (float("inf"),                "not finite"),
    ("-1",                        "negative"),
    (Decimal("-0.000001"),        "negative"),
    ("0.0000001",                 "seven decimals"),
    (1e-7,                        "seven decimals, as a float"),
    (str(MAX_MICROS),             "too large"),
    (Decimal(MAX_MICROS + 1) / 1_000_000, "a micro too large"),
]  # fmt: skip


@pytest.mark.parametrize(("amount", "why"), NOT_MONEY)
def test_what_is_not_money_is_refused(amount: Decimal | str | float, why: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        to_micros(amount)


def test_the_largest_amount_is_money() -> None:
    assert to_micros(Decimal(MAX_MICROS) / 1_000_000) == MAX_MICROS
