"""Who reports an event: the lists that a door holds clients against, and keys that stand for addresses.

An address is never kept: lines get a keyed hash of it, by a secret that is drawn anew each UTC day and lives
in memory alone, so that nobody can say later whose it was. Agents and addresses are looked up once and
remembered, since the same few come again and again.
"""

from __future__ import annotations

import json
import os
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from hashlib import blake2b
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import Any, cast

from app.domain.ids import DAY_MS
from app.domain.lines import Sender

SOURCE_BYTES = 8
REMEMBERED = 65_536
MAX_AGENT = 512
# What every browser since 1998 begins with, and what television sets, consoles, apps and players put there.
_BROWSER = re.compile(
    r"(?:Mozilla|Chrome|Opera|Dalvik|HbbTV|Roku|AppleCoreMedia|stagefright|ExoPlayer|VLC)\b"
    r"|.* (?:CFNetwork|ExoPlayerLib|AndroidXMedia3)/\d"
)
# The usual suspects, before some thirty expressions of the list are tried.
_PLAIN_BOT = re.compile(
    r"(?i:googlebot|bingbot|crawler|spider|headless|slurp)|^(?:curl|Wget|python-|Go-http)"
)
Address = IPv4Address | IPv6Address


class Networks:
    """A set of networks; asks whether an address belongs to any of them.

    >>> cloud = Networks(["192.0.2.0/24", "2001:db8::/32"])
    >>> [ip_address(text) in cloud for text in ("192.0.2.77", "192.0.3.1", "2001:db8::1")]
    [True, False, True]
    """

    def __init__(self, networks: Iterable[str]) -> None:
        spans: dict[int, list[tuple[int, int]]] = {4: [], 6: []}
        for text in networks:
            network = ip_network(text.strip(), strict=False)
            first, last = int(network.network_address), int(network.broadcast_address)
            spans[network.version].append((first, last))
        self._starts: dict[int, list[int]] = {}
        self._ends: dict[int, list[int]] = {}
        for version, found in spans.items():
            merged: list[list[int]] = []
            for first, last in sorted(found):
                if merged and first <= merged[-1][1] + 1:
                    merged[-1][1] = max(merged[-1][1], last)
                else:
                    merged.append([first, last])
            self._starts[version] = [first for first, _ in merged]
            self._ends[version] = [last for _, last in merged]

    def __contains__(self, address: Address) -> bool:
        at = bisect_right(self._starts[address.version], int(address)) - 1
        return at >= 0 and int(address) <= self._ends[address.version][at]


class Clients:
    """Judges clients by lists, and names their addresses by a key of the day.

    `bots` are regular expressions, found anywhere in a user agent; None takes those of crawler-user-agents.
    `proxies` are the networks whose `X-Forwarded-For` and `X-Device-…` are believed.
    """

    def __init__(
        self,
        *,
        bots: Sequence[str] | None = None,
        data_centres: Iterable[str] = (),
        proxies: Iterable[str] = (),
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._patterns = None if bots is None else [re.compile(pattern) for pattern in bots]
        self._data_centres = Networks(data_centres)
        self._proxies = Networks(proxies)
        self._random_bytes = random_bytes
        self._day, self._secret = -1, b""
        self._agent_flaw = lru_cache(REMEMBERED)(self._judge_agent)
        self._address = lru_cache(REMEMBERED)(self._look_up)

    def sender(self, ip: str | None, user_agent: str | None, now_ms: int, *, direct: bool) -> Sender:
        """Say who reports; what is None was not told and is not held against anybody.

        Cost    about 2 us when agent and address were seen before, some 120 us when the agent was not.
        """
        flaw = "" if user_agent is None else self._agent_flaw(user_agent)
        packed, hosted = (b"", False) if not ip else self._address(ip)
        if hosted and not flaw:
            flaw = "data_centre"
        return Sender(flaw, self._key(packed, now_ms) if packed else b"", direct)

    def flaw(self, ip: str | None, user_agent: str | None) -> str:
        """Say what is wrong with a device that somebody names; what is None was not told.

        Cost    about a microsecond when both were seen before.
        """
        found = self._agent_flaw(user_agent) if user_agent else ""
        return found or ("data_centre" if ip and self._address(ip)[1] else "")

    def address_of(self, peer: str, forwarded: str) -> str:
        """Find a client's address: the peer, or behind trusted proxies the last hop that is none of them.

        >>> Clients(proxies=["10.0.0.0/8"]).address_of("10.0.0.1", "6.6.6.6, 203.0.113.9, 10.0.0.7")
        '203.0.113.9'
        >>> Clients().address_of("198.51.100.2", "203.0.113.9")
        '198.51.100.2'
        """
        hops = [peer, *reversed([hop.strip() for hop in forwarded.split(",")])] if forwarded else [peer]
        return next((hop for hop in hops if not self.trusts(hop)), hops[-1])

    def trusts(self, ip: str) -> bool:
        """Say whether an address is one of the trusted proxies'.

        >>> Clients(proxies=["10.0.0.0/8"]).trusts("10.0.0.1"), Clients().trusts("127.0.0.1")
        (True, False)
        """
        address = _parsed(ip)
        return address is not None and address in self._proxies

    def _judge_agent(self, user_agent: str) -> str:
        """Name what is wrong with an agent; empty where nothing is."""
        text = user_agent[:MAX_AGENT]
        if self._is_bot(text):
            return "bot"
        return "" if _BROWSER.match(text) else "non_browser"

    def _is_bot(self, text: str) -> bool:
        if self._patterns is not None:
            return any(pattern.search(text) for pattern in self._patterns)
        if _PLAIN_BOT.search(text):
            return True
        import crawleruseragents  # it reads its list when it is imported: only where the list is used

        return cast(bool, crawleruseragents.is_crawler(text))

    def _look_up(self, ip: str) -> tuple[bytes, bool]:
        """Read an address as its bytes, and say whether it is hosted; no bytes for one that tells nothing."""
        address = _parsed(ip)
        if address is None:
            return b"", False
        hosted = address in self._data_centres
        if not address.is_global and not hosted:
            return b"", False  # a proxy that nobody declared, or a test: not one person's
        # Of IPv6 the network of the household: each device changes the rest at will.
        return (address.packed if address.version == 4 else address.packed[:8]), hosted

    def _key(self, packed: bytes, now_ms: int) -> bytes:
        day = now_ms // DAY_MS
        if day != self._day:
            self._day, self._secret = day, self._random_bytes(32)
        return blake2b(packed, digest_size=SOURCE_BYTES, key=self._secret).digest()


def _parsed(ip: str) -> Address | None:
    try:
        address = ip_address(ip.strip().strip("[]"))
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def read_networks(path: Path) -> list[str]:
    """Read a file of networks: one CIDR a line, what follows a `#` is a remark.

    Errors  ValueError naming the line.
    """
    found: list[str] = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        text = line.partition("#")[0].strip()
        if text:
            try:
                ip_network(text, strict=False)
            except ValueError as error:
                raise ValueError(f"{path.name}, line {number}: {error}") from error
            found.append(text)
    return found


def read_bots(path: Path) -> list[str]:
    """Read a file of robots: crawler-user-agents' JSON, or one regular expression a line.

    Errors  ValueError naming what cannot be read.
    """
    text = path.read_text()
    patterns: list[str]
    if text.lstrip().startswith("["):
        listed: Any = json.loads(text)
        patterns = [one["pattern"] for one in listed]
    else:
        patterns = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"{path.name}: {pattern}: {error}") from error
    return patterns
