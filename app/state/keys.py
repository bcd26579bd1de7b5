"""The API keys in force, by id. A revoked key is gone; one that has expired stays to be seen."""

from __future__ import annotations

from collections.abc import Iterable

from app.domain.keys import SCOPES, ApiKey

DIGEST_BYTES = 32


class Keys:
    """Keys by id."""

    def __init__(self) -> None:
        self.by_id: dict[str, ApiKey] = {}

    def take(self, key: ApiKey) -> None:
        """A key is this from here on."""
        if key.revoked_at_ms is None:
            self.by_id[key.id] = key
        else:
            self.by_id.pop(key.id, None)

    def parts(self) -> list[ApiKey]:
        """Copy all, in order."""
        return [self.by_id[key] for key in sorted(self.by_id)]

    def restore(self, keys: Iterable[ApiKey]) -> None:
        """Take back what `parts` copied."""
        self.by_id = {key.id: key for key in keys}

    def check(self) -> None:
        """Hold all invariants."""
        for identity, key in self.by_id.items():
            assert key.id == identity
            assert key.revoked_at_ms is None
            assert len(key.digest) == DIGEST_BYTES
            assert set(key.scopes) <= set(SCOPES)
