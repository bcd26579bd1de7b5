"""Where a bid request says what may be used of a person: in 2.6's places and in those of 2.5."""

from __future__ import annotations

from app.web.openrtb.wire import BidRequest
from app.web.privacy.signals import Signals, withheld_for


def withheld(request: BidRequest) -> str | None:
    """Name the signal that forbids personal features; None where they are allowed."""
    device, regs, user = request.device, request.regs, request.user
    declined = device is not None and (device.dnt == 1 or device.lmt == 1)
    if regs is None:
        return "declined" if declined else None
    ext = regs.ext
    consents = (user.consent, user.ext.consent if user.ext is not None else "") if user is not None else ()
    return withheld_for(
        Signals(
            declined=declined,
            coppa=regs.coppa == 1,
            us_privacy=(regs.us_privacy, ext.us_privacy if ext is not None else ""),
            gpp=regs.gpp or (ext.gpp if ext is not None else ""),
            gpp_sid=tuple(regs.gpp_sid or (ext.gpp_sid if ext is not None else ())),
            gdpr=regs.gdpr == 1 or (ext is not None and ext.gdpr == 1),
            tcf=tuple(text for text in consents if text),
        )
    )
