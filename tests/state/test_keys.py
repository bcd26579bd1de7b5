"""Keys as the fold holds them: what a line says is in force from there on, and hashes tell states apart."""

from __future__ import annotations

import msgspec

from app.domain.keys import ApiKey
from app.domain.lines import Entry, Keyed
from app.state import saving
from app.state.apply import apply
from app.state.state import State

KEY = ApiKey(id="k-1", name="SSP", scopes=("ads",), digest=bytes(32), made_at_ms=5, advertiser_ids=("a",))


def folded(*keys: ApiKey) -> State:
    state = State(512, recent=8)
    for position, key in enumerate(keys, start=1):
        apply(state, Entry(position, Keyed(at_ms=position, key=key)))
        state.check()
    return state


def test_a_line_makes_changes_and_takes_back() -> None:
    renamed = msgspec.structs.replace(KEY, name="SSP two")
    revoked = msgspec.structs.replace(KEY, revoked_at_ms=9)
    assert folded(KEY).keys.by_id == {"k-1": KEY}
    assert folded(KEY, renamed).keys.by_id == {"k-1": renamed}
    assert folded(KEY, revoked).keys.by_id == {}
    assert folded(revoked).keys.by_id == {}, "twice is once"


def test_the_same_keys_give_the_same_hash() -> None:
    other = msgspec.structs.replace(KEY, digest=bytes(31) + b"x")
    assert folded(KEY).hash == folded(KEY).hash
    assert folded(KEY).hash != folded(other).hash


def test_a_snapshot_brings_them_back() -> None:
    state = folded(KEY, msgspec.structs.replace(KEY, id="k-2", advertiser_ids=None))
    again = State(512, recent=8)
    saving.restore(again, state.position, saving.parts(state))
    assert again.keys.by_id == state.keys.by_id
    again.check()
