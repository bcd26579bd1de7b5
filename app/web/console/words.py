"""How the console writes numbers, money, shares, times and sizes: the filters of its templates."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from markupsafe import Markup, escape

from app.domain.money import MICROS
from app.web.console.figures import Cell, Column, Interval, Link

NOTHING = "–"


def number(value: float | None, decimals: int | None = None) -> str:
    """Write a number with its thousands apart; three significant digits where `decimals` is not told.

    >>> number(1234567), number(0.12345), number(12.345), number(None), number(12.345, 1)
    ('1,234,567', '0.123', '12.3', '–', '12.3')
    """
    if value is None:
        return NOTHING
    if decimals is None:
        size = abs(value)
        decimals = 0 if isinstance(value, int) or size >= 100 or size == 0 else 1 if size >= 10 else 2
        if 0 < size < 1:
            return f"{value:.3g}" if size >= 1e-4 else f"{value:.1e}"
    return f"{value:,.{decimals}f}"


def money(micros: float | None, decimals: int | None = None) -> str:
    """Write an amount in the account currency, its unit told elsewhere.

    >>> money(1_764_705_883), money(2_500_000), money(None)
    ('1,765', '2.50', '–')
    """
    if micros is None:
        return NOTHING
    amount = micros / MICROS
    if decimals is None:
        decimals = 0 if abs(amount) >= 100 or amount == 0 else 2
    return f"{amount:,.{decimals}f}"


def percent(share: float | None, decimals: int | None = None) -> str:
    """Write a share of 1 with the digits that it is worth.

    >>> percent(0.01234), percent(0.5), percent(1), percent(None), percent(0)
    ('1.23\\xa0%', '50.0\\xa0%', '100\\xa0%', '–', '0\\xa0%')
    """
    if share is None:
        return NOTHING
    if decimals is None:
        decimals = 0 if share in {0, 1} else 1 if abs(share) >= 0.1 else 2
    return f"{share * 100:.{decimals}f}\u00a0%"


def size(count: float | None) -> str:
    """Write a number of bytes.

    >>> size(512), size(1_500_000), size(None)
    ('512 B', '1.4 MiB', '–')
    """
    if count is None:
        return NOTHING
    unit = 0
    while abs(count) >= 1024 and unit < 4:
        count, unit = count / 1024, unit + 1
    return f"{count:.{0 if unit == 0 else 1}f} {('B', 'KiB', 'MiB', 'GiB', 'TiB')[unit]}"


def seconds(value: float | None) -> str:
    """Write a stretch of time in the unit that fits.

    >>> seconds(0.0123), seconds(95), seconds(7300), seconds(200_000), seconds(None)
    ('12.3 ms', '1 min 35 s', '2 h 1 min', '2 d 7 h', '–')
    """
    if value is None:
        return NOTHING
    if value < 1:
        return f"{number(value * 1000)} ms"
    if value < 60:
        return f"{number(value)} s"
    whole = int(value)
    for unit, name, below, lesser in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= unit:
            return f"{whole // unit} {name} {whole % unit // below} {lesser}"
    raise AssertionError


def time(at_ms: float | None, zone: str, fixed: bool = False) -> Markup:
    """Write a time as an element; the script turns it to the viewer's zone unless it is `fixed`."""
    if at_ms is None:
        return Markup(NOTHING)
    moment = datetime.fromtimestamp(at_ms / 1000, ZoneInfo(zone))
    told = moment.strftime("%Y-%m-%d %H:%M:%S")
    kind = ' data-fixed=""' if fixed else ""
    return Markup('<time datetime="{}" title="{}"{}>{}</time>').format(
        moment.isoformat(timespec="seconds"), f"{told} {zone}", Markup(kind), told
    )


def cell(value: Cell, column: Column, zone: str) -> Markup | str:
    """Write a cell as its column's kind asks."""
    if isinstance(value, Link):
        return Markup('<a href="{}">{}</a>').format(value.href, value.text)
    if isinstance(value, Interval):
        low, high = (str(cell(part, column, zone)) for part in (value.low, value.high))
        low = low.removesuffix("\u00a0%")
        return Markup('{}\u00a0<span class="interval">({}–{})</span>').format(
            cell(value.value, column, zone), low, high
        )
    if value is None:
        return NOTHING
    if isinstance(value, str):
        return escape(value)
    match column.kind:
        case "money":
            return money(value, column.decimals)
        case "percent":
            return percent(value, column.decimals)
        case "time":
            return time(value, zone)
        case _:
            return number(value, column.decimals)
