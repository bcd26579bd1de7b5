"""Keys that stand for people: a keyed hash of the caller's id, with a secret that lives for one period.

The doors turn an id into its key before anything is written down; nothing behind them ever sees the id. When
a period ends its secret draws no new keys, and when it is deleted nobody can tell any more whose the old keys
were. So that what is known of a person outlives the change, an id has two keys for the length of the overlap:
the period's own and the former one, by which the state finds it and moves it over.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

from app.domain.ids import DAY_MS
from app.flows.hashing import key_of

SECRET_BYTES = 32


class Period(NamedTuple):
    """When a secret began to draw keys, and the secret. It ends where the next one begins."""

    from_ms: int
    secret: bytes


class UserKeys:
    """The periods that are still kept, oldest first; there is always one.

    Units   `period_days`: after so long a new secret is drawn; `keep_days`: so long after its end a secret
            is deleted, and that long (or to the end of the next period) former keys are given out.
    """

    def __init__(
        self,
        periods: Sequence[Period],
        *,
        period_days: int = 30,
        keep_days: int = 30,
        save: Callable[[Sequence[Period]], None] = lambda periods: None,
    ) -> None:
        assert periods, "there is always a present secret"
        self.periods = list(periods)
        self.period_ms = period_days * DAY_MS
        self.keep_ms = keep_days * DAY_MS
        self._save = save

    @classmethod
    def fresh(cls) -> UserKeys:
        """Draw a first secret that is stored nowhere."""
        return cls([Period(0, os.urandom(SECRET_BYTES))])

    def of(self, identity: str | None, now_ms: int) -> tuple[bytes | None, bytes | None]:
        """Turn an id into its key and, within the overlap, the key it had in the period before.

        Cost    about a microsecond for each; an empty id is nobody's.
        """
        if not identity:
            return None, None
        at = self._at(now_ms)
        present = self.periods[at]
        former = at > 0 and now_ms < present.from_ms + self.keep_ms
        return _key(present, identity), _key(self.periods[at - 1], identity) if former else None

    def present(self, now_ms: int) -> Period:
        """Tell the period that draws keys now."""
        return self.periods[self._at(now_ms)]

    def _at(self, now_ms: int) -> int:
        at = len(self.periods) - 1  # nearly always
        while at and self.periods[at].from_ms > now_ms:
            at -= 1
        return at

    def all_of(self, identity: str) -> tuple[bytes, ...]:
        """List every key under which something may be known of an id, the newest first."""
        return tuple(_key(period, identity) for period in reversed(self.periods))

    def due(self, now_ms: int) -> bool:
        """Say whether a secret is to be drawn or deleted."""
        return now_ms >= self.periods[0].from_ms + self.period_ms and self._renewed(now_ms) != self.periods

    def renew(self, now_ms: int) -> None:
        """Draw a secret when the newest has had its time, delete those that have been over for long.

        Saved before it is used. Blocks for the disk: once a period, and never on the loop.
        """
        renewed = self._renewed(now_ms)
        if renewed != self.periods:
            last = renewed[-1]
            if last not in self.periods:
                renewed[-1] = Period(last.from_ms, os.urandom(SECRET_BYTES))
            self._save(renewed)
            self.periods = renewed

    def _renewed(self, now_ms: int) -> list[Period]:
        """Lay out the periods as they should be; a new one comes with an empty secret."""
        periods = list(self.periods)
        if now_ms >= periods[-1].from_ms + self.period_ms:
            periods.append(Period(now_ms, b""))
        ends_ms = [following.from_ms for following in periods[1:]]
        gone = sum(end_ms + self.keep_ms <= now_ms for end_ms in ends_ms)
        return periods[gone:]


def _key(period: Period, identity: str) -> bytes:
    return key_of(period.secret, identity.encode(errors="surrogatepass"))


def read_periods(text: str) -> list[Period]:
    """Read what `write_periods` wrote.

    >>> read_periods("5 " + "00" * 32)[0].from_ms
    5
    """
    lines = (line.split() for line in text.splitlines() if line.strip())
    return sorted(Period(int(from_ms), bytes.fromhex(secret)) for from_ms, secret in lines)


def write_periods(periods: Sequence[Period]) -> str:
    """Write periods as lines of text, each its beginning and its secret in hexadecimal digits."""
    return "".join(f"{period.from_ms} {period.secret.hex()}\n" for period in periods)
