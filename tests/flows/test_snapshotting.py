"""A follower yields the processor to its node unless that stops; a snapshot that does not fit is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.flows import snapshotting
from app.journal import snapshots
from app.state import saving
from app.state.state import State
from app.state.version import RESTORED_FROM, STATE_VERSION


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


def test_a_snapshot_of_another_build_is_refused_and_the_one_before_taken(tmp_path: Path) -> None:
    state = State(64)
    snapshotting.save(tmp_path, state, 0)
    parts, facts = saving.parts(state), snapshots.listing(tmp_path)[0].facts
    parts["pacing"] = parts["pacing"][:-1]
    snapshots.write(tmp_path, 5, parts, facts)
    del parts["quality"]
    snapshots.write(tmp_path, 6, parts, facts)
    found, refused = snapshotting.load(tmp_path, 64)
    assert found.position == 0
    assert [text.split(": ")[1] for text in refused] == ["of another build"] * 2


@pytest.mark.parametrize(
    ("fold_of", "taken"),
    #   of which fold        gone on from?
    [
        (STATE_VERSION, True),
        (RESTORED_FROM, True),
        (STATE_VERSION + 1, False),
        (RESTORED_FROM - 1, False),
        (None, False),
    ],
)
def test_a_state_of_a_fold_that_would_be_misread_is_refused(
    tmp_path: Path, fold_of: int | None, taken: bool
) -> None:
    state = State(64)
    facts = snapshots.listing(snapshotting.save(tmp_path, state, 0).parent)[0].facts
    facts = {name: value for name, value in facts.items() if name != "state_version"}
    if fold_of is not None:
        facts["state_version"] = fold_of
    snapshots.write(tmp_path, 7, saving.parts(state), facts)
    found, refused = snapshotting.load(tmp_path, 64)
    assert (found.position == 7, len(refused) == 0) == (taken, taken)
