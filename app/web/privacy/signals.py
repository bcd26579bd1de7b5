"""Whether anything personal of a request may be used: one judgement for both doors. The stricter signal wins.

What is withheld is the person, never the request: an ad is chosen all the same, by place and moment.
"""

from __future__ import annotations

import re
from typing import Any

from msgspec import Struct

from app.domain.requests import AdRequest, Person, used_of
from app.web.privacy import gpp
from app.web.privacy.tcf import purposes

# Store on a device, create a profile for ads, use it to select ads.
PERSONAL_PURPOSES = frozenset({1, 3, 4})
_US_PRIVACY = re.compile(r"1[YN-]{3}", re.IGNORECASE)


class Signals(Struct, frozen=True, kw_only=True):
    """What a request says, wherever it said it. `personal` is the caller's own word, None without one.

    `gpp_sid` are the GPP sections in force; those that name none (0 and below) say nothing.
    """

    declined: bool = False  # do not track, limit ad tracking
    coppa: bool = False
    us_privacy: tuple[str, ...] = ()
    gpp: str = ""
    gpp_sid: tuple[int, ...] = ()
    gdpr: bool = False
    tcf: tuple[str, ...] = ()
    personal: bool | None = None


def withheld_for(signals: Signals) -> str | None:
    """Name the first signal that forbids personal features; None where they are allowed.

    Refused where tracking is declined, a child is addressed, a GPP section is in force that we cannot read or
    that opts out, a sale is opted out of (a malformed us_privacy says nothing), GDPR applies without a
    readable TCF v2 consent to purposes 1, 3 and 4 or the caller's own word, or the caller says no.

    >>> withheld_for(Signals(gdpr=True)), withheld_for(Signals(gdpr=True, personal=True))
    ('gdpr', None)
    """
    if signals.declined:
        return "declined"
    if signals.coppa:
        return "coppa"
    in_force = [section for section in signals.gpp_sid if section > 0]
    found = gpp.sections(signals.gpp) if in_force else {}
    if found is None or not all(_section_allows(section, found.get(section, "")) for section in in_force):
        return "gpp"
    tcf = (*signals.tcf, found[gpp.TCF_EU]) if gpp.TCF_EU in in_force else signals.tcf
    if any(_opted_out(signal) for signal in signals.us_privacy):
        return "us_privacy"
    if (signals.gdpr or gpp.TCF_EU in in_force) and not (_consented(tcf) or (signals.personal and not tcf)):
        return "gdpr"
    return "consent" if signals.personal is False else None


def _section_allows(section: int, text: str) -> bool:
    match section:
        case gpp.TCF_EU:
            return _consented((text,))
        case gpp.US_PRIVACY:
            return _US_PRIVACY.fullmatch(text) is not None and not _opted_out(text)
        case gpp.US_NATIONAL:
            return gpp.us_national_allows(text)
        case _:
            return False


def _opted_out(us_privacy: str) -> bool:
    return _US_PRIVACY.fullmatch(us_privacy) is not None and us_privacy[2] in "Yy"


def _consented(given: tuple[str, ...]) -> bool:
    """Tell whether every TCF string given, and at least one, grants what personal features need."""
    granted = [purposes(text) for text in given]
    return bool(granted) and all(one is not None and one >= PERSONAL_PURPOSES for one in granted)


def impersonal(region: str | None) -> Person | None:
    """Keep what may be known of somebody whose data is withheld: the country, where it was told.

    >>> used_of(impersonal("KR-11")), used_of(impersonal(None))
    (['region'], [])
    """
    return Person(region=region.split("-")[0]) if region else None


def personal_of(request: AdRequest) -> dict[str, Any]:
    """Tell what of the person a decision used, and what signal forbade more.

    >>> personal_of(AdRequest(request_id="r", asks=(), withheld="gdpr"))
    {'used': [], 'withheld': 'gdpr'}
    """
    return {"used": used_of(request.person), "withheld": request.withheld}
