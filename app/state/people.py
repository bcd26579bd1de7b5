"""What is known of people, by the key that stands for each: profiles, and who has acted on what.

Everything here fades: so many hours after it was told it goes, a little at each tick. A person's key changes
with the period; what is known moves over to the new key when that is first seen.
"""

from __future__ import annotations

import msgspec

from app.domain.ids import HOUR_MS
from app.domain.people import Profile
from app.domain.requests import USER_KEY_BYTES
from app.state.fading import Fading

EXPIRED_PER_TICK = 2_000  # entries: about a millisecond
PARTS = ("profiles", "acts", "erased")
_encode = msgspec.msgpack.Encoder().encode
_decode_profile = msgspec.msgpack.Decoder(Profile).decode


class People:
    """Profiles and acts by user key; `erased` remembers who asked to be forgotten, and since when.

    An act is a label such as `click@c-1`; its entry's key is the user's with the label behind.
    """

    def __init__(self) -> None:
        self.profiles = Fading()
        self.acts = Fading()
        self.erased = Fading()
        self._labels: dict[bytes, tuple[str, ...]] = {}

    def profile(self, user: bytes | None) -> Profile | None:
        """Find the profile stored under a key."""
        found = self.profiles.get(user) if user else None
        return None if found is None else _decode_profile(found)

    def acted(self, user: bytes | None) -> tuple[str, ...]:
        """List what a person has done, of what somebody wanted to know."""
        return self._labels.get(user, ()) if user else ()

    def tell(self, user: bytes, at_ms: int, profile: Profile) -> None:
        """Store a profile in place of what was there."""
        self.profiles.put(user, at_ms // HOUR_MS, _encode(profile))

    def act(self, user: bytes, at_ms: int, label: str) -> None:
        """Note that a person did something."""
        self.acts.put(user + label.encode(), at_ms // HOUR_MS, b"")
        known = self._labels.get(user, ())
        if label not in known:
            self._labels[user] = tuple(sorted((*known, label)))

    def forget(self, user: bytes, at_ms: int) -> None:
        """Erase what is known under a key; what was served to it before is nobody's from here on."""
        self.profiles.pop(user)
        for label in self._labels.pop(user, ()):
            self.acts.pop(user + label.encode())
        self.erased.put(user, at_ms // HOUR_MS, at_ms.to_bytes(8, "big"))

    def is_erased(self, user: bytes, issued_at_ms: int) -> bool:
        """Say whether a person asked to be forgotten after an ad was served to them."""
        since = self.erased.get(user)
        return since is not None and issued_at_ms <= int.from_bytes(since, "big")

    def rekey(self, former: bytes, user: bytes, before_hour: int) -> None:
        """Move what is known under a former key to the present one; what that has already wins."""
        hour, found = self.profiles.hour_of(former), self.profiles.pop(former)
        kept = hour is not None and found is not None and hour >= before_hour
        if kept and self.profiles.get(user) is None:
            self.profiles.put(user, hour or 0, found or b"")
        for label in self._labels.pop(former, ()):
            hour = self.acts.hour_of(former + label.encode())
            self.acts.pop(former + label.encode())
            if hour is not None and hour >= before_hour and label not in self._labels.get(user, ()):
                self.act(user, hour * HOUR_MS, label)

    def expire(self, before_hour: int) -> int:
        """Forget some of what was told before an hour; tell how much."""
        gone = self.acts.expire(before_hour, EXPIRED_PER_TICK)
        for key in gone:
            user, label = key[:USER_KEY_BYTES], key[USER_KEY_BYTES:].decode()
            left = tuple(each for each in self._labels[user] if each != label)
            if left:
                self._labels[user] = left
            else:
                del self._labels[user]
        profiles = self.profiles.expire(before_hour, EXPIRED_PER_TICK)
        return len(gone) + len(profiles) + len(self.erased.expire(before_hour, EXPIRED_PER_TICK))

    def parts(self) -> dict[str, bytes]:
        """Copy everything known."""
        return {name: getattr(self, name).parts() for name in PARTS}

    def restore(self, parts: dict[str, bytes]) -> None:
        """Take back what `parts` copied."""
        for name, part in parts.items():
            getattr(self, name).restore(part)
        self._labels = {}
        for key in self.acts.listed():
            user, label = key[:USER_KEY_BYTES], key[USER_KEY_BYTES:].decode()
            self._labels[user] = (*self._labels.get(user, ()), label)

    def check(self) -> None:
        """Hold the invariants: everything fades, and every act is listed under who did it."""
        for fading in (self.profiles, self.acts, self.erased):
            fading.check()
        told = {user + label.encode() for user, labels in self._labels.items() for label in labels}
        assert told == set(self.acts.listed())
