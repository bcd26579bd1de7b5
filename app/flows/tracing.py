"""Making a decision again: the state at its position, the request as it was kept, and do they agree?

Runs in a worker process or a command, never on the loop: it folds the journal from a snapshot on.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec
from msgspec import Struct

from app.domain.decisions import Choice, Record
from app.domain.ids import to_text
from app.domain.refusals import Refused
from app.flows.follow import fold
from app.flows.snapshotting import load
from app.journal.decisions import DecisionReader
from app.journal.reader import SqliteReader
from app.state.choose import Chooser
from app.state.explain import Explained, Explainer
from app.state.state import State
from app.state.what_if import WhatIf, what_if


class Retraced(Struct, frozen=True):
    """A decision made again. `agrees` is bit for bit: every price, probability and reason."""

    decision_id: str
    position: int
    agrees: bool
    then: Choice
    now: Choice


def retrace(data: Path, columns: int, records: Iterable[Record]) -> list[Retraced]:
    """Decide again on each record, in one walk through the journal.

    Errors  Refused("too_old") when neither a snapshot nor the journal reaches back to one of them.
    """
    wanted = sorted(records, key=lambda record: record.choice.position)
    if not wanted:
        return []
    reader = SqliteReader(data / "journal.db")
    state = _begin(data, columns, reader, wanted[0].choice.position)
    chooser = Chooser(state)
    answers = []
    for record in wanted:
        then = record.choice
        _move(state, reader, then.position)
        now = chooser.choose(record.request, record.request_key, then.clock_ms)
        decision_id = to_text(then.placed[0].decision_id)
        answers.append(Retraced(decision_id, then.position, now == then, then, now))
    return answers


def _state_at(data: Path, columns: int, position: int) -> State:
    reader = SqliteReader(data / "journal.db")
    state = _begin(data, columns, reader, position)
    _move(state, reader, position)
    return state


def _begin(data: Path, columns: int, reader: SqliteReader, position: int) -> State:
    """Load the newest snapshot from before a position."""
    state, _ = load(data / "snapshots", columns, position)
    if state.position < position and reader.entry_at(state.position + 1) is None:
        raise Refused("too_old", "no snapshot reaches back to this decision, and the journal is trimmed")
    return state


def _move(state: State, reader: SqliteReader, position: int) -> None:
    try:
        fold(state, reader, position)
    except Refused as trimmed:  # meanwhile
        raise Refused("too_old", trimmed.message) from trimmed
    if state.position != position:
        raise Refused("too_old", f"the journal does not hold position {position}")


def what_if_then(
    data: Path, columns: int, record: Record, ordinal: int, creative_id: str, bid_micros: int | None
) -> WhatIf:
    """Tell whether a creative would have won in a recorded decision, at its journal position.

    Errors  Refused("too_old") as for a trace, Refused("unknown_creative").
    """
    state = _state_at(data, columns, record.choice.position)
    return what_if(state, record, ordinal, creative_id, bid_micros)


def explain_then(data: Path, columns: int, record: Record) -> tuple[State, bool, list[Explained]]:
    """Hold a recorded decision's auctions again at its journal position: the state, do they agree, and why.

    Errors  Refused("too_old") as for a trace.
    """
    state, then = _state_at(data, columns, record.choice.position), record.choice
    choice, explained = Explainer(state).explain(record.request, record.request_key, then.clock_ms)
    return state, choice == msgspec.structs.replace(then, shadows=()), explained


def retrace_stored(data: Path, columns: int, decision_id: bytes) -> Retraced:
    """Decide again on one stored decision.

    Errors  Refused("unknown_decision"), Refused("too_old").
    """
    record = DecisionReader(data / "decisions.db").get(decision_id)
    if record is None:
        raise Refused("unknown_decision", "no decision is kept under this id")
    return retrace(data, columns, [record])[0]


def retrace_sample(data: Path, columns: int, count: int, seed: int = 0) -> list[Retraced]:
    """Decide again on a sample spread evenly over what is kept."""
    return retrace(data, columns, DecisionReader(data / "decisions.db").sample(count, seed))
