"""What shows the ad, from an ad request in our own JSON: as told, by client hints, by the user agent."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from app.flows.agents import Agent, agent_of, browser_of_brands
from app.web.openrtb.places import system_of


class BrandIn(Struct, kw_only=True):
    """A brand of the client hints."""

    brand: Annotated[str, Meta(max_length=256)] = ""


class HintsIn(Struct, kw_only=True):
    """Client hints, as OpenRTB's structured user agent; they win over the user agent."""

    browsers: Annotated[list[BrandIn], Meta(max_length=64)] = []
    platform: BrandIn | None = None
    mobile: bool | Literal[0, 1] | None = None


def agent_in(told: Agent, hints: HintsIn | None, user_agent: str | None) -> Agent:
    """Complete what is told by the hints, and what these leave open by the user agent.

    >>> hints = HintsIn(browsers=[BrandIn(brand="Whale")], mobile=0)
    >>> agent_in(Agent(None, "windows", None), hints, None)
    Agent(device='desktop', os='windows', browser='whale')
    """
    device, system, browser = told
    if hints is not None:
        browser = browser or browser_of_brands(tuple([each.brand for each in hints.browsers]))
        system = system or (system_of(hints.platform.brand) if hints.platform is not None else None)
        if device is None and hints.mobile is not None:
            device = "mobile" if hints.mobile else "desktop"
    if user_agent and not (device and system and browser):
        parsed = agent_of(user_agent)
        device, system, browser = device or parsed.device, system or parsed.os, browser or parsed.browser
    return Agent(device, system, browser)
