"""What a power cut leaves: every acknowledged line, once, at its position, with what it was told; of those
that were to be trimmed, all up to some position are gone, and none behind it.

Method: a journal works through a random but seeded story on a disk that forgets, tears and reorders what was
not synced (`disks.py`). At a random operation the power goes; what the disk then holds is opened again. The
same test with a disk that lies about syncing has to fail, or it would prove nothing.
"""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import apsw
import pytest

from app.domain.lines import Event, Line, Referred, Verdict
from app.journal import sqlite
from app.journal.protocol import Committed
from app.journal.sqlite import SqliteJournal
from tests.journal.disks import Disk
from tests.journal.samples import HOUR, Listener, clicked, event_id, shown, ticked

# A connection that is closed on a dead disk has errors that it can tell nobody.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

CUTS = 130
LIES = 12
LEARNED = Verdict("learned", 5)


def story(journal: SqliteJournal, chance: random.Random) -> None:
    """Show, click, tick, repeat, write verdicts back, trim; some days, some checkpoints; close at the end.

    Ends early, without a word, when the disk is dead: nothing is acknowledged then.
    """
    number = 0
    for _ in range(25):
        for _ in range(chance.randrange(1, 12)):
            number += 1
            old = chance.randrange(1, number + 1)
            hour = HOUR + 24 * chance.choice((0, 0, 1))
            journal.append(
                chance.choice((shown(number, hour=hour), clicked(old), shown(old), ticked(number)))
            )
        journal.commit()
        entries = [each for each in told_of(journal) if not each.repeat and isinstance(each.line, Event)]
        through = journal.last_position
        recent = [each for each in entries if journal.verdicts_through < each.position <= through]
        journal.write_verdicts(through, [(event_id(each.line), LEARNED) for each in recent])
        journal.trim(through - 40)
    journal.close()


def told_of(journal: SqliteJournal) -> list[Committed]:
    listener = journal.on_commit
    assert isinstance(listener, Listener)
    return [each for each in listener.told if each.error is None]


def run_until_power_cut(disk: Disk, seed: int, folder: Path) -> tuple[list[Committed], int]:
    """Tell what was acknowledged before the power went, and the watermark of that moment."""
    listener = Listener()
    journal: SqliteJournal | None = None
    try:
        journal = SqliteJournal(folder / "journal.db", listener, vfs=disk.name, threaded=False)
        story(journal, random.Random(seed))
    except apsw.Error:
        assert disk.image is not None, "only a dead disk may refuse"
    through = 0 if journal is None else journal.verdicts_through
    return [each for each in listener.told if each.error is None], through


def count_operations(seed: int, folder: Path) -> int:
    disk = Disk()
    run_until_power_cut(disk, seed, folder)
    return disk.operations


def check_all_is_there(told: list[Committed], through: int, journal: SqliteJournal) -> None:
    entries, trimmed = journal.read(0, 100_000), journal.trimmed_through
    assert [entry.position for entry in entries] == list(range(trimmed + 1, journal.last_position + 1))
    assert trimmed <= max(0, through - 40), "a line is gone that was to stay"
    ids = [event_id(entry.line) for entry in entries if isinstance(entry.line, Event)]
    assert len(ids) == len(set(ids)), "an event is there twice"
    for each in told:
        assert each.position <= journal.last_position, "an acknowledged line is lost"
        if each.position <= trimmed:
            assert not isinstance(each.line, Event) or journal.find(event_id(each.line)) is not None
            continue
        entry = entries[each.position - 1 - trimmed]
        if each.repeat:
            assert event_id(entry.line) == event_id(each.line)
        else:
            assert (entry.line, entry.referred) == (each.line, each.referred)
    assert journal.verdicts_through >= through, "the watermark fell"
    for entry in entries:
        if entry.position <= through and isinstance(entry.line, Event):
            assert journal.find(event_id(entry.line)) == (entry.position, LEARNED)


def check_retries(told: list[Committed], journal: SqliteJournal) -> None:
    """Whoever got no answer asks again: what was acknowledged is a repeat, the rest is counted once."""
    listener = Listener()
    journal.on_commit = listener
    first: dict[bytes, int] = {}
    lines: list[Line] = []
    for each in told:
        if isinstance(each.line, Event):
            first.setdefault(event_id(each.line), each.position)
            lines.append(each.line)
    for line in [*lines, shown(1_000_000)]:
        journal.append(line)
    journal.commit()
    assert all(again.repeat and again.position == first[event_id(again.line)] for again in listener.told[:-1])
    assert listener.told[-1].position == journal.last_position


def survive(seed: int, lies: bool = False) -> int:
    """Run one power cut and check what is left; tell how many lines had been acknowledged."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "before").mkdir()
        disk = Disk(seed, chance.randrange(1, operations_of(seed % 5)), lies)
        told, through = run_until_power_cut(disk, seed % 5, folder / "before")
        disk.save_image(folder / "after")
        journal = SqliteJournal(folder / "after" / "journal.db", threaded=False)
        try:
            check_all_is_there(told, through, journal)
            check_retries(told, journal)
        finally:
            journal.close()
        with apsw.Connection(str(folder / "after" / "journal.db")) as connection:
            assert connection.pragma("integrity_check") == "ok"
    return len(told)


_operations: dict[int, int] = {}


def operations_of(story_seed: int) -> int:
    if story_seed not in _operations:
        with tempfile.TemporaryDirectory() as name:
            _operations[story_seed] = count_operations(story_seed, Path(name))
    return _operations[story_seed]


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "_TRIM_LINES", 9)
    monkeypatch.setattr(sqlite, "WAL_BOUND_PAGES", 40)


def test_the_story_is_worth_telling(tmp_path: Path) -> None:
    """Else the cuts would prove little: it has repeats, referred events, verdicts and checkpoints."""
    disk, listener = Disk(), Listener()
    journal = SqliteJournal(tmp_path / "journal.db", listener, vfs=disk.name, threaded=False)
    story(journal, random.Random(0))
    assert sum(each.repeat for each in listener.told) > 10
    assert sum(
        each.referred == Referred(each.referred.position, LEARNED) for each in listener.told if each.referred
    )
    assert disk.operations > 200
    assert journal.trimmed_through > 50


@pytest.mark.parametrize("tens", range(CUTS // 10))
def test_a_power_cut_loses_nothing_acknowledged(tens: int) -> None:
    acknowledged = [survive(seed) for seed in range(tens * 10, tens * 10 + 10)]
    assert sum(acknowledged) > 0


def test_a_disk_that_lies_about_syncing_is_found_out() -> None:
    found_out = 0
    for seed in range(LIES):
        try:
            survive(seed, lies=True)
        except (AssertionError, apsw.Error):
            found_out += 1
    assert found_out >= LIES // 2
