"""New secrets for old ones. What a running node holds stays in force until it starts again."""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path


def rotate_tokens(data: Path, *, drop_old: bool) -> int:
    """Draw a new master of tokens; returns how many are accepted from now on.

    Tokens of the former ones stay good, unless `drop_old`: then every tracking URL ever given out is forged.
    """
    path = data / "token.key"
    known = [] if drop_old or not path.exists() else path.read_text().split()
    masters = [secrets.token_hex(32), *known]
    write_secret(path, "\n".join(masters) + "\n")
    return len(masters)


def rotate_admin(data: Path) -> Path:
    """Draw a new admin key; returns the file that tells it. The former one opens nothing any more."""
    key = "adj_" + secrets.token_urlsafe(32)
    write_secret(data / "admin.key", key + "\n")
    write_secret(data / "admin.key.sha256", hashlib.sha256(key.encode()).hexdigest() + "\n")
    return data / "admin.key"


def write_secret(path: Path, text: str) -> None:
    """Write a file that only its owner may read, durably."""
    temporary = path.with_suffix(path.suffix + ".new")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
