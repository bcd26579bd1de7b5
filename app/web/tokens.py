"""Tokens: what every tracking URL ends in. One seal per ad, and for each kind of event a tag of its own.

Knows keys and bytes; it must not know routes, the catalogue or the journal. As bytes, a token is

    version 1 | day of issue 2 | nonce 12 | AES-256-GCM of the plaintext, with its tag 16 | kind tag 9

The first three bytes are clear and authenticated: they name the key of the day, HKDF(master, day).
The kind tag is the kind's own nine bytes of a keyed BLAKE2b over all before it, so that an impression's
token opens no click; it also refuses a forgery before anything is decrypted.

The sealed part and each tag are multiples of three bytes, so an ad costs one hash and one base64: the text
of any kind is the sealed part's and the tag's, cut from it.
"""

from __future__ import annotations

import os
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from binascii import b2a_base64
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from hmac import compare_digest

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from app.domain.decisions import ServedAd
from app.domain.ids import DAY_MS
from app.domain.refusals import Refused
from app.domain.requests import USER_KEY_BYTES
from app.rules.invalid_traffic import DOOR_REASONS

KINDS = ("impression", "click", "conversion", "dismissal", "win", "loss")
# How far another node's clock may run ahead of ours before a token counts as forged.
AHEAD_MS = 5 * 60 * 1000

_VERSION = 1
# The low half of the plaintext's first byte; two bits of the high half count the user keys at its end, the
# next says that behind them stands a deal: its length in two bytes, then its id; the last, that a pCVR does.
# The fourth bit of the low half says that the flaw of whoever asked for the ad stands last, in one byte.
_SCHEMA = 1
_FLAWED = 0x08
_DEALT = 0x40
_BY_CONVERSION = 0x80
_HEADER = struct.Struct(">BH")
_COUNTER = struct.Struct(">I")
_LENGTH = struct.Struct("<H")
_NONCE_BYTES = 12
_GCM_TAG_BYTES = 16
_KIND_TAG_BYTES = 9
_KIND_TAG_CHARS = 12  # as base64
_TAGS_CHARS = len(KINDS) * _KIND_TAG_CHARS
_TAG_OF = {kind: slice(at * _KIND_TAG_BYTES, (at + 1) * _KIND_TAG_BYTES) for at, kind in enumerate(KINDS)}
_TEXT_OF = [(kind, slice(at * _KIND_TAG_CHARS, (at + 1) * _KIND_TAG_CHARS)) for at, kind in enumerate(KINDS)]
_PREFIX_BYTES = _HEADER.size + _NONCE_BYTES
# schema, count of user keys and whether a pCVR is behind them, decision id, ad index, creative index,
# generation, schema version, price, price kind, pCTR, variant, issued at; then the lengths of creative,
# placement and publisher, rows, columns.
_FIXED = struct.Struct("<B15sBIIHqBdiqHHHHH")
_PCVR = struct.Struct("<d")
_SEAL_BYTES = _PREFIX_BYTES + _GCM_TAG_BYTES  # of a seal, beyond the plaintext
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_PADDINGS = (b"", bytes(2), bytes(1))  # by what is over after dividing by three
_LEAST_BYTES = _SEAL_BYTES + _FIXED.size + _KIND_TAG_BYTES
_PRICE_KINDS = ("cpm", "cpc", "cpa", "ocpm")
_PRICE_KIND_NUMBER = {kind: number for number, kind in enumerate(_PRICE_KINDS)}
# Days whose keys are kept ready, over all masters; only days of genuine tokens get in.
_KEYS_KEPT = 256


class TokenExpired(Refused):
    """A genuine token, older than its kind's life; `ad` is what it sealed, so a click can still go on."""

    def __init__(self, ad: ServedAd) -> None:
        super().__init__("expired", "the token is older than its kind's life")
        self.ad = ad


class _DayKeys:
    """What one master makes of one day: the cipher, and a keyed hash ready to copy."""

    __slots__ = ("_hash", "cipher")

    def __init__(self, master: bytes, day: int) -> None:
        info = b"adjudge token " + day.to_bytes(2, "big")
        material = HKDF(algorithm=SHA256(), length=64, salt=None, info=info).derive(master)
        self.cipher = AESGCM(material[:32])
        # The full size, whatever of it is used: a kind more (a seventh, the last) changes no other's tag.
        self._hash = blake2b(digest_size=64, key=material[32:], person=b"kinds")

    def tags(self, sealed: bytes) -> bytes:
        """Make the tags that bind sealed bytes to each kind; one tells nothing of another."""
        digest = self._hash.copy()
        digest.update(sealed)
        return digest.digest()[: len(KINDS) * _KIND_TAG_BYTES]


class Tokens:
    """Makes and opens tokens.

    The newest master (the first) seals; all of them open, so a rotation loses nothing that is out.
    A nonce is the process's random bytes and a counter: it repeats under no key. `renew` draws new
    random bytes when the counter wraps.
    """

    def __init__(
        self,
        masters: Sequence[bytes],
        lives_s: Mapping[str, int],
        process_random: bytes,
        renew: Callable[[int], bytes] = os.urandom,
    ) -> None:
        assert masters and all(len(master) >= 16 for master in masters)
        assert set(lives_s) >= set(KINDS), "every kind needs a life"
        assert len(process_random) == _NONCE_BYTES - _COUNTER.size
        self._masters = tuple(masters)
        self._lives_ms = {kind: lives_s[kind] * 1000 for kind in KINDS}
        self._prefix = process_random
        self._renew = renew
        self._counter = 0
        self._keys: dict[tuple[bytes, int], _DayKeys] = {}

    def seal(self, ad: ServedAd) -> bytes:
        """Seal what an ad's events will carry. Call once per ad; `texts` makes the tokens of it.

        Cost    one AES-GCM of some 130 bytes, about 2 us.
        """
        day = ad.issued_at_ms // DAY_MS
        header = _HEADER.pack(_VERSION, day)
        keys = self._keys_of(self._masters[0], day)
        nonce = self._next_nonce()
        return header + nonce + keys.cipher.encrypt(nonce, _pack(ad), header)

    def texts(self, sealed: bytes) -> dict[str, str]:
        """Write sealed bytes as the token of each kind: base64url without padding.

        Cost    one keyed hash and one base64, about 2 us for all kinds together.
        """
        day = int.from_bytes(sealed[1:3], "big")
        tags = self._keys_of(self._masters[0], day).tags(sealed)
        text = b2a_base64(sealed + tags, newline=False).translate(_URL_SAFE).decode()
        shared, tags_text = text[:-_TAGS_CHARS], text[-_TAGS_CHARS:]
        return {kind: shared + tags_text[its_own] for kind, its_own in _TEXT_OF}

    def token(self, sealed: bytes, kind: str) -> str:
        """Write sealed bytes as the token of one kind."""
        return self.texts(sealed)[kind]

    def open(self, token: str, kind: str, now_ms: int) -> ServedAd:
        """Read a token of a kind.

        Cost    about 6 us when the day's key is known; a forgery costs some hashes and a key derivation.
        Errors  in this order: Refused("forged") when we never made it, or from over five minutes
                ahead; Refused("wrong_kind") when we made it for another kind; TokenExpired.
        """
        data = _bytes_of(token)
        version, day = _HEADER.unpack_from(data)
        if version != _VERSION or day * DAY_MS > now_ms + AHEAD_MS:
            raise _forged()
        sealed = data[:-_KIND_TAG_BYTES]
        keys = self._maker(day, sealed, data[-_KIND_TAG_BYTES:], kind)
        header, nonce = data[: _HEADER.size], data[_HEADER.size : _PREFIX_BYTES]
        try:
            plain = keys.cipher.decrypt(nonce, sealed[_PREFIX_BYTES:], header)
        except InvalidTag as error:
            raise _forged() from error
        ad = _unpack(plain)
        if ad.issued_at_ms > now_ms + AHEAD_MS:
            raise _forged()
        if now_ms - ad.issued_at_ms > self._lives_ms[kind]:
            raise TokenExpired(ad)
        return ad

    def reseal(self, token: str) -> bytes:
        """Take the seal off a token that `open` took, to write its other kinds (a conversion's, of a click).

        Where an older master made it, it is sealed anew, so that all its kinds are of one master.
        """
        data = _bytes_of(token)
        day = int.from_bytes(data[1:3], "big")
        sealed = data[:-_KIND_TAG_BYTES]
        header, nonce = data[: _HEADER.size], data[_HEADER.size : _PREFIX_BYTES]
        for master in self._masters:
            keys = self._keys.get((master, day)) or _DayKeys(master, day)
            try:
                plain = keys.cipher.decrypt(nonce, sealed[_PREFIX_BYTES:], header)
            except InvalidTag:
                continue
            return sealed if master is self._masters[0] else self.seal(_unpack(plain))
        raise _forged()

    def _maker(self, day: int, sealed: bytes, tag: bytes, kind: str) -> _DayKeys:
        """Find the keys that made a token, or refuse it."""
        wrong_kind = False
        for master in self._masters:
            keys = self._keys.get((master, day)) or _DayKeys(master, day)
            tags = keys.tags(sealed)
            if compare_digest(tags[_TAG_OF[kind]], tag):
                return self._keep(master, day, keys)
            wrong_kind = wrong_kind or any(compare_digest(tags[other], tag) for other in _TAG_OF.values())
        if wrong_kind:
            raise Refused("wrong_kind", "the token is of another kind of event")
        raise _forged()

    def _keys_of(self, master: bytes, day: int) -> _DayKeys:
        keys = self._keys.get((master, day))
        return keys if keys is not None else self._keep(master, day, _DayKeys(master, day))

    def _keep(self, master: bytes, day: int, keys: _DayKeys) -> _DayKeys:
        if (master, day) not in self._keys:
            if len(self._keys) >= _KEYS_KEPT:
                del self._keys[next(iter(self._keys))]
            self._keys[master, day] = keys
        return keys

    def _next_nonce(self) -> bytes:
        if self._counter >> 32:
            self._prefix, self._counter = self._renew(len(self._prefix)), 0
        nonce = self._prefix + _COUNTER.pack(self._counter)
        self._counter += 1
        return nonce


def _forged() -> Refused:
    return Refused("forged", "the token is not one of ours")


def _bytes_of(token: str) -> bytes:
    """Read base64url strictly: only the very text that we would write for these bytes."""
    try:
        text = token.encode("ascii")
        data = urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    except (UnicodeEncodeError, Base64Error) as error:
        raise _forged() from error
    if len(data) < _LEAST_BYTES or urlsafe_b64encode(data).rstrip(b"=") != text:
        raise _forged()
    return data


def _pack(ad: ServedAd) -> bytes:
    creative, placement, publisher = (
        ad.creative_id.encode(),
        ad.placement_id.encode(),
        ad.publisher_id.encode(),
    )
    assert len(ad.user) in (0, USER_KEY_BYTES)
    assert len(ad.former_user) in (0, len(ad.user))
    deal, by_conversion = ad.deal_id.encode(), ad.pcvr > 0.0
    flags = (_DEALT if deal else 0) | (_BY_CONVERSION if by_conversion else 0)
    flags |= _FLAWED if ad.flaw else 0
    fixed = _FIXED.pack(
        _SCHEMA | (len(ad.user) + len(ad.former_user)) // USER_KEY_BYTES << 4 | flags,
        ad.decision_id,
        ad.ad_index,
        ad.creative_index,
        ad.generation,
        ad.schema_version,
        ad.price_micros,
        _PRICE_KIND_NUMBER[ad.price_kind],
        ad.pctr,
        ad.variant,
        ad.issued_at_ms,
        len(creative),
        len(placement),
        len(publisher),
        len(ad.rows),
        len(ad.columns),
    )
    plain = b"".join((fixed, creative, placement, publisher, ad.rows, ad.columns, ad.user, ad.former_user))
    if deal:
        plain += _LENGTH.pack(len(deal)) + deal
    if by_conversion:
        plain += _PCVR.pack(ad.pcvr)
    if ad.flaw:
        plain += bytes([DOOR_REASONS.index(ad.flaw)])
    return plain + _PADDINGS[(_SEAL_BYTES + len(plain)) % 3]


def _unpack(plain: bytes) -> ServedAd:
    (
        schema, decision_id, ad_index, creative_index, generation, schema_version, price_micros, price_kind,
        pctr, variant, issued_at_ms, creative, placement, publisher, rows, columns,
    ) = _FIXED.unpack_from(plain)  # fmt: skip
    assert schema & 0x7 == _SCHEMA, "a later layout needs its own reader here"
    placement += creative + _FIXED.size
    publisher += placement
    rows += publisher
    columns += rows
    users = schema >> 4 & 3
    user = columns + USER_KEY_BYTES * (users > 0)
    former_user = columns + USER_KEY_BYTES * users
    deal = deal_end = former_user
    if schema & _DEALT:
        deal += _LENGTH.size
        deal_end = deal + _LENGTH.unpack_from(plain, former_user)[0]
    by_conversion = bool(schema & _BY_CONVERSION)
    pcvr_end = deal_end + by_conversion * _PCVR.size
    flaw = DOOR_REASONS[plain[pcvr_end]] if schema & _FLAWED else ""
    assert 0 <= len(plain) - pcvr_end - bool(flaw) < 3, "padding"
    return ServedAd(
        decision_id=decision_id,
        ad_index=ad_index,
        creative_id=plain[_FIXED.size : _FIXED.size + creative].decode(),
        creative_index=creative_index,
        generation=generation,
        placement_id=plain[_FIXED.size + creative : placement].decode(),
        publisher_id=plain[placement:publisher].decode(),
        rows=plain[publisher:rows],
        columns=plain[rows:columns],
        schema_version=schema_version,
        price_micros=price_micros,
        price_kind=_PRICE_KINDS[price_kind],
        pctr=pctr,
        variant=variant,
        issued_at_ms=issued_at_ms,
        user=plain[columns:user],
        former_user=plain[user:former_user],
        deal_id=plain[deal:deal_end].decode(),
        pcvr=_PCVR.unpack_from(plain, deal_end)[0] if by_conversion else 0.0,
        flaw=flaw,
    )
