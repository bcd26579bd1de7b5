"""API keys and those who hold them: what a key may do, and for whom. The words only; doors ask them.

A key's text is `adj_<id>_<secret>`. The node keeps its sha256 alone: 256 random bits need no salt and no
slow hash. The id in the text finds the key, so that the secret is compared once, in constant time.
"""

from __future__ import annotations

from dataclasses import dataclass

from msgspec import Struct

SCOPES = ("ads", "events", "pricing", "catalogue:read", "catalogue:write", "reports", "admin")
KEY_START = "adj_"


class ApiKey(Struct, frozen=True, kw_only=True, array_like=True):
    """A key as the journal and the state hold it. `advertiser_ids` None: bound to nobody, sees all.

    Units   times in ms; `digest` is the sha256 of the whole text.
    """

    id: str
    name: str
    scopes: tuple[str, ...]
    digest: bytes
    made_at_ms: int
    advertiser_ids: tuple[str, ...] | None = None
    expires_at_ms: int | None = None
    revoked_at_ms: int | None = None

    @property
    def prefix(self) -> str:
        """The part of the key's text that may be shown."""
        return KEY_START + self.id


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: what they may do, and the advertisers they are bound to (None: all)."""

    scopes: frozenset[str]
    advertiser_ids: frozenset[str] | None = None

    def may(self, scope: str) -> bool:
        """Say whether a scope is granted."""
        return scope in self.scopes

    def sees(self, advertiser_id: str | None) -> bool:
        """Say whether what belongs to an advertiser (None: to no advertiser) is there for this caller.

        >>> bound = Caller(frozenset({"reports"}), frozenset({"adv-1"}))
        >>> bound.sees("adv-1"), bound.sees("adv-2"), bound.sees(None)
        (True, False, False)
        """
        return self.advertiser_ids is None or advertiser_id in self.advertiser_ids


EVERYONE = Caller(frozenset(SCOPES))  # the admin key's holder, and whoever works on the files themselves
STRANGER = Caller(frozenset())


def caller_with(key: ApiKey, *, admin_door: bool = False) -> Caller:
    """Tell what a key's holder may do. `admin` means everything, but at the admin port alone.

    >>> key = ApiKey(id="k", name="", scopes=("admin",), digest=b"", made_at_ms=0)
    >>> caller_with(key, admin_door=True).may("reports"), caller_with(key).may("ads")
    (True, False)
    """
    scopes = SCOPES if admin_door and "admin" in key.scopes else key.scopes
    bound = None if key.advertiser_ids is None else frozenset(key.advertiser_ids)
    return Caller(frozenset(scopes), bound)
