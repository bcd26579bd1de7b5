"""Values that fade: each is kept under a key with the hour in which it was told, and goes when that is old.

What is known of people lives here. It goes a little at each tick, in an order that depends on what is kept
alone, so that a state restored from a snapshot forgets in step with one that never stopped.
"""

from __future__ import annotations

import msgspec

_HOUR_BYTES = 4


class Fading:
    """A map from bytes to bytes whose entries fade by hours.

    Cost    a fraction of a microsecond to ask; some 200 bytes an entry beside its value.

    >>> known = Fading()
    >>> known.put(b"u", 7, b"v")
    >>> known.get(b"u"), known.expire(before_hour=8, limit=10), known.get(b"u")
    (b'v', [b'u'], None)
    """

    def __init__(self) -> None:
        self._known: dict[bytes, bytes] = {}  # the hour, then the value
        self._by_hour: dict[int, list[bytes]] = {}  # keys told in an hour; some have been told again since
        self._leaving: list[bytes] = []  # of the hour that is fading now, the next at the end
        self._leaving_hour = 0

    def __len__(self) -> int:
        return len(self._known)

    def put(self, key: bytes, hour: int, value: bytes) -> None:
        """Keep a value, told in an hour (hours since 1970)."""
        stamp = hour.to_bytes(_HOUR_BYTES, "big")
        before = self._known.get(key)
        if before is None or before[:_HOUR_BYTES] != stamp:
            self._by_hour.setdefault(hour, []).append(key)
        self._known[key] = stamp + value

    def get(self, key: bytes) -> bytes | None:
        """Find a value."""
        found = self._known.get(key)
        return None if found is None else found[_HOUR_BYTES:]

    def listed(self) -> list[bytes]:
        """List the keys, in order."""
        return sorted(self._known)

    def hour_of(self, key: bytes) -> int | None:
        """Tell the hour in which a value was told."""
        found = self._known.get(key)
        return None if found is None else int.from_bytes(found[:_HOUR_BYTES], "big")

    def pop(self, key: bytes) -> bytes | None:
        """Forget a value now; tell what it was."""
        found = self._known.pop(key, None)
        return None if found is None else found[_HOUR_BYTES:]

    def expire(self, before_hour: int, limit: int) -> list[bytes]:
        """Forget what was told before an hour, the oldest first, `limit` of it at most; tell their keys.

        Nothing older than the last call's hour may be put afterwards.
        """
        gone: list[bytes] = []
        while len(gone) < limit:
            if self._leaving:
                key = self._leaving.pop()
                if self.hour_of(key) == self._leaving_hour:
                    del self._known[key]
                    gone.append(key)
                continue
            old = [hour for hour in self._by_hour if hour < before_hour]
            if not old:
                break
            self._leaving_hour = min(old)
            self._leaving = sorted(set(self._by_hour.pop(self._leaving_hour)), reverse=True)
        return gone

    def parts(self) -> bytes:
        """Copy everything, in the order of keys."""
        return msgspec.msgpack.encode(sorted(self._known.items()))

    def restore(self, part: bytes) -> None:
        """Take back what `parts` copied."""
        pairs = msgspec.msgpack.decode(part, type=list[tuple[bytes, bytes]])
        for key, stamped in pairs:
            self.put(key, int.from_bytes(stamped[:_HOUR_BYTES], "big"), stamped[_HOUR_BYTES:])

    def check(self) -> None:
        """Hold that everything known is on its way to being forgotten."""
        leaving = {(self._leaving_hour, key) for key in self._leaving}
        leaving.update((hour, key) for hour, keys in self._by_hour.items() for key in keys)
        assert {(self.hour_of(key), key) for key in self._known} <= leaving
