"""Whether anything personal of a bid request may be used. Signals that conflict: the stricter one wins.

Knows the signals alone: COPPA, do-not-track, GDPR with a TCF string, US privacy, and GPP's section ids.
"""

from __future__ import annotations

import re

from app.web.openrtb.tcf import purposes
from app.web.openrtb.wire import BidRequest, Device, Regs, User

# Store on a device, create a profile for ads, use it to select ads.
PERSONAL_PURPOSES = frozenset({1, 3, 4})
_GPP_TCF_EU, _GPP_US_PRIVACY = 2, 6
_US_PRIVACY = re.compile(r"1[YN-]{3}", re.IGNORECASE)


def personal(request: BidRequest) -> bool:
    """Tell whether personal features are allowed.

    Refused where a child is addressed (coppa), tracking is declined (dnt, lmt), GDPR applies without a
    readable TCF v2 consent to purposes 1, 3 and 4, a sale is opted out of (us_privacy), or a GPP section
    is in force that we cannot read. A malformed us_privacy says nothing.
    """
    device, regs, user = request.device, request.regs, request.user
    if device is not None and _declined(device):
        return False
    return regs is None or _lawful(regs, user)


def _declined(device: Device) -> bool:
    return device.dnt == 1 or device.lmt == 1


def _lawful(regs: Regs, user: User | None) -> bool:
    if regs.coppa == 1:
        return False
    ext = regs.ext
    sections = regs.gpp_sid or (ext.gpp_sid if ext else [])
    gpp = regs.gpp or (ext.gpp if ext else "")
    us_privacy = [regs.us_privacy, ext.us_privacy if ext else ""]
    parts = gpp.split("~")[1:] if sections else []
    if _GPP_US_PRIVACY in sections:
        readable = [part for part in parts if _US_PRIVACY.fullmatch(part)]
        if not readable:
            return False
        us_privacy += readable
    if any(_US_PRIVACY.fullmatch(signal) and signal[2] in "Yy" for signal in us_privacy):
        return False
    if any(section > 0 and section not in (_GPP_TCF_EU, _GPP_US_PRIVACY) for section in sections):
        return False
    if regs.gdpr == 1 or (ext is not None and ext.gdpr == 1) or _GPP_TCF_EU in sections:
        return _consented(user, parts)
    return True


def _consented(user: User | None, gpp_parts: list[str]) -> bool:
    """Tell whether every TCF string given, and at least one, grants what personal features need."""
    given = [part for part in gpp_parts if purposes(part) is not None]
    if user is not None:
        given += [text for text in (user.consent, user.ext.consent if user.ext else "") if text]
    granted = [purposes(text) for text in given]
    return bool(granted) and all(one is not None and one >= PERSONAL_PURPOSES for one in granted)
