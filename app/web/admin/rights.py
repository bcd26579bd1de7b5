"""Which scope each route of the admin port needs, and which routes a key bound to advertisers may use at all.

One table, checked before every route. What stands in no row needs `admin` and a key bound to nobody: a route
that somebody forgets here is closed, not open. Within a route a bound key sees its advertisers' things alone.
"""

from __future__ import annotations

from typing import NamedTuple

from app.domain.catalogue import Kind
from app.domain.keys import Caller
from app.domain.refusals import Refused
from app.flows.catalogue import owner_of
from app.flows.node import Node


class Right(NamedTuple):
    """What a path needs: a scope to read, one to write, and whether a bound key may come in."""

    start: str
    read: str
    write: str
    bound: bool


_CATALOGUE = ("catalogue:read", "catalogue:write")
RIGHTS = (
    Right("/v1/advertisers", *_CATALOGUE, True),
    Right("/v1/campaigns", *_CATALOGUE, True),
    Right("/v1/ad-groups", *_CATALOGUE, True),
    Right("/v1/creatives", *_CATALOGUE, True),
    Right("/v1/publishers", *_CATALOGUE, True),  # where a bound key finds nothing
    Right("/v1/placements", *_CATALOGUE, True),
    Right("/v1/audiences", *_CATALOGUE, True),
    Right("/v1/experiments", *_CATALOGUE, False),
    Right("/v1/users", *_CATALOGUE, False),
    Right("/v1/import", *_CATALOGUE, True),
    Right("/v1/export", *_CATALOGUE, True),
    Right("/v1/reports", "reports", "reports", True),
    Right("/v1/attribution", "reports", "reports", True),
    Right("/v1/decisions", "reports", "reports", True),
    Right("/v1/forecast", "reports", "reports", True),
    Right("/v1/reliability", "reports", "reports", False),
    Right("/v1/memory", "reports", "reports", False),
    Right("/v1/models", "reports", "admin", False),
    Right("/v1/refunds", "admin", "admin", True),
    Right("/v1/ads", "ads", "ads", True),
    Right("/v1/keys", "admin", "admin", False),
    Right("/metrics", "reports", "reports", False),
)
_OTHERWISE = Right("", "admin", "admin", False)
_REPORTS_OF_ONE = frozenset({"delivery", "funnel", "quality", "results"})  # what a thing did, not what it is
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_OWNED: dict[str, Kind] = {
    "advertisers": "advertiser", "campaigns": "campaign", "ad-groups": "ad_group", "creatives": "creative",
    "audiences": "audience",
}  # fmt: skip


def right_of(path: str) -> Right:
    """Find a path's row.

    >>> right_of("/v1/campaigns/c-1").write, right_of("/v1/campaignsx").write
    ('catalogue:write', 'admin')
    """
    for right in RIGHTS:
        if path.startswith(right.start) and path[len(right.start) : len(right.start) + 1] in {"", "/"}:
            return right
    return _OTHERWISE


def demand_right(node: Node, caller: Caller, method: str, path: str) -> None:
    """Let a caller through to a route, or not.

    Errors  Refused, in this order: `out_of_scope` (403), `not_found` (404: it is another advertiser's).
    """
    right = right_of(path)
    scope = right.read if method in _READING else right.write
    _, _, kind, identity, *beyond = [*path.split("/"), "", ""]
    if beyond and beyond[0] in _REPORTS_OF_ONE:
        scope = "reports"
    if not caller.may(scope):
        raise Refused("out_of_scope", f"this needs a key with scope {scope}")
    if caller.advertiser_ids is None:
        return
    if not right.bound:
        raise Refused("out_of_scope", "this needs a key that is not bound to advertisers")
    if kind in _OWNED and identity:
        thing = node.state.catalogue.get(_OWNED[kind], identity)
        if thing is not None and not caller.sees(owner_of(node, thing)):
            raise Refused("not_found", f"there is no {_OWNED[kind]} {identity}", "id")
