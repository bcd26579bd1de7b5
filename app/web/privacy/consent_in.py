"""`consent` of an ad request in our own JSON, and how its signals are read."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from app.web.privacy.signals import Signals

Consent = Annotated[str, Meta(max_length=8192)]


class ConsentIn(Struct, kw_only=True):
    """Whether personal features may be used; where GDPR applies they need saying so, or a TCF string.

    The strings are those of OpenRTB: `tcf` a TCF v2 string, `gpp` with the sections in force, `us_privacy`.
    """

    gdpr: bool = False
    personal: bool | None = None
    tcf: Consent = ""
    gpp: Consent = ""
    gpp_sid: Annotated[list[int], Meta(max_length=64)] = []
    us_privacy: Annotated[str, Meta(max_length=256)] = ""
    coppa: bool = False
    dnt: bool = False
    lmt: bool = False

    def signals(self) -> Signals:
        """Write them as the judgement reads them."""
        return Signals(
            declined=self.dnt or self.lmt, coppa=self.coppa, us_privacy=(self.us_privacy,), gpp=self.gpp,
            gpp_sid=tuple(self.gpp_sid), gdpr=self.gdpr, tcf=(self.tcf,) if self.tcf else (),
            personal=self.personal,
        )  # fmt: skip
