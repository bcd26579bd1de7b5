"""New secrets. Goal: what was given out before stays good, unless it is dropped; a new key opens the door.

Method: the same files that a node reads at its start, and tokens sealed before and after.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from app.domain.refusals import Refused
from app.flows.rotating import rotate_admin, rotate_tokens
from app.main import admin_key, token_masters
from app.settings import Settings
from app.web.tokens import Tokens
from tests.state.world import NOW_MS, World, one_of_each
from tests.web.public_port import LIVES_S


def tokens(data: Path) -> Tokens:
    return Tokens(token_masters(data), LIVES_S, b"process!")


def test_tokens_of_former_secrets_stay_good_until_they_are_dropped(tmp_path: Path) -> None:
    world = World()
    world.add(*one_of_each())
    ad = world.ad()
    before = tokens(tmp_path)
    old = before.token(before.seal(ad), "click")
    assert rotate_tokens(tmp_path, drop_old=False) == 2
    after = tokens(tmp_path)
    assert after.open(old, "click", NOW_MS) == ad
    new = after.token(after.seal(ad), "click")
    with pytest.raises(Refused, match="not one of ours"):
        before.open(new, "click", NOW_MS)
    assert rotate_tokens(tmp_path, drop_old=True) == 1
    with pytest.raises(Refused, match="not one of ours"):
        tokens(tmp_path).open(old, "click", NOW_MS)
    assert (tmp_path / "token.key").stat().st_mode & 0o777 == 0o600


def test_a_new_admin_key_takes_the_former_ones_place(tmp_path: Path) -> None:
    former, digest = admin_key(Settings(), tmp_path)
    path = rotate_admin(tmp_path)
    assert path.read_text().strip() != former
    assert admin_key(Settings(), tmp_path)[1] != digest
    assert path.stat().st_mode & 0o777 == 0o600
