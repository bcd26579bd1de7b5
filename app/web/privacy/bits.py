"""Consent strings as bits: base64url, six bits a letter, read from the front."""

from __future__ import annotations

import string

_LETTERS = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
_VALUES = {letter: value for value, letter in enumerate(_LETTERS)}


class Bits:
    """A cursor over the bits of a base64url text.

    Errors  ValueError on a letter that is none, and when the bits are over.

    >>> bits = Bits("DB")
    >>> bits.take(6), bits.take(6), bits.left
    (3, 1, 0)
    """

    def __init__(self, text: str) -> None:
        try:
            values = [_VALUES[letter] for letter in text]
        except KeyError as error:
            raise ValueError("not base64url") from error
        self._number = 0
        for value in values:
            self._number = self._number << 6 | value
        self.left = 6 * len(values)

    def take(self, count: int) -> int:
        """Read the next bits as a number, the highest first."""
        if count > self.left:
            raise ValueError("the bits are over")
        self.left -= count
        return self._number >> self.left & ((1 << count) - 1)

    def take_fibonacci(self) -> int:
        """Read a number in Fibonacci coding: it ends with two ones in a row.

        >>> Bits("Y").take_fibonacci()
        2
        """
        low, high, total, last = 1, 2, 0, 0
        while True:
            bit = self.take(1)
            if bit and last:
                return total
            total += low if bit else 0
            low, high, last = high, low + high, bit
