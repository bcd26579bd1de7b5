"""GPP strings: the header that says which section stands where, and what section 7 (US national) tells.

Source  IAB Tech Lab, Global Privacy Platform: consent string specification, and US National section.
"""

from __future__ import annotations

from functools import lru_cache

from app.web.privacy.bits import Bits

TCF_EU, US_PRIVACY, US_NATIONAL = 2, 6, 7
MAX_CHARS = 4_096  # of a string; a longer one is not looked at
_TYPE, _VERSION = 3, 1
_MAX_SECTIONS = 64
# Of the US national core, by version: how many kinds of sensitive data, and ages of children, it lists.
_US_LISTS = {1: (12, 2), 2: (16, 3)}
_US_NOTICES = 6
_OPTED_OUT, _NO_CONSENT = 1, 1
_GPC_SEGMENT = 1


@lru_cache(maxsize=16_384)
def sections(text: str) -> dict[int, str] | None:
    """Read a GPP string as its sections by id, or None when it is no such string.

    >>> sections("DBABTA~1YNN")
    {6: '1YNN'}
    """
    if len(text) > MAX_CHARS:
        return None
    header, *parts = text.split("~")
    try:
        ids = _section_ids(Bits(header))
    except ValueError:
        return None
    return dict(zip(ids, parts, strict=True)) if len(ids) == len(parts) else None


def _section_ids(bits: Bits) -> list[int]:
    if bits.take(6) != _TYPE or bits.take(6) != _VERSION:
        raise ValueError("not a GPP header")
    ids: list[int] = []
    last = 0
    for _ in range(bits.take(12)):
        is_range = bits.take(1)
        last = first = last + bits.take_fibonacci()
        if is_range:
            last += bits.take_fibonacci()
        if last > _MAX_SECTIONS * 2 or len(ids) > _MAX_SECTIONS:
            raise ValueError("more sections than there are")
        ids += range(first, last + 1)
    return ids


@lru_cache(maxsize=16_384)
def us_national_allows(section: str) -> bool:
    """Tell whether a US national section lets personal data be used for ads; one that is unreadable does not.

    It does not where sale, sharing or targeted advertising is opted out of, a child is known of, consent to
    the use of personal data is refused, or the browser's global privacy control is on.
    """
    core, *segments = section.split(".")
    try:
        return _core_allows(Bits(core)) and not any(_controlled(Bits(segment)) for segment in segments)
    except ValueError:
        return False


def _core_allows(bits: Bits) -> bool:
    lists = _US_LISTS.get(bits.take(6))
    if lists is None:
        return False
    sensitive, children = lists
    bits.take(2 * _US_NOTICES)
    opt_outs = [bits.take(2) for _ in range(3)]  # sale, sharing, targeted advertising
    bits.take(2 * sensitive)
    ages = [bits.take(2) for _ in range(children)]
    consent = bits.take(2)
    return _OPTED_OUT not in opt_outs and not any(ages) and consent != _NO_CONSENT


def _controlled(bits: Bits) -> bool:
    return bits.take(2) == _GPC_SEGMENT and bits.take(1) == 1
