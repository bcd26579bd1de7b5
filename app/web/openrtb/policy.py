"""What an operator wants to know of the way that inventory came: its supply chain, and that it has a name.

Switches, all off by default: most traffic has no supply chain, and what is missing may be no fault.
"""

from __future__ import annotations

from functools import lru_cache

import msgspec
from msgspec import Raw, Struct

from app.web.openrtb.mend import mend
from app.web.openrtb.wire import BidRequest, Source, SupplyChain

NBR_INCOMPLETE_CHAIN = 16
NBR_BLOCKED_NODE = 17
# Own no-bid reasons.
NBR_SITE_AND_APP = 503
NBR_NAMELESS = 504

_typed = msgspec.json.Decoder(Source, strict=False)
_plain = msgspec.json.Decoder()
_KEPT_BYTES = 4_096


class Policy(Struct, frozen=True):
    """The switches, by the settings of the same names. Domains are in lower case."""

    schain: str = "ignore"
    schain_blocked: frozenset[str] = frozenset()
    inventory: str = "any"

    @property
    def judges_inventory(self) -> bool:
        """Say whether a request with both site and app is ours to answer, instead of malformed."""
        return self.inventory == "one_named"


def objection(request: BidRequest, policy: Policy) -> int | None:
    """Name why inventory is not bid for, as a no-bid reason; None when nothing speaks against it.

    In this order: site and app together (503), no name of it (504), an incomplete or absent supply chain
    (16), a node that the operator blocks (17).
    Cost    nothing while all is off; about 1 us for a known chain.
    """
    if policy.inventory == "one_named":
        found = _of_inventory(request)
        if found is not None:
            return found
    if policy.schain == "ignore" and not policy.schain_blocked:
        return None
    chain = chain_of(request.source)
    if policy.schain == "require_complete" and (chain is None or chain.complete != 1 or not chain.nodes):
        return NBR_INCOMPLETE_CHAIN
    if chain is not None and any(node.asi.lower() in policy.schain_blocked for node in chain.nodes):
        return NBR_BLOCKED_NODE
    return None


def chain_of(source: Raw) -> SupplyChain | None:
    """Find the supply chain in a request's `source`, in its place of OpenRTB 2.6 or of 2.5."""
    body = bytes(source)
    if not body:
        return None
    return _kept(body) if len(body) <= _KEPT_BYTES else _chain_of(body)


def _chain_of(body: bytes) -> SupplyChain | None:
    try:
        source = _typed.decode(body)
    except msgspec.ValidationError:
        plain = _plain.decode(body)
        if not isinstance(plain, dict):
            return None  # real traffic sends a string now and then
        source = mend(plain, Source)
    return source.schain or (source.ext.schain if source.ext is not None else None)


_kept = lru_cache(maxsize=4_096)(_chain_of)


def _of_inventory(request: BidRequest) -> int | None:
    channels = [one for one in (request.site, request.app, request.dooh) if one is not None]
    if len(channels) > 1:
        return NBR_SITE_AND_APP
    if not channels:
        return NBR_NAMELESS
    [channel] = channels
    if request.site is not None:
        named = channel.domain or channel.page
    elif request.app is not None:
        named = channel.bundle
    else:
        named = channel.id or channel.domain
    return None if named else NBR_NAMELESS
