"""Who asks, at either port: the caller that a door's guard has put into the request's scope."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import Any

from app.domain.keys import STRANGER, Caller
from app.domain.refusals import Refused
from app.flows.keys import caller_of
from app.flows.node import Node

OPEN_SCOPES = frozenset({"ads", "events", "pricing"})
Scope = MutableMapping[str, Any]
Guard = Callable[[Scope], None]
_CALLER = "adjudge.caller"
_OPEN = Caller(OPEN_SCOPES)


def caller_in(scope: Scope) -> Caller:
    """Tell who sent a request; a stranger where no guard stood."""
    found: Caller = scope.get(_CALLER, STRANGER)
    return found


def set_caller(scope: Scope, caller: Caller) -> None:
    """Write down who sends a request."""
    scope[_CALLER] = caller


def partner_guard(node: Node, needed: str) -> Guard:
    """Make the guard of a door of the public port, before any body is read.

    Open doors take everybody; a key that comes all the same adds its scopes.
    Errors  Refused: `key_required` (401), `out_of_scope` (403).
    """

    def keyed(scope: Scope) -> Caller | None:
        sent = [value for name, value in scope["headers"] if name == b"x-api-key"]
        return caller_of(node, sent[0]) if len(sent) == 1 else None

    def opened(scope: Scope) -> None:
        caller = keyed(scope)
        if caller is None:
            scope[_CALLER] = _OPEN
        else:
            scope[_CALLER] = Caller(caller.scopes | OPEN_SCOPES, caller.advertiser_ids)

    def closed(scope: Scope) -> None:
        caller = keyed(scope)
        if caller is None:
            raise Refused("key_required", "send a partner key as X-API-Key")
        if needed not in caller.scopes:
            raise Refused("out_of_scope", f"this needs a key with scope {needed}")
        scope[_CALLER] = caller

    return opened if node.settings.open_doors else closed
