"""Clients held against lists: which agents and addresses are found, and that no address can be read back.

The tables are the people and robots that somebody once argued about.
"""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.ids import DAY_MS
from app.flows.clients import Clients, Networks, read_bots, read_networks

SAFARI = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148"
CHROME = "Mozilla/5.0 (Linux; Android 14; SM-S911N) AppleWebKit/537.36 Chrome/131.0 Mobile Safari/537.36"

#   user agent                                                              flaw           why
AGENTS: list[tuple[str | None, str, str]] = [
    (SAFARI, "", "a telephone"),
    (CHROME, "", "another"),
    (CHROME.replace("SM-S911N", "CUBOT X18"), "", "a telephone that is called like a robot"),
    ("Dalvik/2.1.0 (Linux; U; Android 9)", "", "an app's own client on a telephone"),
    ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "bot", "says so"),
    (
        "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/131.0 Safari/537.36",
        "bot",
        "headless",
    ),
    ("Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)", "bot", "from the list"),
    ("curl/8.5.0", "bot", "a command"),
    ("python-requests/2.31", "bot", "a program"),
    ("Kiosk/7 CFNetwork/1490.0.4 Darwin/23.2.0", "", "an app on a phone"),
    ("AppleCoreMedia/1.0.0.21J354 (Apple TV; U; CPU OS 17_2 like Mac OS X)", "", "a player"),
    ("MyTracker 1.0", "non_browser", "nothing that a person looks at pages with"),
    ("", "non_browser", "a browser says what it is"),
    (None, "", "not told: held against nobody"),
]


@pytest.mark.parametrize(("agent", "flaw", "why"), AGENTS)
def test_agents(agent: str | None, flaw: str, why: str) -> None:
    assert Clients().sender(None, agent, 0, direct=True).flaw == flaw, why


def test_the_operator_has_lists_of_their_own() -> None:
    clients = Clients(bots=["^Evil"], data_centres=["203.0.113.0/24", "2001:db8:1::/48"])
    assert clients.sender(None, "Evil/1", 0, direct=True).flaw == "bot"
    assert clients.sender(None, "curl/8", 0, direct=True).flaw == "non_browser", "no longer on the list"
    for ip in ("203.0.113.9", "2001:db8:1::5", "::ffff:203.0.113.9", "[2001:db8:1::5]"):
        assert clients.sender(ip, SAFARI, 0, direct=True).flaw == "data_centre", ip
    assert clients.sender("8.8.8.8", SAFARI, 0, direct=True).flaw == ""
    assert clients.sender("203.0.113.9", "Evil/1", 0, direct=True).flaw == "bot", "the first that is found"


#   one            other            the same source, and why
SOURCES = [
    ("8.8.8.8", "8.8.8.8", True, "one address"),
    ("8.8.8.8", "8.8.4.4", False, "two addresses"),
    ("8.8.8.8", "::ffff:8.8.8.8", True, "the same, written for IPv6"),
    ("2a00::1:2:3:4", "2a00::5:6:7:8", True, "one household: the lower half is the device's choice"),
    ("2a00:0:0:1::1", "2a00:0:0:2::1", False, "two households"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other", "same", "why"), SOURCES)
def test_sources(one: str, other: str, same: bool, why: str) -> None:
    clients = Clients()
    keys = [clients.sender(ip, None, 5, direct=True).source for ip in (one, other)]
    assert (keys[0] == keys[1]) is same, why
    assert all(len(key) == 8 for key in keys)


@pytest.mark.parametrize("ip", ["127.0.0.1", "10.1.2.3", "::1", "fe80::1", "unix", "", "8.8.8.8.8", None])
def test_addresses_that_tell_nothing_have_no_source(ip: str | None) -> None:
    assert Clients().sender(ip, None, 0, direct=True).source == b""


def test_a_source_is_of_its_day_and_of_its_secret() -> None:
    clients = Clients()
    keys = {clients.sender("8.8.8.8", None, day * DAY_MS, direct=True).source for day in range(3)}
    keys.add(Clients().sender("8.8.8.8", None, 0, direct=True).source)
    assert len(keys) == 4


def test_a_forwarded_address_is_believed_of_trusted_proxies_alone() -> None:
    clients = Clients(proxies=["10.0.0.0/8", "2001:db8::/32"])
    assert clients.address_of("10.0.0.1", "8.8.8.8") == "8.8.8.8"
    assert clients.address_of("9.9.9.9", "8.8.8.8") == "9.9.9.9", "whoever asks may claim anything"
    assert clients.address_of("10.0.0.1", "1.1.1.1, 8.8.8.8, 10.0.0.2") == "8.8.8.8", "the last that is none"
    assert clients.address_of("10.0.0.1", "not an address") == "not an address"
    assert clients.address_of("10.0.0.1", "") == "10.0.0.1"
    assert clients.address_of("10.0.0.1", "10.0.0.3, 10.0.0.2") == "10.0.0.3"


@given(
    st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(8, 32)), max_size=20), st.integers(0, 2**32 - 1)
)
def test_networks_against_looking_at_each(spans: list[tuple[int, int]], asked: int) -> None:
    networks = [(number >> (32 - bits) << (32 - bits), bits) for number, bits in spans]
    for address in (
        asked,
        *(number for number, _ in networks),
        *(number - 1 for number, _ in networks if number),
    ):
        inside = any(address >> (32 - bits) == number >> (32 - bits) for number, bits in networks)
        written = Networks(f"{ip_address(number)}/{bits}" for number, bits in networks)
        assert (ip_address(address) in written) is inside


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_text("# clouds\n192.0.2.0/24  # one\n\n2001:db8::/32\n")
    assert read_networks(path) == ["192.0.2.0/24", "2001:db8::/32"]
    path.write_text("192.0.2.0/24\n192.0.2.0/99\n")
    with pytest.raises(ValueError, match="line 2"):
        read_networks(path)
    path.write_text('[{"pattern": "Evil"}, {"pattern": "Worse"}]')
    assert read_bots(path) == ["Evil", "Worse"]
    path.write_text("# robots\n^Evil\n\nWorse\n")
    assert read_bots(path) == ["^Evil", "Worse"]
    path.write_text("(\n")
    with pytest.raises(ValueError, match=r"\("):
        read_bots(path)
