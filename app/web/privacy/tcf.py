"""The core of a TCF v2 consent string: which purposes a person agreed to. Vendors are not looked at.

Source  IAB Tech Lab, Consent string and vendor list formats v2: the core segment's bit layout.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from functools import lru_cache

# Bits before the 24 purpose bits: version 6, created 36, updated 36, CMP id 12, CMP version 12,
# screen 6, language 12, vendor list version 12, policy version 6, two flags, special features 12.
_PURPOSES_AT = 152
_LEAST_BITS = 230  # up to and with the vendor section's length and encoding
_PURPOSE_COUNT = 24


_ALPHABET = re.compile(r"[A-Za-z0-9_-]+")
# 40 letters hold 240 bits: all that is read. Only they are kept, so a long string costs no memory.
_LETTERS_READ = 40


def purposes(consent: str) -> frozenset[int] | None:
    """Read the purposes consented to (1 to 24), or None when it is no TCF v2 string.

    >>> sorted(purposes("CPXxRfAPXxRfAAfKABENB-CgAAAAAAAAAAYgAAAAAAAA") or ())
    []
    >>> purposes("thisisconstentedto") is None
    True
    """
    core = consent.split(".", 1)[0]
    return _read(core[:_LETTERS_READ]) if _ALPHABET.fullmatch(core) else None


@lru_cache(maxsize=16_384)
def _read(core: str) -> frozenset[int] | None:
    if len(core) % 4 == 1:
        return None
    data = urlsafe_b64decode(core + "=" * (-len(core) % 4))
    length = len(data) * 8
    if length < _LEAST_BITS or data[0] >> 2 != 2:
        return None
    bits = int.from_bytes(data, "big")
    language = bits >> (length - 120) & 0xFFF
    if language >> 6 >= 26 or language & 0x3F >= 26:
        return None
    granted = bits >> (length - _PURPOSES_AT - _PURPOSE_COUNT)
    return frozenset(
        number for number in range(1, _PURPOSE_COUNT + 1) if granted >> (_PURPOSE_COUNT - number) & 1
    )
