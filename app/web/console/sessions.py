"""Sessions of the console: who logged in, told by a signed cookie. The node keeps nothing of them.

A session is signed with the node's secret and the hash of the key that opened it. The key is looked up again
at each request, so a key taken back, expired or drawn anew ends its sessions at once.
"""

from __future__ import annotations

import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from dataclasses import dataclass
from hashlib import sha256

import msgspec
from msgspec import Struct

from app.domain.keys import EVERYONE, KEY_START, Caller, caller_with
from app.flows.keys import caller_of
from app.flows.node import Node

COOKIE = "adjudge_session"
VISITOR = "adjudge.visitor"  # in a request's scope
LIFE_S = 12 * 3600
IDLE_S = 2 * 3600
RENEW_S = 300  # a cookie is written anew when it is older than that, not with every answer
MAC_BYTES = 32
_encode = msgspec.msgpack.Encoder().encode


class Session(Struct, frozen=True, array_like=True):
    """What a cookie says. `key_id` is empty for the admin key. Units: seconds since 1970."""

    key_id: str
    opened_s: int
    seen_s: int
    id: bytes


_decode = msgspec.msgpack.Decoder(Session).decode


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody with a session: who they are to the API, and what their forms must carry."""

    caller: Caller
    name: str
    csrf: str
    session: Session


class Sessions:
    """Opens, reads and renews sessions of one node."""

    def __init__(self, node: Node, admin_key_hash: bytes, secret: bytes) -> None:
        self.node = node
        self.admin_key_hash = admin_key_hash
        self.secret = secret

    def open(self, key: str) -> str | None:
        """Open a session for whoever knows a key; returns the cookie, or None when it is no key of ours."""
        sent = key.encode()
        now_s = self.node.now_ms() // 1000
        if hmac.compare_digest(sha256(sent).digest(), self.admin_key_hash):
            return self.write(Session("", now_s, now_s, secrets.token_bytes(16)))
        if caller_of(self.node, sent, admin_door=True) is None:
            return None
        identity = key[len(KEY_START) :].partition("_")[0]
        return self.write(Session(identity, now_s, now_s, secrets.token_bytes(16)))

    def read(self, cookie: str) -> Visitor | None:
        """Tell whose cookie it is; None when it is forged, too old, or its key is no more. Cost: ~10 us."""
        try:
            sealed = urlsafe_b64decode(cookie.encode())
            session = _decode(sealed[MAC_BYTES:])
        except (NotBase64, ValueError, msgspec.MsgspecError):
            return None
        found = self._key_of(session.key_id)
        if found is None or not hmac.compare_digest(
            self._mac(found[0], sealed[MAC_BYTES:]), sealed[:MAC_BYTES]
        ):
            return None
        now_s = self.node.now_ms() // 1000
        if now_s - session.opened_s > LIFE_S or now_s - session.seen_s > IDLE_S:
            return None
        digest, caller, name = found
        return Visitor(caller, name, self._mac(digest, b"csrf" + session.id).hex(), session)

    def renewed(self, session: Session) -> str | None:
        """Write a cookie anew for somebody who is still there; None while the old one will do."""
        now_s = self.node.now_ms() // 1000
        if now_s - session.seen_s < RENEW_S:
            return None
        return self.write(Session(session.key_id, session.opened_s, now_s, session.id))

    def write(self, session: Session) -> str:
        """Sign a session of a key that is there."""
        found = self._key_of(session.key_id)
        assert found is not None
        body = _encode(session)
        return urlsafe_b64encode(self._mac(found[0], body) + body).decode()

    def _key_of(self, identity: str) -> tuple[bytes, Caller, str] | None:
        """Look a key up: its hash, what its holder may do, and its name."""
        if not identity:
            return self.admin_key_hash, EVERYONE, "admin key"
        key = self.node.state.keys.by_id.get(identity)
        if key is None or (key.expires_at_ms is not None and key.expires_at_ms <= self.node.now_ms()):
            return None
        return key.digest, caller_with(key, admin_door=True), key.name

    def _mac(self, digest: bytes, message: bytes) -> bytes:
        return hmac.digest(self.secret, digest + message, "sha256")
