"""The exchange's macros: where we ask for them in notice URLs, and what they were replaced with.

We only place them; the exchange replaces them blindly. One that it left as it is, or emptied, says nothing.

Source  OpenRTB 2.6 section 4.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation

from app.domain.money import MAX_MICROS, MICROS
from app.web.links import AdLinks

_WIN = "?price=${AUCTION_PRICE}"
_LOSS = "?reason=${AUCTION_LOSS}&price=${AUCTION_PRICE}"
_REASON_LETTERS = 64


def nurl(links: AdLinks) -> str:
    """Write the win notice's URL."""
    return links.win_url + _WIN


def burl(links: AdLinks) -> str:
    """Write the billing notice's URL: the impression."""
    return links.billing_url + _WIN


def lurl(links: AdLinks) -> str:
    """Write the loss notice's URL."""
    return links.loss_url + _LOSS


def notice_values(query: Mapping[str, str]) -> tuple[int | None, str | None]:
    """Read price and reason off a notice's query string.

    Units   the price in micros of the currency that was bid in, rounded to the nearest.
    Errors  none: what cannot be read is None.

    >>> notice_values({"price": "1.25", "reason": "102"})
    (1250000, '102')
    >>> notice_values({"price": "${AUCTION_PRICE}", "reason": ""})
    (None, None)
    """
    reason = query.get("reason", "").strip()
    return _price_micros(query.get("price", "")), reason[:_REASON_LETTERS] if _told(reason) else None


def _told(value: str) -> bool:
    return bool(value) and not value.startswith(("${", "%24%7B")) and value != "AUDIT"


def _price_micros(text: str) -> int | None:
    # A price is short; a long text of digits would be a costly number.
    if not text.isascii() or len(text) > 40:
        return None
    try:
        price = Decimal(text.strip())
    except InvalidOperation:
        return None
    if not price.is_finite() or not 0 <= price <= MAX_MICROS // MICROS:
        return None
    return int((price * MICROS).to_integral_value())
