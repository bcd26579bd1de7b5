"""Money is an int of micros of the account currency; decimals live only at the doors."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

MICROS = 1_000_000
# Bids, floors and budgets stay under this, so that a sum of a billion of them still fits an int64.
MAX_MICROS = 10**15


def to_micros(amount: Decimal | str | int | float) -> int:
    """Turn a decimal amount into micros.

    Units   amount in account currency; the result in millionths of it.
    Errors  ValueError when it is not finite, is negative, has more than six decimals or is too large.

    >>> to_micros("1764.705883")
    1764705883
    >>> to_micros(0.5)
    500000
    """
    try:
        value = Decimal(str(amount))
    except InvalidOperation as error:
        raise ValueError("not a number") from error
    if not value.is_finite():
        raise ValueError("not a finite number")
    if not 0 <= value <= MAX_MICROS // MICROS:  # before any arithmetic: 1e999999 has none
        raise ValueError(f"must lie between 0 and {MAX_MICROS // MICROS}")
    exponent = value.as_tuple().exponent
    if isinstance(exponent, int) and exponent < -6 and value != round(value, 6):
        raise ValueError("at most six decimals")
    return int(value * MICROS)


def to_decimal(micros: int) -> Decimal:
    """Turn micros into a decimal amount without trailing zeros.

    >>> to_decimal(1764705883), to_decimal(2_000_000_000), to_decimal(-500_000)
    (Decimal('1764.705883'), Decimal('2000'), Decimal('-0.5'))
    """
    whole, rest = divmod(abs(micros), MICROS)
    text = f"{whole}.{rest:06d}".rstrip("0").rstrip(".") if rest else str(whole)
    return Decimal("-" + text if micros < 0 else text)
