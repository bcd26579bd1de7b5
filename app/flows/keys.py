"""API keys: make one, take one back, and tell who sends one.

Keys live in the journal and the state like everything else that is known: live at once on every node that
follows, in every snapshot, and gone from all of them when revoked. The admin key alone lies in a file: it
must open the door before there is a journal.
"""

from __future__ import annotations

import secrets
from hashlib import sha256
from hmac import compare_digest

import msgspec

from app.domain.keys import KEY_START, ApiKey, Caller, caller_with
from app.domain.lines import Keyed
from app.domain.refusals import FieldError, Refused
from app.flows.node import Node
from app.state.keys import DIGEST_BYTES

MAX_KEYS = 1_000
SECRET_BYTES = 32
MAX_ERRORS = 100
_NO_DIGEST = bytes(DIGEST_BYTES)


async def make_key(
    node: Node,
    name: str,
    scopes: tuple[str, ...],
    advertiser_ids: tuple[str, ...] | None = None,
    expires_at_ms: int | None = None,
) -> tuple[ApiKey, str]:
    """Make a key, in force when this returns; the text is never told again.

    Errors  Refused, in this order: `invalid` (advertisers that do not exist), `too_many_keys`.
    """
    known = node.state.catalogue.things["advertiser"]
    unknown = [(at, each) for at, each in enumerate(advertiser_ids or ()) if each not in known]
    if unknown:
        errors = tuple(
            FieldError(f"advertiser_ids[{at}]", "unknown_advertiser", f"there is no advertiser {each}")
            for at, each in unknown[:MAX_ERRORS]
        )
        raise Refused("invalid", f"{errors[0].field}: {errors[0].message}", errors=errors)
    if len(node.state.keys.by_id) >= MAX_KEYS:
        raise Refused("too_many_keys", f"there are {MAX_KEYS} keys: revoke some")
    bound = None if advertiser_ids is None else tuple(dict.fromkeys(advertiser_ids))
    identity = node.fresh_id()
    text = f"{KEY_START}{identity}_{secrets.token_urlsafe(SECRET_BYTES)}"
    now_ms = node.now_ms()
    key = ApiKey(
        id=identity, name=name, scopes=scopes, digest=sha256(text.encode()).digest(), made_at_ms=now_ms,
        advertiser_ids=bound, expires_at_ms=expires_at_ms,
    )  # fmt: skip
    await node.submit(Keyed(at_ms=now_ms, key=key))
    return key, text


def find_key(node: Node, identity: str) -> ApiKey:
    """Look a key up.

    Errors  Refused `not_found`.
    """
    key = node.state.keys.by_id.get(identity)
    if key is None:
        raise Refused("not_found", "there is no such key", "id")
    return key


async def revoke_key(node: Node, identity: str) -> None:
    """Take a key back, at once.

    Errors  Refused `not_found`.
    """
    key, now_ms = find_key(node, identity), node.now_ms()
    await node.submit(Keyed(at_ms=now_ms, key=msgspec.structs.replace(key, revoked_at_ms=now_ms)))


def caller_of(node: Node, sent: bytes, *, admin_door: bool = False) -> Caller | None:
    """Tell who sends a key; None when it is none of ours, or has expired.

    Cost    about 3 us; hashed and compared whole whatever is sent, so that the time taken tells nothing.
    """
    identity = sent[len(KEY_START) :].partition(b"_")[0].decode("latin-1")
    key = node.state.keys.by_id.get(identity)
    matches = compare_digest(sha256(sent).digest(), key.digest if key is not None else _NO_DIGEST)
    if key is None or not matches:
        return None
    if key.expires_at_ms is not None and key.expires_at_ms <= node.now_ms():
        return None
    return caller_with(key, admin_door=admin_door)
