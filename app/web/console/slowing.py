"""Slows down whoever guesses keys: each wrong one makes the next answer to that address later."""

from __future__ import annotations

from collections import OrderedDict

FREE = 3  # people mistype
FIRST_S, MOST_S = 0.25, 4.0
ADDRESSES = 1_024


class Slowing:
    """Wrong keys in a row by address, the latest addresses only.

    >>> slowing = Slowing()
    >>> for _ in range(5): slowing.failed("192.0.2.1")
    >>> slowing.wait_s("192.0.2.1"), slowing.wait_s("192.0.2.2")
    (1.0, 0.0)
    """

    def __init__(self) -> None:
        self._failures: OrderedDict[str, int] = OrderedDict()

    def failed(self, address: str) -> None:
        """Note a wrong key."""
        self._failures[address] = self._failures.pop(address, 0) + 1
        if len(self._failures) > ADDRESSES:
            self._failures.popitem(last=False)

    def forget(self, address: str) -> None:
        """Note a right one."""
        self._failures.pop(address, None)

    def wait_s(self, address: str) -> float:
        """Say how long the next answer waits."""
        beyond = self._failures.get(address, 0) - FREE
        return min(MOST_S, FIRST_S * 2.0**beyond) if beyond >= 0 else 0.0
