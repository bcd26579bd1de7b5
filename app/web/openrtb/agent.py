"""What shows the ad, as a bid request tells it: the device's own fields, client hints, the user agent."""

from __future__ import annotations

from collections.abc import Callable

from app.flows.agents import Agent, browser_of_brands
from app.web.openrtb.places import device_of, system_of
from app.web.openrtb.wire import Device

UaParse = Callable[[str], Agent]
NO_AGENT = Agent(None, None, None)
_MAX_BRANDS = 64


def agent_told(device: Device, ua_parse: UaParse | None) -> Agent:
    """Name device, os and browser: as told; else by the client hints; else by the user agent.

    Without `ua_parse` the user agent is not asked.
    """
    kind, system = device_of(device.devicetype), system_of(device.os) if device.os else None
    hints, browser = device.sua, None
    if hints is not None:
        if hints.browsers:
            browser = browser_of_brands(tuple([each.brand for each in hints.browsers[:_MAX_BRANDS]]))
        if system is None and hints.platform is not None:
            system = system_of(hints.platform.brand)
        if kind is None and hints.mobile is not None:
            kind = "mobile" if hints.mobile else "desktop"
    if ua_parse is not None and device.ua and (kind is None or system is None or browser is None):
        parsed = ua_parse(device.ua)
        kind, system, browser = kind or parsed.device, system or parsed.os, browser or parsed.browser
    return Agent(kind, system, browser)
