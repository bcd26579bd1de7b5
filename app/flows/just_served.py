"""What was served to whom a moment ago, impression still to come: closes the gap in which a cap was passed.

A memory of this node alone and of no account: what it knows goes into each request before it is decided,
and so into the decision's record. What is served is forgotten when its impression is counted, or after the
memory's time. Two dictionaries of bytes, the younger and the older half: nothing that a collector must walk.
"""

from __future__ import annotations

import struct

from app.domain.lines import Line, Shown, key_of

KEY_BYTES = 10  # of an ad's key, its end: enough to tell a person's ads apart
_RECORD = struct.Struct(f"<qi{KEY_BYTES}s")  # when it is forgotten, the ad's place, its key
MOST = 200_000  # persons in each half; beyond it the memory is shorter


class JustServed:
    """Ads given out, by the key of the person they were given to. Units: `memory_ms`."""

    def __init__(self, memory_ms: int = 60_000) -> None:
        self.memory_ms = memory_ms
        self._young: dict[bytes, bytes] = {}
        self._old: dict[bytes, bytes] = {}
        self._turned_ms = 0

    def remember(self, user: bytes, ad_key: bytes, place: int, now_ms: int) -> None:
        """Take note of an ad that a person was just given."""
        if now_ms - self._turned_ms >= self.memory_ms or len(self._young) >= MOST:
            self._old = self._young if now_ms - self._turned_ms < 2 * self.memory_ms else {}
            self._young, self._turned_ms = {}, now_ms
        record = _RECORD.pack(now_ms + self.memory_ms, place, ad_key[-KEY_BYTES:])
        self._young[user] = self._young.get(user, b"") + record

    def of(self, keys: tuple[bytes, ...], now_ms: int) -> tuple[int, ...]:
        """Tell the places of the ads that a person was just given; one given twice stands there twice."""
        known = b""
        for key in keys:
            known += self._old.get(key, b"") + self._young.get(key, b"")
        if not known:
            return ()
        return tuple(place for until_ms, place, _ in _RECORD.iter_unpack(known) if until_ms > now_ms)

    def applied(self, line: Line) -> None:
        """Forget an ad whose impression was applied: the state knows it now."""
        if isinstance(line, Shown) and line.ad.user:
            for half in (self._young, self._old):
                known = half.get(line.ad.user)
                if known:
                    half[line.ad.user] = _without(known, key_of(line.ad)[-KEY_BYTES:])


def _without(known: bytes, short: bytes) -> bytes:
    records = (known[at : at + _RECORD.size] for at in range(0, len(known), _RECORD.size))
    return b"".join(record for record in records if not record.endswith(short))
