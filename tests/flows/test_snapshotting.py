"""How a follower behaves beside its node: it yields the processor, unless the node is stopping."""

from __future__ import annotations

import pytest

from app.flows import snapshotting


@pytest.mark.parametrize(("idle", "yields"), [("1", 1), ("0", 0)])
def test_a_follower_yields_while_the_node_answers(
    monkeypatch: pytest.MonkeyPatch, idle: str, yields: int
) -> None:
    yielded: list[bool] = []
    monkeypatch.setattr(snapshotting, "yield_to_the_node", lambda: yielded.append(True))
    monkeypatch.setattr(snapshotting, "_die_with_the_node", lambda: None)
    monkeypatch.setattr(snapshotting, "follow_and_save", lambda *_: {"position": 7})
    assert snapshotting.main(["data", "64", "7", "00", "0", idle]) == 0
    assert len(yielded) == yields
