"""One canonical line a request: which, how it was answered and how fast; nothing about anybody.

Answers to ads, bids and events are told of by a share, everything else and whatever is refused always. A
flood of refusals is no flood of lines: beyond so many a second they are counted, and the next line says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from random import random
from time import monotonic
from typing import Any

import structlog

from app.flows.randomness import Randomness

LOG = structlog.get_logger()
USUAL = frozenset({"ok", "filled", "no_ad", "bid", "no_bid"})
MOST_A_SECOND = 200  # lines; some 30 us each
_ID = re.compile(rb"[A-Za-z0-9._:-]{1,64}")
_fresh = Randomness()


class RequestLog:
    """Tells the log of requests. `share` is that of the usual answers; `clock_s` never goes back."""

    def __init__(
        self,
        share: float = 0.01,
        most_a_second: int = MOST_A_SECOND,
        clock_s: Callable[[], float] = monotonic,
    ) -> None:
        self.share = share
        self.most_a_second = most_a_second
        self._clock_s = clock_s
        self._second = -1
        self._told = 0
        self._untold = 0

    def wants(self, outcome: str) -> bool:
        """Say whether an answer of a busy door is told of. Cost: 0.1 us."""
        return outcome not in USUAL or random() < self.share

    def tell(self, request_id: bytes, seconds: float, **facts: Any) -> None:
        """Write a request's line, unless there were too many this second."""
        second = int(self._clock_s())
        if second != self._second:
            self._second, self._told = second, 0
        if self._told >= self.most_a_second:
            self._untold += 1
            return
        self._told += 1
        if self._untold:
            facts["untold"], self._untold = self._untold, 0
        LOG.info("request", request_id=request_id.decode(), ms=round(seconds * 1e3, 3), **facts)


def request_id(given: bytes | None) -> bytes:
    """Take a caller's id of a request, where it is one; else make one.

    >>> request_id(b"a-1"), request_id(b"a b") == b"a b", len(request_id(None))
    (b'a-1', False, 16)
    """
    return given if given is not None and _ID.fullmatch(given) else _fresh(8).hex().encode()
