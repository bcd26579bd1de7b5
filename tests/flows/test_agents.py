"""What shows the ad, from user agents and client hints as they are in the wild."""

from __future__ import annotations

import pytest

from app.flows.agents import Agent, agent_of

_WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
_IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)"
_GALAXY = f"Mozilla/5.0 (Linux; Android 14; SM-S921N) {_WEBKIT}"
_WINDOWS = f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {_WEBKIT}"
#   user agent                                                       device     os         browser
AGENTS = [
    (f"{_WINDOWS} Chrome/126.0.0.0 Safari/537.36",                    "desktop", "windows", "chrome"),
    (f"{_WINDOWS} Chrome/126.0.0.0 Safari/537.36 Edg/126.0.0.0",      "desktop", "windows", "edge"),
    (f"{_WINDOWS} Chrome/126.0.0.0 Whale/3.27.254.15 Safari/537.36",  "desktop", "windows", "whale"),
    ("Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0", "desktop", "linux", "firefox"),
    (f"{_IPHONE} Version/17.5 Mobile/15E148 Safari/604.1",            "mobile",  "ios",     "safari"),
    (f"{_IPHONE} CriOS/126.0.6478.54 Mobile/15E148 Safari/604.1",     "mobile",  "ios",     "chrome"),
    (f"{_GALAXY} Chrome/126.0.0.0 Mobile Safari/537.36",              "mobile",  "android", "chrome"),
    (f"{_GALAXY} SamsungBrowser/25.0 Chrome/121.0.0.0 Mobile Safari/537.36", "mobile", "android", "samsung"),
    (f"{_GALAXY} Version/4.0 Chrome/126.0.0.0 Mobile Safari/537.36 KAKAOTALK/10.8.3 (INAPP)",
                                                                      "mobile",  "android", "kakaotalk"),
    ("curl/8.4.0",                                                    None,      None,      None),
    ("",                                                              None,      None,      None),
]  # fmt: skip


@pytest.mark.parametrize(("text", "device", "system", "browser"), AGENTS)
def test_agents(text: str, device: str | None, system: str | None, browser: str | None) -> None:
    assert agent_of(text) == Agent(device, system, browser)
