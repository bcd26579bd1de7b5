"""Hashing many ids with a period's secret: pure and light, so that it can run in a worker process."""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from functools import lru_cache

from app.domain.requests import USER_KEY_BYTES

PIECE_BYTES = 1 << 20


def key_of(secret: bytes, identity: bytes) -> bytes:
    """Turn an id into the key that stands for it: the first bytes of its HMAC-SHA256.

    Cost    about a microsecond, a third of `hmac.digest`, which prepares the secret anew each time.

    >>> len(key_of(bytes(32), b"u-1"))
    12
    """
    keyed = _keyed(secret).copy()
    keyed.update(identity)
    return keyed.digest()[:USER_KEY_BYTES]


@lru_cache(maxsize=16)
def _keyed(secret: bytes) -> hmac.HMAC:
    """Prepare a secret's hash, to be copied for each id."""
    return hmac.new(secret, digestmod="sha256")


def pieces_of(body: bytes | bytearray) -> Iterator[bytes]:
    """Cut a body after line ends, into pieces of about `PIECE_BYTES`.

    >>> list(pieces_of(b"u-1"))
    [b'u-1']
    """
    start = 0
    while start < len(body):
        end = body.find(b"\n", start + PIECE_BYTES) + 1 or len(body)
        yield bytes(body[start:end])
        start = end


def hash_lines(piece: bytes, secret: bytes) -> bytes:
    """Hash the id of each line, blank ones passed over; the keys stand one behind the other.

    Cost    about 1.5 us an id.
    Errors  UnicodeDecodeError when it is not text.

    >>> hash_lines(b"u-1\\r\\n\\nu-2", bytes(32)) == key_of(bytes(32), b"u-1") + key_of(bytes(32), b"u-2")
    True
    """
    piece.decode()
    return b"".join(key_of(secret, line) for each in piece.split(b"\n") if (line := each.strip()))
