"""The system's random bytes, drawn a few thousand at a time: one system call per request is too dear."""

from __future__ import annotations

import os


class Randomness:
    """A supply of random bytes, for one thread."""

    def __init__(self, chunk: int = 4_096) -> None:
        self._chunk = chunk
        self._bytes = b""
        self._at = 0

    def __call__(self, count: int) -> bytes:
        """Take so many fresh bytes."""
        if self._at + count > len(self._bytes):
            self._bytes, self._at = os.urandom(max(self._chunk, count)), 0
        self._at += count
        return self._bytes[self._at - count : self._at]
